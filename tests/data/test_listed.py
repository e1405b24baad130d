"""Pairs that people compared, from CSV files: what is read, refused, divided and counted."""

import csv
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kpairs.data import PairSet
from kpairs.data.columns import parse_columns
from kpairs.data.divided import agreement, divide, divided_pairs, image_groups
from kpairs.data.listed import read_pairs
from kpairs.data.settings import PixelSettings
from kpairs.errors import InputError, UsageError


@pytest.fixture
def pictures(tmp_path):
    """Twelve grey pictures, 0.png the darkest."""
    for i in range(12):
        Image.fromarray(np.full((8, 8), 20 * i, np.uint8)).save(tmp_path / f"{i}.png")
    return tmp_path


def write(folder, text, name="pairs.csv"):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def read(folder, text, **options):
    return read_pairs(write(folder, text), **options)[0]


def test_the_three_ways_to_judge(pictures):
    label = (
        "left,right,label\n0.png,1.png,right\n1.png,2.png,LEFT\n2.png,3.png, Tie \n0.png,3.png,.7\n"
    )
    winner = "left,right,winner\n0.png,1.png,1.png\n1.png,2.png,1.png\n2.png,3.png,tie\n"
    probability = "probability,right,left\n1,1.png,0.png\n0,2.png,1.png\n0.5,3.png,2.png\n"
    for text, expected in (
        (label, [1, 0, 0.5, 0.7]),
        (winner, [1, 0, 0.5]),
        (probability, [1, 0, 0.5]),
    ):
        pairs = read(pictures, text)
        np.testing.assert_allclose(pairs.probability, expected, atol=1e-7)
        assert [os.path.basename(f) for f in pairs.files] == [f"{i}.png" for i in range(4)]
        assert pairs.left.tolist()[:3] == [0, 1, 2]
        assert pairs.right.tolist()[:3] == [1, 2, 3]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_cells_are_parted_as_spreadsheets_part_them(pictures, mark):
    rows = ("left", "right", "label", "note"), ("0.png", "1.png", "right", "a, b")
    pairs = read(pictures, "".join(f"{mark.join(row)}\n" for row in rows))
    assert (len(pairs), pairs.probability.tolist()) == (1, [1])


def test_other_headers_weights_and_grades(pictures):
    text = "a,b,who,Weight,left_grade,right_grade\n0.png,1.png,right,2,low,high\n"
    text += "./1.png,2.png,tie,0.5,high,\n"
    columns = parse_columns("left=A,right=b, label=who")
    pairs = read(pictures, text, columns=columns, classes=("low", "high"))
    assert len(pairs.files) == 3  # ./1.png is 1.png
    assert pairs.weight.tolist() == [2, 0.5]
    assert (pairs.left_grade.tolist(), pairs.right_grade.tolist()) == ([0, 1], [1, -1])
    assert pairs.classes == ("low", "high")
    with pytest.raises(UsageError, match="add --classes low,high"):
        read(pictures, text, columns=columns)
    with pytest.raises(UsageError, match="unknown column 'lft'"):
        parse_columns("lft=a")
    with pytest.raises(UsageError, match="expected headers such as"):
        parse_columns("left")


