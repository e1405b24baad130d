"""Images with scores or grades, from which a network that scores is trained."""

import csv
import logging

import numpy as np
import pytest
from PIL import Image, ImageFilter

from kpairs import evaluate, train


@pytest.mark.parametrize("kind", ["scores", "grades"])
def test_values_teach_scores_and_scores_tell_grades(kind, tmp_path, monkeypatch, caplog):
    rng = np.random.default_rng(0)
    monkeypatch.setenv("KPAIRS_DATA", str(tmp_path / "cache"))
    (tmp_path / "images").mkdir()
    rows = []
    for number in range(90):
        blur = rng.uniform(0, 2)
        noise = Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8))
        noise.filter(ImageFilter.GaussianBlur(blur)).save(tmp_path / f"images/{number}.png")
        said = blur + rng.normal(0, 0.3) if kind == "scores" else int(1.5 * blur)
        rows.append([f"images/{number}.png", said, "test" if number >= 60 else "train"])
    with open(tmp_path / "images.csv", "w", newline="") as file:
        csv.writer(file).writerows([["image", kind[:-1], "split"], *rows])
    options = {"backbone": "statistics", "pairs": 120, "test_pairs": 200, "verbose": 0}
    with caplog.at_level(logging.INFO, logger="kpairs"):
        run = train("linear", tmp_path / "run", data=tmp_path / "images.csv", **options)
    found = evaluate(run)[0]["measures"]
    assert found["spearman"] > 0.8
    assert ("scores learned from" in caplog.text) == (kind == "scores")
    assert ("kappa" in found) == (kind == "grades")
    if kind == "grades":
        assert found["kappa"] > 0.5
        assert found["grade_mae"] < 0.7
        assert "confusion" not in found
