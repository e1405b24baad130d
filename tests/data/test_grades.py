"""Rated images: the order of grades, scores, folders and tables, and what is refused."""

import os
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_folders import table, write
from PIL import Image

from kpairs.data.columns import parse_columns
from kpairs.data.grades import ranked, read_rated
from kpairs.errors import InputError, UsageError


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("1", "2", "10"), ("1", "2", "10")),
        (("0", "1", "-1"), ("-1", "0", "1")),
        (("1.5", "1.25", "1.10"), ("1.10", "1.25", "1.5")),
    ],
)
def test_numbers_rank_by_value(names, expected):
    assert ranked(names, "here") == expected


@pytest.mark.parametrize(
    ("names", "proposed"),
    [
        (("low", "medium", "high"), "low,medium,high"),
        (("Severe", "mild", "None", "moderate"), "None,mild,moderate,Severe"),
        (("very low", "high", "Low"), "very low,Low,high"),
        (("age10", "age2"), "age2,age10"),
    ],
)
def test_a_known_scale_is_proposed_and_never_assumed(names, proposed):
    with pytest.raises(UsageError, match=f"add --classes '?{proposed}'?$"):
        ranked(names, "here")
    assert ranked(names, "here", proposed.split(",")) == tuple(proposed.split(","))


def test_names_in_no_known_order():
    with pytest.raises(UsageError, match=r"grades cat, dog, elk is not known.* lowest first$"):
        ranked({"dog", "cat", "elk"}, "here")
    assert ranked({"dog", "cat"}, "here", ["dog", "cat"]) == ("dog", "cat")
    for classes in (["dog"], ["dog", "cat", "elk"], ["dog", "cat", "cat"]):
        with pytest.raises(UsageError, match=r"expected the grades of here .*\(cat, dog\)"):
            ranked({"dog", "cat"}, "here", classes)


def test_one_grade_equal_grades_and_too_many():
    with pytest.raises(InputError, match="at least two grades, received '3' only"):
        ranked({"3"}, "here")
    with pytest.raises(InputError, match="grades of different value"):
        ranked({"1", "1.0", "2"}, "here")
    with pytest.raises(InputError, match="at most 100 grades, received 101"):
        ranked(map(str, range(101)), "here")


def test_a_folder_of_class_folders(tmp_path, caplog):
    folder = write(tmp_path / "photos", ("1", "2", "10"))
    (folder / "2" / "._1.png").write_bytes(b"a file of macOS")
    (folder / "2" / "notes.txt").write_text("a note")
    (folder / "2" / "folder.png").mkdir()
    Image.new("L", (4, 4)).save(folder / "in no folder.png")
    rated = read_rated(folder)
    assert rated.classes == ("1", "2", "10")
    assert [os.path.basename(rated.images.files[i]) for i in rated.image] == [
        f"{i}.png" for _ in range(3) for i in range(10)
    ]
    assert rated.grade.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert rated.split is None
    assert f"{folder}: left out 1 .txt" in caplog.text
    assert f"{folder}: left out 1 image in no class folder" in caplog.text


def test_a_folder_with_its_own_splits(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        write(tmp_path / split, ("low", "high", "medium"), count)
    order = ["low", "medium", "high"]
    (tmp_path / "test").rename(tmp_path / "Val")
    alone = read_rated(tmp_path, classes=order)
    assert (Counter(alone.split.tolist()), alone.note[:31]) == (
        {0: 9, 1: 6},
        "6 images of val are for testing",
    )
    (tmp_path / "Val").rename(tmp_path / "test")
    rated = read_rated(tmp_path, classes=order)
    assert Counter(rated.split.tolist()) == {0: 9, 1: 6}
    for file in (tmp_path / "test" / "low").iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"low: expected images .*, received none"):
        read_rated(tmp_path, classes=order)
    (tmp_path / "test" / "low").rmdir()
    with pytest.raises(InputError, match=r"same classes in train/ and test/; low in one only"):
        read_rated(tmp_path, classes=order)
    (tmp_path / "test").rename(tmp_path / "other")
    with pytest.raises(InputError, match="expected test/ beside train/"):
        read_rated(tmp_path, classes=order)


