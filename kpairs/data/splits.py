"""One split of a source: digits, which are in memory; rated images; compared pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kpairs.data.compared import ComparedImages
from kpairs.data.pixels import prepare
from kpairs.data.settings import PixelSettings
from kpairs.data.stored import Stored

_BRIGHT = PixelSettings(ink="bright")


@dataclass(frozen=True, repr=False)
class Digits:
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

    @property
    def reused(self) -> bool:
        """True if an image may be in several pairs of a round: those of one's own are few."""
        return isinstance(self.images, Stored)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Digits({self.name}: {len(self):,} images)"

    def pixels(self, rows: NDArray[np.int64]) -> NDArray[np.float32] | Stored:
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


@dataclass(frozen=True, repr=False)
class Scored:
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
    reused: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        return f"Scored({self.name}: {len(self):,} images)"


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
    def folder(self) -> Path:
        """The table."""
        return self.listed.source


Split = Digits | Scored | Compared
