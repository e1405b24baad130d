"""Which images are for training and which for testing, and how pairs are parted with them."""

import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_folders import table
from PIL import Image

from kpairs.data.division import image_groups, rescue_empty_grades
from kpairs.data.source import open_source
from kpairs.errors import InputError, UsageError


@pytest.fixture
def pictures(tmp_path):
    """A hundred different pictures."""
    rng = np.random.default_rng(5)
    (tmp_path / "p").mkdir()
    for i in range(100):
        Image.fromarray(rng.integers(0, 256, (4, 4), np.uint8)).save(tmp_path / f"p/{i}.png")
    return tmp_path


def sides_of(source):
    """The side of each file, by its name."""
    files = source.rated.images.files
    return {
        os.path.basename(files[i]): int(side)
        for i, side in zip(source.rated.image, source.side, strict=True)
    }


def both(source):
    """What both splits hold."""
    return [source.counts(part) for part in ("train", "test")]


def graded(folder, numbers, name="grades.csv"):
    rows = [f"p/{i}.png,{1 + i % 2}" for i in numbers]
    return open_source(table(folder / name, "image,grade", *rows))


def test_a_fifth_is_for_testing_and_more_images_move_none(pictures):
    """Not by place or name: the images of the middle first, then all, then renamed."""
    some, every = (sides_of(graded(pictures, n)) for n in (range(30, 70), range(100)))
    assert 10 <= sum(every.values()) <= 30
    assert some == {name: side for name, side in every.items() if name in some}
    (pictures / "p/40.png").rename(pictures / "p/400.png")
    renamed = sides_of(graded(pictures, [*range(40), *range(41, 100), 400]))
    assert renamed["400.png"] == every["40.png"]


def test_copies_are_on_one_side_and_named(pictures, caplog):
    every = sides_of(graded(pictures, range(100)))
    one = next(name for name, side in every.items() if side)
    shutil.copy(pictures / "p" / one, pictures / "p/100.png")
    copied = sides_of(graded(pictures, range(101)))
    assert copied["100.png"] == copied[one] == 1
    assert "1 images are copies of others, such as" in caplog.text
    assert one in caplog.text


def test_a_group_is_on_one_side(pictures):
    """All images of a patient; a copy in another group joins its sides."""
    rows = [f"p/{i}.png,{1 + i % 2},patient {i // 10}" for i in range(100)]
    source = open_source(table(pictures / "g.csv", "image,grade,group", *rows))
    sides = sides_of(source)
    for first in range(0, 100, 10):
        assert len({sides[f"{i}.png"] for i in range(first, first + 10)}) == 1
    assert set(sides.values()) == {0, 1}
    named = open_source(
        table(pictures / "n.csv", "image,grade", *(row.rpartition(",")[0] for row in rows)),
        group="(.*)[0-9].png",
    )
    sides = sides_of(named)
    for first in range(10, 100, 10):
        assert len({sides[f"{i}.png"] for i in range(first, first + 10)}) == 1
    assert named.read_by == {"group": "(.*)[0-9].png"}
    assert named.split("train").group.shape == (named.counts("train")["images"],)
    with pytest.raises(UsageError, match="group: expected images of one's own, received mnist"):
        open_source("mnist", group="folder")


def test_pairs_may_be_of_two_groups(pictures):
    """A row says each image's group; the kept list says them again."""
    rows = [f"p/{2 * i}.png,p/{2 * i + 1}.png,left,g{i % 7},g{i % 5}" for i in range(50)]
    text = "left,right,label,left_group,right_group"
    source = open_source(table(pictures / "c.csv", text, *rows))
    assert set(source.listed.group) == {f"g{i}" for i in range(7)}
    kept = source.rows(pictures)
    assert {(row.get("left_group"), row.get("right_group")) for row in kept} - {(None, None)}
    side = dict(zip(source.listed.files, source.listed.group, strict=True))
    parts = [{side[file] for file in source.files(part)} for part in ("train", "test")]
    assert not parts[0] & parts[1]


def test_several_ratings_of_an_image_are_on_one_side(pictures):
    rows = [f"p/{i}.png,{1 + (i + r) % 2}" for i in range(60) for r in range(3)]
    source = open_source(table(pictures / "g.csv", "image,grade", *rows))
    sides = {}
    for image, side in zip(source.rated.image.tolist(), source.side.tolist(), strict=True):
        assert sides.setdefault(image, side) == side


def test_every_grade_has_images_to_train_on():
    side, grade = np.array([1, 1, 0, 0, 1]), np.array([0, 0, 1, 1, 2])
    units = np.array(list("abcde"))
    assert rescue_empty_grades(side, grade, units).tolist() == [0, 1, 0, 0, 0]
    assert rescue_empty_grades(np.zeros(5, int), grade, units).tolist() == [0, 1, 0, 0, 0]
    units = np.array(list("aacca"))  # what belongs together moves together
    assert rescue_empty_grades(side, grade, units).tolist() == [0, 0, 0, 0, 0]


