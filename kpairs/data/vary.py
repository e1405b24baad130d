"""Photographs seen a little differently in each epoch: mirrored, turned, cropped, brighter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Variation:
    """How far images vary; the half-widths of uniform draws, each image's its own.

    Attributes:
        flip: "horizontal" mirrors half of the images left to right, "both" half of them upside
            down too.
        rotation: degrees to either side.
        crop: of each side at most this share is cut off, and what is left stretched back.
        brightness: pixels are multiplied by 1 plus or minus this, and kept in [0, 1].
    """

    flip: str = "none"
    rotation: float = 0.0
    crop: float = 0.0
    brightness: float = 0.0

    def __bool__(self) -> bool:
        return self != Variation()

    def __call__(self, images: NDArray[Any], rng: np.random.Generator) -> NDArray[np.float32]:
        """Vary each image by its own draws.

        Where an image is turned or cropped it is interpolated once, bilinearly; flips move pixels
        and change none.

        Args:
            images: `(n, height, width, channels)` float32 in [0, 1].
            rng: a `numpy.random.Generator`.

        Returns:
            New images of the same shape, in [0, 1].
        """
        images, count = np.array(images, np.float32), len(images)
        for axis, wanted in ((2, self.flip != "none"), (1, self.flip == "both")):
            if wanted:
                chosen = rng.random(count) < 0.5
                images[chosen] = np.flip(images[chosen], axis)
        if self.rotation or self.crop:
            images = resampled(images, self.places(images.shape, rng))
        if self.brightness:
            factors = rng.uniform(1 - self.brightness, 1 + self.brightness, (count, 1, 1, 1))
            images = np.clip(images * factors.astype(np.float32), 0, 1)
        return images

    def places(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Where each pixel of each image comes from: `(2, n, height, width)`, rows then columns."""
        count, height, width, _ = shape
        angle = np.deg2rad(rng.uniform(-self.rotation, self.rotation, count))
        size = np.array([[height], [width]])
        left_over = 1 - rng.uniform(0, self.crop, (2, count))
        centre = (size - 1) / 2 + (1 - left_over) * size * rng.uniform(-0.5, 0.5, (2, count))
        y = (np.arange(height) - (height - 1) / 2)[:, None]
        x = (np.arange(width) - (width - 1) / 2)[None, :]
        cosine, sine = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
        turned = np.stack([cosine * y + sine * x, cosine * x - sine * y])
        return (centre[..., None, None] + left_over[..., None, None] * turned).astype(np.float32)


def resampled(images: NDArray[Any], places: NDArray[np.float32]) -> NDArray[np.float32]:
    """Interpolate images bilinearly at places of their own; beyond an edge its pixels repeat.

    Args:
        images: `(n, height, width, channels)`.
        places: `(2, n, height, width)`, rows then columns.

    Returns:
        `(n, height, width, channels)` float32.
    """
    height, width = images.shape[1:3]
    number = np.arange(len(images))[:, None, None]
    rows, columns = (
        np.clip(part, 0, side - 1) for part, side in zip(places, (height, width), strict=True)
    )
    top, left = rows.astype(np.intp), columns.astype(np.intp)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down, across = (
        (at - before).astype(np.float32)[..., None] for at, before in ((rows, top), (columns, left))
    )
    upper = images[number, top, left] * (1 - across) + images[number, top, right] * across
    lower = images[number, bottom, left] * (1 - across) + images[number, bottom, right] * across
    new: NDArray[np.float32] = upper * (1 - down) + lower * down
    return new
