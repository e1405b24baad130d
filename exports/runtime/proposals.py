"""The pairs of images that are most worth asking a person about."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kpairs.errors import InputError, UsageError
from kpairs.exports.runtime import PairModel
from kpairs.exports.runtime.ranking import prepared, rank
from kpairs.exports.runtime.sources import Columns, listed_pairs
from kpairs.files import write_rows

_CANDIDATES = 8  # for each pair that is wanted


@dataclass(frozen=True)
class Proposal:
    """One pair.

    Attributes:
        left, right: the images.
        probability: that left ranks no higher, by the models' mean.
    """

    left: Path
    right: Path
    probability: float


def propose_pairs(
    models: Sequence[PairModel],
    files: Sequence[Path],
    count: int,
    known: Sequence[Path] = (),
    columns: Columns | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Proposal]:
    """Propose pairs whose answer is open, of images that were compared little.

    Candidates are neighbours in the models' ranking. One after the other that pair is taken which
    has most of p (1 - p) / (1 + how often both its images were compared), p being the probability
    that left ranks no higher; what is proposed counts as compared. Which image of a pair stands
    on the left is drawn, as a side that always won would lead people, and networks.

    Args:
        models: one or several of one network.
        files: the images, at least two.
        count: how many pairs; there are fewer where there are no more pairs.
        known: CSV files with columns left and right: pairs that were asked about already.
        columns: headers of these files, where they differ.
        progress: as `rank` takes it.

    Raises:
        UsageError: see `rank`.
        InputError: fewer than two images, or a file that cannot be read.
    """
    if len(files) < 2:
        raise InputError(f"expected at least two images, received {len(files)}")
    if count < 1:
        raise UsageError(f"count: expected at least 1 pair, received {count}")
    number = {os.path.abspath(file): i for i, file in enumerate(files)}
    asked = _asked(known, columns, number)
    ends = np.array([image for pair in asked for image in pair], np.int64)
    compared = np.bincount(ends, minlength=len(files))
    order = rank(models, files, progress).order()
    candidates = _neighbours(order, _CANDIDATES * count, asked)
    candidates = np.random.default_rng(0).permuted(candidates, axis=1)
    probability = np.mean([_probability(model, files, candidates) for model in models], axis=0)
    chosen = _chosen(candidates, probability * (1 - probability), compared, count)
    return [
        Proposal(files[candidates[k, 0]], files[candidates[k, 1]], float(probability[k]))
        for k in chosen
    ]


def write_questions(path: Path, proposals: Sequence[Proposal]) -> None:
    """Write a CSV file for people to fill in and `kpairs train --data` to read.

    Its columns are left, right and an empty label; paths are relative to the file. What the models
    think is left out, so as not to lead.

    Raises:
        OSError: the file cannot be written.
    """
    folder = path.parent.absolute()
    rows = [
        {"left": os.path.relpath(p.left, folder), "right": os.path.relpath(p.right, folder)}
        for p in proposals
    ]
    write_rows(path, [{**row, "label": ""} for row in rows])


def check_names(files: Sequence[Path]) -> None:
    """Refuse images whose names a CSV file cannot hold: `write_questions` would fail at the end.

    Raises:
        InputError: a name that is no UTF-8; Python keeps its bytes as surrogates.
    """
    for file in files:
        try:
            str(file).encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{file}: this name is no UTF-8, and no CSV file can hold it; rename the image"
            ) from error


def _asked(
    known: Sequence[Path], columns: Columns | None, number: dict[str, int]
) -> set[tuple[int, int]]:
    """Return the pairs that the files name, as numbers of the images, the lower first."""
    asked = set()
    for path in known:
        for pair in listed_pairs(path, columns):
            left, right = (number.get(os.path.abspath(file)) for file in pair)
            if left is not None and right is not None:
                asked.add((min(left, right), max(left, right)))
    return asked


def _neighbours(
    order: NDArray[np.int64], count: int, asked: set[tuple[int, int]]
) -> NDArray[np.int64]:
    """Return pairs of images that stand close to each other in an order, closest first."""
    found: list[tuple[int, int]] = []
    for distance in range(1, len(order)):
        for pair in zip(order[distance:].tolist(), order[:-distance].tolist(), strict=True):
            if (min(pair), max(pair)) not in asked:
                found.append(pair)
        if len(found) >= count:
            break
    if not found:
        raise InputError("expected pairs that were not asked about yet, received none")
    return np.array(found)


def _probability(
    model: PairModel, files: Sequence[Path], pairs: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return P(left ranks no higher), by both orders of each pair."""
    used, rows = np.unique(pairs, return_inverse=True)
    blocks = prepared([files[i] for i in used], model.pixels)
    pixels = np.concatenate([block.pixels for block in blocks])
    left, right = rows.reshape(-1, 2).T
    there, back = (
        model.as_probabilities(model.compare(pixels[a], pixels[b]))["comparison"][:, 1]
        for a, b in ((left, right), (right, left))
    )
    return (there + 1 - back) / 2


def _chosen(
    pairs: NDArray[np.int64], open_: NDArray[np.float64], compared: NDArray[np.int64], count: int
) -> list[int]:
    chosen: list[int] = []
    compared = compared.copy()
    left, right = pairs.T
    for _ in range(min(count, len(pairs))):
        value = open_ / (1 + compared[left] + compared[right])
        value[chosen] = -1
        best = int(value.argmax())
        chosen.append(best)
        compared[[left[best], right[best]]] += 1
    return chosen
