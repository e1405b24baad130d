"""How good a model is: its errors, and those of a run's models on pairs drawn again."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kpairs.data import PairSet
from kpairs.errors import InputError
from kpairs.models.outputs import decisions, share_wrong
from kpairs.networks import ARCHS
from kpairs.training.batches import Batches, evaluation_batch
from kpairs.training.compile import check_run, load_round
from kpairs.training.device import compute
from kpairs.training.draw import draw_round
from kpairs.training.images import load_splits
from kpairs.training.run import Run


def evaluate(
    run: Run,
    *,
    device: str = "auto",
    threads: int = 1,
    data_root: str | Path | None = None,
    test_pairs: int | None = None,
) -> list[dict[str, Any]]:
    """Evaluate each finished round of a run on pairs drawn again from its recipe.

    Args:
        run: a `Run`.
        device: see `train`.
        threads: see `train`.
        data_root: cache folder of the digit images.
        test_pairs: number of test pairs; default the recipe's, which are those of the training.

    Returns:
        A row per round with `round`, `train`, `test` and `collapsed` as in
        `run.metrics["rounds"]`.

    Raises:
        InputError: no finished round, a model that cannot be read, or missing data.
    """
    recipe = run.recipe if test_pairs is None else replace(run.recipe, test_pairs=test_pairs)
    check_run(run)
    if not run.rounds:
        raise InputError(f"{run.path}: expected a finished round, received none")
    splits = load_splits(recipe, data_root)
    outputs = ARCHS[recipe.arch].named(recipe.word)
    rows = []
    with compute(device, threads):
        for number in run.rounds:
            model = load_round(run, number, len(splits[0].classes))
            pairs = draw_round(recipe, number, *splits)
            rows.append({"round": number, **measure(model, *pairs, outputs)})
    return rows


def measure(
    model: keras.Model, train_pairs: PairSet, test_pairs: PairSet, outputs: Mapping[str, str]
) -> dict[str, Any]:
    """Measure a trained model in inference mode.

    Args:
        model: a Keras model with these outputs.
        train_pairs: what it was trained on.
        test_pairs: others.
        outputs: kind of each named output, as the registry gives it.

    Returns:
        `train` and `test`, each with the errors of `errors`, and `collapsed`: whether every test
        pair gets the same answer.
    """
    decided = _decided(model, test_pairs, outputs)
    return {
        "train": errors(model, train_pairs, outputs),
        "test": _error_rates(decided, test_pairs),
        "collapsed": len(np.unique(decided["comparison"])) == 1,
    }


def errors(model: keras.Model, pairs: PairSet, outputs: Mapping[str, str]) -> dict[str, float]:
    """Compute the error rates of a model in inference mode.

    Args:
        model: a Keras model with these outputs.
        pairs: what it decides.
        outputs: kind of each named output, as the registry gives it.

    Returns:
        `comparison_error_pct`, and with digit or grade outputs `digit_error_pct` or
        `grade_error_pct` over both images, in percent.
    """
    return _error_rates(_decided(model, pairs, outputs), pairs)


def _decided(
    model: keras.Model, pairs: PairSet, outputs: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """What a model decides, by output but scores: `(n,)` class numbers."""
    values = model.predict(Batches(pairs, (), evaluation_batch(pairs)), verbose=0)
    kinds = {name: kind for name, kind in outputs.items() if kind != "score"}
    return {name: decisions(values[name], kind) for name, kind in kinds.items()}


def _error_rates(decided: Mapping[str, np.ndarray], pairs: PairSet) -> dict[str, float]:
    targets = pairs.targets(decided)
    rates = {"comparison_error_pct": _percent(decided["comparison"], targets["comparison"])}
    for word in ("digit", "grade"):
        if f"left_{word}" in decided:
            sides = (f"left_{word}", f"right_{word}")
            both = [np.concatenate([part[side] for side in sides]) for part in (decided, targets)]
            if (both[1] >= 0).any():
                rates[f"{word}_error_pct"] = _percent(*both)
    return rates


def _percent(decided: np.ndarray, target: np.ndarray) -> float:
    return round(100 * share_wrong(decided, target), 6)
