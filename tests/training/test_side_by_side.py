"""Runs compared: what differs, and whether differences are taken round by round."""

import json

import numpy as np
import pytest
from command_line import kpairs
from scipy import stats

from kpairs.data.source import open_source
from kpairs.errors import InputError
from kpairs.reports import RECIPES
from kpairs.training.run import Run
from kpairs.training.side_by_side import compare_runs


def finished(path, recipe, errors):
    """A run folder whose rounds have these test errors."""
    run = Run.create(recipe, {}, open_source("mnist"), path)
    for number, error in enumerate(errors, start=1):
        part = {"comparison_error_pct": error}
        run.add_round({"round": number, "train": part, "test": part, "rescaling": None})
    return run


def test_differences_on_common_rounds(workplace):
    first, second = [10.0, 14.0, 12.0, 30.0], [9.0, 12.5, 11.5]
    recipe = RECIPES["auxws"]
    lighter = recipe.replace(loss_weights={**recipe.fit.loss_weights, "comparison": 0.1}, epochs=9)
    finished("a", recipe, first)
    finished("b", lighter, second)
    rows = json.loads(kpairs("compare", "a", "b", "--json"))
    assert [row["rounds"] for row in rows] == [4, 3]
    assert rows[1]["recipe"] == {"loss_weights.comparison": 0.1, "epochs": 9}
    assert "difference" not in rows[0]
    found = rows[1]["difference"]
    assert (found["paired"], found["rounds"], found["mean"]) == (True, 3, pytest.approx(-1.0))
    half = stats.t.ppf(0.975, 2) * np.std([-1, -1.5, -0.5], ddof=1) / 3**0.5
    assert [found["low"], found["high"]] == pytest.approx([-1 - half, -1 + half])
    text = kpairs("compare", "a", "b")
    assert "-1.00 (-2.24 to +0.24)" in text
    assert "epochs: 9" in text


def test_rounds_of_other_pairs_are_not_paired(workplace):
    recipe = RECIPES["ws"]
    a = finished("a", recipe, [10.0, 14.0])
    b = finished("b", recipe.replace(seed=7), [11.0, 12.0])
    c = finished("c", recipe, [9.0])
    other, single = (row["difference"] for row in compare_runs([a, b, c])[1:])
    expected = stats.ttest_ind([11, 12], [10, 14], equal_var=False).confidence_interval(0.95)
    assert not other["paired"]
    assert [other["low"], other["high"]] == pytest.approx(list(expected))
    assert (single["mean"], single["low"], single["high"]) == (-1, None, None)
    assert "of other pairs" in kpairs("compare", "a", "b")


def test_what_cannot_be_compared(workplace):
    a = finished("a", RECIPES["ws"], [10.0])
    with pytest.raises(InputError, match="expected at least two runs, received 1"):
        compare_runs([a])
    finished("b", RECIPES["ws"], [])
    assert "b: expected a finished round" in kpairs("compare", "a", "b", expect=4)
    assert "none: no such file or folder" in kpairs("compare", "a", "none", expect=4)
