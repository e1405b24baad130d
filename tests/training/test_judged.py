"""Training on pairs that people compared: losses, weights, unknown grades, splits, a whole run."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from command_line import kpairs
from PIL import Image
from precision import EXACT, difference, float64
from rounds import compiled, opened

from kpairs import Run, train
from kpairs.data import PairSet
from kpairs.data.stored import Stored
from kpairs.errors import InputError, UsageError
from kpairs.exports.runtime import PairModel
from kpairs.exports.writing.export import FORMATS, export
from kpairs.networks import ARCHS, build
from kpairs.recipes import Recipe
from kpairs.reports import RECIPES
from kpairs.studies.run import fold_of
from kpairs.studies.search import Search
from kpairs.training.batches import Batches, paired_anew
from kpairs.training.engine.lower import lower
from kpairs.training.evaluate import errors, run_splits
from kpairs.training.network import load_round
from kpairs.training.prepare import draw_round, set_aside
from kpairs.training.train import resume


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Prepared images go into a folder of the test's own."""
    monkeypatch.setenv("KPAIRS_DATA", str(tmp_path / "cache"))


def judged(rng, count, weighted=False):
    """Noise with judgements, ties among them, and grades of which some are unknown."""
    return PairSet(
        *rng.random((2, count, 14, 14, 1), dtype=np.float32),
        *rng.integers(-1, 10, (2, count)),
        rng.choice(np.float32([0, 1, 0.5, 0.3]), count),
        rng.random(count, dtype=np.float32) if weighted else None,
    )


@pytest.mark.parametrize(
    ("name", "weighted"),
    [("ranker", True), ("auxranker", False), ("auxws", True), ("wsal_bd", False)],
)
def test_lowered_steps_equal_keras(name, weighted, rng):
    pairs, outputs = judged(rng, 50, weighted), ARCHS[name].outputs
    recipe = RECIPES[name].with_options(dropout=0.0).replace(batch_size=20)
    histories, weights = [], []
    with float64():
        for is_lowered in (False, True):
            model = compiled(recipe, steps=3, judged=True)
            batches, validation = Batches(pairs, outputs, 20), Batches(pairs, outputs, 30)
            if is_lowered:
                lower(model, *batches.first())
            fit = model.fit(batches, verbose=0, shuffle=False, validation_data=validation)
            histories.append(fit.history)
            weights.append(model.get_weights())
    assert list(histories[0]) == list(histories[1])
    assert difference(histories[1].values(), histories[0].values()) < EXACT
    assert difference(weights[1], weights[0]) < EXACT


def test_swapped_and_renewed_pairs_keep_what_was_judged(rng):
    number = np.arange(30.0).reshape(30, 1, 1, 1)
    pairs = replace(judged(rng, 30, weighted=True), left=number, right=number + 100)
    swapped = paired_anew(pairs, "swapped", rng)
    turned = swapped.left[:, 0, 0, 0] >= 100
    assert 0 < turned.sum() < 30
    expected = np.where(turned, 1 - pairs.probability, pairs.probability)
    np.testing.assert_array_equal(swapped.probability, expected)
    np.testing.assert_array_equal(swapped.sample_weight, pairs.sample_weight)
    graded = replace(pairs, sample_weight=None).with_even_ties()
    renewed = paired_anew(graded, "renewed", rng)
    order = np.sign(renewed.right_digit - renewed.left_digit)
    np.testing.assert_array_equal(renewed.probability, (1 + order) / 2)


def test_errors_leave_out_ties_and_unknown_grades(rng):
    pairs = judged(rng, 40)

    class Oracle:
        def predict(self, batches, **_):
            sure = (
                np.eye(10)[np.maximum(pairs.left_digit, 0)],
                np.eye(10)[(pairs.right_digit + 1) % 10],
            )
            comparison = np.stack([1 - pairs.probability, pairs.probability], axis=1)
            return dict(zip(ARCHS["auxws"].outputs, (comparison, *sure), strict=True))

    rates = errors(Oracle(), pairs, ARCHS["auxws"].outputs)
    known = [(pairs.left_digit >= 0).sum(), (pairs.right_digit >= 0).sum()]
    assert rates["comparison_error_pct"] == 0
    assert rates["digit_error_pct"] == pytest.approx(100 * known[1] / sum(known), abs=1e-5)