def test_a_table_may_say_the_split_and_val_is_trained_on(pictures):
    rows = [f"p/{i}.png,{1 + i % 2},{('train', 'val', 'test')[i // 2 % 3]}" for i in range(60)]
    source = open_source(table(pictures / "g.csv", "image,grade,split", *rows))
    assert source.counts("train") == {"images": 40}
    assert source.counts("test") == {"images": 20}
    assert "20 images of val are for training, beside train" in source.describe()
    assert sides_of(source)["2.png"] == 0
    two = open_source(
        table(pictures / "t.csv", "image,grade,split", *(r for r in rows if r[-4:] != "test"))
    )
    assert "20 images of val are for testing, as the split test is empty" in two.describe()
    rows = [
        f"p/{2 * i}.png,p/{2 * i + 1}.png,left,{('train', 'dev', 'test')[i % 3]}" for i in range(30)
    ]
    pairs = open_source(table(pictures / "c.csv", "left,right,label,split", *rows))
    assert [pairs.counts(part)["pairs"] for part in ("train", "test")] == [20, 10]
    assert "10 rows of val are for training, beside train" in pairs.describe()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["p/0.png,1,train", "p/1.png,2,train"],
            "images of every grade for the test split, received none",
        ),
        (
            ["p/0.png,1,train", "p/1.png,2,test"],
            "images of every grade for the train split, received none of 2",
        ),
    ],
)
def test_splits_without_images(rows, message, pictures):
    with pytest.raises(InputError, match=message):
        both(open_source(table(pictures / "g.csv", "image,grade,split", *rows)))


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


def test_pairs_of_images_of_their_own_lose_nothing(pictures):
    """As of Pick-a-Pic, in which hardly an image is in two pairs; however few there are."""
    for count in (2, 6, 50):
        rows = [f"p/{2 * i}.png,p/{2 * i + 1}.png,right" for i in range(count)]
        for ordered in (rows, rows[::-1]):
            source = compared(pictures, *ordered)
            train, test = (source.counts(part)["pairs"] for part in ("train", "test"))
            assert source.lost == 0
            assert train + test == count
            assert test >= 1


def compared(folder, *rows):
    return open_source(table(folder / "pairs.csv", "left,right,label", *rows))


def test_no_image_of_compared_pairs_is_on_both_sides(pictures, rng):
    rows = []
    for _ in range(300):
        a, b = rng.choice(100, 2, replace=False)
        rows.append(f"p/{a}.png,p/{b}.png,{'left' if a > b else 'right'}")
    source = compared(pictures, *rows)
    train, test = source.parts.values()
    assert not set(train.files) & set(test.files)
    assert len(train) + len(test) + source.lost == 300
    for part in (train, test):  # what was judged goes with its files
        for a, b, p in zip(part.left, part.right, part.probability, strict=True):
            left, right = (int(os.path.basename(part.files[i])[:-4]) for i in (a, b))
            assert p == (left < right)
    assert f"{source.lost} rows left out, since one image is for training" in source.describe()
    more = compared(pictures, *rows, *(f"p/{i}.png,p/{i + 1}.png,left" for i in range(99)))
    assert set(train.files) <= set(more.parts["train"].files)
    assert set(test.files) <= set(more.parts["test"].files)


def test_links_and_copies_of_compared_images(pictures):
    """A link is its image; a copy of a test image is for testing too."""
    (pictures / "p/link.png").symlink_to(pictures / "p/0.png")
    (pictures / "q").symlink_to(pictures / "p")
    with pytest.raises(InputError, match="row 2: expected two different images"):
        compared(pictures, "p/0.png,p/link.png,left")
    rows = [f"p/{i}.png,q/{(7 * i + 1) % 100}.png,left" for i in range(100) if (6 * i + 1) % 100]
    assert len(compared(pictures, *rows).listed.files) == 100


def test_the_table_says_the_split(pictures):
    path = table(
        pictures / "pairs.csv",
        "left,right,label,split",
        *("p/0.png,p/1.png,left,train", "p/1.png,p/2.png,left,test"),
    )
    source = open_source(path)
    assert [len(part) for part in source.parts.values()] == [1, 1]
    assert "1 image on both sides, as the table says" in source.describe()


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ("left,train,1", "right,train,1", "expected pairs for the test split, received none"),
        ("left,train,1", "tie,test,1", "one ranks higher in the test split, received ties only"),
        ("tie,train,1", "left,test,1", "one ranks higher in the train split, received ties only"),
        ("left,train,0", "left,test,1", "expected weights above 0 in the train split"),
        ("left,train,0", "left,val,0", "expected weights above 0 in the train split"),
    ],
)
def test_splits_that_teach_nothing(one, other, message, pictures):
    rows = (f"p/0.png,p/1.png,{one}", f"p/1.png,p/2.png,{other}")
    with pytest.raises(InputError, match=message):
        both(open_source(table(pictures / "pairs.csv", "left,right,label,split,weight", *rows)))
