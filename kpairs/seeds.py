"""One seed and a round number give every random draw of a training, whatever ran before it.

Each purpose has a stream of its own, so that, for example, a recipe with augmentation still draws
the same pairs as one without.
"""

import numpy as np

_PURPOSES = ("pairs", "augmentation", "initialization", "fit")


def _sequence(seed, round_number, purpose):
    return np.random.SeedSequence(seed, spawn_key=(round_number, _PURPOSES.index(purpose)))


def generator(seed, round_number, purpose):
    """The NumPy generator of one purpose ("pairs", "augmentation", ...) in one round."""
    return np.random.default_rng(_sequence(seed, round_number, purpose))


def integer(seed, round_number, purpose):
    """A 31-bit integer of the same stream, for libraries that take one number as their seed."""
    return int(_sequence(seed, round_number, purpose).generate_state(1)[0] >> 1)
