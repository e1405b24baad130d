"""Error rates of a model, and of a run's models on pairs drawn again."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kpairs import seeds
from kpairs.data.kept import holds_images, kept_features, trained_on
from kpairs.data.listing import fingerprint
from kpairs.data.pairs import KNOWN, Images, PairSet, Targets
from kpairs.data.source import ComparedPairs, open_source
from kpairs.data.splits import Compared, Digits, Scored, Split
from kpairs.errors import InputError, UsageError
from kpairs.judging.linear import Linear
from kpairs.models.outputs import decisions, share_wrong
from kpairs.models.registry import Architecture
from kpairs.recipes import FOLDS, Recipe
from kpairs.training.all_pairs import SAMPLED, all_pairs
from kpairs.training.batches import predict
from kpairs.training.certainty import certainty, uncertainty
from kpairs.training.device import compute
from kpairs.training.linear import head_of_round, on_features
from kpairs.training.measures import measures, tells_grades_by_score, true_values
from kpairs.training.network import architecture_of_run, completed, load_round
from kpairs.training.prepare import augmented, draw_round, draw_split
from kpairs.training.records import save_temperature
from kpairs.training.run import HEAD, Run

FEW = 100  # test pairs: below, measures of a linear head are cross-validated
_Classes = Mapping[str, NDArray[Any]]  # (n,) class numbers by output
log = logging.getLogger(__name__)


def evaluate(
    run: Run,
    *,
    device: str = "auto",
    threads: int = 1,
    data_root: str | Path | None = None,
    test_pairs: int | None = None,
    data: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    words: Mapping[str, str] | None = None,
    group: str | None = None,
    skip_missing: bool = False,
    every_pair: bool = False,
    sampled: int = SAMPLED,
) -> list[dict[str, Any]]:
    """Evaluate each finished round of a run, on pairs drawn again from its recipe or on other data.

    Args:
        run: a `Run`.
        device: see `train`.
        threads: see `train`.
        data_root: cache folder of the digit images.
        test_pairs: number of test pairs; default the recipe's, which are those of the training.
        data: other images than the run's, as `kpairs.open_source` takes them, or where the run's
            own are now. Of compared pairs
            all are taken, unless the table says which are for testing; else test pairs are drawn
            from the test split. Images are prepared as those of the training were.
        columns: headers of `data`, see `kpairs.open_source`.
        words: words of `data`, see `kpairs.open_source`.
        group: groups of `data`, see `kpairs.open_source`.
        skip_missing: of `data`, see `kpairs.open_source`.
        every_pair: measure on all ordered pairs of the test images too, whichever were drawn.
        sampled: how many of those are drawn for networks whose comparison does not follow from
            what they say of each image.

    Returns:
        A row per round with `round`, `train` (without `data`), `test` and `collapsed` as in
        `run.metrics["rounds"]`, and `measures`, which `kpairs.training.measures` and
        `kpairs.training.certainty` describe, of the test pairs; of fewer than 100 test pairs of a
        linear head, of training pairs of images that folds left out. The temperature of the run's
        own pairs is kept, and goes into exports. With `every_pair` also `all_pairs`, the errors of
        all pairs, and in `measures` the rest of what `kpairs.training.all_pairs` gives.

    Raises:
        UsageError: `data` is neither a known name nor an existing folder or CSV file; `every_pair`
            of pairs that people compared.
        InputError: no finished round, a model that cannot be read, or missing data; `data` of other
            grades.

    Example:
        >>> import kpairs
        >>> run = kpairs.train("ws", "run", pairs=100, test_pairs=100, epochs=1, verbose=0)
        >>> rows = kpairs.evaluate(run, test_pairs=50)
        >>> rows[0]["measures"]["pairs"]
        50
    """
    network = architecture_of_run(run)
    if not run.rounds:
        raise InputError(f"{run.path}: expected a finished round, received none")
    recipe, own = run.recipe, None
    if data is None or holds_images(run.path, data):
        if data is not None:
            told = "%s holds the images of %s; its own test split is evaluated"
            log.warning(told, data, run.path)
        recipe, own = run_splits(run, data_root, data)
        images = own[1]
    else:
        how = {"columns": columns, "words": words, "group": group, "skip_missing": skip_missing}
        images = _load_other(run, network, str(data), {**how, "root": data_root})
        if test_pairs is None:  # as many as there are, and of drawn ones no more than in training
            most = images.most_pairs
            test_pairs = most if isinstance(images, Compared) else min(recipe.data.test_pairs, most)
    if test_pairs is not None:
        recipe = recipe.replace(test_pairs=test_pairs)
    rows = []
    with compute(device, threads):
        for number in run.rounds:
            this = _Round(run, number, network, recipe, load_round(run, number))
            row, asked = this.on_own(own, test_pairs) if own else this.on_other(images)
            found = this.measured(asked)
            if own and "temperature" in found:
                save_temperature(run.folder(number), found["temperature"])
            if every_pair:
                each = this.every_pair(images, sampled)
                row["all_pairs"] = {n: each.pop(n) for n in list(each) if n.endswith("error_pct")}
                found["all_pairs"] = each
            rows.append({"round": number, **row, "measures": found})
    return rows


class _Asked(NamedTuple):
    """Pairs that a round's model is asked about.

    Attributes:
        model: the model, or its head on features.
        pairs: the pairs as that takes them.
        images: the same pairs, of images.
        split: the split of the images.
        train: training pairs as the model takes them, by which scores become grades, or None.
        folded: True if the pairs were left out of training by cross-validation.
    """

    model: keras.Model
    pairs: PairSet
    images: PairSet
    split: Split
    train: PairSet | None = None
    folded: bool = False


@dataclass(frozen=True)
class _Round:
    """One finished round that is evaluated."""

    run: Run
    number: int
    network: Architecture
    recipe: Recipe
    model: keras.Model

    @cached_property
    def head(self) -> Linear | None:
        """The solution behind its scores, if any."""
        return head_of_round(self.run, self.number)

    def on_own(
        self, splits: tuple[Split, Split], test_pairs: int | None
    ) -> tuple[dict[str, Any], _Asked]:
        """Measure errors on the run's own pairs; return them, and the pairs for other measures."""
        train_images, images = draw_round(self.recipe, self.number, *splits)
        train_images = augmented(self.recipe, self.number, train_images)
        seen, train, pairs = self.model, train_images, images
        if self.network.linear:
            file = self.run.folder(self.number) / HEAD
            seen, (train, pairs) = on_features(seen, self.recipe, train, pairs, head=file)
            pairs = pairs.take(slice(test_pairs))
        row = measure(seen, train, pairs, self.network.outputs, self.network.own_targets)
        head = self.head
        if head is None or not (self.run.cross_validated or _is_few(self.run, pairs, head)):
            return row, _Asked(seen, pairs, images, splits[1], train)
        folds = self.recipe.replace(held_out=FOLDS)
        seen, (_, pairs) = on_features(self.model, folds, train_images, images, head=file)
        out = np.flatnonzero(~np.isnan(head.left_out[:, 0]))[:test_pairs]
        pairs, images = pairs.take(slice(test_pairs)), train_images.take(out)
        return row, _Asked(seen, pairs, images, splits[0], folded=True)

    def on_other(self, split: Split) -> tuple[dict[str, Any], _Asked]:
        """Measure errors on pairs of other data; return them, and the pairs."""
        rng = seeds.generator(self.recipe.fit.seed, self.number, "pairs")
        images = draw_split(self.recipe, split, self.recipe.data.test_pairs, rng)
        seen, pairs = self.model, images
        if self.network.linear:
            seen, (pairs,) = on_features(seen, self.recipe, images)
        error = errors(seen, pairs, self.network.outputs, self.network.own_targets)
        return {"test": error}, _Asked(seen, pairs, images, split)

    def measured(self, asked: _Asked) -> dict[str, Any]:
        """Return measures and checks of certainty."""
        outputs, classes = self.network.outputs, self._classes(asked.split)
        values, truth = predict(asked.model, asked.pairs), _true_values(asked.split, asked.images)
        known = None if self.head is None else uncertainty(self.model, self.head, asked.images)
        graded = None
        if asked.train is not None and tells_grades_by_score(outputs, asked.train):
            graded = predict(asked.model, asked.train), asked.train
        found = measures(values, outputs, asked.pairs, classes, truth, graded)
        found |= certainty(values, outputs, asked.pairs, truth, known)
        return {**found, "cross_validated": True} if asked.folded else found

    def every_pair(self, split: Split, sampled: int) -> dict[str, Any]:
        """Return errors and more on all pairs of a split's images."""
        return all_pairs(
            self.model,
            *known_images(split),
            self._classes(split),
            self.network.outputs,
            seeds.generator(self.recipe.fit.seed, self.number, "all pairs"),
            ties=self.recipe.data.ties == "half",
            sampled=sampled,
        )

    def _classes(self, split: Split) -> int:
        return len(self.recipe.data.classes or split.classes)


