"""Pairs drawn by the course protocol, taken, joined and swapped."""

import numpy as np
import pytest

from kpairs import seeds
from kpairs.data.pairs import PairSet
from kpairs.data.pixels import to_pixels
from kpairs.data.settings import PixelSettings
from kpairs.data.splits import draw_pairs
from kpairs.errors import InputError, UsageError


def test_pairs_by_the_course_protocol(noise_digits, rng):
    pairs = draw_pairs(noise_digits, 200, rng)
    images = np.concatenate([pairs.left, pairs.right]).reshape(400, -1)
    assert len(np.unique(images, axis=0)) == 400  # all images, none of them twice
    pixels = to_pixels(noise_digits.images, PixelSettings(ink="mixed"))
    labels = noise_digits.labels
    lookup = {image.tobytes(): k for image, k in zip(pixels, labels, strict=True)}
    for side in ("left", "right"):
        seen = [lookup[image.tobytes()] for image in getattr(pairs, side)]
        assert seen == getattr(pairs, f"{side}_digit").tolist()
    expected = [int(a <= b) for a, b in zip(pairs.left_digit, pairs.right_digit, strict=True)]
    assert pairs.comparison.tolist() == expected


def test_pairs_are_seeded(noise_digits):
    first, again, other = (
        draw_pairs(noise_digits, 50, seeds.generator(7, number, "pairs")) for number in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.left, again.left)
    assert (first.left != other.left).any()
    drawn = [draw_pairs(noise_digits, 50, seed) for seed in (3, np.random.default_rng(3), 4)]
    np.testing.assert_array_equal(drawn[0].left, drawn[1].left)
    assert (drawn[0].left != drawn[2].left).any()
    with pytest.raises(UsageError, match="seed: expected 0 or more, received -1"):
        draw_pairs(noise_digits, 50, seed=-1)


def test_sets_are_shown_in_a_line(noise_digits):
    assert repr(noise_digits) == "Digits(noise: 400 images)"
    assert repr(draw_pairs(noise_digits, 7)) == "PairSet(7 pairs of 14x14x1)"


def test_the_classes_of_mnist_pairs_hold_at_55_percent(mnist, rng):
    assert draw_pairs(mnist["train"], 30_000, rng).comparison.mean() == pytest.approx(
        0.55, abs=0.01
    )


@pytest.mark.parametrize("count", [0, 201])
def test_too_many_or_no_pairs(noise_digits, rng, count):
    with pytest.raises(InputError, match=f"{count} pairs need .* received 400; at most 200"):
        draw_pairs(noise_digits, count, rng)


def test_a_pair_set_refuses_other_shapes():
    images, labels = np.zeros((3, 14, 14, 1), np.float32), np.zeros(3, np.int64)
    with pytest.raises(InputError, match=r"right images: expected shape \(3, 14, 14, 1\)"):
        PairSet(images, images[:2], labels, labels)


def test_pairs_taken_joined_and_swapped(noise_digits, rng):
    pairs = draw_pairs(noise_digits, 20, rng)
    first, rest = pairs.take(slice(0, 7)), pairs.take(np.arange(7, 20))
    for whole, part in zip(_parts(pairs), _parts(PairSet.concat(first, rest)), strict=True):
        assert part.dtype == whole.dtype
        np.testing.assert_array_equal(part, whole)
    turned = pairs.swapped()
    np.testing.assert_array_equal(turned.left, pairs.right)
    np.testing.assert_array_equal(turned.right_digit, pairs.left_digit)
    np.testing.assert_array_equal(turned.comparison, pairs.right_digit <= pairs.left_digit)


def _parts(pairs):
    return *pairs.inputs().values(), *pairs.targets().values()


def test_targets_are_named(noise_digits, rng):
    pairs = draw_pairs(noise_digits, 5, rng)
    assert list(pairs.targets()) == ["comparison", "left_digit", "right_digit"]
    targets = pairs.targets(["right_digit", "comparison"])
    assert list(targets) == ["right_digit", "comparison"]
    np.testing.assert_array_equal(targets["right_digit"], pairs.right_digit)
    assert pairs.targets(["left_score"]) == {"left_score": None}
    for name in ("margin", "swapped"):
        with pytest.raises(UsageError, match=f"unknown output '{name}'"):
            pairs.targets([name])
    for one in ("comparison", np.zeros(1)):  # as is the output of a Keras model with one
        with pytest.raises(UsageError, match="expected the names of outputs"):
            pairs.targets(one)
