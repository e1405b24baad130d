"""Random variations of photographs, new in each epoch: flips, turns, crops, brightness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs.data.distort import sample


@dataclass(frozen=True)
class Variation:
    """The widths of the uniform draws by which each image varies.

    Attributes:
        flip: "horizontal" mirrors half of the images left to right, "both" half of them upside
            down too.
        rotation: degrees to either side.
        crop: largest share that is cut off each side; the rest is stretched back.
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

        Turns and crops interpolate an image once, bilinearly; flips move pixels and change none.

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
            images = sample(images, self.places(images.shape, rng), "edge")
        if self.brightness:
            factors = rng.uniform(1 - self.brightness, 1 + self.brightness, (count, 1, 1, 1))
            images = np.clip(images * factors.astype(np.float32), 0, 1)
        return images

    def places(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw the place of each pixel of each image: `(2, n, height, width)`, rows first."""
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
