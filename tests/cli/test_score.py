"""`kpairs score`: judgements in, a ranking with intervals and judges out."""

import csv
import io
import json

import numpy as np
import pytest
from command_line import kpairs
from PIL import Image, ImageFilter

from kpairs.data.examples import _photographs


@pytest.fixture
def judged(workplace, rng):
    """Twelve crops, blurred more and more, and judgements of two people who never err."""
    photograph = _photographs()[0][1]
    for number in range(12):
        left, top = rng.integers(0, 300, 2).tolist()
        crop = photograph.crop((left, top, left + 64, top + 48))
        crop.filter(ImageFilter.GaussianBlur(number / 4)).save(f"{number:02d}.png")
    deep = np.asarray(Image.open("11.png").convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save("11.png")
    rows = ["left,right,label,judge"]
    for k in range(220):
        left, right = rng.choice(12, 2, replace=False).tolist()
        who = "left" if left > right else "right"
        rows.append(f"{left:02d}.png,{right:02d}.png,{who},{'ann' if k % 11 else 'bob'}")
    (workplace / "pairs.csv").write_text("\n".join(rows) + "\n")
    return workplace / "pairs.csv"


def test_judgements_become_a_ranking(judged):
    shown = json.loads(kpairs("score", judged, "--json"))
    names = [row["file"].rsplit("/", 1)[-1] for row in shown["images"]]
    assert names == [f"{number:02d}.png" for number in reversed(range(12))]
    assert all(row["low"] < row["score"] < row["high"] for row in shown["images"])
    assert sum(row["judgements"] for row in shown["images"]) == 440
    assert shown["alpha"] == pytest.approx(1)
    assert shown["expected_tau"] > 0.7
    ann, bob = shown["judges"]
    assert (ann["judge"], ann["judgements"]) == ("ann", 200)
    assert (bob["judge"], bob["judgements"], bob["slope"]) == ("bob", 20, None)
    rows = list(csv.DictReader(io.StringIO(kpairs("score", judged, "--csv"))))
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, 13)]
    assert "Krippendorff's alpha 1.00" in kpairs("score", judged)


def test_features_of_images_or_of_a_file(judged):
    first = judged.read_text().splitlines()[:40]
    judged.write_text("\n".join(first) + "\n")
    told = json.loads(kpairs("score", judged, "--features", "statistics", "--json"))
    assert told["images"][0]["file"].endswith(("11.png", "10.png", "09.png"))
    np.save("known.npy", np.arange(12)[:, None])
    told = json.loads(kpairs("score", judged, "--features", "known.npy", "--json"))
    ranks = [row["file"][-6:-4] for row in told["images"]]
    assert ranks == sorted(ranks, reverse=True)
    np.save("short.npy", np.zeros((3, 2)))
    said = kpairs("score", judged, "--features", "short.npy", expect=4)
    assert "expected a row for each of 12 images, received 3" in said
    said = kpairs("score", judged, "--features", "nosuch.npy", expect=4)
    assert "nosuch.npy: expected a .npy file" in said
    assert "received both" in kpairs("score", judged, "--csv", "--json", expect=2)
