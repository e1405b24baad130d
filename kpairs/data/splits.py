"""The images of one split, with their classes: digits, which are in memory, and graded images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kpairs.data.pixels import prepare
from kpairs.data.settings import PixelSettings
from kpairs.data.stored import Stored

_BRIGHT = PixelSettings(ink="bright")


@dataclass(frozen=True)
class Digits:
    """The images of one split.

    Attributes:
        images: `(n, height, width)`, uint8 in 0..255 or float32 in [0, 1].
        labels: `(n,)` int64 class numbers in rank order.
        classes: the class names, lowest rank first.
        name: what to call the split in messages.
        folder: where the files lie.
        settings: how an image becomes a network's input.
        word: what a class is called: "digit" or "grade".
    """

    images: Any
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    name: str
    folder: Path
    settings: PixelSettings = _BRIGHT

    word: ClassVar[str] = "digit"
    reused: ClassVar[bool] = False  # whether an image may be in several pairs of a round

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, rows: NDArray[np.int64]) -> Any:
        """Return images by number, `(n, height, width, channels)` float32 as a network takes them.

        Raises:
            InputError: pixels that are no grey levels.
        """
        return prepare(self.images[rows], self.settings, self.name).pixels


@dataclass(frozen=True)
class Graded(Digits):
    """The graded images of one split, a `Stored` of what `settings` made of them."""

    images: Stored

    word: ClassVar[str] = "grade"
    reused: ClassVar[bool] = True

    def pixels(self, rows: NDArray[np.int64]) -> Stored:
        """Return images by number; they are read when they are needed."""
        return self.images[rows]
