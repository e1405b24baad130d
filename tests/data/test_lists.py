"""Ranked lists become pairs."""

import numpy as np
import pytest
from image_folders import table
from PIL import Image

from kpairs import open_source
from kpairs.data.compared import read_compared
from kpairs.errors import InputError


@pytest.fixture
def ranked(tmp_path):
    """A table of two lists: of four images, two of which tie, and of two by another judge."""
    for number in range(5):
        Image.new("L", (8, 8), 40 * number).save(tmp_path / f"{number}.png")
    rows = [
        "0.png,2,a,x",
        "1.png,1,a,x",
        "2.png,3,a,x",
        "3.png,3,a,x",
        "4.png,1,b,y",
        "0.png,2,b,y",
    ]
    return table(tmp_path / "lists.csv", "image,rank,group,judge", *rows[:4]), rows


def test_every_two_images_of_a_list_are_a_pair(ranked):
    pairs = read_compared(ranked[0])
    names = [file[-5] for file in pairs.files]
    found = {}
    for left, right, p in zip(pairs.left, pairs.right, pairs.probability, strict=True):
        both = names[left], names[right]
        found[frozenset(both)] = "" if p == 0.5 else both[int(p)]
    higher = {"01": "1", "02": "0", "03": "0", "12": "1", "13": "1", "23": ""}
    assert found == {frozenset(key): name for key, name in higher.items()}
    assert pairs.weight.sum() == pytest.approx(3)
    assert set(pairs.judge) == {"x"}
    assert set(pairs.group) == {"a"}
    assert 0 < np.count_nonzero(pairs.probability == 1) < 5  # neither side always wins


def test_lists_are_opened_as_compared_pairs(ranked):
    """Lists that share an image are no groups."""
    place, rows = ranked
    source = open_source(table(place, "image,rank,group,judge", *rows))
    assert source.judged
    assert len(source.listed) == 7
    assert source.listed.group is None


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("0.png,first,a,x", "row 6: expected a rank, received 'first'"),
        ("4.png,1,,x", "row 6: expected the list that the image stands in"),
        ("0.png,7,a,x", "row 6: expected 0.png once in the list a"),
    ],
)
def test_rows_that_make_no_sense(ranked, row, said):
    place, rows = ranked
    table(place, "image,rank,group,judge", *rows[:4], row)
    with pytest.raises(InputError, match=said):
        read_compared(place)


def test_a_list_has_one_split(ranked):
    place, _ = ranked
    table(place, "image,rank,group,split", "0.png,1,a,train", "1.png,2,a,test")
    with pytest.raises(InputError, match="row 3: expected one split and one weight in the list a"):
        read_compared(place)