def _is_few(run: Run, pairs: PairSet, head: Linear) -> bool:
    """Tell if test pairs are too few to measure on, and training pairs can be instead; say so."""
    if (
        len(pairs) >= FEW
        or not run.recipe.takes_folds
        or head.error is None
        or head.error.of <= len(pairs)
    ):
        return False
    log.warning(
        "%s: %d test pairs are few; measures are cross-validated on %d training pairs of left-out "
        "images instead",
        *(run.path, len(pairs), head.error.of),
    )
    return True


def _true_values(split: Split, pairs: PairSet) -> NDArray[np.float64]:
    """Return the score or grade that people gave each image, in the order of `image_numbers`."""
    left: Any = pairs.left
    right: Any = pairs.right
    if not isinstance(split, Scored):
        return true_values(pairs)
    given = pd.Series(split.scores).groupby(split.images.rows).mean()
    images = np.unique(np.concatenate([left.rows, right.rows]))
    return given.reindex(images).to_numpy(np.float64)


def run_splits(
    run: Run, data_root: str | Path | None = None, data: str | Path | None = None
) -> tuple[Recipe, tuple[Split, Split]]:
    """Load the training and the test images of a run, by its own list.

    Args:
        run: a `Run`.
        data_root: see `kpairs.train`.
        data: where the run's images are now, if they have moved.

    Returns:
        The run's recipe, completed if an earlier version left fields open, and both splits.

    Raises:
        InputError: images that are gone or are others.
    """
    recipe, source = run.recipe, run.source(data, data_root)
    if not recipe.data.is_complete:
        recipe, _ = completed(recipe, source)
    return recipe, source.splits(recipe.pixels)