def test_folders_without_what_is_needed(tmp_path):
    with pytest.raises(InputError, match="at least two class folders"):
        read_rated(tmp_path)
    write(tmp_path, ("1",), 4)
    with pytest.raises(InputError, match="at least two class folders"):
        read_rated(tmp_path)
    with pytest.raises(InputError, match=r"4 images and no class folders.*kpairs label"):
        read_rated(tmp_path / "1")


@pytest.mark.parametrize("link", [False, True])
def test_an_image_is_in_one_class_and_one_split(tmp_path, link):
    """A link is the image that it leads to."""
    write(tmp_path / "p", ("1", "2"), 4)
    (tmp_path / "p/2/9.png").symlink_to(tmp_path / "p/1/0.png")
    with pytest.raises(InputError, match="expected each image in one class folder"):
        read_rated(tmp_path / "p")
    write(tmp_path / "q/train", ("1", "2"), 4)
    write(tmp_path / "q/test", ("1", "2"), 4)
    (tmp_path / "q/test/1/9.png").symlink_to(tmp_path / "q/train/1/0.png")
    with pytest.raises(InputError, match="expected each image in one class folder"):
        read_rated(tmp_path / "q")


def test_a_table(tmp_path):
    write(tmp_path / "images", ("a", "b"))
    rows = [f"images/{c}/{i}.png,{2 if c == 'a' else 10},x" for c in "ab" for i in range(10)]
    source = table(tmp_path / "grades.csv", "Image, grade,note", *rows, "", ",,")
    rated = read_rated(source)
    assert rated.classes == ("2", "10")
    assert Counter(rated.grade.tolist()) == {0: 10, 1: 10}
    assert rated.images.files[0] == str(tmp_path / "images" / "a" / "0.png")
    assert rated.images.places[0] == f"{source} row 2"
    words = ("train", "TEST", "val", "Validation")
    rows = [
        f"{word},{g},images/a/{2 * i + g - 1}.png" for i, word in enumerate(words) for g in (1, 2)
    ]
    divided = read_rated(table(tmp_path / "divided.csv", "split,grade,image", *rows))
    assert sorted(zip(divided.image.tolist(), divided.split.tolist(), strict=True)) == [
        *((0, 0), (1, 0), (2, 1), (3, 1), (4, 0), (5, 0), (6, 0), (7, 0))
    ]


def test_an_image_that_several_people_rated_stands_in_several_rows(tmp_path):
    write(tmp_path / "p", "12", 3)
    rows = ("p/1/0.png,1", "p/1/0.png,2", "./p/1/../1/0.png,2", "p/2/0.png,2")
    rated = read_rated(table(tmp_path / "g.csv", "image,grade", *rows))
    assert len(rated.images) == 2
    assert rated.image.tolist() == [0, 0, 0, 1]
    assert rated.grade.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("header", "written"),
    [("image,score", "{}"), ("image,grade", "{}"), ('"name, of file";mos', "{}")],
)
def test_scores_are_numbers(tmp_path, header, written):
    """A column of more numbers than grades could be holds scores, whatever its name."""
    write(tmp_path / "p", "1", 30)
    mark = ";" if ";" in header else ","
    values = [f"{1 + i / 10:.1f}" for i in range(30)]
    rows = [f"p/1/{i}.png{mark}{v}" for i, v in enumerate(values)]
    columns = (
        None
        if "," in header and ";" not in header
        else parse_columns('"image=name, of file",score=mos')
    )
    rated = read_rated(table(tmp_path / "s.csv", header, *rows), columns=columns)
    assert rated.classes == ()
    assert rated.score.tolist() == [float(v) for v in values]


@pytest.mark.parametrize("name", ["grade", "score"])
def test_decimal_commas(tmp_path, name):
    write(tmp_path / "p", "1", 4)
    rows = [f"p/1/{i}.png;{v}" for i, v in enumerate(("0", "0,5", "1", "1,5"))]
    rated = read_rated(table(tmp_path / "g.csv", f"image;{name}", *rows))
    if name == "score":
        assert rated.score.tolist() == [0, 0.5, 1, 1.5]
    else:
        assert rated.classes == ("0", "0,5", "1", "1,5")


