"""Pairs that people compared, from tables: what is read, refused, counted and said."""

import csv
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kpairs.data import draw_pairs, open_source
from kpairs.data.columns import parse_columns, parse_words
from kpairs.data.compared import count_outcomes, read_compared
from kpairs.data.pairs import PairSet
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
    return read_compared(write(folder, text), **options)


@pytest.mark.parametrize(
    ("text", "expected", "options"),
    [
        (
            "left,right,label\n0.png,1.png,right\n1.png,2.png,LEFT\n2.png,3.png, Tie \n",
            [1, 0, 0.5],
            {},
        ),
        (
            "left,right,winner\n0.png,1.png,1.png\n1.png,2.png,1.png\n2.png,3.png,tie\n",
            [1, 0, 0.5],
            {},
        ),
        ("right_wins,right,left\n1,1.png,0.png\n0,2.png,1.png\n.7,3.png,2.png\n", [1, 0, 0.7], {}),
        ("left_wins,right,left\n0,1.png,0.png\n1,2.png,1.png\n0.3,3.png,2.png\n", [1, 0, 0.7], {}),
        (
            "left,right,left_wins,right_wins\n0.png,1.png,0,4\n1.png,2.png,3,0\n2.png,3.png,3,7\n",
            [1, 0, 0.7],
            {},
        ),
        (
            'left,right,"best, of two"\n0.png,1.png,B\n1.png,2.png,a\n2.png,3.png,both bad\n',
            [1, 0, 0.5],
            {
                "columns": parse_columns('"label=best, of two"'),
                "words": parse_words("left=A,right=B,tie=same,tie=both bad"),
            },
        ),
    ],
)
def test_every_way_to_judge(text, expected, options, pictures):
    pairs = read(pictures, text, **options)
    np.testing.assert_allclose(pairs.probability, expected, atol=1e-7)
    assert [os.path.basename(f) for f in pairs.files] == ["0.png", "1.png", "2.png", "3.png"] or (
        [os.path.basename(f) for f in pairs.files] == ["1.png", "0.png", "2.png", "3.png"]
    )
    names = [os.path.basename(f) for f in pairs.files]
    assert [names[i] for i in pairs.left] == ["0.png", "1.png", "2.png"]
    assert [names[i] for i in pairs.right] == ["1.png", "2.png", "3.png"]
    assert pairs.in_words(0) == "row 2: 1.png ranks higher than 0.png"
    assert pairs.in_words(1) == "row 3: 1.png ranks higher than 2.png"


def test_winner_and_loser_are_sides(pictures):
    pairs = read(pictures, "loser,winner\n0.png,1.png\n2.png,1.png\n")
    assert [pairs.in_words(row) for row in (0, 1)] == [
        "row 2: 1.png ranks higher than 0.png",
        "row 3: 1.png ranks higher than 2.png",
    ]


def test_votes_weigh_as_many_as_they_are(pictures):
    pairs = read(pictures, "left,right,left_wins,right_wins\n0.png,1.png,1,3\n1.png,2.png,5,5\n")
    assert pairs.weight.tolist() == [4, 10]
    assert pairs.in_words(0) == "row 2: 1.png ranks higher than 0.png with probability 0.75"
    assert pairs.in_words(1) == "row 3: 1.png and 2.png tie"


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


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_columns, "lft=a", "unknown column 'lft'"),
        (parse_columns, "left", "columns: expected such as left=image_0"),
        (parse_columns, "left=a,left=b", "expected left once"),
        (parse_words, "lft=a", "unknown word's meaning 'lft'"),
        (parse_words, "left=", "words: expected such as left=model_a"),
        (parse_words, "left=a,right=A", "expected one meaning of 'A'"),
    ],
)
def test_columns_and_words_that_are_refused(parse, text, message):
    with pytest.raises(UsageError, match=message):
        parse(text)


def test_a_word_means_a_side(pictures):
    with pytest.raises(UsageError, match="unknown meaning of a word 'up'"):
        read(pictures, "left,right,label\n1.png,2.png,A", words={"A": "up"})


