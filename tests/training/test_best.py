"""The best of several trainings: the same held-out pairs for all; linear unless clearly worse."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import kpairs
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from kpairs import Run, train
from kpairs.errors import UsageError
from kpairs.training.best import choose, difference
from kpairs.training.prepare import draw_round

SIDE, COUNT = 12, 240


@pytest.fixture
def shades(workplace, monkeypatch):
    """Bare pairs of noise, of which the brighter one ranks higher."""
    monkeypatch.setenv("KPAIRS_DATA", str(workplace / "cache"))
    rng = np.random.default_rng(0)
    levels = rng.permutation(COUNT)
    for number, level in enumerate(levels):
        noise = rng.integers(0, 16, (SIDE, SIDE), dtype=np.uint8)
        Image.fromarray(noise + np.uint8(level)).save(f"{number}.png")
    lines = ["left,right,label"]
    for left, right in np.arange(COUNT).reshape(-1, 2):
        label = "left" if levels[left] > levels[right] else "right"
        lines.append(f"{left}.png,{right}.png,{label}")
    Path("pairs.csv").write_text("\n".join(lines))
    return "pairs.csv"


def test_all_are_held_against_the_same_pairs(shades):
    told = ("--data", shades, "--backbone", "statistics", "--epochs", "2", "--seed", "3")
    kpairs("train", "--best", *told, "--out", "run")
    rows = json.loads(Path("run/best.json").read_text())
    assert [row["candidate"] for row in rows] == ["linear", "ranker"]
    kept, other = sorted(rows, key=lambda row: not row["kept"])
    runs = [Run.open(path) for path in ("run", f"run/candidates/{other['candidate']}")]
    drawn = []
    for run, row in zip(runs, (kept, other), strict=True):
        assert run.recipe.network.arch == row["candidate"]
        assert (run.recipe.data.held_out, run.recipe.fit.seed) == ("images", 3)
        assert run.recipe.fit.epochs == (1 if row["candidate"] == "linear" else 2)
        test = run.metrics["summary"]["test"]["comparison_error_pct"]
        assert test["mean"] == pytest.approx(row["error_pct"])
        source = run.source()
        splits = (source.split(part, run.recipe.pixels) for part in ("train", "test"))
        drawn.append([pairs.left.rows for pairs in draw_round(run.recipe, 1, *splits)])
    for ours, theirs in zip(*drawn, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(drawn[0][1]) == kept["pairs"]


def test_refusals_leave_nothing_behind(shades, image_folder):
    assert "--best chooses the network" in kpairs("train", "ws", "--best", expect=2)
    for wrong, said in (
        ({"data": image_folder}, "compared pairs or scores"),
        ({"data": shades, "held_out": "folds"}, "held_out: expected images"),
        ({"data": shades, "rounds": 2}, "rounds: expected 1"),
        ({"data": shades, "recipe": "ranker"}, "data and fields of a recipe alone"),
        ({"data": shades, "image_size": (8, 8)}, "at least 10x10"),
    ):
        with pytest.raises(UsageError, match=said):
            train(best=True, out="run", verbose=0, **wrong)
        assert not Path("run").exists()


def test_linear_is_kept_unless_another_is_clearly_better(rng):
    images = np.split(np.arange(400), 2)
    first = np.arange(200) < 20
    close, better, best = (np.roll(first, -8), np.arange(200) < 9, np.arange(200) < 4)
    tested = {"linear": first, "fine-tuned": close}
    assert [row["kept"] for row in choose(tested, *images)] == [True, False]
    rows = choose({**tested, "fine-tuned": better, "ranker": best}, *images)
    assert [row["kept"] for row in rows] == [False, False, True]
    assert rows[2]["difference"]["mean"] == pytest.approx(-8)


SIDES = arrays(np.bool_, st.shared(st.integers(1, 80), key="pairs"))


@given(SIDES, SIDES)
def test_differences_of_pairs_without_shared_images(ours, theirs):
    """The interval of Agresti and Min by its own words: half a pair is added to each cell."""
    n = len(ours)
    images = np.split(np.arange(2 * n), 2)
    found, turned = difference(ours, theirs, *images), difference(theirs, ours, *images)
    assert [turned[name] for name in ("mean", "high", "low")] == pytest.approx(
        [-found[name] for name in ("mean", "low", "high")]
    )
    b, c = (ours & ~theirs).sum() + 0.5, (theirs & ~ours).sum() + 0.5
    half = 1.959964 * np.sqrt(b + c - (b - c) ** 2 / (n + 2)) / (n + 2)
    middle = (b - c) / (n + 2)
    expected = 100 * (middle - half), 100 * (middle + half)
    assert (found["low"], found["high"]) == pytest.approx(expected, abs=1e-4)


def test_shared_images_widen_the_interval():
    ours, theirs = np.arange(200) < 8, np.arange(200) < 20
    alone, shared = (
        difference(ours, theirs, left, np.arange(200, 400))
        for left in (np.arange(200), np.arange(200) // 10)
    )
    assert shared["low"] < alone["low"] < alone["high"] < shared["high"]
