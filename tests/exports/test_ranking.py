"""Images in the order of a model: by scores, by classes, by comparisons; and what to ask next."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from command_line import kpairs
from onnx import numpy_helper
from PIL import Image
from scipy.stats import kendalltau

from kpairs.data.pixels import to_pixels
from kpairs.data.settings import PixelSettings
from kpairs.errors import UsageError
from kpairs.exports.runtime import PairModel
from kpairs.exports.runtime.ranking import rank, sampled_pairs
from kpairs.exports.runtime.sources import find_images
from kpairs.exports.writing.onnx import write_proto
from kpairs.judging import bradley_terry

LOOK = PixelSettings(14, 14, 1, ink="mixed", rounded=True)


@pytest.fixture(scope="module")
def models(tmp_path_factory, exported):
    """Networks of random weights that take pictures as they are; two of one kind."""
    folder, rng = tmp_path_factory.mktemp("models"), np.random.default_rng(2)
    files = {}
    for number, name in (("", "ranker"), ("-2", "ranker"), ("", "conv_1"), ("", "auxws")):
        file = exported(name)[1][0].path
        about = {**PairModel.load(file).metadata, "pixels": LOOK.to_dict()}
        proto = onnx.load(file)
        for weights in proto.graph.initializer if number else ():
            if weights.data_type == onnx.TensorProto.FLOAT:
                values = numpy_helper.to_array(weights)
                values = values * rng.uniform(0.5, 1.5, values.shape).astype(np.float32)
                weights.CopyFrom(numpy_helper.from_array(values, weights.name))
        files[name + number] = folder / f"{name}{number}.onnx"
        write_proto(proto, json.dumps(about), files[name + number])
    return files


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """41 PNGs of noise, two of them alike, in a folder and one inside it."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    (folder / "inside").mkdir()
    for i in range(40):
        place = folder / "inside" if i % 2 else folder
        noise = rng.integers(0, 6 * i + 20, (20, 14), dtype=np.uint8)
        Image.fromarray(noise).save(place / f"{i:02d}.png")
    Image.open(folder / "00.png").save(folder / "again.png")
    (folder / ".hidden.png").write_text("")
    (folder / "notes.txt").write_text("")
    return folder


def test_the_same_order_everywhere(models, pictures):
    """By the command line, from Python with files and with arrays, and by onnxruntime alone."""
    files = find_images([pictures])
    assert len(files) == 41
    rows = json.loads(kpairs("rank", models["ranker"], pictures, "--json"))["images"]
    model = PairModel.load(models["ranker"])
    ranking = model.rank(files)
    assert [row["file"] for row in rows] == [str(files[i]) for i in ranking.order()]
    assert [row["rank"] for row in rows] == ranking.rank[ranking.order()].tolist()
    arrays = np.stack([np.asarray(Image.open(file)) for file in files])
    np.testing.assert_array_equal(model.rank(arrays).score, ranking.score)
    pixels = to_pixels(arrays, model.pixels)
    session = onnxruntime.InferenceSession(models["ranker"])
    (scores,) = session.run(["left_score"], {"left": pixels, "right": pixels})
    np.testing.assert_allclose(scores[:, 0], ranking.score, atol=1e-6)
    # The two pictures that are alike share a rank, and the next one is as far down as it is.
    alike = [i for i, file in enumerate(files) if file.stem in ("00", "again")]
    assert ranking.score[alike[0]] == ranking.score[alike[1]]
    assert ranking.rank[alike[0]] == ranking.rank[alike[1]]
    assert sorted(ranking.rank)[-1] in (40, 41)
    assert len(set(ranking.rank)) == 40


@pytest.mark.parametrize(
    ("name", "method"),
    [("ranker", "score"), ("auxws", "grade"), ("conv_1", "comparison")],
)
def test_what_scores_rest_on(name, method, models, pictures):
    files = find_images([pictures])
    model = PairModel.load(models[name])
    ranking = model.rank(files)
    assert ranking.method == method
    if method == "grade":  # each image's expected rank, by both of its sides
        seen = model.predict_probabilities(files, files)
        expected = (seen["left_digit"] + seen["right_digit"]) / 2 @ np.arange(10)
        np.testing.assert_allclose(ranking.score, expected, atol=1e-9)
    if method == "comparison":  # the order of all comparisons, of which a part was made
        left, right = np.triu_indices(len(files), 1)
        wins = np.zeros(len(files))
        for a, b, sign in ((left, right, 1), (right, left, -1)):
            held = model.predict_probabilities([files[i] for i in a], [files[i] for i in b])
            margin = sign * (held["comparison"][:, 1] - 0.5)
            wins += np.bincount(right, margin, len(files)) - np.bincount(left, margin, len(files))
        assert kendalltau(wins, ranking.score).statistic > 0.8


