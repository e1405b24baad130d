"""One seed and a round number give every random draw of a training, whatever ran before it.

Each purpose has a stream of its own, so that, for example, a recipe with augmentation still draws
the same pairs as one without; what is drawn in every epoch has a stream per epoch, so that a
training that stopped goes on as if it had not.
"""

import numpy as np

_NAMES = ("pairs", "augmentation", "initialization", "fit", "order", "folds", "pairing")
_LATER = ("distortion", "variation", "validation", "all pairs")
_PURPOSES = {name: number for number, name in enumerate((*_NAMES, *_LATER))}
_PURPOSES["points"] = _PURPOSES["pairing"]  # of the mini framework's disc, which pairs no images


def _sequence(
    seed: int, round_number: int, purpose: str, epoch: int | None
) -> np.random.SeedSequence:
    key = (round_number, _PURPOSES[purpose], *(() if epoch is None else (epoch,)))
    return np.random.SeedSequence(seed, spawn_key=key)


def generator(
    seed: int, round_number: int, purpose: str, epoch: int | None = None
) -> np.random.Generator:
    """Make the generator of one purpose ("pairs", "order", ...) in one round, or in one epoch."""
    return np.random.default_rng(_sequence(seed, round_number, purpose, epoch))


def integer(seed: int, round_number: int, purpose: str, epoch: int | None = None) -> int:
    """Draw a 31-bit integer of the same stream, for libraries whose seed is one number."""
    return int(_sequence(seed, round_number, purpose, epoch).generate_state(1)[0] >> 1)
