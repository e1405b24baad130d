"""The head of the architecture `linear_grades`: solved for on the features of a frozen network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import keras
import numpy as np

from kpairs import seeds
from kpairs.data.pairs import PairSet
from kpairs.data.stored import Featured
from kpairs.files import write_json
from kpairs.judging.graded import HEADS, GradedHead, fit_graded
from kpairs.models.backbone import SCORE, THRESHOLDS
from kpairs.recipes import LINEAR_GRADES, Recipe
from kpairs.training.linear import LinearHead, cross_validated, featured, head_layer
from kpairs.training.workers import log


class GradesHead(LinearHead):
    """The head of one round's model for graded images, solved for and measured on features."""

    def fit(self, train: PairSet) -> None:
        """Give the model the head that explains the grades of pairs of features best."""
        ordinal = head_layer(self.model, THRESHOLDS)
        head = "posterior" if ordinal is None else "ordinal"
        found = _fitted(train, self.model, self.recipe, self.seed, [head])
        score: Any = head_layer(self.model, SCORE)
        score.set_weights([found.weights.astype(np.float32), found.offset.astype(np.float32)])
        if ordinal is not None:
            gaps = np.log(np.expm1(np.diff(found.thresholds)))
            first = found.thresholds[:1]
            ordinal.set_weights([first.astype(np.float32), gaps.astype(np.float32)])
        errors = found.errors.get(head)
        write_json(self.file.with_suffix(".json"), None if errors is None else asdict(errors))

    @property
    def facts(self) -> dict[str, Any]:
        """The cross-validated error, in percent with its interval; nothing where there is none."""
        error = json.loads(self.file.with_suffix(".json").read_text("utf-8"))
        return {} if error is None else cross_validated(**error)


def with_head(recipe: Recipe, model: keras.Model, train: PairSet) -> Recipe:
    """Return a recipe of graded images with its head chosen, where it leaves that open.

    Args:
        recipe: the recipe.
        model: its network, with any head.
        train: the training pairs of the first round.
    """
    if recipe.network.arch != LINEAR_GRADES or recipe.network.head != "own":
        return recipe
    seed = seeds.integer(recipe.fit.seed, 1, "folds")
    found = _fitted(featured(model, train)[0], model, recipe, seed, HEADS)
    if found.errors:
        said = ", ".join(f"{name} {100 * e.value:.1f} %" for name, e in found.errors.items())
        log.info("head %s: cross-validated error on pairs of images: %s", found.head, said)
    return recipe.replace(head=found.head)


def _fitted(
    train: PairSet, model: keras.Model, recipe: Recipe, seed: int, heads: Sequence[str]
) -> GradedHead:
    """Fit heads to the graded images of pairs of features, each rating of an image once."""
    left: Any = train.left
    right: Any = train.right
    columns = [
        np.concatenate([left.rows, right.rows]),
        np.concatenate([train.left_digit, train.right_digit]),
    ]
    if train.group is not None:
        columns.append(train.group.T.ravel())
    known = np.unique(np.stack(columns)[:, columns[1] >= 0], axis=1)
    group = known[2] if len(known) == 3 else known[0]
    classes = model.output[f"left_{recipe.data.word}"].shape[1]
    features = Featured(left.features, known[0]).matrix()
    return fit_graded(features, known[1], classes, heads, seed, group)
