"""One split of a source, from which pairs are drawn: digits, rated images, or compared pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kpairs.data.compared import ComparedImages
from kpairs.data.groups import number_groups
from kpairs.data.pairs import Images, PairSet
from kpairs.data.pixels import prepare
from kpairs.data.settings import PixelSettings
from kpairs.data.stored import Stored
from kpairs.errors import InputError, UsageError

_BRIGHT = PixelSettings(ink="bright")


class _Rated:
    """Images of which any two different ones are a pair."""

    images: Any
    name: str
    group: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}: {len(self):,} images)"

    @property
    def most_pairs(self) -> int:
        """The number of pairs that can be drawn: an image of one's own may be in several."""
        if not isinstance(self.images, Stored):
            return len(self) // 2
        rated = np.bincount(np.unique(self.images.rows, return_inverse=True)[1])
        return int(len(self) ** 2 - (rated**2).sum())  # no image is paired with itself

    def draw(self, count: int, rng: np.random.Generator, margin: float) -> PairSet:
        """Draw so many pairs, no pair twice."""
        images, drawn = len(self), np.empty((0, 2), np.int64)
        stored = self.images.rows if isinstance(self.images, Stored) else np.arange(images)
        while len(drawn) < count:
            more = rng.permutation(images)[: 2 * min(count, images // 2)].reshape(-1, 2)
            more = more[stored[more[:, 0]] != stored[more[:, 1]]]  # not two ratings of one image
            drawn = np.concatenate([drawn, more])
            _, first = np.unique(drawn @ [images, 1], return_index=True)
            drawn = drawn[np.sort(first)]
        rows = drawn[:count]
        return self._pairs(rows, None if self.group is None else self.group[rows], margin)

    def _pairs(
        self, rows: NDArray[np.int64], group: NDArray[np.int64] | None, margin: float
    ) -> PairSet:
        """Return the pairs of these images, `(n, 2)`."""
        raise NotImplementedError


@dataclass(frozen=True, repr=False)
class Digits(_Rated):
    """The digits or graded images of one split, a row per rating.

    Attributes:
        images: `(n, height, width)`, uint8 in 0..255 or float32 in [0, 1]; of one's own a `Stored`,
            as `settings` prepared them.
        labels: `(n,)` int64 class numbers in rank order.
        classes: the class names, lowest rank first.
        name: the words for the split in messages.
        folder: where the files lie.
        settings: how an image becomes a network's input.
        group: `(n,)` int64 numbers of groups of images that belong together; None without groups.
    """

    images: Any
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    name: str
    folder: Path
    settings: PixelSettings = _BRIGHT
    group: NDArray[np.int64] | None = None

    def pixels(self, rows: NDArray[np.int64]) -> Images:
        """Return images by number, `(n, height, width, channels)` float32 as a network takes them.

        `Stored` ones are read when they are needed. Raises InputError for pixels that are no grey
        levels.
        """
        images = self.images[rows]
        if isinstance(images, Stored):
            return images
        if images.ndim == 3:  # which `prepare` could take for one picture, where they are narrow
            images = images[..., None]
        return prepare(images, self.settings, self.name).pixels

    def _pairs(
        self, rows: NDArray[np.int64], group: NDArray[np.int64] | None, margin: float
    ) -> PairSet:
        left, right = rows.T
        return PairSet(
            *(self.pixels(left), self.pixels(right), self.labels[left], self.labels[right]),
            group=group,
        )


@dataclass(frozen=True, repr=False)
class Scored(_Rated):
    """The scored images of one split, a row per rating.

    Attributes:
        images: as `settings` prepared them.
        scores: `(n,)` float64; a higher score ranks higher.
        name: the words for the split in messages.
        folder: the table.
        settings: how an image becomes a network's input.
        group: as that of `Digits`.
    """

    images: Stored
    scores: NDArray[np.float64]
    name: str
    folder: Path
    settings: PixelSettings
    group: NDArray[np.int64] | None = None

    classes: ClassVar[tuple[str, ...]] = ()

    def _pairs(
        self, rows: NDArray[np.int64], group: NDArray[np.int64] | None, margin: float
    ) -> PairSet:
        (left, right), nobody, value = rows.T, np.full(len(rows), -1), self.scores[rows]
        gap = value[:, 1] - value[:, 0]
        probability = np.where(np.abs(gap) <= margin, 0.5, gap > 0).astype(np.float32)
        images = self.images[left], self.images[right]
        return PairSet(*images, nobody, nobody, probability, group=group, value=value)


@dataclass(frozen=True, repr=False)
class Compared:
    """The compared pairs of one split.

    Attributes:
        images: of `listed.files`, in their order.
        listed: which are compared, and who judged what.
        settings: how an image becomes a network's input.
    """

    images: Stored
    listed: ComparedImages
    settings: PixelSettings

    def __len__(self) -> int:
        return len(self.listed)

    def __repr__(self) -> str:
        return f"Compared({self.name}: {len(self):,} pairs of {len(self.listed.files):,} images)"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the grades, lowest first; none where nobody gave grades."""
        return self.listed.classes

    @property
    def name(self) -> str:
        """The words for the split in messages."""
        return self.listed.name

    @property
    def most_pairs(self) -> int:
        """The number of pairs."""
        return len(self.listed)

    def draw(self, count: int, rng: np.random.Generator, margin: float = 0.0) -> PairSet:
        """Draw so many of the pairs, each at most once; images are read when they are needed."""
        rows, listed = rng.permutation(len(self))[:count], self.listed
        sides = np.stack([listed.left, listed.right], axis=1)[rows]
        weight = None if listed.weight is None else listed.weight[rows]
        return PairSet(
            self.images[sides[:, 0]],
            self.images[sides[:, 1]],
            listed.left_grade[rows],
            listed.right_grade[rows],
            listed.probability[rows],
            None if weight is None else weight / max(weight.mean(), np.finfo(np.float32).tiny),
            None if listed.group is None else number_groups(listed.group)[sides],
            None if listed.judge is None else listed.judge[rows],
            margin=None if listed.margin is None else listed.margin[rows],
        )


Split = Digits | Scored | Compared


def draw_pairs(
    digits: Split,
    count: int | None = None,
    seed: int | np.random.Generator = 0,
    *,
    margin: float = 0.0,
) -> PairSet:
    """Draw random pairs of a split's images, without replacement.

    No image occurs twice, unless your own images are too few for that: then all images are in
    about as many pairs, and no pair occurs twice. Of pairs that people compared, some are drawn,
    each at most once.

    Args:
        digits: one split.
        count: number of pairs; default all that people compared, else half as many as images.
        seed: a number, from which the same pairs are drawn every time, or a generator.
        margin: scores of images that differ by no more tie.

    Returns:
        The pairs.

    Raises:
        InputError: the split holds fewer than `2 * count` images, or of rated ones fewer than
            give so many pairs.
        UsageError: a negative seed.

    Example:
    >>> import kpairs
    >>> kpairs.draw_pairs(kpairs.open_source("mnist").split("train"), 1000, seed=0)
    PairSet(1000 pairs of 14x14x1)
    """
    compared, images, most = isinstance(digits, Compared), len(digits), digits.most_pairs
    if count is None:
        count = images if compared else images // 2
    if not 1 <= count <= most:
        if compared:
            raise InputError(f"{digits.name}: expected 1 to {most} pairs to draw, received {count}")
        needed = "more" if isinstance(digits.images, Stored) else f"{2 * count} different"
        raise InputError(
            f"{digits.name}: {count} pairs need {needed} images, received {images}; at most {most} "
            "pairs can be drawn"
        )
    if isinstance(seed, int) and seed < 0:
        raise UsageError(f"seed: expected 0 or more, received {seed}")
    return digits.draw(count, np.random.default_rng(seed), margin)