def test_rows_without_a_judgement_are_left_out(pictures):
    text = "left,right,label\n0.png,1.png,\n\n1.png,2.png,left\n2.png,3.png,  \n"
    pairs, split, unjudged = read_pairs(write(pictures, text))
    assert (len(pairs), split, unjudged) == (1, None, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "left,right,label\n0.png,1.png,left\n0.png,99.png,left\n",
            r"row 3: expected an image file, received '99.png'",
        ),
        (
            "left,right,label\n0.png,=cmd|calc,left\n",
            r"row 2: expected an image file, received '=cmd\|calc'",
        ),
        ("left,right,label\n0.png,1\0.png,left\n", "row 2: expected an image file"),
        ("left,right,label\n,1.png,left\n", "row 2: expected an image file, received no path"),
        ("left,right,label\n0.png,.,left\n", "row 2: expected an image file, received '.'"),
        (
            "left,right,label\n0.png,1.png,middle\n",
            "row 2: expected left, right or tie, or the probability .* received middle",
        ),
        ("left,right,label\n0.png,1.png,1.5\n", "row 2: expected left, right or tie"),
        (
            "left,right,probability\n0.png,1.png,left\n",
            "row 2: expected the probability that left ranks no higher",
        ),
        ("left,right,probability\n0.png,1.png,nan\n", "row 2: expected the probability"),
        (
            "left,right,winner\n0.png,1.png,2.png\n",
            "row 2: expected the winner 0.png, 1.png or tie, received 2.png",
        ),
        (
            "left,right,label\n0.png,0.png,tie\n",
            "row 2: expected two different images, received 0.png twice",
        ),
        ("left,right,label\n0.png,./0.png,tie\n", "row 2: expected two different images"),
        (
            "left,right,label,weight\n0.png,1.png,tie,-1\n",
            "row 2: expected a weight of 0 or more, received -1",
        ),
        (
            "left,right,label,split\n0.png,1.png,tie,dev\n",
            "row 2: expected the split train or test, received dev",
        ),
        (
            "left,right\n0.png,1.png\n",
            "expected the columns left, right and one of label, winner or probability",
        ),
        (
            "left,right,label,winner\n0.png,1.png,tie,tie\n",
            "and one of label, winner or probability",
        ),
        (
            "image_0,image_1,label\n0.png,1.png,tie\n",
            "received image_0, image_1, label; other headers",
        ),
        (
            "left,left,right,label\n0.png,0.png,1.png,tie\n",
            "expected each column once, received 'left' twice",
        ),
        ("left,right,label\n", "expected judged pairs below the header, received none"),
        ("left,right,label\n0.png,1.png,\n", "received 1 without a judgement"),
        ("", "received an empty file"),
        (
            'left,right,label\n0.png,"1.png,left\n',
            "expected a CSV file of pairs, received: unexpected end of data",
        ),
        (
            'left,right,label\n0.png,"1.png,left\n' + "0.png,1.png,left\n" * 20_000,
            "field larger than field limit",
        ),
        ("left,right,label\n" + "x" * 100_000, "a line of more than 65,536 characters"),
    ],
)
def test_files_that_are_refused(text, message, pictures):
    with pytest.raises(InputError, match=message) as error:
        read(pictures, text)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_what_is_no_file_of_text(pictures):
    os.mkfifo(pictures / "pipe.csv")
    for name in ("pipe.csv", "none.csv", "."):
        with pytest.raises(InputError, match="expected a CSV file of pairs, received none"):
            read_pairs(pictures / name)


def test_long_files_are_read_row_by_row(pictures):
    """Memory for numbers alone: about 60 bytes a row, whatever is written there."""
    with open(pictures / "long.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["left", "right", "label", "note"])
        for i in range(50_000):
            writer.writerow(
                [f"{i % 12}.png", f"{(i + 1 + i // 12 % 11) % 12}.png", "left", "x" * 100]
            )
    seen = []
    tracemalloc.start()
    pairs, _, _ = read_pairs(
        pictures / "long.csv", progress=lambda done, of: seen.append(done / of)
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(pairs) == 50_000
    assert peak < 120 * len(pairs)
    assert seen == sorted(seen)
    assert len(seen) == 5
    assert seen[-1] <= 1


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 30)).filter(lambda p: p[0] != p[1]), min_size=1
    ),
    st.integers(0, 2**32),
)
def test_groups_take_every_image_and_keep_their_shares(pairs, seed):
    _, numbers = np.unique(np.array(pairs), return_inverse=True)
    left, right = numbers.reshape(-1, 2).T
    groups = image_groups(left, right, (0.7, 0.3), np.random.default_rng(seed))
    count = numbers.max() + 1
    assert len(groups) == count
    assert set(groups.tolist()) <= {0, 1}
    assert abs((groups == 0).sum() - 0.7 * count) <= 2


def random_pairs(pictures, rng, count, images=12):
    rows = ["left,right,label"]
    for _ in range(count):
        a, b = rng.choice(images, 2, replace=False)
        rows.append(f"{a}.png,{b}.png,{'left' if a > b else 'right'}")
    return write(pictures, "\n".join(rows))


