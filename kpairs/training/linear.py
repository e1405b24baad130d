"""The head of the architecture `linear`: solved for on the features of a frozen network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kpairs import seeds
from kpairs.data.features import Progress
from kpairs.data.pairs import PairSet
from kpairs.data.settings import FEATURES
from kpairs.data.stored import Featured, Stored
from kpairs.errors import InputError
from kpairs.files import write_text
from kpairs.judging.linear import Linear, fit_linear
from kpairs.judging.reference import MOST, make_reference
from kpairs.judging.valued import fit_values
from kpairs.models.backbone import NO_WEIGHTS, SCORE, THRESHOLDS, backbone_of, feature_digest
from kpairs.models.pair import is_tower
from kpairs.models.registry import Architecture
from kpairs.networks import build
from kpairs.recipes import FOLDS, LINEAR, LINEAR_GRADES, Recipe
from kpairs.training.batches import Batches
from kpairs.training.callbacks import evaluate
from kpairs.training.compile import compile_model
from kpairs.training.features import image_features
from kpairs.training.prepare import Prepared
from kpairs.training.run import HEAD, REFERENCE, Run
from kpairs.training.workers import log


def head_of(model: keras.Model) -> keras.Model:
    """Return the part of a linear model behind the features, as a model of its own.

    It takes `(batch, 1, d, 1)` features for images, and gives the same outputs.
    """
    width = backbone_of(model).output.shape[1]
    options: dict[str, Any] = {"backbone": FEATURES, "input_shape": (1, width, 1)}
    name = LINEAR
    for word in ("digit", "grade"):
        if (grades := model.output.get(f"left_{word}")) is not None:
            name = LINEAR_GRADES
            options |= {"word": word, "classes": grades.shape[1]}
    if head_layer(model, THRESHOLDS) is not None:
        options["head"] = "ordinal"
    head = build(name, **options)
    for name in (SCORE, THRESHOLDS):
        layer, own = head_layer(model, name), head_layer(head, name)
        if layer is not None and own is not None:
            own.set_weights(layer.get_weights())
    return head


def featured(
    model: keras.Model,
    *sets: PairSet,
    progress: Progress | None = None,
    keep: bool = True,
    cluster: str | None = None,
) -> list[PairSet]:
    """Return pair sets with features in the place of images; each image passes once.

    Args:
        model: a model of the architecture `linear`.
        *sets: pair sets.
        progress: called with how many of how many images passed.
        keep: see `kpairs.training.features.image_features`.
        cluster: see there.
    """
    network = backbone_of(model)
    found = []
    for pairs in sets:
        if isinstance(pairs.left, Stored) and isinstance(pairs.right, Stored):
            both = Stored.joined(pairs.left, pairs.right)
            rows, number = np.unique(both.rows, return_inverse=True)
            both.rows = rows
            left, right = np.split(number, 2)
            features = image_features(network, both, progress, keep=keep, cluster=cluster)
        else:
            images: Any = np.concatenate([pairs.left, pairs.right])
            features = image_features(network, images, progress, keep=False)
            left, right = np.split(np.arange(len(images)), 2)
        found.append(replace(pairs, left=Featured(features, left), right=Featured(features, right)))
    return found


class LinearHead:
    """The linear head of one round's model, solved for and measured on features.

    Args:
        model: the round's model, which gets the solution.
        recipe: the recipe.
        number: the round, from 1.
        network: the architecture.
        data: the round's pairs.
        folder: the round's folder, which keeps the solution.
    """

    def __init__(
        self,
        model: keras.Model,
        recipe: Recipe,
        number: int,
        network: Architecture,
        data: Prepared,
        folder: Path,
    ) -> None:
        self.model, self.recipe, self.network, self.data = model, recipe, network, data
        self.seed = seeds.integer(recipe.fit.seed, number, "folds")
        self.file = folder / HEAD
        self._sets: list[PairSet] | None = None  # with features of the network before fine-tuning

    def solve(self) -> dict[str, float]:
        """Give the model the head that explains its training pairs best, and keep it.

        Returns:
            Losses and metrics on training and test pairs, by Keras' names.

        Raises:
            InputError: no pair could be left out, where that is the only test.
        """
        self._sets = featured(self.model, self.data.train, self.data.test)
        self.fit(self._sets[0])
        head, (train, test) = self.on_features()
        found = {f"val_{name}": value for name, value in self._evaluated(head, test).items()}
        return {**self._evaluated(head, train), **found}

    def evaluate(self, pairs: PairSet) -> dict[str, float]:
        """Return losses and metrics of the model as it is; each image passes once."""
        return self._evaluated(head_of(self.model), *featured(self.model, pairs, keep=False))

    def _evaluated(self, head: keras.Model, pairs: PairSet) -> dict[str, float]:
        bare = self.recipe.replace(backbone=None, backbone_weights=NO_WEIGHTS)
        compile_model(head, bare, self.network, judged=self.data.judged)
        return evaluate(head, Batches(pairs, self.network.outputs))

    def fit(self, train: PairSet) -> None:
        """Give the model the head that explains pairs of features best, and keep it."""
        left: Any = train.left
        right: Any = train.right
        given: dict[str, Any] = {
            "features": left.features,
            "left": left.rows,
            "right": right.rows,
            "answer": train.comparison,
            "weight": train.sample_weight,
            "seed": self.seed,
            "group": train.group,
        }
        solution = fit_linear(**given)
        if train.value is not None:
            by_value = fit_values(**given, value=train.value)
            solution = _better({"comparisons": solution, "values": by_value})
        kernel = solution.weights[:, None].astype(np.float32)
        score: Any = head_layer(self.model, SCORE)
        score.set_weights([kernel, np.array([solution.offset], np.float32)])
        solution.save(self.file)
        # The images of `kpairs.training.reference`, so that an export says the same.
        images = np.unique(np.concatenate([left.rows, right.rows]))
        chosen = np.sort(np.random.default_rng(0).permutation(len(images))[:MOST])
        seen = left.features[images[chosen]]
        known = make_reference(seen, solution.score(seen), solution.covariance, solution.residual)
        write_text(self.file.with_name(REFERENCE), known.to_text())

    @property
    def facts(self) -> dict[str, Any]:
        """The digest of the frozen network; the cross-validated error, in percent."""
        facts: dict[str, Any] = {"network": feature_digest(backbone_of(self.model))}
        if (error := Linear.load(self.file).error) is None:
            return facts
        return {**facts, **cross_validated(error.value, error.low, error.high, error.of)}

    def on_features(self) -> tuple[keras.Model, list[PairSet]]:
        """Return what `on_features` does, of the training and the test pairs."""
        if self._sets is not None and not self.recipe.fit.fine_tune:
            return _seen(self.model, self.recipe, self._sets, self.file)
        return on_features(self.model, self.recipe, self.data.train, self.data.test, head=self.file)


def cross_validated(value: float, low: float, high: float, pairs: int) -> dict[str, Any]:
    """Return a round's entry of a cross-validated share of wrong pairs, in percent."""
    shares = {"comparison_error": value, "low": low, "high": high}
    percent = {f"{name}_pct": round(100 * share, 4) for name, share in shares.items()}
    return {"cross_validated": {**percent, "pairs": pairs}}