@pytest.fixture
def squares(tmp_path, rng):
    """60 pictures of squares, and a CSV file that says which square of a pair is the larger."""
    sides = np.repeat(np.arange(3, 13), 6)
    for i, side in enumerate(sides):
        picture = np.zeros((20, 20), np.uint8)
        top, left = rng.integers(0, 20 - side, 2)
        picture[top : top + side, left : left + side] = 230
        Image.fromarray(picture).save(tmp_path / f"{i:02d}.png")
    rows = []
    while len(rows) < 400:
        a, b = rng.choice(60, 2, replace=False)
        higher = np.sign(sides[b] - sides[a])
        row = {"left": f"{a:02d}.png", "right": f"{b:02d}.png"}
        row |= {"label": {-1: "left", 0: "tie", 1: "right"}[higher], "weight": rng.integers(1, 3)}
        some = len(rows) % 2 == 0
        row |= {
            f"{s}_grade": int(sides[i] > 7) if some else "" for s, i in (("left", a), ("right", b))
        }
        rows.append(row)
    with open(tmp_path / "pairs.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "pairs.csv"


@pytest.fixture
def small(tiny, squares):
    """`ranker` or `auxranker` on the squares, for a few seconds."""

    def make(arch, **changes):
        usual = {"data": str(squares), "image_size": (14, 14), "batch_size": 10}
        recipe = tiny(arch, **{**usual, "pairs": 1000, "test_pairs": 1000, **changes})
        return recipe.with_options(widths=(8, 8, 16, 16, 24))

    return make


def test_a_run_on_compared_pairs(small, workplace):
    """From the file to a ranking: grades on some rows, weights, every export, and evaluation."""
    run = train(small("auxranker", epochs=12), "run")
    row = run.metrics["rounds"][0]
    assert row["engine"] == "lowered"
    assert row["test"]["comparison_error_pct"] < 20
    assert set(row["test"]) == {"comparison_error_pct", "grade_error_pct"}
    assert run.recipe.data.pairs < 400  # as many as are for training
    again = json.loads(kpairs("evaluate", "run", "--json"))
    assert again["rounds"][0]["test"] == row["test"]
    exports = export(run, formats=tuple(FORMATS))
    assert [e.format for e in exports if e.parity is None] in (["int8"], ["int8", "html"])
    model = PairModel.load(exports[0].path)
    assert list(model.outputs) == [
        "comparison",
        "left_score",
        "right_score",
        "left_grade",
        "right_grade",
    ]
    ranking = model.rank(sorted(workplace.glob("*.png")))
    sides = np.repeat(np.arange(3, 13), 6)
    assert np.corrcoef(ranking.score, sides)[0, 1] > 0.8
    # The same probabilities as the Keras model's on the test pairs.
    _, splits = run_splits(run)
    _, test = draw_round(run.recipe, 1, *splits)
    expected = load_round(run, 1).predict(test.inputs(), verbose=0)
    received = model.compare(**test.inputs())
    for name, values in expected.items():
        np.testing.assert_allclose(received[name], values, atol=1e-5)


def test_groups_are_on_one_side_of_splits_folds_and_validation(small, workplace):
    """By a part of the file's name, kept by the run for a later evaluation."""
    recipe = small("ranker", group="(.)[.]png", validation=0.3)  # ten groups, by the last digit
    run = train(recipe, "run")
    assert run.recipe.data.group == "(.)[.]png"
    (row,) = json.loads(kpairs("evaluate", "run", "--json"))["rounds"]
    found = row["measures"]
    parts = [found[name] for name in ("within_groups", "across_groups") if name in found]
    assert sum(part["pairs"] for part in parts) == found["pairs"] - found["ties"]
    source = run.source()
    groups = [{file[-5] for file in source.files(part)} for part in ("train", "test")]
    assert not groups[0] & groups[1]
    assert source.listed.group is not None
    _, splits = run_splits(run)
    pairs, _ = draw_round(run.recipe, 1, *splits)
    (trial, *_) = Search((recipe.replace(validation=0.0),), {"dropout": (0.1,)}, folds=3).jobs(
        recipe
    )
    for some, others in (set_aside(run.recipe, 1, pairs), fold_of(pairs, trial, 0)):
        assert len(others)
        assert not set(some.group.ravel()) & set(others.group.ravel())


@pytest.mark.slow
def test_without_grades_and_with_other_headers(small, squares, workplace):
    text = squares.read_text().replace("left,right,label", "a,b,who", 1)
    squares.with_name("other.csv").write_text(
        "\n".join(",".join(line.split(",")[:3]) for line in text.splitlines())
    )
    columns = {"left": "a", "right": "b", "winner": "who"}
    run = train(small("ranker", data="other.csv", columns=columns), "run", engine="keras")
    assert run.recipe.data.classes is None
    assert Recipe.from_json((run.path / "recipe.json").read_text()) == run.recipe
    (made,) = export(Run.open("run"))
    model = PairModel.load(made.path)
    assert (model.classes, list(model.outputs)) == ((), ["comparison", "left_score", "right_score"])
    assert (
        "classes, lowest rank first | none |" in made.path.with_name("ranker.onnx.md").read_text()
    )
    with pytest.raises(
        UsageError, match=r"auxranker learns left_grade and right_grade, but .*has no grades"
    ):
        train(small("auxranker", data="other.csv", columns=columns), "other")


def test_a_network_that_is_sized_by_the_classes_needs_none():
    """Report 001's `ws` has layers as wide as there are digits; pairs may have no grades."""
    assert build("ws", 0).output["comparison"].shape == (None, 2)
    assert build("ws", 0).count_params() == build("ws").count_params()


def test_a_resumed_run_ends_as_if_never_stopped(small, workplace):
    whole = train(small("ranker", epochs=3), "whole")
    train(small("ranker", epochs=3, rounds=1), "part", keep_checkpoints=True)
    checkpoint = workplace / "part/round-01/checkpoint-001.npz"
    checkpoint.replace(workplace / "part/round-01/checkpoint.npz")
    (workplace / "part/metrics.json").unlink()
    part = resume("part")
    expected, received = (r.metrics["rounds"][0] for r in (whole, part))
    assert received["test"] == expected["test"]
    with (
        np.load("whole/round-01/checkpoint.npz") as a,
        np.load("part/round-01/checkpoint.npz") as b,
    ):
        for name in set(a.files) - {"seconds"}:
            np.testing.assert_array_equal(a[name], b[name])


def test_rounds_draw_some_of_the_pairs(small, workplace, caplog):
    caplog.set_level("INFO")
    recipe, splits = opened(small("ranker", pairs=50))
    assert re.search("all [0-9]+ test pairs .1,000 were wanted", caplog.text)
    first, second = (draw_round(recipe, number, *splits)[0] for number in (1, 2))
    assert len(first) == len(second) == 50
    rows = [np.stack([p.left.rows, p.right.rows]) for p in (first, second)]
    assert (rows[0] != rows[1]).any()
    assert first.sample_weight.mean() == pytest.approx(1)
    again, _ = opened(recipe)
    assert again == recipe


def test_folds_share_no_image(small):
    recipe, (train_split, _) = opened(small("ranker"))
    search = Search((recipe,), {"dropout": (0.1,)}, folds=3)
    pairs, _ = draw_round(recipe, 1, train_split, train_split)
    assert isinstance(pairs.left, Stored)
    for trial in search.jobs(recipe):
        some, others = fold_of(pairs, trial, recipe.fit.seed)
        images = [set(p.left.rows) | set(p.right.rows) for p in (some, others)]
        assert not images[0] & images[1]
        assert len(some) > len(others) > 0


def test_ties_of_graded_pairs_are_half_where_a_recipe_says_so(noise_digits, tiny, rng):
    recipe = tiny("ranker", ties="half")
    pairs, _ = draw_round(recipe, 1, noise_digits, noise_digits)
    order = np.sign(pairs.right_digit - pairs.left_digit)
    np.testing.assert_array_equal(pairs.probability, (1 + order) / 2)
    plain, _ = draw_round(recipe.replace(ties="no_higher"), 1, noise_digits, noise_digits)
    assert plain.probability is None
    np.testing.assert_array_equal(plain.left, pairs.left)


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("left,right,label\n00.png,none.png,left\n", 4, "row 2: no image file 'none.png' in"),
        ("left,right,label\n00.png,01.png,up\n", 4, "row 2: unknown words in label: 'up'"),
        ("left,right,label\n00.png,00.png,tie\n", 4, "row 2: expected two different images"),
        ("left,right,label\n00.png,01.png,tie\n02.png,03.png,tie\n", 4, "expected pairs"),
        ("left,right,label\n00.png,01.png,left\n", 4, "for the train split, received none"),
        (
            "left,right,who\n00.png,01.png,left\n",
            4,
            "who ranks higher (label, winner, left_wins or right_wins)",
        ),
        ("one,two,label\n00.png,01.png,left\n", 4, "expected the columns image and grade"),
    ],
)
def test_what_is_refused_before_training(text, code, message, squares, workplace):
    squares.write_text(text)
    said = kpairs("train", "--arch", "ranker", "--data", squares, expect=code)
    assert message in " ".join(said.split())
    assert not (workplace / "runs").exists()


