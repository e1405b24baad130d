"""What a score rests on: a map of the image, by onnxruntime alone.

Where a score is linear in means of a network's maps, each place's contribution is known exactly
(class activation maps: Zhou et al., Learning deep features for discriminative localization, 2016).
Elsewhere places are hidden one after the other, and the change is the map (Zeiler and Fergus,
Visualizing and understanding convolutional networks, 2014).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kpairs.data.pixels import to_pixels
from kpairs.errors import InputError, UsageError, raised_as
from kpairs.exports.runtime.ranking import method_of, one_by_one, prepared
from kpairs.frozen import interpolation

if TYPE_CHECKING:
    from kpairs.exports.runtime import PairModel

Map = NDArray[np.float64]
METHODS = {
    "contributions": "each place's exact contribution; they add up to the value",
    "occlusion": "change where a place is hidden; changes do not add up",
}
QUANTITIES = {
    "score": "score",
    "grade": "expected grade",
    "difference": "score less the other image's",
    "odds": "log odds of ranking higher than the other image",
}
_GRID = 16  # places along the longer side that are hidden one after the other
_WIDTH = 1.25  # of a hidden place: the standard deviation of its edge, in places
_AGREE = 1e-3  # of contributions and score, relative and absolute
_LEAST = 1e-12  # a probability


@dataclass(frozen=True)
class Explanation:
    """Maps of one image, or of two that are compared; positive where a place speaks for its image.

    Attributes:
        method: a key of `METHODS`.
        quantity: the explained number, a key of `QUANTITIES`.
        values: that number of each image.
        maps: `(height, width)` of each image, by the pixels of `images`. Contributions add up to
            the value.
        constants: the part of each value that no place explains. It is spread evenly over the
            map's places; 0 where nothing adds up.
        images: `(height, width, channels)` pixels of each image in [0, 1], as the network sees it.
    """

    method: str
    quantity: str
    values: tuple[float, ...]
    maps: tuple[Map, ...]
    constants: tuple[float, ...]
    images: tuple[NDArray[np.float32], ...]


def explain(model: PairModel, left: Any, right: Any = None) -> Explanation:
    """Explain the score of a picture, or the comparison of two, as `PairModel.explain` does."""
    asked = {"left": left} if right is None else {"left": left, "right": right}
    images = [_one(picture, model, name) for name, picture in asked.items()]
    return explain_pixels(model, *images)


def explain_pixels(
    model: PairModel, left: NDArray[np.float32], right: NDArray[np.float32] | None = None
) -> Explanation:
    """Explain as `explain` does, from `(height, width, channels)` pixels as networks see them."""
    images = (left,) if right is None else (left, right)
    if not has_contributions(model):
        return _by_occlusion(model, images)
    maps, scores, offset = contributions(model, np.stack(images))
    if right is None:
        values, constants = scores, [offset]
    else:  # each image is held against the other one's score
        others = scores[::-1]
        maps -= others[:, None, None] / maps[0].size
        values, constants = scores - others, [offset - other for other in others]
    found = (tuple(values.tolist()), tuple(maps), tuple(map(float, constants)), images)
    return Explanation("contributions", "score" if right is None else "difference", *found)


def explain_each(
    model: PairModel, pictures: Sequence[Any], progress: Callable[[int, int], None] | None = None
) -> tuple[str, list[Map], list[NDArray[np.float32]]]:
    """Explain the scores or expected grades of many pictures, as `prepare` takes them.

    Returns the method, and of each picture its map and its pixels. Raises UsageError for a network
    that only compares.
    """
    exact, maps, images = has_contributions(model), [], []
    step = 2 * model.pairs_at_once if exact else 1
    for block in prepared(pictures, model.pixels):
        for start in range(0, len(block.pixels), step):
            some = block.pixels[start : start + step]
            found = contributions(model, some)[0] if exact else explain_pixels(model, *some).maps
            maps += list(found)
            images += list(some)
            if progress is not None:
                progress(len(maps), len(pictures))
    return "contributions" if exact else "occlusion", maps, images


def explanation_row(explanation: Explanation, names: Sequence[str]) -> dict[str, Any]:
    """Return an explanation of named images JSON-ready, its maps as lists of rows."""
    images = [
        {
            "image": name,
            "value": explanation.values[number],
            "constant": explanation.constants[number],
            "map": explanation.maps[number].tolist(),
        }
        for number, name in enumerate(names)
    ]
    return {
        "method": explanation.method,
        "means": METHODS[explanation.method],
        "value": QUANTITIES[explanation.quantity],
        "images": images,
    }


def has_contributions(model: PairModel) -> bool:
    """Tell whether the contribution of each place is known exactly."""
    return "maps" in model.metadata


def contributions(
    model: PairModel, pixels: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Compute the exact contributions of all places of `(n, height, width, channels)` pixels.

    Returns `(n, height, width)` contributions, `(n,)` scores, which are their sums, and the
    constant in every score. Raises InputError for a file whose maps do not add up to its scores.
    """
    text = f"{model.arch}: the file names no maps that explain its scores"
    with raised_as(InputError, text, "; export the network again"):
        maps, scores, offset = _contributions(model, pixels)
    if not np.allclose(maps.sum(axis=(1, 2)), scores, _AGREE, _AGREE):
        raise InputError(
            f"{model.arch}: the maps that the file names do not add up to its scores; export the "
            "network again"
        )
    return maps, scores, offset


