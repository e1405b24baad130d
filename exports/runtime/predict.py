"""Predictions for image files: two, folders of them, or a CSV of pairs. No keras, no torch."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kpairs.data.decode import SUFFIXES
from kpairs.data.listing import list_images
from kpairs.data.pixels import contradiction, prepare
from kpairs.data.table import read_table
from kpairs.errors import InputError, UsageError
from kpairs.exports.runtime import PairModel

log = logging.getLogger(__name__)

Pair = tuple[str | Path, str | Path]
_SIDES = ("left", "right")
_WORDS = ("digit", "grade")
_AT_ONCE = 1024  # pairs whose pictures are in memory together
COLUMNS = (
    *_SIDES,
    "left_not_higher",
    "probability",
    "same",
    *(f"{s}_{word}{end}" for s in _SIDES for word in _WORDS for end in ("", "_probability")),
    *(f"{s}_score" for s in _SIDES),
    *(f"{s}_inverted" for s in _SIDES),
    *(f"{s}_doubtful" for s in _SIDES),
)


def find_pairs(left: str | Path, right: str | Path | None = None) -> tuple[list[Pair], bool]:
    """Find the pairs of image files that two arguments, or one CSV file, stand for.

    Args:
        left: an image, a folder of images, or a CSV file with the columns left and right.
        right: an image, or a folder of images; those of two folders are paired by their names,
            endings aside. None beside a CSV file.

    Returns:
        `(pairs, single)`: a list of `(left, right)` paths, and whether it was two images.

    Raises:
        UsageError: one argument that is no CSV file.
        InputError: a folder without images, folders whose names differ, or a CSV file that cannot
            be read.
    """
    if right is None:
        if not str(left).lower().endswith(".csv"):
            raise UsageError(f"expected LEFT and RIGHT, or a .csv file of pairs; received {left}")
        return _read_pairs(Path(left)), False
    sides = [Path(left), Path(right)]
    if not any(side.is_dir() for side in sides):
        return [(left, right)], True
    if not all(side.is_dir() for side in sides):
        images = [_images(s) if s.is_dir() else None for s in sides]
        count = max(len(i) for i in images if i)
        lefts, rights = (
            [s] * count if i is None else i for s, i in zip(sides, images, strict=True)
        )
        return list(zip(lefts, rights, strict=True)), False
    left_named, right_named = ({i.stem: i for i in _images(side)} for side in sides)
    if odd := sorted(set(left_named) ^ set(right_named)):
        raise InputError(
            f"expected images of the same names in {left} and {right}; {len(odd)} are in one only, "
            f"such as {odd[0]}"
        )
    return [(image, right_named[name]) for name, image in left_named.items()], False


def _images(folder: Path) -> list[Path]:
    listing = list_images(folder, recursive=False)
    found = list(listing.files)
    if said := listing.said():
        log.warning("%s", said)
    if not found:
        raise InputError(f"{folder}: expected images ({', '.join(SUFFIXES)}), received none")
    if len({f.stem for f in found}) < len(found):
        raise InputError(f"{folder}: expected images of different names, endings aside")
    return found


def _read_pairs(path: Path) -> list[Pair]:
    table = read_table(path, "pairs")
    columns = next(table)[1]
    if set(_SIDES) - set(columns):
        raise InputError(
            f"{path}: expected the columns left and right; received {', '.join(columns)}"
        )
    places = [columns.index(side) for side in _SIDES]
    pairs: list[Pair] = []
    for number, cells in table:
        left, right = (cells[i] if i < len(cells) else "" for i in places)
        if not (left and right) or "\0" in left + right:
            raise InputError(f"{path} row {number}: expected two paths, received an empty one")
        pairs.append((path.parent / left, path.parent / right))
    if not pairs:
        raise InputError(f"{path}: expected pairs below the header left,right; received none")
    return pairs


def predict_pairs(
    model: str | Path, pairs: Sequence[Pair], ink: str | None = None
) -> list[dict[str, Any]]:
    """Compare pairs of image files.

    What happens to their pixels is what happened in training: the model's own `PixelSettings`.
    Pictures whose ink is not what the model learned from are named in a warning.

    Args:
        model: path of an exported .onnx file.
        pairs: `(left, right)` paths, at least one.
        ink: that of these pictures, a key of `kpairs.data.settings.INKS`; default the model's.

    Returns:
        A dict per pair: `left`, `right`, `left_not_higher`, its `probability`, `same` (whether both
        are one picture, so that left <= right is certain; of scores it is a tie, 1/2), where there
        are digit or grade outputs each side's `_digit` or `_grade` and its `_probability`, where
        images are scored each side's `_score`, and for each side whether it was `_inverted` and
        whether its ink is `_doubtful`.

    Raises:
        UsageError: `ink` for a model of pictures of either ink.
        InputError: an image or the model cannot be read.
    """
    loaded = PairModel.load(model)
    settings = loaded.pixels
    if ink is not None and settings.ink == "mixed":
        raise UsageError(
            "ink: this model takes pictures as they are, bright on dark or dark on bright; "
            f"expected none, received {ink}"
        )
    if ink is not None:
        settings = replace(settings, ink=ink)
    rows: list[dict[str, Any]] = []
    doubtful: dict[str | Path, None] = {}
    seen: set[str | Path] = set()
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(pairs), _AT_ONCE):
            block = pairs[start : start + _AT_ONCE]
            files = list(dict.fromkeys(file for pair in block for file in pair))
            pictures = dict(
                zip(files, pool.map(lambda f: prepare(f, settings), files), strict=True)
            )
            seen |= set(files)
            doubtful |= {file: None for file, p in pictures.items() if p.doubtful[0]}
            rows += _compare(loaded, block, pictures)
    if doubtful:
        first = next(iter(doubtful))
        log.warning("%s", contradiction(len(doubtful), len(seen), str(first), settings))
    return rows


def _compare(
    loaded: PairModel, pairs: Sequence[Pair], pictures: Mapping[str | Path, Any]
) -> list[dict[str, Any]]:
    sides = zip(*pairs, strict=True)
    images = [np.concatenate([pictures[file].pixels for file in side]) for side in sides]
    values = loaded.compare(*images)
    values |= loaded.as_probabilities(values)
    same = (images[0] == images[1]).all(axis=(1, 2, 3))
    return [_row(loaded, pair, pictures, values, i, bool(same[i])) for i, pair in enumerate(pairs)]


def _row(
    loaded: PairModel,
    pair: Pair,
    pictures: Mapping[str | Path, Any],
    values: Mapping[str, np.ndarray],
    i: int,
    same: bool,
) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(_SIDES, map(str, pair), strict=True))
    if same:  # whatever the model says: a picture ranks no higher than itself
        row |= {"left_not_higher": True, "probability": 0.5 if "left_score" in values else 1.0}
    else:  # a tie goes to class 0, as everywhere
        holds = values["comparison"][i]
        row |= {"left_not_higher": bool(holds.argmax()), "probability": float(holds[1])}
    row["same"] = same
    for name in (name for name, kind in loaded.outputs.items() if kind == "score"):
        row[name] = float(values[name][i, 0])
    for name in loaded.of_class:
        best = int(values[name][i].argmax())
        row[name] = loaded.classes[best]
        row[f"{name}_probability"] = float(values[name][i, best])
    for part in ("inverted", "doubtful"):
        for side, file in zip(_SIDES, pair, strict=True):
            row[f"{side}_{part}"] = bool(getattr(pictures[file], part)[0])
    return row