def test_columns_that_are_not_there(squares, workplace):
    said = kpairs("train", "--arch", "ranker", "--data", squares, "--columns", "label=x", expect=4)
    assert "expected the column x, received left, right, label" in " ".join(said.split())


@pytest.mark.slow
def test_validation_pairs_choose_the_epoch_and_when_to_stop(small, workplace):
    """No image is on two of the three sides, and a resumed training chooses the same epoch."""
    recipe = small("ranker", epochs=9, validation=0.25, patience=2, averaging=0.5)
    run = train(recipe, "run", keep_checkpoints=True, tensorboard=True)
    history = run.history(1)
    errors_ = [round(1 - row["validation_comparison_accuracy"], 6) for row in history]
    losses = [row["validation_loss"] for row in history]
    row = run.metrics["rounds"][0]
    best = row["best_epoch"]["epoch"]
    assert min(zip(errors_, losses, range(1, 10), strict=False))[2] == best
    assert row["epochs"] == len(history) == min(9, best + 2)
    assert row["best_epoch"]["comparison_error_pct"] == row["test"]["comparison_error_pct"]
    # The saved model is that of the best epoch: its validation error is the one in the history.
    _, splits = run_splits(run)
    pairs, _ = draw_round(run.recipe, 1, *splits)
    rest, validation = set_aside(run.recipe, 1, pairs)
    model = load_round(run, 1)
    found = errors(model, validation, ARCHS["ranker"].outputs)["comparison_error_pct"]
    assert found == pytest.approx(100 * errors_[best - 1], abs=1e-3)
    sides = [set(p.left.rows) | set(p.right.rows) for p in (rest, validation)]
    assert not sides[0] & sides[1]
    files = [{s.listed.files[i] for i in s.images.rows} for s in splits]
    assert not files[0] & files[1]
    tags = event_values(workplace / "run/round-01/tensorboard/validation")
    assert tags["epoch_loss"] == pytest.approx(dict(enumerate(losses, 1)), rel=1e-6)
    # The training stopped where no evaluation on the test pairs was due, and got one.
    (tested,) = event_values(workplace / "run/round-01/tensorboard/test")["epoch_loss"].items()
    assert tested == (len(history), pytest.approx(history[-1]["test_loss"], rel=1e-6))
    folder = workplace / "run/round-01"
    written = (folder / "history.csv").read_bytes()
    for done in (1, len(history)):  # killed in the middle, and after the last epoch
        kept = (folder / f"checkpoint-{done:03d}.npz").read_bytes()
        (folder / "checkpoint.npz").write_bytes(kept)
        (workplace / "run/metrics.json").unlink()
        again = resume("run").metrics["rounds"][0]
        assert {**again, "seconds": 0} == {**row, "seconds": 0}
        assert (folder / "history.csv").read_bytes() == written


