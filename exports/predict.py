"""Predictions for image files: two, folders of them, or a CSV of pairs. No keras, no torch."""

import csv
from pathlib import Path

import numpy as np

from kpairs.data.images import SUFFIXES
from kpairs.data.pictures import read_picture
from kpairs.errors import InputError, UsageError
from kpairs.exports.runtime import PairModel

_SIDES = ("left", "right")
COLUMNS = (
    *_SIDES,
    "left_not_higher",
    "probability",
    *(f"{s}_digit{end}" for s in _SIDES for end in ("", "_probability")),
    *(f"{s}_inverted" for s in _SIDES),
)


def find_pairs(left, right=None):
    """The pairs of image files that two arguments, or one CSV file, stand for.

    Args:
        left, right: two images; a folder and an image; two folders with images of the same names
            (endings aside); or `left` alone, a CSV file with the columns left and right.

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
    lefts, rights = ({image.stem: image for image in _images(side)} for side in sides)
    if odd := sorted(set(lefts) ^ set(rights)):
        raise InputError(
            f"expected images of the same names in {left} and {right}; {len(odd)} are in one only, "
            f"such as {odd[0]}"
        )
    return [(lefts[name], rights[name]) for name in lefts], False


def _images(folder):
    found = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)
    found = [f for f in found if not f.name.startswith(".")]
    if not found:
        raise InputError(f"{folder}: expected images ({', '.join(SUFFIXES)}), received none")
    if len({f.stem for f in found}) < len(found):
        raise InputError(f"{folder}: expected images of different names, endings aside")
    return found


def _read_pairs(path):
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames
    except OSError as error:
        raise InputError(f"{path}: cannot read the pairs: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a CSV file of pairs, received: {error}") from error
    if not rows:
        raise InputError(f"{path}: expected pairs below the header left,right; received none")
    if set(_SIDES) - set(columns):
        raise InputError(
            f"{path}: expected the columns left and right; received {', '.join(columns)}"
        )
    pairs = [tuple((row[side] or "").strip() for side in _SIDES) for row in rows]
    for number, pair in enumerate(pairs, start=1):
        if not all(pair):
            raise InputError(f"{path}: expected two paths in pair {number}, received an empty one")
    return [tuple(path.parent / name for name in pair) for pair in pairs]


def predict_pairs(model, pairs, ink="auto"):
    """Compare pairs of image files.

    Args:
        model: path of an exported .onnx file.
        pairs: `(left, right)` paths, at least one.
        ink: as `read_picture` takes it.

    Returns:
        A dict per pair: `left`, `right`, `left_not_higher`, its `probability`, `left_inverted`,
        `right_inverted`, and where there are digit outputs each side's `_digit` and
        `_digit_probability`.

    Raises:
        InputError: an image or the model cannot be read.
    """
    files = dict.fromkeys(file for pair in pairs for file in pair)
    pictures = {file: read_picture(file, ink) for file in files}
    loaded = PairModel.load(model)
    images = (
        np.concatenate([pictures[file][0] for file in side]) for side in zip(*pairs, strict=True)
    )
    values = loaded.predict_probabilities(*images)
    return [_row(loaded, pair, pictures, values, i) for i, pair in enumerate(pairs)]


def _row(loaded, pair, pictures, values, i):
    holds = float(values["comparison"][i, 1])
    row = dict(zip(_SIDES, map(str, pair), strict=True))
    # A tie goes to class 0, as everywhere.
    row |= {"left_not_higher": bool(values["comparison"][i].argmax()), "probability": holds}
    for side in _SIDES:
        if (name := f"{side}_digit") in values:
            best = int(values[name][i].argmax())
            row[name] = loaded.classes[best]
            row[f"{name}_probability"] = float(values[name][i, best])
    for side, file in zip(_SIDES, pair, strict=True):
        row[f"{side}_inverted"] = pictures[file][1]
    return row
