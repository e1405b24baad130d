"""The images of a recipe: what it leaves open they decide, once, and then they are loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kpairs.data import load_digits
from kpairs.data.divided import divided_pairs
from kpairs.data.grades import GradedFiles, read_grades
from kpairs.data.listed import read_pairs
from kpairs.data.settings import PixelSettings
from kpairs.data.sources import (
    canonical,
    compared_split,
    is_compared,
    is_graded,
    settings_for,
    source_key,
)
from kpairs.data.splits import Split
from kpairs.data.survey import survey
from kpairs.errors import InputError, UsageError
from kpairs.models.registry import DIGIT_SHAPE, check_shape
from kpairs.networks import ARCHS
from kpairs.recipes import Recipe, in_words

log = logging.getLogger(__name__)

_SPLITS = {"train": "training", "test": "test"}
_OPEN = ("image_size", "channels", "fit", "ink")


def settled(
    recipe: Recipe,
    given: Collection[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Recipe:
    """Fill in what a recipe leaves open: by its architecture and, for graded images, by a look.

    Says what was decided. A settled recipe comes back as it is, without another look.

    Args:
        recipe: the `Recipe`.
        given: names of the fields that the user chose, where others may be fitted to the images;
            default all are as they are to be, and what is None is filled in alone.
        progress: called while a file of pairs is read, with how many bytes of how many are.

    Returns:
        The recipe with its source as seen from anywhere; where images are one's own with size,
        channels, fit and ink of the network's; where they are graded also with their order, outputs
        that are named by grades, and no more pairs than the images give.

    Raises:
        UsageError: an unknown source, grades whose order is not known, or images that the
            architecture is not for.
        InputError: images that cannot be read, or too few.
    """
    graded = is_graded(recipe.data.source)
    compared = is_compared(recipe.data.source, recipe.data.columns)
    recipe = recipe.replace(data=canonical(recipe.data.source))
    recipe = in_words(recipe, "grade" if graded else "digit")
    if recipe.network.backbone_weights not in ("none", "imagenet"):
        recipe = recipe.replace(backbone_weights=str(Path(recipe.network.backbone_weights).absolute()))
    if recipe.data.image_size is not None:  # before any image is looked at
        check_shape(ARCHS[recipe.network.arch], (*recipe.data.image_size[::-1], recipe.data.channels or 1))
    if compared:
        recipe = _settled_by_pairs(recipe, given, progress)
    elif graded:
        recipe = _settled_by_grades(recipe, given)
    elif _is_open(recipe) and source_key(recipe.data.source) is None:  # else the source says it
        recipe = _with(recipe, settings_for(recipe.data.source, **_wishes(recipe)))
    check_shape(ARCHS[recipe.network.arch], settings_of(recipe).shape)
    return recipe


def settings_of(recipe: Recipe) -> PixelSettings:
    """How a picture becomes the input of a network that is trained by a recipe.

    Raises:
        InputError: see `settings_for`, which fills in what is open.
    """
    size, channels, fit, ink = (getattr(recipe, name) for name in _OPEN)
    if not _is_open(recipe):
        width, height = size
        return PixelSettings(height, width, channels, fit, ink, rounded=is_graded(recipe.data.source))
    wishes = _wishes(recipe)
    wishes["size"] = wishes["size"] or DIGIT_SHAPE[:2]
    wishes["channels"] = wishes["channels"] or DIGIT_SHAPE[2]
    return settings_for(recipe.data.source, **wishes)


def load_splits(
    recipe: Recipe,
    root: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Split]:
    """Load the training and the test images of a recipe.

    Args:
        recipe: the `Recipe`, settled where its images are one's own.
        root: cache folder of the images.
        progress: called with how many graded images of how many are prepared.

    Raises:
        UsageError: see `load_digits`.
        InputError: see `load_digits`.
        KpairsError: see `load_digits`.
    """
    settings = settings_of(recipe)
    return [
        load_digits(
            recipe.data.source,
            split,
            root,
            settings=settings,
            classes=recipe.data.classes,
            columns=recipe.data.columns,
            progress=progress,
        )
        for split in _SPLITS
    ]


def load_other(
    recipe: Recipe,
    data: str | Path,
    columns: Mapping[str, str] | None,
    classes: Sequence[str],
    root: str | Path | None = None,
) -> Split:
    """Load data to evaluate on, prepared as the images of a recipe are.

    Args:
        recipe: a settled `Recipe`.
        data: as `kpairs.data.load_digits` takes it.
        columns: headers of a CSV file of pairs, where they are others.
        classes: those of the training, lowest first.
        root: cache folder of the images.

    Returns:
        Of compared pairs all, or those that the file says are for testing; else the test split.

    Raises:
        UsageError: see `load_digits`.
        InputError: see `load_digits`; other classes than those that the network tells.
    """
    settings = settings_of(recipe)
    if is_compared(data, columns):
        pairs, split, _ = read_pairs(data, columns, classes=recipe.data.classes)
        pairs = pairs if split is None else pairs.take(split == 1, f"{data} test split")
        found: Split = compared_split(pairs, settings, root)
    else:
        ordered = recipe.data.classes if is_graded(data) else None
        found = load_digits(data, "test", root, settings=settings, classes=ordered)
    tells_class = len(recipe.fit.loss_weights) > 1  # a network that scores can be held to any grades
    if tells_class and found.classes and tuple(found.classes) != tuple(classes):
        raise InputError(
            f"{data}: expected the classes of the training, {', '.join(classes) or 'none'}; "
            f"received {', '.join(found.classes)}"
        )
    return found


def _is_open(recipe: Recipe) -> bool:
    return any(getattr(recipe, name) is None for name in _OPEN)


def _wishes(recipe: Recipe) -> dict[str, Any]:
    """What `settings_for` is told: the recipe's own wishes, or its architecture's only shape."""
    height, width, channels = ARCHS[recipe.network.arch].input_shape or (None, None, None)
    return {
        "size": recipe.data.image_size or (width and (width, height)),
        "channels": recipe.data.channels or channels,
        "fit": recipe.data.fit,
        "ink": recipe.data.ink,
        "classes": recipe.data.classes,
    }


def _with(recipe: Recipe, settings: PixelSettings) -> Recipe:
    return replace(
        recipe,
        image_size=(settings.width, settings.height),
        channels=settings.channels,
        fit=settings.fit,
        ink=settings.ink,
    )


def _settled_by_grades(recipe: Recipe, given: Collection[str] | None) -> Recipe:
    train, test = (read_grades(recipe.data.source, split, recipe.data.classes) for split in _SPLITS)
    if recipe.data.classes is None or _is_open(recipe):
        log.info(
            "%s: %s training and %s test images of %d grades, %s",
            *(recipe.data.source, f"{len(train):,}", f"{len(test):,}"),
            *(len(train.classes), " < ".join(train.classes)),
        )
        recipe = _settled_by_look(recipe.replace(classes=train.classes), train, given)
    for files, name, what in ((train, "pairs", "training"), (test, "test_pairs", "test")):
        recipe = _with_pairs(recipe, name, files, what)
    return recipe


def _settled_by_look(
    recipe: Recipe, pictures: GradedFiles, given: Collection[str] | None
) -> Recipe:
    """Size, channels, fit and ink by the training images; says so."""
    look, wishes = survey(pictures), _wishes(recipe)
    del wishes["classes"]
    recipe = _with(recipe, look.settings(**wishes))
    log.info("they are %s; the network sees %s", look, settings_of(recipe))
    if given is not None and look.are_photographs:
        recipe = _for_photographs(recipe, given)
    return recipe


def _settled_by_pairs(
    recipe: Recipe,
    given: Collection[str] | None,
    progress: Callable[[int, int], None] | None,
) -> Recipe:
    """As `_settled_by_grades`, for pairs that people compared."""
    division = divided_pairs(recipe.data.source, recipe.data.columns, recipe.data.classes, progress)
    train, test = division.train, division.test
    of_class = [name for name in recipe.fit.loss_weights if name != "comparison"]
    if of_class and not train.classes:
        raise UsageError(
            f"{recipe.network.arch} learns {' and '.join(of_class)}, of which {recipe.data.source} says nothing; "
            "expected the columns left_grade and right_grade, or an architecture that only "
            "compares, such as ranker"
        )
    if _is_open(recipe):
        log.info("%s", division)
        recipe = recipe.replace(classes=train.classes or None)
        recipe = _settled_by_look(recipe, train.pictures, given)
    if recipe.variation.pairing == "renewed":
        log.info("as people compared these pairs, no others are made of their images")
        recipe = recipe.replace(pairing="drawn")
    for pairs, name in ((train, "pairs"), (test, "test_pairs")):
        wanted = getattr(recipe, name)
        if given is not None and name not in given:
            wanted = len(pairs)
        elif wanted > len(pairs):
            log.info("%s: all %s (%s were wanted)", pairs.name, f"{len(pairs):,}", f"{wanted:,}")
        changes: dict[str, Any] = {name: min(wanted, len(pairs))}
        recipe = recipe.replace(**changes)
    return recipe


def _for_photographs(recipe: Recipe, given: Collection[str]) -> Recipe:
    """Mirror photographs, and leave out what is for drawings, unless the user chose otherwise."""
    usual = {"distortion": "none", "flip": "horizontal"}
    changes: dict[str, Any] = {
        name: value
        for name, value in usual.items()
        if name not in given and getattr(recipe, name) != value
    }
    if changes:
        shown = " ".join(f"--{name} {value}" for name, value in changes.items())
        log.info("as they are photographs: %s", shown)
    return recipe.replace(**changes)


def _with_pairs(recipe: Recipe, name: str, files: GradedFiles, what: str) -> Recipe:
    """No more pairs than images give; says how often each image is used where they are few."""
    count, images = getattr(recipe, name), len(files)
    possible = min(count, images * (images - 1))
    if 2 * possible > images:
        log.info(
            "%s %s pairs of %s images: each image is in about %s of them%s",
            *(f"{possible:,}", what, f"{images:,}", f"{2 * possible / images:.3g}"),
            "" if possible == count else f" (these are all; {count:,} were wanted)",
        )
    return recipe.replace(**{name: possible})
