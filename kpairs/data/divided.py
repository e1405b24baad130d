"""Compared pairs divided for training and testing, by image, and how far they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kpairs.data.listed import SPLITS, UNKNOWN, ListedPairs, read_pairs
from kpairs.data.table import Progress
from kpairs.errors import InputError

_TEST_SHARE = 0.2


@dataclass(frozen=True)
class Division:
    """Training and test pairs of one file.

    Attributes:
        train, test: the pairs.
        everything: the pairs of both, and those that are lost.
        lost: rows in neither, since one of their images is in each.
        shared: images on both sides, where the file itself says the split.
        unjudged: rows without a judgement, which are left out.
    """

    train: ListedPairs
    test: ListedPairs
    everything: ListedPairs
    lost: int
    shared: int
    unjudged: int = 0

    def __str__(self) -> str:
        found = agreement(self.everything)
        left, right, ties = (f"{100 * n / len(self.everything):.3g} %" for n in found.higher)
        parts = [
            f"{self.everything.source}: {len(self.everything):,} judgements of {found.images:,} "
            f"images; left ranks higher in {left}, right in {right}, ties {ties}",
            f"{len(self.train):,} to train, {len(self.test):,} to test",
        ]
        for count, what, text in (
            (self.lost, "row", "left out, since one image is for training and one for testing"),
            (self.shared, "image", "on both sides, as the file says"),
            (self.unjudged, "row", "left out without a judgement"),
            (found.contradicting, "pair", "of images judged both ways"),
            (found.cyclic, "pair", "on cycles (a above b above c above a)"),
        ):
            if count:
                parts.append(f"{count:,} {what}{'s' * (count > 1)} {text}")
        if grades := self.everything.classes:
            parts.append(f"grades {' < '.join(grades)}")
        return "; ".join(parts)


_last: dict[object, Division] = {}  # a long file is not read once for each split


def divided_pairs(
    path: str | Path,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Division:
    """Read a CSV file of compared pairs and divide it for training and testing.

    Args:
        path: the file.
        columns: as `read_pairs` takes them.
        classes: as `read_pairs` takes them.
        progress: as `read_table` takes it.

    Raises:
        UsageError: see `read_pairs`.
        InputError: see `read_pairs` and `divide`.
    """
    path = Path(path)
    status = path.stat() if path.is_file() else None
    stamp = status and (status.st_mtime_ns, status.st_size)
    key = (str(path.absolute()), stamp, tuple((columns or {}).items()), classes and tuple(classes))
    if key not in _last:
        pairs, split, unjudged = read_pairs(path, columns, classes, progress)
        division = replace(divide(pairs, split), unjudged=unjudged)
        _last.clear()
        _last[key] = division
    return _last[key]


def divide(pairs: ListedPairs, split: NDArray[np.int64] | None = None, seed: int = 0) -> Division:
    """Divide pairs for training and for testing, so that no image is on both sides.

    Args:
        pairs: all of a file.
        split: 0 for training, 1 for testing, where the file says; then images may be on both
            sides. Else a fifth of the images is for testing.
        seed: of the draw.

    Raises:
        InputError: a side without pairs, or with ties only.
    """
    if split is None:
        shares, rng = (1 - _TEST_SHARE, _TEST_SHARE), np.random.default_rng(seed)
        groups = image_groups(pairs.left, pairs.right, shares, rng)
        sides = groups[pairs.left], groups[pairs.right]
        split = np.where(sides[0] == sides[1], sides[0], -1)
    parts = []
    for number, part in enumerate(SPLITS):
        chosen = pairs.take(split == number, f"{pairs.source} {part} split")
        _check_side(chosen, part)
        parts.append(chosen)
    train, test = parts
    return Division(
        train,
        test,
        pairs,
        lost=int(np.count_nonzero(split < 0)),
        shared=len(set(train.files) & set(test.files)),
    )


def _check_side(pairs: ListedPairs, part: str) -> None:
    if not len(pairs):
        raise InputError(
            f"{pairs.source}: expected pairs for the {part} split, received none; where no column "
            "split says, a fifth of the images is for testing"
        )
    if pairs.weight is not None and not pairs.weight.any():
        raise InputError(
            f"{pairs.source}: expected weights above 0 in the {part} split, received only zeros"
        )
    if (pairs.probability == 0.5).all():
        raise InputError(
            f"{pairs.source}: expected pairs of which one ranks higher in the {part} split, "
            f"received ties only ({len(pairs):,})"
        )


def image_groups(
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    shares: Sequence[float],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Put every image into one of several groups, pairs together where that is possible.

    Pairs are gone through in a random order; where neither image has a group yet, both go into the
    one that lacks most. So more pairs have both images in one group than if each image were drawn
    by itself, and yet the groups are alike.

    Args:
        left: `(n,)` numbers of images from 0.
        right: the other image of each pair.
        shares: of the images, by group; they add up to 1.
        rng: what the order is drawn from.

    Returns:
        The group of each image, by its number.
    """
    count = int(max(left.max(), right.max())) + 1
    lacking = [share * count for share in shares]
    group = [UNKNOWN] * count

    def put(*images: int) -> None:
        number = lacking.index(max(lacking))
        lacking[number] -= len(images)
        for image in images:
            group[image] = number

    order = rng.permutation(len(left))
    for one, other in zip(left[order].tolist(), right[order].tolist(), strict=True):
        if group[one] == group[other] == UNKNOWN:
            put(one, other)
    for image in rng.permutation(count).tolist():
        if group[image] == UNKNOWN:
            put(image)
    return np.array(group)


@dataclass(frozen=True)
class Agreement:
    """How far the judgements of a file agree with each other.

    Attributes:
        images: how many.
        higher: how often left, right and neither ranks higher.
        contradicting: pairs of images of which rows say both that one and that the other ranks
            higher.
        cyclic: pairs on a cycle, where a is above b, b above c and c above a, by the majority.
    """

    images: int
    higher: tuple[int, int, int]
    contradicting: int
    cyclic: int


def agreement(pairs: ListedPairs) -> Agreement:
    """Count ties, contradictions and cycles; all of them are fine to train on."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    margin = np.sign(pairs.probability - 0.5).astype(np.int64)  # 1 where right ranks higher
    low, high = np.minimum(pairs.left, pairs.right), np.maximum(pairs.left, pairs.right)
    upward = np.where(pairs.left < pairs.right, margin, -margin)  # 1 where `high` ranks higher
    count = len(pairs.files)
    unordered, row = np.unique(low * count + high, return_inverse=True)
    votes = [np.bincount(row[upward == side], minlength=len(unordered)) for side in (1, -1)]
    majority = np.sign(votes[0] - votes[1])
    first, second = unordered // count, unordered % count
    below, above = np.where(majority >= 0, (first, second), (second, first))[:, majority != 0]
    graph = coo_array((np.ones(len(below)), (below, above)), shape=(count, count))
    _, component = connected_components(graph, connection="strong")
    left, ties = int(np.count_nonzero(margin < 0)), int(np.count_nonzero(margin == 0))
    return Agreement(
        images=count,
        higher=(left, len(margin) - left - ties, ties),
        contradicting=int(np.count_nonzero((votes[0] > 0) & (votes[1] > 0))),
        cyclic=int(np.count_nonzero(component[below] == component[above])),
    )
