"""`kpairs next-pairs`: a folder of images in, pairs to ask a person about out; no network."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import kpairs
from PIL import Image
from scipy.stats import kendalltau

PLAIN = ("--features", "none")  # those of a network take a second or two


@pytest.fixture
def pictures(workplace, rng):
    """24 noisy pictures in two folders, named by their amount of noise."""
    for number in range(24):
        place = workplace / "pictures" / "ab"[number % 2] / f"{number:02d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        noise = 128 + (1 + 4 * number) * rng.standard_normal((32, 32, 3)) / 2
        Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(place)
    return workplace / "pictures"


def read(path):
    return list(csv.DictReader(io.StringIO(Path(path).read_text())))


def answer(path, judge=None):
    """Fill a list of questions in: more noise ranks higher."""
    rows = read(path)
    for row in rows:
        row["label"] = "left" if Path(row["left"]).name > Path(row["right"]).name else "right"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def pairs_of(rows):
    return {frozenset(Path(row[side]).name for side in ("left", "right")) for row in rows}


def test_from_a_folder_to_a_ranking(pictures):
    """The loop of the help: questions, answers, more questions, scores."""
    assert "fill in its column label" in kpairs("next-pairs", pictures, "--out", "ask-1.csv")
    first = read("ask-1.csv")
    assert [list(row) for row in first] == [["left", "right", "label", "reason"]] * 20
    assert len(pairs_of(first)) == 20
    assert "expected judged pairs" in kpairs("next-pairs", pictures, "ask-1.csv", expect=4)
    waiting = ("--known", "ask-1.csv", "--json", *PLAIN)
    assert not pairs_of(first) & pairs_of(json.loads(kpairs("next-pairs", pictures, *waiting)))
    answer("ask-1.csv")
    more = ("next-pairs", pictures, "ask-1.csv", "--count", 12, *PLAIN)
    assert kpairs(*more, "--json") == kpairs(*more, "--json")
    assert kpairs(*more, "--json") != kpairs(*more, "--json", "--seed", 1)
    kpairs(*more, "--out", "ask-2.csv")
    assert not pairs_of(first) & pairs_of(read("ask-2.csv"))
    answer("ask-2.csv")
    told = json.loads(kpairs("score", "ask-1.csv", "ask-2.csv", pictures, "--json"))
    names = [Path(row["file"]).name for row in told["images"]]
    assert kendalltau(range(24), sorted(range(24), key=names.__getitem__)).statistic < -0.8
    assert "ask-2.csv, row 2: holds answers" in kpairs(
        *more, "--out", "ask-2.csv", "--force", expect=1
    )


def test_two_judges_overlap_and_nobody_is_asked_twice(pictures):
    kpairs("next-pairs", pictures, "--out", "ann.csv", "--judge", "ann", *PLAIN)
    answer("ann.csv")
    anns = pairs_of(read("ann.csv"))
    again = ("next-pairs", pictures, "ann.csv", "--count", 30, *PLAIN, "--judge")
    assert not anns & pairs_of(json.loads(kpairs(*again, "ann", "--json")))
    rows = json.loads(kpairs(*again, "bob", "--overlap", 0.5, "--random", 0, "--json"))
    overlap = pairs_of(row for row in rows if row["reason"] == "overlap")
    assert len(overlap) > 5
    assert overlap <= anns
    rows = json.loads(kpairs(*again, "ann", "--repeat", 0.5, "--json"))
    assert pairs_of(row for row in rows if row["reason"] == "repeat") <= anns


@pytest.mark.parametrize("by", ["folder", "[ab]/"])
def test_pairs_within_groups(by, pictures):
    within = ("--pairs-within", "group", "--group", by, "--json")
    rows = json.loads(kpairs("next-pairs", pictures, *within, *PLAIN))
    assert len(rows) == 20
    assert all(Path(row["left"]).parent == Path(row["right"]).parent for row in rows)


def test_columns_of_numbers_stand_in_for_features(pictures):
    np.save("noise.npy", np.r_[0:24:2, 1:24:2][:, None])  # by path: folder a, then folder b
    kpairs("next-pairs", pictures, "--features", "noise.npy", "--out", "ask.csv")
    answer("ask.csv")
    rows = json.loads(kpairs("score", "ask.csv", pictures, "--features", "noise.npy", "--json"))
    place = [int(Path(row["file"]).stem) for row in rows["images"]]
    assert kendalltau(place, range(24)).statistic < -0.9
    gap = ("--features", "noise.npy", "--gap", 0.5, "--random", 0, "--json")
    wide = json.loads(kpairs("next-pairs", pictures, "ask.csv", *gap))
    assert all(abs(row["probability"] - 0.5) > 0.05 for row in wide)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["pictures/a/00.png"], 2, "expected at least two images, received 1"),
        ([], 2, "expected at least two images, received 0"),
        (["nosuch", "pictures"], 4, "nosuch: no such file or folder"),
        (["pictures", "--pairs-within", "group"], 2, "add --group folder"),
        (["pictures", "--random", "0.9", "--repeat", "0.9", *PLAIN], 2, "at most 1 together"),
        (["pictures", "--features", "nosuch.npy"], 4, "nosuch.npy: expected images, none, or"),
        (
            ["pictures/a/00.png", "pictures/a/02.png", "--known", "all.csv", *PLAIN],
            2,
            "no pair is left",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, code, message, pictures):
    Path("all.csv").write_text("left,right\npictures/a/00.png,pictures/a/02.png\n")
    said = kpairs("next-pairs", *arguments, expect=code)
    assert message in " ".join(said.split())


def test_without_features_neither_keras_nor_torch_is_imported(pictures):
    import subprocess

    script = (
        "import sys\n"
        "from kpairs.cli import main\n"
        "main(['next-pairs', 'pictures', '--features', 'none'], standalone_mode=False)\n"
        "print(sorted({'keras', 'torch'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
