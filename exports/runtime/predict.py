"""Predictions for pairs of image files."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kpairs.data.decode import THREADS
from kpairs.data.pixels import Prepared, prepare
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
    """Compare pairs of image files, `(left, right)` paths, at least one.

    Their pixels are prepared as in training, by the model's own `PixelSettings`; `ink` is that of
    these pictures, a key of `kpairs.data.settings.INKS`, default the model's. Warnings name
    pictures whose ink is not what the model learned from, pictures far from its training images,
    and a model that is no better than chance on its test pairs.

    Returns a dict per pair, by the names of `COLUMNS` that are known: `left_not_higher` and its
    calibrated `probability`, see `PairModel.chance`; `same` (both are one picture, so that left <=
    right is certain; of scores it is a tie, 1/2); of each side's digit, grade or score what is
    known; whether it was `_inverted`, its ink is `_doubtful`, and it is `_far` from the training
    images.

    Raises UsageError for `ink` where a model takes either, InputError for a file that cannot be
    read.
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
        [*odd].__getitem__, settings, loaded.metadata, doubtful=doubtful, faint=faint, far=distant
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
    loaded: PairModel, pairs: Sequence[Pair], pictures: Mapping[str | Path, Prepared]
) -> list[dict[str, Any]]:
    seen = [[pictures[file] for file in side] for side in zip(*pairs, strict=True)]
    images = [np.concatenate([picture.pixels for picture in side]) for side in seen]
    values = loaded.compare(*images)
    found, placed = loaded.as_probabilities(values), [loaded.place(side) for side in images]
    is_scored, known = "left_score" in values, loaded.reference
    # Whatever the model says: a picture ranks no higher than itself. A tie goes to class 0.
    same = (images[0] == images[1]).all(axis=(1, 2, 3))
    held = loaded.chance(found["comparison"][:, 1], *placed)
    columns: dict[str, Any] = {
        "left_not_higher": same | (found["comparison"].argmax(axis=1) == 1),
        "probability": np.where(same, 0.5 if is_scored else 1.0, held),
        "same": same,
    }
    for name in loaded.of_class:
        columns[name] = np.array(loaded.classes)[found[name].argmax(axis=1)]
        columns[f"{name}_probability"] = found[name].max(axis=1)
    for side, own, there in zip(_SIDES, seen, placed, strict=True):
        columns[f"{side}_inverted"] = np.concatenate([picture.inverted for picture in own])
        columns[f"{side}_doubtful"] = np.concatenate([picture.doubtful for picture in own])
        if is_scored:
            columns[f"{side}_score"] = values[f"{side}_score"][:, 0]
        if known is not None and there is not None:
            columns[f"{side}_far"] = known.distance(there) > 1
            if is_scored:
                columns[f"{side}_score_percentile"] = known.percentile(columns[f"{side}_score"])
            if is_scored and known.has_deviation:
                columns[f"{side}_score_deviation"] = known.deviation(there)
    names = [name for name in COLUMNS if name in columns]
    rows = zip(*(columns[name].tolist() for name in names), strict=True)
    return [
        {**dict(zip(_SIDES, map(str, pair), strict=True)), **dict(zip(names, row, strict=True))}
        for pair, row in zip(pairs, rows, strict=True)
    ]