def _better(solutions: Mapping[str, Linear]) -> Linear:
    """Return the solution that compares left-out images best, and say which that is."""
    errors = {name: each.error for name, each in solutions.items()}
    shares = {name: error.value for name, error in errors.items() if error is not None}
    best = min(shares, key=shares.__getitem__, default="values")
    said = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
    log.info("scores learned from %s: cross-validated error on pairs: %s", best, said)
    return solutions[best]


def head_of_round(run: Run, number: int) -> Linear | None:
    """Read the solution behind a round's scores; None where there is none, or after fine-tuning."""
    file = run.folder(number) / HEAD
    return Linear.load(file) if file.is_file() and "network" in run.row(number) else None


def on_features(
    model: keras.Model, recipe: Recipe, *sets: PairSet, head: Path | None = None
) -> tuple[keras.Model, list[PairSet]]:
    """Return a linear model's head, and pair sets with features in the place of images.

    Features are remembered, unless fine-tuning made the network one of a kind.

    Args:
        model: a model of the architecture `linear`.
        recipe: its recipe.
        *sets: pair sets.
        head: the file of the solution, where the sets are those of its training: of a recipe whose
            pairs all train, the test pairs are then those that folds left out, with the scores of
            the fold in the place of images, and the head takes scores.
    """
    found = featured(model, *sets, keep=not recipe.fit.fine_tune)
    return _seen(model, recipe, found, head)


def _seen(
    model: keras.Model, recipe: Recipe, sets: list[PairSet], head: Path | None
) -> tuple[keras.Model, list[PairSet]]:
    if head is None or recipe.data.held_out != FOLDS:
        return head_of(model), sets
    solution, train = Linear.load(head), sets[0]
    if len(solution.left_out) != len(train):
        raise InputError(f"{head}: expected the solution of {len(train)} pairs; train again")
    out = np.flatnonzero(~np.isnan(solution.left_out[:, 0]))
    if solution.error is None:
        raise InputError(
            f"expected more pairs to cross-validate the error, received {len(train):,}; judge more "
            "pairs of other images, or say the split in a column"
        )
    left: Any = train.left
    right: Any = train.right
    scores = solution.score(left.features).astype(np.float32)[:, None]
    known, kept = [Featured(scores, side.rows) for side in (left, right)], np.arange(len(out))
    left, right = (
        Featured(solution.left_out[out, side : side + 1], images.rows[out], kept)
        for side, images in enumerate((left, right))
    )
    plain = build("linear", 0, backbone=FEATURES, input_shape=(1, 1, 1), word=recipe.data.word)
    layer: Any = head_layer(plain, SCORE)
    layer.set_weights([np.ones((1, 1)), np.zeros(1)])
    trained = replace(train, left=known[0], right=known[1])
    return plain, [trained, replace(train.take(out), left=left, right=right)]


def head_width(model: keras.Model) -> int:
    """Return how many numbers a linear model's head gives of an image: 1, or one a grade."""
    layer: Any = head_layer(model, SCORE)
    return int(layer.units)


def head_layer(model: keras.Model, name: str) -> keras.Layer | None:
    """Find a layer of a linear model's head, also inside a tower."""
    for layer in model.layers:
        if layer.name == name:
            return layer
        if is_tower(layer) and (found := head_layer(layer, name)) is not None:
            return found
    return None