def _load_other(run: Run, network: Architecture, data: str, how: Mapping[str, Any]) -> Split:
    """Load data to evaluate on, prepared as the images of a recipe are.

    Returns:
        Of compared pairs all, or those that the table says are for testing; else the test split.

    Raises:
        InputError: other classes than those that the network tells.
    """
    recipe, classes = run.recipe, run.recipe.data.classes
    how = {**how, "images": kept_features(run.path)}
    try:
        source = open_source(data, **how, classes=classes)
    except UsageError:  # of other grades; said below
        source = open_source(data, **how)
    # Scores can be held to any grades.
    tells_class = f"left_{recipe.data.word}" in network.learned
    wanted = classes or tuple(map(str, range(10)))
    if tells_class and source.classes and tuple(source.classes) != tuple(wanted):
        raise InputError(
            f"{data}: expected the classes of the training, {', '.join(wanted)}; received "
            f"{', '.join(source.classes)}"
        )
    if isinstance(source, ComparedPairs):
        split: Split = source.everything(recipe.pixels)
    else:
        split = source.split("test", recipe.pixels)
    files = split.listed.files if isinstance(split, Compared) else source.files("test")
    print_of = fingerprint if source.vectors is None else source.vectors.fingerprint
    if known := trained_on(run.path) & set(map(print_of, files)):
        log.warning(
            "%s: %s of its %s images are training images of %s, which the network knows",
            *(data, f"{len(known):,}", f"{len(files):,}", run.path),
        )
    return split


