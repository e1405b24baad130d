"""Things whose features somebody has already, images or not: from pairs of names to a ranking."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from command_line import kpairs
from sklearn.linear_model import LogisticRegression

from kpairs import PairModel, Run, evaluate, open_source
from kpairs.errors import InputError
from kpairs.judging.linear import Linear

COUNT, WIDTH, JUDGED = 60, 5, 50


def write(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def wines(workplace, rng):
    """Pairs of the first 50 of 60 names, and the features of all, scales apart, in both formats."""
    values = rng.normal(5, 10.0 ** np.arange(-2, 3), (COUNT, WIDTH)).astype(np.float32)
    names = [f"../vin rosé/{number}" for number in range(COUNT)]
    score = values @ (rng.normal(size=WIDTH) / values.std(axis=0))
    sides = np.array([rng.choice(JUDGED, 2, replace=False) for _ in range(200)])
    higher = rng.random(200) < 1 / (1 + np.exp(-2 * (score[sides[:, 1]] - score[sides[:, 0]])))
    words = np.where(higher, "right", "left")
    rows = [(names[a], names[b], word) for (a, b), word in zip(sides, words, strict=True)]
    write("pairs.csv", ["left", "right", "label"], rows)
    np.savez("features.npz", names=names, features=values)
    lines = [[name, *row] for name, row in zip(names, values.tolist(), strict=True)]
    write("features.csv", ["wine", *"abcde"], lines)
    return names, values, sides, higher


def test_from_features_to_a_ranking(wines, caplog):
    """The head is Bradley-Terry's, stretched; a run stands alone, and ranks as its export."""
    names, values, sides, higher = wines
    said = kpairs("train", "--data", "pairs.csv", "--images", "features.csv", "--out", "run")
    assert f"next: kpairs rank run {Path('features.csv').resolve()}" in said
    head = Linear.load(Path("run/round-01/head.npz"))
    spread = values[:JUDGED].std(axis=0)
    plain = LogisticRegression(C=head.variance / WIDTH, fit_intercept=False, tol=1e-8)
    plain.fit((values[sides[:, 1]] - values[sides[:, 0]]) / spread, higher)
    mode, weights = plain.coef_[0], head.weights * spread
    stretch = (weights @ mode) / (mode @ mode)
    assert 0.5 < stretch < 2
    np.testing.assert_allclose(weights / stretch, mode, rtol=1e-3)

    told = kpairs("train", "--resume", "run", "--rounds", "2", "--data", "pairs.csv", expect=2)
    assert "keeps its features and pairs; expected no --data" in told
    table = Path("pairs.csv").read_text("utf-8")
    Path("pairs.csv").unlink()
    Path("features.csv").rename("again.csv")
    run = Run.open("run")
    error = run.metrics["rounds"][0]["cross_validated"]["comparison_error_pct"]
    assert error < 30
    (row,) = evaluate(run)
    assert row["measures"]["accuracy_pct"] == pytest.approx(100 - error, abs=1e-3)
    Path("others.csv").write_text(table, "utf-8")
    evaluate(run, data="others.csv")
    assert "its 50 images are training images" in caplog.text

    solved = json.loads(kpairs("rank", "run", "again.csv", "--json"))["images"]
    assert "next: kpairs rank run/linear.onnx IMAGES" in kpairs("export", "run")
    asked = ("rank", "run/linear.onnx", "features.npz", "--than", names[0], "--csv")
    exported = list(csv.DictReader(io.StringIO(kpairs(*asked))))
    expected = dict(zip(names, head.score(values), strict=True))
    for rows in (solved, exported):
        assert len(rows) == COUNT
        assert [r["file"] for r in rows] == sorted(names, key=lambda name: -expected[name])
        found = [float(r["score"]) for r in rows]
        np.testing.assert_allclose(found, sorted(expected.values())[::-1], rtol=1e-4, atol=1e-4)

    model = PairModel.load("run/linear.onnx")
    assert model.metadata["input"].endswith("float32 features, shape (batch, 1, 5, 1)")
    sided = model.predict(values[:3], values[3:6])
    np.testing.assert_allclose(sided["left_score"][:, 0], head.score(values[:3]), atol=1e-4)
    with pytest.raises(InputError, match=r"array \(n, 5\) of features"):
        model.predict(["a.png"], ["b.png"])
    assert "pictures" in kpairs("export", "run", "--html", "--out", "page.html", expect=2)
    scored = kpairs("score", "others.csv", "--images", "features.npz", "--csv")
    assert {r["file"] for r in csv.DictReader(io.StringIO(scored))} >= {"../vin rosé/59"}


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"names": slice(1, None), "features": slice(1, None)}, "no features of"),
        ({"names": slice(2, None)}, r"\(60, 5\) and \(58,\) names"),
        ({"names": [0, 0, *range(2, COUNT)]}, "each name once"),
        ({"nan": True}, "finite numbers, received nan as feature 3"),
        ({"object": True}, "allow_pickle=False"),
        ({"lacking": True}, "names is not a file"),
    ],
)
def test_files_of_features_that_are_refused(wines, arrays, told):
    """One line says what is wrong where; nothing is ever unpickled."""
    names, values = np.array(wines[0]), wines[1].copy()
    order = wines[2][0, 0] if told.startswith("no features") else 0
    names[[0, order]], values[[0, order]] = names[[order, 0]], values[[order, 0]]
    if "nan" in arrays:
        values[7, 2] = np.nan
    names, values = names[arrays.get("names", ...)], values[arrays.get("features", ...)]
    known = {"names": names.astype(object) if "object" in arrays else names, "features": values}
    if "lacking" in arrays:
        del known["names"]
    np.savez("features.npz", **known)
    with pytest.raises(InputError, match=told) as refused:
        open_source("pairs.csv", images="features.npz")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name,a\nx,1\ny,1_0\n", "row 3: expected a name and 1 numbers, received '1_0'"),
        ("name,a\nx,1\n,2\n", "row 3: expected a name and 1 numbers, received no name"),
        ("name,a\nx,1\ny,1,2\n", "row 3: expected 2 cells"),
        ("name,a\nx,1e300\ny,2\n", "finite numbers, received inf"),
        ("name\nx\ny\n", "1 to 65,536 features, received 2 of 0"),
        ("name,a\nx,1\n", "at least 2 rows"),
    ],
)
def test_tables_of_features_that_are_refused(wines, text, told):
    Path("features.csv").write_text(text)
    with pytest.raises(InputError, match=told):
        open_source("pairs.csv", images="features.csv")


@pytest.mark.parametrize(
    ("arguments", "told", "code"),
    [
        (("--images", "x.npy"), "holds no names", 4),
        (("ranker", "--images", "features.npz"), "features are for linear", 2),
        (("--images", "features.npz", "--image-size", "64"), "expected no size", 2),
        (("--images", "features.npz", "--fine-tune", "1"), "features have none", 2),
    ],
)
def test_trainings_that_are_refused(wines, arguments, told, code):
    np.save("x.npy", wines[1])
    assert told in kpairs("train", "--data", "pairs.csv", *arguments, "--out", "new", expect=code)
    assert not Path("new").exists()