def test_a_named_column_excludes_the_unnamed_ones(pictures):
    """A table may have the decision in words and another column that means something else."""
    text = "left,right,label,winner\n0.png,1.png,right,0.png\n"
    with pytest.raises(InputError, match="not label and winner together"):
        read(pictures, text)
    for name, expected in (("label", 1), ("winner", 0)):
        assert read(pictures, text, columns={name: name}).probability.tolist() == [expected]


def test_images_by_name_in_another_folder(pictures, tmp_path):
    """Ids without folder or ending, as questionnaires have them."""
    (tmp_path / "tables").mkdir()
    path = write(tmp_path / "tables", "left,right,label\n0,deeper/1.png,right\n1.png,3,left\n")
    (pictures / "deeper").mkdir()
    (pictures / "1.png").rename(pictures / "deeper/1.png")
    pairs = read_compared(path, images=pictures)
    assert [os.path.relpath(f, pictures) for f in pairs.files] == ["0.png", "deeper/1.png", "3.png"]
    Image.new("L", (8, 8)).save(pictures / "deeper/3.jpg")
    with pytest.raises(InputError, match=r"row 3: expected the name of one image, received '3'"):
        read_compared(path, images=pictures)


def test_rows_without_a_judgement_are_left_out(pictures):
    text = "left,right,label\n0.png,1.png,\n\n1.png,2.png,left\n2.png,3.png,  \n"
    pairs = read(pictures, text)
    assert (len(pairs), pairs.split, pairs.unjudged) == (1, None, 2)


