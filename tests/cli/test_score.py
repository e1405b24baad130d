"""`kpairs score`: judgements in, a ranking with intervals and judges out."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from command_line import kpairs
from PIL import Image, ImageFilter

from kpairs.data.examples import _photographs

PLAIN = ("--features", "none")  # those of a network take a second or two


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
    shown = json.loads(kpairs("score", judged, *PLAIN, "--json"))
    names = [row["file"].rsplit("/", 1)[-1] for row in shown["images"]]
    assert names == [f"{number:02d}.png" for number in reversed(range(12))]
    assert all(row["low"] < row["score"] < row["high"] for row in shown["images"])
    assert sum(row["judgements"] for row in shown["images"]) == 440
    assert shown["alpha"] == pytest.approx(1)
    assert shown["expected_tau"] > 0.7
    ann, bob = shown["judges"]
    assert (ann["judge"], ann["judgements"]) == ("ann", 200)
    assert (bob["judge"], bob["judgements"], bob["slope"]) == ("bob", 20, None)
    rows = list(csv.DictReader(io.StringIO(kpairs("score", judged, *PLAIN, "--csv"))))
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, 13)]
    assert "Krippendorff's alpha 1.00" in " ".join(kpairs("score", judged, *PLAIN).split())


def test_features_of_images_or_of_a_file(judged):
    first = judged.read_text().splitlines()[:40]
    judged.write_text("\n".join(first) + "\n")
    told = json.loads(kpairs("score", judged, "--json"))
    assert told["images"][0]["file"].endswith(("11.png", "10.png", "09.png"))
    np.save("known.npy", np.arange(12)[:, None])
    told = json.loads(kpairs("score", judged, "--features", "known.npy", "--json"))
    ranks = [row["file"][-6:-4] for row in told["images"]]
    assert ranks == sorted(ranks, reverse=True)
    np.save("short.npy", np.zeros((3, 2)))
    said = kpairs("score", judged, "--features", "short.npy", expect=4)
    assert "expected a row for each of 12 images, received 3" in said
    said = kpairs("score", judged, "--features", "nosuch.npy", expect=4)
    assert "nosuch.npy: expected images, none, or a .npy file" in said
    assert "received both" in kpairs("score", judged, "--csv", "--json", expect=2)


def test_pictures_groups_and_images_that_nobody_judged(judged):
    (judged.parent / "more").mkdir()
    for number in (3, 9):
        shutil.copy(f"{number:02d}.png", f"more/b-{number:02d}.png")
    pictures = ("--sheet", "sheet.png", "--plot", "plot.png")
    told = json.loads(kpairs("score", judged, "more", "--json", *pictures))
    place = {row["file"]: row["rank"] for row in told["images"]}
    assert len(place) == 14
    assert place["more/b-09.png"] < place["more/b-03.png"]
    assert {row["judgements"] for row in told["images"] if row["file"].startswith("more")} == {0}
    assert "2 images are in no judgement; they are placed by their features." in told["notes"]
    for picture in ("sheet.png", "plot.png"):
        with Image.open(picture) as drawn:
            assert len(drawn.convert("RGB").getcolors(2**20)) > 20
    bursts = ("--group", "(0|1)[0-9].png", "--by", "group", "--top", 1)
    best = json.loads(kpairs("score", judged, *bursts, *PLAIN, "--json"))["images"]
    assert [(row["group"], row["file"], row["rank"]) for row in best] == [
        ("1", "11.png", 1),
        ("0", "09.png", 1),
    ]
    assert "--by group: add --group folder" in kpairs(
        "score", judged, "--by", "group", *PLAIN, expect=2
    )
    assert "matches none of 12 names" in kpairs("score", judged, "--group", "q", expect=4)
    assert "expected folder or a regular expression" in kpairs(
        "score", judged, "--group", "(", expect=2
    )
    assert "sheet.png: exists already" in kpairs("score", judged, *pictures, *PLAIN, expect=1)


def test_several_tables_and_the_rule_to_stop(judged):
    head, *rows = judged.read_text().splitlines()
    for name, part in (("a.csv", rows[:110]), ("b.csv", rows[110:])):
        (judged.parent / name).write_text("\n".join([head, *part]) + "\n")
    plain = (*PLAIN, "--json")
    both = json.loads(kpairs("score", "a.csv", "b.csv", *plain))
    one = json.loads(kpairs("score", judged, *plain))
    assert [row["file"] for row in both["images"]] == [row["file"] for row in one["images"]]
    assert both["expected_tau"] == pytest.approx(one["expected_tau"], abs=1e-6)
    told = json.loads(kpairs("score", judged, *plain, "--stop-at", 0.5))
    assert told["enough"] == "the expected tau reached 0.50"
    assert "expected a table of judged pairs" in kpairs("score", "00.png", expect=2)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("left,right,label\n00.png,01.png,better\n", "unknown words in label: 'better'"),
        ("left,right,label\n00.png,zz.png,left\n", "no image file 'zz.png'"),
        ("left,right,label\n00.png,00.png,left\n", "expected two different images"),
        ("left,right,label\n00.png,01.png,\n", "received 1 without a judgement"),
        ("left,right\n00.png,01.png\n", "expected a table of judged pairs"),
    ],
)
def test_tables_that_make_no_sense_are_refused(table, message, judged):
    judged.write_text(table)
    said = kpairs("score", judged, expect=2 if "of judged pairs" in message else 4)
    assert message in " ".join(said.split())
    assert "Traceback" not in said