def _contributions(
    model: PairModel, pixels: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    about = model.metadata["maps"]
    offsets = [] if about["offset"] is None else [about["offset"]]
    names = [*about["values"], "left_score", "right_score", about["weights"], *offsets]
    maps, scores, offset = [], [], 0.0
    step = 2 * model.pairs_at_once
    for start in range(0, len(pixels), step):
        block = pixels[start : start + step]
        pairs = np.concatenate([block, block[-1:]]) if len(block) % 2 else block
        values = model.inner(names, pairs[::2], pairs[1::2])  # rows take turns
        count = len(about["values"])
        left, right, weights = values[count : count + 3]
        offset = float(values[-1].ravel()[0]) if offsets else 0.0
        size, mirrored = block.shape[1:3], about["mirrored"]
        found = place_map(
            values[:count], weights.ravel(), offset, size, axes=about["axes"], mirrored=mirrored
        )
        maps.append(found[: len(block)])
        scores.append(np.concatenate([left, right], axis=1).ravel()[: len(block)])
    return np.concatenate(maps), np.concatenate(scores).astype(np.float64), offset


def place_map(
    maps: Sequence[NDArray[np.float32]],
    weights: NDArray[Any],
    offset: float,
    size: tuple[int, int],
    *,
    axes: Sequence[Sequence[int]] | None = None,
    mirrored: bool = False,
) -> NDArray[np.float64]:
    """Return `(n, height, width)` contributions to scores that are linear in the means of maps.

    A place of a coarse stage is spread over the pixels that it covers. `maps` are `(n, channels, h,
    w)` of each stage, or have their places on other `axes`; `weights`, `(d,)`, are those of all
    channels of all stages. Where they are `mirrored`, each image's row is followed by one of its
    mirror image.
    """
    height, width = size
    total: NDArray[np.float64] = np.full((1, height, width), offset / (height * width))
    first = 0
    for number, stage in enumerate(maps):
        places = tuple(axes[number]) if axes else (2, 3)
        (channel,) = {1, 2, 3} - set(places)
        own = weights[first : (first := first + stage.shape[channel])]
        cells = np.tensordot(stage.astype(np.float64), own, (channel, 0))  # (n, h, w)
        cells /= cells[0].size
        if mirrored:
            cells = (cells[::2] + cells[1::2, :, ::-1]) / 2
        down, across = (_spread(n, side) for n, side in zip(cells.shape[1:], size, strict=True))
        total = total + down @ cells @ across.T
    if first != len(weights):
        raise ValueError(f"expected {first} weights of channels, received {len(weights)}")
    return total


def _spread(cells: int, pixels: int) -> NDArray[np.float64]:
    """Return each cell's share in each pixel, `(pixels, cells)`: smooth, and 1 in all of a cell."""
    shares = interpolation(cells, pixels).astype(np.float64)
    return shares / shares.sum(axis=0)


def _by_occlusion(model: PairModel, images: tuple[NDArray[np.float32], ...]) -> Explanation:
    method = method_of(model)
    if len(images) == 1 and method == "comparison":
        raise UsageError(
            f"{model.arch} only compares and says nothing of one image; expected two images"
        )
    quantity = method if len(images) == 1 else "odds"

    def value(place: int, pixels: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the number of images that stand in one's place."""
        if len(images) == 1:
            return one_by_one(model, method, pixels)
        sides = [np.broadcast_to(image, pixels.shape) for image in images]
        sides[place] = pixels
        holds = model.as_probabilities(model.compare(*map(np.ascontiguousarray, sides)))
        left, right = np.log(np.maximum(holds["comparison"], _LEAST)).T
        return left - right if place == 0 else right - left

    values, maps = [], []
    for place, image in enumerate(images):
        (whole,) = value(place, image[None])
        rows = [whole - value(place, hidden) for hidden in _hidden(image)]
        down, across = (
            interpolation(n, side) for n, side in zip(np.shape(rows), image.shape[:2], strict=True)
        )
        values.append(float(whole))
        maps.append(down @ np.stack(rows) @ across.T)
    nothing = (0.0,) * len(images)
    return Explanation("occlusion", quantity, tuple(values), tuple(maps), nothing, images)


def _hidden(image: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Yield an image with a place hidden, row by row of a grid: `(columns, h, w, channels)`.

    A place fades into the image's median colour, so that it has no edge that a network would see.
    """
    sides = image.shape[:2]
    step = max(1.0, max(sides) / _GRID)
    fades = []
    for side in sides:
        count = max(1, round(side / step))
        centres = (np.arange(count) + 0.5) * side / count - 0.5
        away = (np.arange(side) - centres[:, None]) / (_WIDTH * step)
        fades.append(np.exp(-0.5 * away**2).astype(np.float32))
    colour = np.median(image, axis=(0, 1))
    for row in fades[0]:
        share = (row[:, None] * fades[1][:, None, :])[..., None]  # (columns, h, w, 1)
        yield image + share * (colour - image)


def _one(picture: Any, model: PairModel, name: str) -> NDArray[np.float32]:
    pixels = to_pixels(picture, model.pixels, name)
    if len(pixels) != 1:
        raise InputError(f"{name}: expected one picture, received {len(pixels)}")
    only: NDArray[np.float32] = pixels[0]
    return only