def known_images(split: Split) -> tuple[Images, NDArray[np.int64]]:
    """Return all images of a split, and their classes.

    Raises:
        UsageError: of pairs that people compared, most have no answer to be held against.
    """
    if not isinstance(split, Digits):
        raise UsageError(
            f"all pairs: expected images of known class, received compared pairs ({split.name})"
        )
    return split.pixels(np.arange(len(split))), split.labels


def measure(
    model: keras.Model,
    train_pairs: PairSet,
    test_pairs: PairSet,
    outputs: Mapping[str, str],
    own_targets: Targets | None = None,
) -> dict[str, Any]:
    """Measure a trained model in inference mode.

    Args:
        model: a Keras model with these outputs.
        train_pairs: what it was trained on.
        test_pairs: others.
        outputs: kind of each named output, as the registry gives it.
        own_targets: see `PairSet.targets`; an output without any target is not measured.

    Returns:
        `train` and `test`, each with the errors of `errors`, and `collapsed`: whether every test
        pair gets the same answer, and the right ones differ.
    """
    both = {"train": train_pairs, "test": test_pairs}
    found = {part: _decided(model, each, outputs, own_targets) for part, each in both.items()}
    given, right = (len(np.unique(part["comparison"])) for part in found["test"])
    return {
        **{part: _error_rates(*told) for part, told in found.items()},
        "collapsed": given == 1 and right > 1,
    }


def errors(
    model: keras.Model,
    pairs: PairSet,
    outputs: Mapping[str, str],
    own_targets: Targets | None = None,
) -> dict[str, float]:
    """Compute the error rates of a model in inference mode.

    Args:
        model: a Keras model with these outputs.
        pairs: what it decides.
        outputs: kind of each named output, as the registry gives it.
        own_targets: see `PairSet.targets`; an output without any target is not measured.

    Returns:
        `comparison_error_pct`, with digit or grade outputs `digit_error_pct` or `grade_error_pct`
        over both images, and `{name}_error_pct` of each output in `own_targets`, in percent.
    """
    return _error_rates(*_decided(model, pairs, outputs, own_targets))


def _decided(
    model: keras.Model, pairs: PairSet, outputs: Mapping[str, str], own: Targets | None
) -> tuple[_Classes, _Classes]:
    """Return the class numbers that a model decides on, and the targets; scores decide nothing."""
    kinds = {name: kind for name, kind in outputs.items() if kind != "score"}
    targets = pairs.targets([n for n in kinds if n in KNOWN or n in (own or {})], own)
    values = predict(model, pairs)
    return {name: decisions(values[name], kind) for name, kind in kinds.items()}, targets


def _error_rates(decided: _Classes, targets: _Classes) -> dict[str, float]:
    rates = {"comparison_error_pct": _percent(decided["comparison"], targets["comparison"])}
    for word in ("digit", "grade"):
        if f"left_{word}" in decided:
            sides = (f"left_{word}", f"right_{word}")
            both = [np.concatenate([part[side] for side in sides]) for part in (decided, targets)]
            if (both[1] >= 0).any():
                rates[f"{word}_error_pct"] = _percent(*both)
    own = [name for name in targets if name not in KNOWN]
    return rates | {f"{name}_error_pct": _percent(decided[name], targets[name]) for name in own}


def _percent(decided: NDArray[Any], target: NDArray[Any]) -> float:
    return round(100 * share_wrong(decided, target), 6)
