"""Images that belong together: by folders, by names, and never on both sides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpairs.data.groups import best_of_groups, name_groups, number_groups
from kpairs.data.pairs import PairSet, image_sides
from kpairs.errors import InputError, UsageError
from kpairs.judging.linear import fit_linear


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("folder", ("/x/a", "/x/a", "/x/b")),
        ("^[a-z]+", ("anna", "anna", "")),
        ("([a-z]+)-(.)", ("anna", "anna", "")),
        ("/([ab])/", ("a", "a", "b")),
        ("(q)?anna", ("", "", "")),
    ],
)
def test_groups_by_folder_or_by_name(by, groups):
    assert name_groups(["/x/a/anna-1.png", "/x/a/anna-2.png", "/x/b/7.png"], by) == groups


def test_what_gives_no_groups_is_refused():
    with pytest.raises(InputError, match="matches none of 2 names, such as"):
        name_groups(["p/a.png", "p/b.png"], "zz")
    with pytest.raises(UsageError, match="expected folder or a regular expression"):
        name_groups(["p/a.png"], "(")
    assert name_groups([], "zz") == ()


@given(st.lists(st.sampled_from(["", "a", "b", "c"])))
def test_images_without_a_group_are_alone(names):
    numbers = number_groups(names)
    for i, one in enumerate(names):
        for j, other in enumerate(names):
            assert (numbers[i] == numbers[j]) == (i == j or one == other != "")


def test_the_best_of_each_group():
    rows = [
        {"file": f, "score": s, "rank": 9} for f, s in zip("abcde", (5, 4, 4, 2, 1), strict=True)
    ]
    group = dict(zip("abcde", ("x", "y", "y", "", ""), strict=True))
    found = best_of_groups(rows, group)
    assert [(r["file"], r["rank"]) for r in found] == [
        *(("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1))
    ]
    assert [row["file"] for row in best_of_groups(rows, group, 1)] == ["a", "b", "d", "e"]
    assert [row["group"] for row in found] == ["x", "y", "y", "", ""]


@given(st.integers(0, 2**32 - 1))
def test_parts_of_pairs_keep_groups_together(seed):
    rng = np.random.default_rng(seed)
    group, nobody = rng.integers(0, 8, (40, 2)), np.full(40, -1)
    images = np.zeros((40, 1, 1, 1), np.float32)
    pairs = PairSet(images, images, nobody, nobody, np.ones(40, np.float32), group=group)
    sides = image_sides(pairs, (0.7, 0.3), rng).T
    for one in range(8):
        assert len(set(sides[group == one].tolist())) <= 1
    assert (pairs.swapped().group == group[:, ::-1]).all()
    assert (pairs.take(slice(3)).group == group[:3]).all()


def test_left_out_pairs_of_groups_are_of_groups_that_nobody_taught():
    """Features name the group and nothing else: another group's scores cannot be known."""
    rng = np.random.default_rng(3)
    group = np.arange(200) % 20
    left, right = rng.integers(0, 200, (2, 600))
    left, right = left[group[left] != group[right]], right[group[left] != group[right]]
    answer = rng.permutation(20)[group]
    answers = answer[right] > answer[left]
    pairs = np.stack([group[left], group[right]], axis=1)
    # Not equal, for copies of an image share a fold whatever their groups.
    features = np.eye(20)[group] + rng.normal(0, 1e-3, (200, 20))
    leaky = fit_linear(features, left, right, answers).error
    honest = fit_linear(features, left, right, answers, group=pairs).error
    assert leaky.value < 0.15
    assert honest.value > 0.3
