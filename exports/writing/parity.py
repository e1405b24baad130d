"""The check that an exported file computes what its Keras model computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import keras
import numpy as np

from kpairs.data.pairs import PairSet
from kpairs.errors import ParityError
from kpairs.models.outputs import decisions, share_wrong
from kpairs.training.batches import evaluation_batch, predict


class Runnable(Protocol):
    """A loaded file: the names and kinds of its outputs, and their values for some pairs."""

    outputs: Mapping[str, str]

    def run(
        self, left: np.ndarray, right: np.ndarray, chunk: int | None = None
    ) -> dict[str, np.ndarray]:
        """Compute the outputs, as `kpairs.exports.runtime.PairModel.run` does."""


BATCHES = (1, 2, 7, 128)
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Parity:
    """Outcome of a successful check."""

    # Number of pairs compared, all of them at every batch size. Every decision of every output was
    # the same, except between scores that are equal within the tolerance.
    pairs: int
    batches: tuple[int, ...]  # large images are checked in smaller ones
    max_difference: dict[str, float]  # largest absolute difference of each output by name
    # Largest absolute value of each output, to hold the difference against: float32 keeps about
    # seven digits.
    max_value: dict[str, float]


def check_parity(
    model: keras.Model,
    exported: Runnable,
    pairs: PairSet,
    batches: Sequence[int] = BATCHES,
    tolerance: float = TOLERANCE,
) -> Parity:
    """Compare every output of a Keras model and of a file on pairs, by name and at each batch size.

    The tolerance is relative to the largest value where that is above 1. Raises ParityError where
    names differ, an output differs by more than the tolerance, or a decision differs, except
    between scores that the permitted difference makes equal.
    """
    expected = predict(model, pairs)
    if set(exported.outputs) != set(expected):  # Keras sorts them by name
        raise ParityError(
            f"expected the outputs {list(expected)}, the exported file has {list(exported.outputs)}"
        )
    for name, values in expected.items():
        if not np.isfinite(values).all():
            raise ParityError(f"{name}: expected numbers from the Keras model, received NaN or inf")
    largest = dict.fromkeys(exported.outputs, 0.0)
    scale = {name: float(np.abs(expected[name]).max()) for name in largest}
    sizes = sorted({min(batch, len(pairs), _fitting(pairs)) for batch in batches})
    for rows, block in in_blocks(pairs, sizes[-1]):
        inputs = block.inputs()
        for batch in sizes:
            received = exported.run(inputs["left"], inputs["right"], batch)
            for name, kind in exported.outputs.items():
                is_scored = name == "comparison" and "score" in exported.outputs.values()
                limit = tolerance * max(1.0, scale[name])
                difference = _difference(
                    f"{name} at batch {batch}",
                    received[name],
                    expected[name][rows],
                    kind,
                    limit,
                    2 * limit if is_scored else 0.0,
                )
                largest[name] = max(largest[name], difference)
    return Parity(len(pairs), tuple(sizes), largest, scale)


def in_blocks(pairs: PairSet, multiple: int = 1) -> Iterator[tuple[slice, PairSet]]:
    """Yield the rows and the pairs of blocks whose values fit into memory.

    Each block but the last holds a multiple of a number of pairs.
    """
    step = multiple * max(1, _fitting(pairs) // multiple)
    for start in range(0, len(pairs), step):
        rows = slice(start, min(start + step, len(pairs)))
        yield rows, pairs.take(rows)


def _fitting(pairs: PairSet) -> int:
    """Return how many pairs run at once; two at least, as a batch of 1 shows little."""
    return max(2, evaluation_batch(pairs))


def outputs_of(exported: Runnable, pairs: PairSet) -> dict[str, np.ndarray]:
    """Compute the outputs of a loaded file, by name."""
    inputs = (block.inputs() for _, block in in_blocks(pairs))
    parts = [exported.run(each["left"], each["right"]) for each in inputs]
    return {name: np.concatenate([part[name] for part in parts]) for name in exported.outputs}


def _difference(
    where: str,
    received: np.ndarray,
    expected: np.ndarray,
    kind: str,
    limit: float,
    undecided: float,
) -> float:
    """Return the largest difference of one output; refuse a larger one than `limit`.

    Equal pictures have equal scores, between which rounding alone would decide: logits nearer to
    each other than `undecided` may decide either way.
    """
    if received.shape != expected.shape:
        raise ParityError(
            f"{where}: expected the shape {expected.shape}, received {received.shape}"
        )
    difference = float(np.abs(received - expected).max())
    if not difference <= limit:  # NaN must fail too
        raise ParityError(
            f"{where}: expected differences up to {limit:.1e} from Keras, received {difference:.1e}"
        )
    if kind != "score":
        differing = decisions(received, kind) != decisions(expected, kind)
        if undecided:
            differing &= np.ptp(expected, axis=1) >= undecided
        if differing.any():
            raise ParityError(
                f"{where}: expected Keras' decisions, {differing.sum()} of {len(expected)} differ"
            )
    return difference


def errors_pct(
    outputs: Mapping[str, np.ndarray], kinds: Mapping[str, str], pairs: PairSet
) -> dict[str, float]:
    """Count the wrong decisions of each output that has a target, in percent."""
    known = {f"{side}_{word}" for side in ("left", "right") for word in ("digit", "grade")}
    kinds = {name: kind for name, kind in kinds.items() if name in {"comparison", *known}}
    return {
        name: 100 * share_wrong(decisions(outputs[name], kinds[name]), target)
        for name, target in pairs.targets(kinds).items()
    }