def test_no_image_is_on_both_sides(pictures, rng):
    path = random_pairs(pictures, rng, 60)
    division = divided_pairs(path)
    train, test = division.train, division.test
    assert not set(train.files) & set(test.files)
    assert len(train) + len(test) + division.lost == 60
    assert (division.shared, len(test.files) >= 2) == (0, True)
    again = divide(read_pairs(path)[0])
    assert [again.train.files, again.test.files] == [train.files, test.files]
    for part in (train, test):  # what was judged goes with its files
        for a, b, p in zip(part.left, part.right, part.probability, strict=True):
            higher = [int(os.path.basename(part.files[i])[:-4]) for i in (a, b)]
            assert p == (higher[0] < higher[1])
    assert f"{division.lost} rows left out, since one image is for training" in str(division)


def test_pairs_of_images_of_their_own_lose_nothing(pictures):
    text = "left,right,label\n" + "".join(f"{2 * i}.png,{2 * i + 1}.png,right\n" for i in range(6))
    division = divided_pairs(write(pictures, text))
    assert (len(division.train), len(division.test), division.lost) == (5, 1, 0)


def test_the_file_says_the_split(pictures):
    text = "left,right,label,split\n0.png,1.png,left,train\n1.png,2.png,left,test\n"
    division = divided_pairs(write(pictures, text))
    assert (len(division.train), len(division.test), division.shared) == (1, 1, 1)
    assert "1 image on both sides, as the file says" in str(division)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "0.png,1.png,left,train\n1.png,2.png,right,train\n",
            "expected pairs for the test split, received none",
        ),
        ("0.png,1.png,left,train\n1.png,2.png,tie,test\n", "in the test split, received ties only"),
        (
            "0.png,1.png,tie,train\n1.png,2.png,left,test\n",
            "in the train split, received ties only",
        ),
    ],
)
def test_splits_that_teach_nothing(text, message, pictures):
    with pytest.raises(InputError, match=message):
        divided_pairs(write(pictures, f"left,right,label,split\n{text}"))


def test_contradictions_and_cycles_are_counted(pictures):
    rows = [
        "0.png,1.png,right",
        "1.png,0.png,right",
        "1.png,0.png,left",
    ]  # 1 above 0, by two to one
    rows += ["1.png,2.png,right", "2.png,3.png,right", "3.png,1.png,right"]  # a cycle of three
    rows += ["3.png,4.png,tie", "5.png,6.png,left", "6.png,5.png,right"]
    found = agreement(read(pictures, "left,right,label\n" + "\n".join(rows)))
    assert (found.images, found.contradicting, found.cyclic) == (7, 1, 3)
    assert found.higher == (2, 6, 1)


def test_a_pair_set_from_a_file(pictures, tmp_path):
    text = "left,right,label,weight,split,left_grade,right_grade\n"
    text += "0.png,1.png,right,1,train,0,1\n3.png,2.png,tie,3,train,,2\n4.png,5.png,left,1,test,,\n"
    path = write(pictures, text)
    look = PixelSettings(8, 8, 1, ink="mixed", rounded=True)
    pairs = PairSet.from_csv(path, settings=look, root=tmp_path / "cache")
    assert pairs.comparison.tolist() == [1, 0.5]
    np.testing.assert_allclose(np.asarray(pairs.left)[:, 0, 0, 0], [0, 60 / 255])
    assert pairs.sample_weight.tolist() == [0.5, 1.5]
    assert (pairs.left_digit.tolist(), pairs.right_digit.tolist()) == ([0, -1], [1, 2])
    turned = pairs.swapped()
    assert turned.comparison.tolist() == [0, 0.5]
    joined = PairSet.concat(pairs, turned)
    assert joined.comparison.tolist() == [1, 0.5, 0, 0.5]
    assert joined.take(np.array([2])).right_digit.tolist() == [0]
    assert len(PairSet.from_csv(path, "test", settings=look, root=tmp_path / "cache")) == 1
    with pytest.raises(InputError, match="expected a CSV file with the columns left and right"):
        PairSet.from_csv(
            write(
                pictures,
                "image,grade\n" + "".join(f"{i}.png,{i % 2}\n" for i in range(12)),
                "g.csv",
            ),
            settings=look,
            root=tmp_path / "cache",
        )