def event_values(folder):
    """The scalars of an event file: tag -> {step: value}."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {t: {e.step: e.value for e in events.Scalars(t)} for t in events.Tags()["scalars"]}


def test_validation_of_drawn_digits(tiny, noise_digits, workplace, idx_folder):
    recipe = tiny("auxws", data=str(idx_folder), validation=0.2, epochs=2)
    pairs, _ = draw_round(recipe, 1, noise_digits, noise_digits)
    rest, validation = set_aside(recipe, 1, pairs)
    assert (len(rest), len(validation)) == (32, 8)
    row = train(recipe, "run").metrics["rounds"][0]
    assert row["best_epoch"]["epoch"] in (1, 2)
    with pytest.raises(UsageError, match="patience: expected a share of the images in validation"):
        recipe.replace(validation=0.0, patience=3)
    with pytest.raises(InputError, match="validation: expected pairs on both sides"):
        set_aside(recipe.replace(validation=0.01), 1, pairs.take(slice(0, 3)))


def test_a_file_beside_a_recipe(squares, workplace):
    """`train(recipe, data=...)`: all pairs of the file, and the images' own size."""
    small = RECIPES["ranker"].replace(epochs=1).with_options(widths=(4, 4, 4, 4, 8))
    run = train(small, "run", data=squares, engine="keras")
    count = len(run_splits(run)[1][0])
    assert (run.recipe.data.image_size, run.recipe.data.pairs) == ((20, 20), count)
    with pytest.raises(UsageError, match="unknown architecture 'rankr': did you mean ranker"):
        train("rankr", "other", data=squares)