def test_names_with_commas_are_never_proposed_unquoted(tmp_path):
    """A proposal must work as it is printed."""
    write(tmp_path / "p", "1", 3)
    rows = [f"p/1/{i}.png;{v}" for i, v in enumerate(("0", "0,5", "much, very"))]
    with pytest.raises(UsageError) as error:
        read_rated(table(tmp_path / "g.csv", "image;grade", *rows))
    assert str(error.value).endswith(
        """add --classes '0,"0,5","much, very"', else give """ + "them as they rank, lowest first"
    )


def test_images_by_name_in_another_folder(tmp_path):
    write(tmp_path / "p", "12", 1)
    for c in "12":
        (tmp_path / f"p/{c}/0.png").rename(tmp_path / f"p/{c}/image {c}.png")
    source = table(tmp_path / "g.csv", "image,grade", "image 1,1", "image 2.png,2")
    rated = read_rated(source, images=tmp_path / "p")
    assert [os.path.basename(f) for f in rated.images.files] == ["image 1.png", "image 2.png"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a,b", "1,2"], "expected the columns image and grade or score, .* received a, b"),
        ([""], "received an empty file"),
        (["image,grade"], "expected images .*, received none"),
        (["image,grade", "a.png"], "row 2: expected 2 cells, received 1"),
        (["image,grade", "a.png,0,75"], "received 3; quote cells .* decimals with a point"),
        (["image,grade", "a.png,"], "row 2: expected an image and its grade"),
        (
            ["image,grade,split", "a.png,1,middle"],
            "row 2: expected the split train, val or test, .*",
        ),
        (["image,grade,score", "a.png,1,2"], "expected the columns image and grade or score"),
        (["image,score", "a.png,1", "b.png,1_5"], "expected a number as score, received '1_5'"),
        (
            ["image,score", 'a.png,"1,500"', "b.png,980"],
            "as score, received '1,500'; write decimals",
        ),
        (["image;score", "a.png;1,5", "b.png;1.5"], "as score, received '1,5'; write decimals"),
        (["image,score", "a.png,2", "b.png,2.0"], "expected different scores, received 2 only"),
        (
            ["image,grade", "a.png,1", "c.png,2", "d/e.png,2"],
            r"row 3: no image file 'c.png' in .*; 2 of the 3 images .* --images FOLDER",
        ),
        (
            ["image,grade,split", "a.png,1,train", "a.png,1,test", "b.png,2,test"],
            "expected one split for .*a.png, received train and test",
        ),
        (
            ["image,grade,group", "a.png,1,A", "b.png,2,B", "a.png,1,B"],
            "row 4: expected one group for .*, received 'B' here and 'A' before",
        ),
        (["image,grade", "a.png,1", "b.png,1"], "at least two grades, received '1'"),
        (["image,grade", '"a.png,1'], "expected a CSV file of grades, received: unexpected end"),
        (["image,grade", "\0,1"], "row 2: expected an image"),
        (["image,grade", "a" * 200_000 + ",1"], "expected a CSV file of grades"),
    ],
)
def test_csv_files_that_say_too_little(tmp_path, lines, message):
    for name in "ab":
        Image.new("L", (3, 3)).save(tmp_path / f"{name}.png")
    with pytest.raises(InputError, match=message):
        read_rated(table(tmp_path / "grades.csv", *lines))


def test_csv_files_that_cannot_be_read(tmp_path):
    (tmp_path / "damaged.csv").write_bytes("image,grade\n\xff,1\n".encode() + b"\xff,2\n")
    os.mkfifo(tmp_path / "pipe.csv")
    for name, message in (
        ("damaged.csv", "expected a CSV file of grades, received: 'utf-8' codec"),
        ("pipe.csv", "received none"),
        ("none.csv", "no such file or folder"),
    ):
        with pytest.raises(InputError, match=f"{name}: .*{message}"):
            read_rated(tmp_path / name)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text("0123456789.-ab", min_size=1, max_size=5), min_size=2, unique=True))
def test_any_names_are_ranked_or_refused(names):
    try:
        order = ranked(names, "here")
    except (InputError, UsageError):
        return
    values = [float(name) for name in order]
    assert values == sorted(values)
    assert sorted(order) == sorted(names)
