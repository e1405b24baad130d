"""What a score means: standard errors, percentiles, calibrated chances, and pictures unlike all."""

import csv
import json
import logging
from dataclasses import replace

import numpy as np
import onnx
import pytest
from command_line import kpairs
from PIL import Image, ImageFilter
from skimage import data as photographs

from kpairs import PairModel, evaluate, export, train
from kpairs.data.splits import draw_pairs
from kpairs.errors import InputError, UsageError
from kpairs.exports.runtime.predict import predict_pairs
from kpairs.exports.runtime.ranking import rank
from kpairs.exports.solved import SolvedRun
from kpairs.exports.writing.export import export_model
from kpairs.exports.writing.onnx import write_proto
from kpairs.judging.reference import make_reference, thumbnails
from kpairs.training.linear import head_of_round

SIDE, IMAGES = 32, 60


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A linear head for images of noise that three of four times are judged right."""
    folder, rng = tmp_path_factory.mktemp("trust"), np.random.default_rng(0)
    amounts = rng.uniform(0, 2, IMAGES)
    for number, amount in enumerate(amounts.tolist()):
        noise = Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8))
        noise.filter(ImageFilter.GaussianBlur(amount)).save(folder / f"{number}.png")
    with open(folder / "pairs.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["left", "right", "label", "split", "judge"])
        for number in range(320):
            test = number >= 200
            left, right = rng.choice(20 if test else 40, 2, replace=False) + 40 * test
            wins = rng.random() < 1 / (1 + np.exp(-2 * (amounts[left] - amounts[right])))
            judge = "ann" if number % 2 else "bo"
            split, side = "test" if test else "train", "left" if wins else "right"
            rows.writerow([f"{left}.png", f"{right}.png", side, split, judge])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPAIRS_DATA", str(folder / "cache"))
        patch.chdir(folder)
        run = train("linear", folder / "run", data="pairs.csv", backbone="statistics", verbose=0)
        found = evaluate(run)[0]["measures"]
        yield run, found, PairModel.load(export(run, formats=("onnx", "int8"))[0].path), folder


def test_a_ranking_says_how_sure_it_is(run):
    made, found, model, folder = run
    files = [folder / f"{number}.png" for number in range(IMAGES)]
    ranking, head = model.rank(files), head_of_round(made, 1)
    features = model.features(np.concatenate([_pixels(model, file) for file in files]))
    np.testing.assert_allclose(ranking.deviation, head.deviation(features), rtol=0.02)
    assert not ranking.far.any()
    order = ranking.order()
    assert (np.diff(ranking.percentile[order]) <= 0).all()
    assert ranking.percentile[:40].mean() == pytest.approx(50, abs=3)  # the training images
    above = ranking.higher(int(order[0]))
    assert above[order[0]] == 0.5
    assert (np.delete(above, order[0]) < 0.5).all()
    back = [ranking.higher(i)[order[0]] for i in range(IMAGES)]
    np.testing.assert_allclose(np.add(above, back), 1)
    said = json.loads(kpairs("rank", made.path, *files, "--than", files[order[0]], "--json"))
    for row, place in zip(said["images"], order.tolist(), strict=True):
        assert row["higher"] == pytest.approx(above[place], abs=1e-4)
        assert row["percentile"] == pytest.approx(ranking.percentile[place], abs=1)  # a step
        assert row["deviation"] == pytest.approx(ranking.deviation[place], rel=1e-3)
        assert not row["far"]
    (pair,) = predict_pairs(made.path / "linear.onnx", [(files[order[0]], files[order[-1]])])
    assert pair["probability"] == pytest.approx(above[order[-1]], abs=1e-4)
    assert pair["left_score_deviation"] == pytest.approx(ranking.deviation[order[0]], rel=1e-3)
    assert model.metadata["temperature"] == pytest.approx(found["temperature"])
    raw = model.predict_probabilities([files[order[0]]], [files[order[-1]]])["comparison"][0, 1]
    assert raw != pair["probability"]
    card = (made.path / "linear.onnx.md").read_text()
    assert "Scores of 40 training images, by percentile: 2.5 %:" in card
    assert "fitted on held-out pairs" in card
    assert "± " in kpairs("predict", made.path / "linear.onnx", *files[:2])


def _pixels(model, file):
    from kpairs.data.pixels import to_pixels

    return to_pixels(file, model.pixels)


def test_evaluation_of_judged_pairs(run):
    """Agreement with each judge, the temperature, standard errors; and all of it on the screen."""
    made, found, _, _ = run
    assert found["accuracy_low_pct"] < found["accuracy_pct"] < found["accuracy_high_pct"]
    assert [row["judge"] for row in found["judges"]] == ["ann", "bo"]
    assert sum(row["network"]["of"] for row in found["judges"]) == found["pairs"] == 120
    assert found["standard_error"] > 0
    assert found["calibrated_error"] < 0.3
    text = kpairs("evaluate", made.path)
    for words in ("95 % interval", "temperature", "other judges and judge", "ann"):
        assert words in text


def test_files_of_earlier_versions_rank_as_they_did(run, tmp_path):
    made, _, model, folder = run
    proto = onnx.load(made.path / "linear.onnx")
    known = {name: value for name, value in model.metadata.items() if name != "temperature"}
    del proto.metadata_props[:]
    write_proto(proto, json.dumps(known), tmp_path / "old.onnx")
    old, files = PairModel.load(tmp_path / "old.onnx"), [folder / f"{n}.png" for n in range(5)]
    ranking, now = old.rank(files), model.rank(files)
    np.testing.assert_allclose(ranking.score, now.score, rtol=1e-4, atol=1e-5)
    assert (ranking.percentile, ranking.far, ranking.deviation) == (None, None, None)
    (row,) = predict_pairs(tmp_path / "old.onnx", [files[:2]])
    raw = old.predict_probabilities(files[:1], files[1:2])["comparison"][0, 1]
    assert row["probability"] == pytest.approx(raw)
    assert not {"left_far", "left_score_percentile", "left_score_deviation"} & set(row)
    small = make_reference(np.random.default_rng(0).random((50, 3))).to_text()
    for reference, said in (("AAAA", "expected a reference"), (small, "features, received 3")):
        write_proto(proto, json.dumps(known), tmp_path / "odd.onnx", reference)
        with pytest.raises(InputError, match=said):
            PairModel.load(tmp_path / "odd.onnx")


def test_a_digit_network_says_that_a_photograph_is_none(exported, mnist, tmp_path, caplog):
    """And that it is no better than chance, as its weights are still random."""
    trained, _, pairs = exported("auxws")
    many = draw_pairs(mnist["train"], 500, seed=0)
    known = make_reference(thumbnails(np.concatenate([many.left, many.right])), np.arange(1000))
    with caplog.at_level(logging.WARNING):
        (made,) = export_model(replace(trained, reference=known), pairs, tmp_path / "auxws")
    assert "auxws is no better than chance on its test pairs" in caplog.text
    assert "No better than chance on its test pairs" in (tmp_path / "auxws.onnx.md").read_text()
    Image.fromarray(photographs.camera()).save(tmp_path / "camera.png")
    digit = np.rint(255 * mnist["test"].pixels(np.arange(1))[0, ..., 0]).astype(np.uint8)
    Image.fromarray(digit).save(tmp_path / "digit.png")
    caplog.clear()
    (row,) = predict_pairs(made.path, [(tmp_path / "digit.png", tmp_path / "camera.png")])
    assert (row["left_far"], row["right_far"]) == (False, True)
    assert "1 of 2 pictures is unlike the images that auxws was trained on" in caplog.text
    assert "camera.png" in caplog.text
    assert "no better than chance" in caplog.text
    ranking = PairModel.load(made.path).rank([tmp_path / "digit.png", tmp_path / "camera.png"])
    assert ranking.far.tolist() == [False, True]
    with pytest.raises(UsageError, match="expected a network that scores images"):
        ranking.higher(0)


@pytest.mark.parametrize(
    "changed",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": "1"},
        {"beats_chance": False, "test_error_pct": None},
        {"training": [1]},
        {"features": {"digest": "../../elsewhere"}},
        {"features": {"width": 10**30}},
        {"features": {"weights": None}},
    ],
)
def test_metadata_that_no_export_writes_are_refused(run, changed, tmp_path):
    made, _, model, _ = run
    proto = onnx.load(made.path / "linear.onnx")
    if "features" in changed:
        changed = {"features": {**model.metadata["features"], **changed["features"]}}
    write_proto(proto, json.dumps({**model.metadata, **changed}), tmp_path / "odd.onnx")
    with pytest.raises(InputError, match="expected a pair model written by 'kpairs export'"):
        PairModel.load(tmp_path / "odd.onnx")


def test_a_page_of_one_file_runs_no_features(run):
    with pytest.raises(UsageError, match="linear learned from features of a larger one"):
        export(run[0], run[3] / "page.html", formats=["html"])


def test_a_ranking_without_a_place_to_keep_features(run, tmp_path, caplog):
    """And of a run that knows no training images, and in 8 bits."""
    made, _, model, folder = run
    files = [folder / f"{number}.png" for number in range(5)]
    (tmp_path / "file").touch()
    solved = SolvedRun(made)
    expected = model.rank(files).score
    for one in (model, solved):
        found = rank([one], files, cache=tmp_path / "file")
        np.testing.assert_allclose(found.score, expected, rtol=1e-4, atol=1e-4)
        assert "nothing is kept" in caplog.text
        caplog.clear()
    solved.reference = None
    assert rank([solved], files).deviation is None
    assert len(rank([model], []).far) == 0
    small = PairModel.load(made.path / "linear.int8.onnx")
    assert not small.has_features
    assert small.rank(files).deviation is None
    both, one = rank([model, model], files), rank([model], files)  # no surer than one of them
    np.testing.assert_allclose(both.deviation, one.deviation)
    np.testing.assert_allclose(both.higher(0), one.higher(0))
    assert rank([small, small], files[:1]).deviation is None
