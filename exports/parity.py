"""Whether an exported file computes what its Keras model computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import keras
import numpy as np

from kpairs.data import PairSet
from kpairs.errors import ParityError
from kpairs.models.outputs import decisions, share_wrong


class Runnable(Protocol):
    """A loaded file: the names and kinds of its outputs, and their values for some pairs."""

    outputs: Mapping[str, str]

    def run(self, left: np.ndarray, right: np.ndarray, chunk: int) -> dict[str, np.ndarray]:
        """As `kpairs.exports.runtime.PairModel.run`."""


BATCHES = (1, 2, 7, 128)
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Parity:
    """Outcome of a successful check.

    Attributes:
        pairs: number of pairs compared, all of them at every batch size. Every decision of every
            output was the same, but where two scores are equal within the permitted difference.
        batches: the batch sizes.
        max_difference: largest absolute difference of each output by name.
        max_value: largest absolute value of each output, which the difference is to be held
            against: float32 keeps about seven digits.
    """

    pairs: int
    batches: tuple[int, ...]
    max_difference: dict[str, float]
    max_value: dict[str, float]


def check_parity(
    model: keras.Model, exported: Runnable, pairs: PairSet, batches: Sequence[int] = BATCHES
) -> Parity:
    """Compare every output by name.

    Args:
        model: the Keras model.
        exported: the `PairModel` or `TorchModel` loaded from the exported file.
        pairs: what both are asked.
        batches: pairs per call.

    Returns:
        How far they differ.

    Raises:
        ParityError: names differ, an output differs by more than 1e-5 (relative to the
            largest value of that output, where that is above 1), or a decision differs but of
            scores that the permitted difference makes equal.
    """
    inputs = pairs.inputs()
    expected = model.predict(inputs, batch_size=len(pairs), verbose=0)
    if set(exported.outputs) != set(expected):  # Keras sorts them by name
        raise ParityError(
            f"expected the outputs {list(expected)}, the exported file has {list(exported.outputs)}"
        )
    for name, values in expected.items():
        if not np.isfinite(values).all():
            raise ParityError(f"{name}: expected numbers from the Keras model, received NaN or inf")
    largest = dict.fromkeys(expected, 0.0)
    scale = {name: float(np.abs(values).max()) for name, values in expected.items()}
    sizes = sorted({min(batch, len(pairs)) for batch in batches})
    for batch in sizes:
        received = exported.run(inputs["left"], inputs["right"], batch)
        for name, kind in exported.outputs.items():
            if received[name].shape != expected[name].shape:
                raise ParityError(
                    f"{name} at batch {batch}: expected the shape {expected[name].shape}, received "
                    f"{received[name].shape}"
                )
            difference = float(np.abs(received[name] - expected[name]).max())
            limit = TOLERANCE * max(1.0, scale[name])
            if not difference <= limit:  # NaN must fail too
                raise ParityError(
                    f"{name} at batch {batch}: expected differences up to {limit:.1e} from Keras, "
                    f"received {difference:.1e}"
                )
            is_scored = name == "comparison" and "score" in exported.outputs.values()
            open_ = 2 * limit if is_scored else 0.0
            differing = _differing(received[name], expected[name], kind, open_)
            if differing.any():
                raise ParityError(
                    f"{name} at batch {batch}: expected Keras' decisions, "
                    f"{differing.sum()} of {len(pairs)} differ"
                )
            largest[name] = max(largest[name], difference)
    return Parity(len(pairs), tuple(sizes), largest, scale)


def _differing(received: np.ndarray, expected: np.ndarray, kind: str, open_: float) -> np.ndarray:
    """Which decisions differ; none of scores, nor of logits that are so near each other.

    Equal pictures have equal scores, between which rounding alone would decide.
    """
    if kind == "score":
        return np.zeros(len(expected), bool)
    differing = decisions(received, kind) != decisions(expected, kind)
    return differing & (np.ptp(expected, axis=1) >= open_) if open_ else differing


def errors_pct(
    outputs: Mapping[str, np.ndarray], kinds: Mapping[str, str], pairs: PairSet
) -> dict[str, float]:
    """Count the wrong decisions of each output but scores, in percent.

    Args:
        outputs: `(n, width)` values by name.
        kinds: the outputs' kinds by name.
        pairs: the n pairs, with their targets.
    """
    kinds = {name: kind for name, kind in kinds.items() if kind != "score"}
    return {
        name: 100 * share_wrong(decisions(outputs[name], kinds[name]), target)
        for name, target in pairs.targets(kinds).items()
    }