def test_several_models_give_a_deviation(models, pictures):
    files = find_images([pictures])
    both = [PairModel.load(models[name]) for name in ("ranker", "ranker-2")]
    scores = [model.rank(files).score for model in both]
    ranking = rank(both, files)
    np.testing.assert_allclose(ranking.score, np.mean(scores, axis=0))
    centred = [s - s.mean() for s in scores]
    np.testing.assert_allclose(ranking.deviation, np.std(centred, axis=0, ddof=1))
    text = kpairs("rank", models["ranker"], models["ranker-2"], pictures, "--csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["file", "score", "rank", "deviation", "method"]
    with pytest.raises(UsageError, match="expected models that rank alike, received grade, score"):
        rank([both[0], PairModel.load(models["auxws"])], files)


def test_bradley_terry_finds_the_scores_behind_comparisons(rng):
    scores = rng.normal(0, 2, 60)
    pairs = sampled_pairs(60, rng)
    left, right = pairs.T
    assert (left < right).all()
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    assert np.bincount(pairs.ravel()).min() >= 8
    probability = 1 / (1 + np.exp(scores[left] - scores[right]))
    found = bradley_terry(pairs, probability, 60)
    np.testing.assert_allclose(found, scores - scores.mean(), atol=0.05)
    hard = bradley_terry(pairs, (probability > 0.5).astype(float), 60)  # as if all were sure
    assert np.isfinite(hard).all()
    assert kendalltau(hard, scores).statistic > 0.9


@pytest.mark.parametrize("count", [0, 1, 2, 17])
def test_few_images_are_all_compared(count, rng):
    pairs = sampled_pairs(count, rng)
    assert len(pairs) == count * (count - 1) // 2
    assert bradley_terry(pairs, np.full(len(pairs), 0.5), count).shape == (count,)


def test_images_from_csv_files_and_top(models, pictures, tmp_path):
    (tmp_path / "some.csv").write_text(
        f"note,file\nx,{pictures}/00.png\ny,{pictures}/02.png\nz,{pictures}/00.png\n"
    )
    rows = json.loads(kpairs("rank", models["ranker"], tmp_path / "some.csv", "--json"))["images"]
    assert len(rows) == 2
    out = kpairs("rank", models["ranker"], pictures, "--top", 3)
    every = json.loads(kpairs("rank", models["ranker"], pictures, "--json"))["images"]
    first = [str(row["rank"]) for row in every[:3]]
    assert re.findall("^│ +([0-9]+) │", out, re.MULTILINE) == first  # paths may be folded


def test_a_contact_sheet(models, pictures, tmp_path):
    sheet = tmp_path / "sheet.png"
    kpairs("rank", models["ranker"], pictures, "--top", 9, "--sheet", sheet)
    image = np.asarray(Image.open(sheet))
    assert image.shape[1] > 3 * 96
    cells = [image[6 + 116 * row : 102 + 116 * row, 6:102] for row in range(3)]
    assert all(cell.std() > 1 for cell in cells)  # a picture in each
    assert "ends in .png, .jpg" in kpairs(
        "rank", models["ranker"], pictures, "--sheet", tmp_path / "sheet.pdf", expect=2
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{pictures}"], 4, "runs: no finished run here; expected a run folder"),
        (["{model}"], 4, "expected images, a folder of them or a .csv file; received none"),
        (["{model}", "{empty}"], 4, "expected images (.png"),
        (["{model}", "{empty}/none.png"], 4, "no such file or folder"),
        (["{model}", "{empty}/none.csv"], 4, "no such file or folder"),
        (["{model}", "{pictures}", "--json", "--csv"], 2, "received both"),
    ],
)
def test_what_is_refused(arguments, code, message, models, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = {"model": models["ranker"], "pictures": pictures, "empty": tmp_path}
    said = kpairs("rank", *(a.format(**places) for a in arguments), expect=code)
    assert message in " ".join(said.split())


def test_scores_of_models_stand_in_for_features(models, pictures, tmp_path):
    """The model's score is the truth: ten answers order what twenty pictures show."""
    files = find_images([pictures])
    score = PairModel.load(models["ranker"]).rank(files).score
    ask = tmp_path / "ask.csv"
    arguments = ("next-pairs", models["ranker"], pictures, "--random", 0, "--count", 10)
    kpairs(*arguments, "--out", ask)
    rows = list(csv.DictReader(io.StringIO(ask.read_text())))
    place = {os.path.realpath(file): s for file, s in zip(files, score, strict=True)}
    for row in rows:
        left, right = (place[os.path.realpath(tmp_path / row[side])] for side in ("left", "right"))
        row["label"] = "left" if left > right else "right"
    answered = tmp_path / "answered.csv"
    answered.write_text(
        "left,right,label\n" + "".join(f"{r['left']},{r['right']},{r['label']}\n" for r in rows)
    )
    told = json.loads(kpairs("score", answered, pictures, models["ranker"], "--json"))["images"]
    found = [place[os.path.realpath(row["file"])] for row in told]
    assert kendalltau(found, np.arange(len(found))).statistic < -0.9
    more = json.loads(kpairs(*arguments, answered, "--known", ask, "--json"))
    asked, again = (
        {frozenset(Path(row[side]).name for side in ("left", "right")) for row in part}
        for part in (rows, more)
    )
    assert len(again) == 10
    assert not again & asked


def test_the_best_of_each_group(models, pictures):
    burst = ("--by", "group", "--group", "^(.)", "--top", 2, "--json")
    rows = json.loads(kpairs("rank", models["ranker"], pictures, *burst))["images"]
    every = json.loads(kpairs("rank", models["ranker"], pictures, "--json"))["images"]
    for name in {row["group"] for row in rows}:
        files = [row["file"] for row in every if Path(row["file"]).name[0] == name]
        assert [row["file"] for row in rows if row["group"] == name] == files[:2]
    assert [row["rank"] for row in rows[:2]] == [1, 2]
    said = kpairs("rank", models["ranker"], pictures, "--by", "group", expect=2)
    assert "add --group folder" in said


def test_an_image_against_itself_is_a_tie(models, pictures):
    row = json.loads(
        kpairs("predict", models["ranker"], pictures / "00.png", pictures / "again.png", "--json")
    )
    assert (row["same"], row["probability"], row["left_not_higher"]) == (True, 0.5, True)
    assert row["left_score"] == row["right_score"]
    other = json.loads(
        kpairs("predict", models["ranker"], pictures / "00.png", pictures / "02.png", "--json")
    )
    odds = np.exp(other["right_score"] - other["left_score"])
    assert other["probability"] == pytest.approx(odds / (1 + odds), abs=1e-6)


def test_ranking_needs_neither_keras_nor_torch(models, pictures):
    script = (
        "import sys\n"
        "from kpairs.exports.runtime import PairModel\n"
        f"PairModel.load({str(models['ranker'])!r}).rank([{str(pictures / '00.png')!r}])\n"
        "print(sorted({'keras', 'torch', 'matplotlib'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_answered_pairs_are_known_whatever_else_their_file_holds(models, pictures, tmp_path):
    """Own headers, further columns that name images too."""
    known, files = tmp_path / "known.csv", find_images([pictures])
    first = [files[i : i + 2] for i in range(6)]
    rows = [{"image": files[i], "a": left, "b": right} for i, (left, right) in enumerate(first)]
    known.write_text("image,a,b\n" + "".join(f"{','.join(map(str, r.values()))}\n" for r in rows))
    asked = {frozenset(pair) for pair in first}
    columns = ("--columns", "left=a,right=b,label=none")
    told = kpairs("next-pairs", models["ranker"], pictures, "--known", known, *columns, "--json")
    named = {
        frozenset(Path(os.path.abspath(row[side])) for side in ("left", "right"))
        for row in json.loads(told)
    }
    assert len(named) == 20
    assert not asked & named
    table = json.loads(kpairs("predict", models["ranker"], known, *columns, "--json"))
    assert [row["left"] for row in table] == [str(left) for left, _ in first]
    known.write_text("a,b\n" + "".join(f"{r['a']},{r['b']}\n" for r in rows))
    ranked = json.loads(kpairs("rank", models["ranker"], known, *columns, "--json"))["images"]
    assert {row["file"] for row in ranked} == {str(file) for pair in asked for file in pair}
    said = kpairs("rank", models["ranker"], known, "--columns", "left=x,right=b", expect=4)
    assert "expected the columns x; received a, b" in " ".join(said.split())


def test_no_output_replaces_a_users_work(models, pictures, tmp_path):
    ask, photograph = tmp_path / "ask.csv", pictures / "00.png"
    before = photograph.read_bytes()
    kpairs("next-pairs", models["ranker"], pictures, "--count", 2, "--out", ask)
    assert "add --force" in kpairs("next-pairs", models["ranker"], pictures, "--out", ask, expect=1)
    kpairs("next-pairs", models["ranker"], pictures, "--count", 2, "--out", ask, "--force")
    ask.write_text(ask.read_text().replace(",,", ",left,"))
    answered = ask.read_bytes()
    arguments = ("next-pairs", models["ranker"], pictures, "--force", "--out")
    assert "ask.csv, row 2: holds answers" in kpairs(*arguments, ask, expect=1)
    assert "this command reads that file" in kpairs(*arguments, photograph, expect=1)
    for command in ((), ("--force",)):
        kpairs("rank", models["ranker"], pictures, "--sheet", photograph, *command, expect=1)
    assert (ask.read_bytes(), photograph.read_bytes()) == (answered, before)


def test_names_that_are_no_text_come_out_as_they_are(models, pictures, tmp_path):
    """File names are bytes: a reader of the CSV finds each file by them."""
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Path(os.fsdecode(name)).write_bytes((pictures / "00.png").read_bytes())
    command = [sys.executable, "-m", "kpairs.cli", "rank", models["ranker"], tmp_path, "--csv"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert name in done.stdout
    arguments = ("next-pairs", models["ranker"], tmp_path, pictures, "--out", tmp_path / "ask.csv")
    assert "this name is no UTF-8" in kpairs(*arguments, expect=4)


@pytest.mark.parametrize("options", [["--csv"], []])
def test_a_closed_output_is_told(options, models, pictures):
    command = [sys.executable, "-m", "kpairs.cli", "predict", models["ranker"]]
    command += [pictures / "00.png", pictures / "02.png", *options]
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("Error: standard output is closed: expected")
