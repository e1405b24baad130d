"""Images divided for training and for testing, so that adding images moves none.

An image's side follows from its content, or from the group that it belongs to: never from its name
or its place in a list. Copies of one image are on one side.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kpairs.data.annotations import ImageFiles
from kpairs.data.listing import find_copies
from kpairs.errors import printable

log = logging.getLogger(__name__)

TEST_SHARE = 0.2
_UNPUT = -1


def units_of(images: ImageFiles, group: Sequence[str] | None = None) -> NDArray[np.str_]:
    """Return a name for each image that it shares with all that must be on its side.

    These are files of equal bytes, and a group of which each file has the name, "" for none. Says
    how many copies there are.
    """
    prints, numbers = images.fingerprints, {file: i for i, file in enumerate(images.files)}
    names = [
        f"group {name}" if name else prints[file]
        for file, name in zip(images.files, group or [""] * len(images), strict=True)
    ]
    # Equal features have one fingerprint.
    copies = find_copies(images.files) if images.vectors is None else []
    found = [[numbers[str(file)] for file in files] for files in copies]
    if found:
        log.warning(
            "%s: %s images are copies of others, such as %s and %s; copies are on one side",
            *(images.name, f"{sum(len(files) - 1 for files in found):,}"),
            *(printable(str(file)) for file in copies[0][:2]),
        )
    joined: dict[str, str] = {}  # a group that holds a copy of another group's image joins it

    def unit(name: str) -> str:
        while name in joined:
            name = joined[name]
        return name

    for first, *others in found:
        for other in others:
            if (one := unit(names[other])) != (kept := unit(names[first])):
                joined[one] = kept
    return np.array([unit(name) for name in names])


def sides(units: Sequence[str] | NDArray[np.str_]) -> NDArray[np.int64]:
    """Return the side of each image by its unit: 0 for training, 1 (a fifth) for testing."""
    return np.array([_side(name) for name in units])


def sides_of_pairs(
    units: NDArray[np.str_],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    decided: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Return the side of each image of compared pairs, both images of a pair together if possible.

    Rows are gone through in their order: images that no row before has named go to one side
    together. So rows that are appended move no image, and where every image is in one pair alone no
    row is lost. One pair at least of those that are `decided`, where one image ranks higher, is for
    testing.
    """
    found: dict[str, int] = {}
    pairs = [tuple(pair) for pair in units[np.stack([left, right], axis=1)].tolist()]
    for pair in pairs:
        known = any(name in found for name in pair)
        for name in pair:
            found.setdefault(name, _side(name if known else min(pair)))
    telling = [pair for pair, tells in zip(pairs, decided.tolist(), strict=True) if tells]
    if telling and not any(found[one] and found[other] for one, other in telling):
        found |= dict.fromkeys(min(telling, key=lambda pair: max(map(_share, pair))), 1)
    return np.array([found.get(name, 0) for name in units.tolist()])


def _side(name: str) -> int:
    return int(_share(name) < TEST_SHARE)


def _share(name: str) -> float:
    """Return a number from 0 to 1, drawn from a name alone."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) / 2**64


def image_groups(
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    shares: Sequence[float],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Put every image into one of several groups, pairs together where that is possible.

    Pairs are gone through in a random order; where neither image has a group yet, both go into the
    one that lacks most of its share of the images. So more pairs have both images in one group than
    if each image were drawn by itself, and yet the groups are alike.
    """
    count = int(max(left.max(), right.max())) + 1
    lacking = [share * count for share in shares]
    group = [_UNPUT] * count

    def put(*images: int) -> None:
        number = lacking.index(max(lacking))
        lacking[number] -= len(images)
        for image in images:
            group[image] = number

    order = rng.permutation(len(left))
    for one, other in zip(left[order].tolist(), right[order].tolist(), strict=True):
        if group[one] == group[other] == _UNPUT:
            put(one, other)
    for image in rng.permutation(count).tolist():
        if group[image] == _UNPUT:
            put(image)
    return np.array(group)


def rescue_empty_grades(
    side: NDArray[np.int64], grade: NDArray[np.int64], units: NDArray[np.str_]
) -> NDArray[np.int64]:
    """Move units so that every grade has an image to train on, and the test side is not empty."""
    side = side.copy()
    for rank in np.unique(grade):
        mine = np.flatnonzero(grade == rank)
        if side[mine].all():
            side[units == units[mine[0]]] = 0
    if not side.any():
        counts = Counter(grade.tolist())
        largest = max(counts, key=lambda rank: (counts[rank], -rank))
        moved = units == units[np.flatnonzero(grade == largest)[-1]]
        if set(grade[~moved].tolist()) == set(grade.tolist()):
            side[moved] = 1
    return side
