"""Predictions for pairs of image files."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kpairs.data.decode import THREADS
from kpairs.data.pixels import prepare
from kpairs.data.settings import PixelSettings
from kpairs.errors import UsageError
from kpairs.exports.runtime import PairModel
from kpairs.exports.runtime.trust import no_better_than_chance, warn_of_pictures

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
    *(f"{s}_score_{end}" for s in _SIDES for end in ("deviation", "percentile")),
    *(f"{s}_inverted" for s in _SIDES),
    *(f"{s}_doubtful" for s in _SIDES),
    *(f"{s}_far" for s in _SIDES),
)


def predict_pairs(
    model: str | Path, pairs: Sequence[Pair], ink: str | None = None
) -> list[dict[str, Any]]:
    """Compare pairs of image files.

    Their pixels are prepared as in training, by the model's own `PixelSettings`. Pictures whose ink
    is not what the model learned from, and pictures far from its training images, are named in a
    warning; so is a model that is no better than chance on its test pairs.

    Args:
        model: path of an exported .onnx file.
        pairs: `(left, right)` paths, at least one.
        ink: that of these pictures, a key of `kpairs.data.settings.INKS`; default the model's.

    Returns:
        A dict per pair: `left`, `right`, `left_not_higher`, its `probability`, `same` (whether both
        are one picture, so that left <= right is certain; of scores it is a tie, 1/2), where there
        are digit or grade outputs each side's `_digit` or `_grade` and its `_probability`, where
        images are scored each side's `_score`, its standard error `_score_deviation` where that is
        known, and `_score_percentile` among the training images; and for each side whether it was
        `_inverted`, whether its ink is `_doubtful`, and whether it is `_far` from the training
        images. `probability` is calibrated, see `PairModel.chance`.

    Raises:
        UsageError: `ink` for a model of pictures of either ink.
        InputError: an image or the model cannot be read.
    """
    loaded = PairModel.load(model)
    settings = _settings(loaded, ink)
    rows: list[dict[str, Any]] = []
    odd: dict[str, tuple[bool, bool, bool]] = {}  # doubtful, faint and far, by file
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(pairs), _AT_ONCE):
            block = pairs[start : start + _AT_ONCE]
            files = list(dict.fromkeys(file for pair in block for file in pair))
            prepared = pool.map(lambda file: prepare(file, settings), files)
            pictures = dict(zip(files, prepared, strict=True))
            new = _compare(loaded, block, pictures)
            far = {row[side] for row in new for side in _SIDES if row.get(f"{side}_far")}
            for file, picture in pictures.items():
                told = bool(picture.doubtful[0]), bool(picture.faint[0]), str(file) in far
                odd.setdefault(str(file), told)
            rows += new
    doubtful, faint, distant = np.array([*odd.values()]).T
    warn_of_pictures(
        [*odd].__getitem__,
        settings,
        loaded.metadata,
        doubtful=doubtful,
        faint=faint,
        far=distant,
    )
    if warned := no_better_than_chance(loaded.metadata):
        log.warning("%s", warned)
    return rows


def _settings(loaded: PairModel, ink: str | None) -> PixelSettings:
    """Return how pictures of an ink are prepared for a model."""
    if ink is None:
        return loaded.pixels
    if loaded.pixels.ink == "mixed":
        raise UsageError(
            "ink: this model takes pictures as they are, bright on dark or dark on bright; "
            f"expected none, received {ink}"
        )
    return replace(loaded.pixels, ink=ink)


def _compare(
    loaded: PairModel, pairs: Sequence[Pair], pictures: Mapping[str | Path, Any]
) -> list[dict[str, Any]]:
    sides = zip(*pairs, strict=True)
    images = [np.concatenate([pictures[file].pixels for file in side]) for side in sides]
    values = loaded.compare(*images)
    values |= loaded.as_probabilities(values)
    placed = [loaded.place(side) for side in images]
    values["decided"] = values["comparison"].argmax(axis=1)
    held = loaded.chance(values["comparison"][:, 1], *placed)
    values["comparison"] = np.stack([1 - held, held], axis=1)
    known = loaded.reference
    for side, there in zip(_SIDES, placed, strict=True):
        if known is None or there is None:
            continue
        values[f"{side}_far"] = known.distance(there) > 1
        if (score := values.get(f"{side}_score")) is not None:
            values[f"{side}_score_percentile"] = known.percentile(score[:, 0])
            if known.has_deviation:
                values[f"{side}_score_deviation"] = known.deviation(there)
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
        held = float(values["comparison"][i, 1])
        row |= {"left_not_higher": bool(values["decided"][i]), "probability": held}
    row["same"] = same
    for name in (name for name, kind in loaded.outputs.items() if kind == "score"):
        row[name] = float(values[name][i, 0])
        for end in ("deviation", "percentile"):
            if f"{name}_{end}" in values:
                row[f"{name}_{end}"] = float(values[f"{name}_{end}"][i])
    for name in loaded.of_class:
        best = int(values[name][i].argmax())
        row[name] = loaded.classes[best]
        row[f"{name}_probability"] = float(values[name][i, best])
    for part in ("inverted", "doubtful"):
        for side, file in zip(_SIDES, pair, strict=True):
            row[f"{side}_{part}"] = bool(getattr(pictures[file], part)[0])
    for side in _SIDES:
        if f"{side}_far" in values:
            row[f"{side}_far"] = bool(values[f"{side}_far"][i])
    return row
