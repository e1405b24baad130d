"""Predictions for pairs of image files."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kpairs.data.pixels import contradiction, faintness, prepare
from kpairs.errors import UsageError
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


def predict_pairs(
    model: str | Path, pairs: Sequence[Pair], ink: str | None = None
) -> list[dict[str, Any]]:
    """Compare pairs of image files.

    Their pixels are prepared as in training, by the model's own `PixelSettings`. Pictures whose ink
    is not what the model learned from are named in a warning.

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
    faint: dict[str | Path, None] = {}
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
            faint |= {file: None for file, p in pictures.items() if p.faint[0]}
            rows += _compare(loaded, block, pictures)
    for odd, told in ((doubtful, contradiction), (faint, faintness)):
        if odd:
            log.warning("%s", told(len(odd), len(seen), str(next(iter(odd))), settings))
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