@pytest.mark.parametrize(
    ("text", "kept", "said"),
    [
        (
            "left,right,label\n0.png,1.png,left\n0.png,99.png,left\n98.png,99.png,left\n",
            ["0.png", "1.png"],
            "left out 2 rows, as images are missing: '99.png' (row 3) and 1 more",
        ),
        (
            "image,rank,group\n0.png,1,a\n99.png,2,a\n2.png,3,a\n",
            ["0.png", "2.png"],
            "left out 1 row, as images are missing: '99.png' (row 3)",
        ),
        (
            "image,grade\n0.png,1\n1.png,2\n99.png,2\n",
            ["0.png", "1.png"],
            "left out 1 row, as images are missing: '99.png' (row 4)",
        ),
    ],
)
def test_rows_of_missing_images_are_left_out_where_that_is_asked_for(
    pictures, text, kept, said, caplog
):
    table = write(pictures, text)
    with pytest.raises(InputError, match="or leave their rows out: --skip-missing"):
        open_source(table)
    source = open_source(table, skip_missing=True)
    assert said in caplog.text
    assert source.read_by["skip_missing"]
    assert sorted(Path(name).name for name in source.fingerprints(pictures)) == kept
    if source.judged:  # a list of n images counts as n - 1 pairs
        assert source.listed.weight is None or source.listed.weight.tolist() == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "left,right,label\n0.png,1.png,left\n0.png,99.png,left\n98.png,99.png,left\n",
            r"row 3: no image file '99.png' .* 2 of the 4 images that the table names are missing",
        ),
        ("left,right,label\n0.png,=cmd|calc,left\n", r"row 2: no image file '=cmd\|calc'"),
        ("left,right,label\n0.png,1\0.png,left\n", "row 2: expected an image file"),
        ("left,right,label\n,1.png,left\n", "row 2: expected an image file, received no path"),
        ("left,right,label\n0.png,.,left\n", "row 2: no image file '.'"),
        (
            "left,right,label\n0.png,1.png,middle\n1.png,2.png,middle\n1.png,2.png,A\n",
            r"row 2: unknown words in label: 'middle' \(2 rows\), 'A' \(1 row\); expected left, "
            "right, tie or the text of the left or right column.* --words left=WORD,right=WORD",
        ),
        (
            "left,right,label\n0.png,1.png,1\n1.png,2.png,0\n",
            "a number does not say which side it means: .* --columns left_wins=label or "
            "right_wins=label",
        ),
        ("left,right,right_wins\n0.png,1.png,left\n", "row 2: expected right_wins, 0 or more"),
        ("left,right,right_wins\n0.png,1.png,nan\n", "row 2: expected right_wins"),
        ("left,right,left_wins\n0.png,1.png,0_1\n", "row 2: expected left_wins, 0 or more"),
        (
            "left,right,right_wins\n0.png,1.png,3\n",
            "row 2: expected right_wins as a probability, 0 to 1, received 3; votes need both",
        ),
        (
            "left,right,left_wins,right_wins\n0.png,1.png,0,0\n",
            "row 2: expected votes for a side, received none",
        ),
        ("left,right,winner\n0.png,1.png,2.png\n", r"unknown words in winner: '2.png' \(1 row\)"),
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
            "left,right,label,split\n0.png,1.png,tie,middle\n",
            "row 2: expected the split train, val or test, received middle",
        ),
        (
            "left,right,label,group\n0.png,1.png,left,a\n1.png,2.png,left,b\n",
            "row 3: expected one group for .*1.png, received 'b' here and 'a' before",
        ),
        ("left,right\n0.png,1.png\n", "expected the columns left, right and who ranks higher"),
        (
            "left,right,label,left_wins\n0.png,1.png,tie,1\n",
            "not label and left_wins together",
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
def test_tables_that_are_refused(text, message, pictures):
    with pytest.raises(InputError, match=message) as error:
        read(pictures, text)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_what_is_no_table(pictures):
    os.mkfifo(pictures / "pipe.csv")
    for name in ("pipe.csv", "."):
        with pytest.raises(InputError, match="expected a CSV file of pairs, received none"):
            read_compared(pictures / name)
    with pytest.raises(InputError, match=r"none\.csv: no such file or folder"):
        read_compared(pictures / "none.csv")


def test_long_tables_are_read_row_by_row(pictures):
    """Memory for numbers alone, whatever is written there."""
    with open(pictures / "long.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["left", "right", "label", "note"])
        for i in range(50_000):
            writer.writerow(
                [f"{i % 12}.png", f"{(i + 1 + i // 12 % 11) % 12}.png", "left", "x" * 100]
            )
    seen = []
    tracemalloc.start()
    pairs = read_compared(pictures / "long.csv", progress=lambda done, of: seen.append(done / of))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(pairs) == 50_000
    assert peak < 120 * len(pairs)
    assert seen == sorted(seen)
    assert len(seen) == 5
    assert seen[-1] <= 1


def test_contradictions_and_cycles_are_counted(pictures):
    rows = [
        "0.png,1.png,right",
        "1.png,0.png,right",
        "1.png,0.png,left",
    ]  # 1 above 0, by two to one
    rows += ["1.png,2.png,right", "2.png,3.png,right", "3.png,1.png,right"]  # a cycle of three
    rows += ["3.png,4.png,tie", "5.png,6.png,left", "6.png,5.png,right"]
    found = count_outcomes(read(pictures, "left,right,label\n" + "\n".join(rows)))
    assert (found.images, found.contradicting, found.cyclic) == (7, 1, 3)
    assert found.higher == (2, 6, 1)


def test_a_pair_set_from_a_table(pictures, tmp_path):
    text = "left,right,label,weight,split,left_grade,right_grade\n"
    text += "0.png,1.png,right,1,train,0,1\n3.png,2.png,tie,3,val,,2\n4.png,5.png,left,1,test,,\n"
    source = open_source(write(pictures, text), root=tmp_path / "cache")
    look = PixelSettings(8, 8, 1, ink="mixed", rounded=True)
    pairs = draw_pairs(source.split("train", look))
    order = np.argsort(pairs.comparison)[::-1]
    pairs = pairs.take(order)
    assert pairs.comparison.tolist() == [1, 0.5]
    np.testing.assert_allclose(np.asarray(pairs.left)[:, 0, 0, 0], [0, 60 / 255])
    assert pairs.sample_weight.tolist() == [0.5, 1.5]
    assert (pairs.left_digit.tolist(), pairs.right_digit.tolist()) == ([0, -1], [1, 2])
    turned = pairs.swapped()
    assert turned.comparison.tolist() == [0, 0.5]
    joined = PairSet.concat(pairs, turned)
    assert joined.comparison.tolist() == [1, 0.5, 0, 0.5]
    assert joined.take(np.array([2])).right_digit.tolist() == [0]
    assert len(source.split("test", look)) == 1
