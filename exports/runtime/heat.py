"""Pictures of explanations: maps in colours that grey keeps in order. Pillow only."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kpairs.exports.runtime.explain import METHODS, QUANTITIES, Explanation, explain_each
from kpairs.files import atomic_path

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

    from kpairs.exports.runtime import PairModel

# Five colours of cividis (Nuñez, Anderton and Renslow, 2018), from blue over grey to yellow: their
# lightness grows evenly, so that dark is against and bright is for an image, also printed in grey.
_COLOURS = np.array([(0, 34, 78), (65, 77, 107), (124, 123, 120), (186, 174, 108), (254, 232, 56)])
_SIDE, _GAP, _LINE, _TEXT = 320, 12, 20, 14  # pixels
_LARGEST = 0.995  # quantile of sizes that has the scale's last colour


def scale_of(maps: Sequence[NDArray[Any]]) -> float:
    """Return the size of values that gets the last colour, one for several maps."""
    sizes = np.concatenate([np.abs(one).ravel() for one in maps])
    return float(np.quantile(sizes, _LARGEST)) or 1.0


def coloured(values: NDArray[Any], scale: float) -> PillowImage:
    """Colour a `(height, width)` map: dark blue for `-scale`, grey for 0, yellow for `scale`."""
    from PIL import Image

    at = np.clip(values / scale, -1, 1)
    levels = np.stack([np.interp(at, np.linspace(-1, 1, 5), c) for c in _COLOURS.T], axis=-1)
    return Image.fromarray(np.uint8(np.rint(levels)))


def png(picture: PillowImage) -> bytes:
    """Return a picture as a PNG file."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def data_url(picture: PillowImage) -> str:
    """Return a picture as a PNG in a URL, for a page."""
    return f"data:image/png;base64,{base64.b64encode(png(picture)).decode()}"


def draw_explanation(explanation: Explanation, names: Sequence[str], path: Path) -> None:
    """Draw named images, their maps below, and the scale to a PNG, JPEG or WebP file."""
    with atomic_path(path) as temporary:
        explanation_sheet(explanation, names).save(temporary)


def explanation_sheet(explanation: Explanation, names: Sequence[str]) -> PillowImage:
    """Return the picture that `draw_explanation` writes."""
    from PIL import Image, ImageDraw

    font, size = _font(), _fitted(explanation.images[0].shape)
    texts, most = caption(explanation), scale_of(explanation.maps)
    widest = max(font.getlength(text) for text in texts)
    beside = len(names) == 1  # the map of one image stands to its right, those of two below
    across, down = (size[0] + _GAP, 0) if beside else (0, size[1] + _GAP)
    width = max(2 * (size[0] + _GAP) + _GAP, math.ceil(widest) + 2 * _GAP)
    bar = 2 * _GAP + _LINE + size[1] + down  # where the scale begins
    sheet = Image.new("RGB", (width, bar + (2 + len(texts)) * _LINE + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for number, name in enumerate(names):
        left = _GAP + number * (size[0] + _GAP)
        value = f"{explanation.values[number]:+.2f}"
        room = size[0] - font.getlength(value) - _GAP
        draw.text((left, _GAP // 2), _shortened(name, font, room), "black", font)
        draw.text((left + size[0], _GAP // 2), value, "black", font, anchor="ra")
        image, heat = explanation.images[number], coloured(explanation.maps[number], most)
        for place, each in enumerate((picture_of(image), heat)):
            corner = left + place * across, _GAP + _LINE + place * down
            sheet.paste(each.resize(size, Image.Resampling.BICUBIC), corner)
    strip = coloured(np.linspace(-1, 1, 256)[None], 1).resize((size[0], _LINE // 2))
    sheet.paste(strip, (_GAP, bar))
    most *= explanation.maps[0].size if explanation.method == "contributions" else 1
    for place, text in enumerate((f"-{most:.3g}", "0", f"+{most:.3g}")):
        at = _GAP + place * size[0] / 2, bar + _LINE // 2 + 2
        draw.text(at, text, "black", font, anchor=("la", "ma", "ra")[place])
    for number, text in enumerate(texts):
        draw.text((_GAP, bar + (2 + number) * _LINE), text, "black", font)
    return sheet


def maps_beside(
    model: PairModel, files: Sequence[Path], progress: Callable[[int, int], None] | None = None
) -> tuple[list[tuple[PillowImage, PillowImage]], str]:
    """Return each image as the network sees it with its map, and a line that names the method."""
    method, maps, images = explain_each(model, files, progress)
    most = scale_of(maps)
    both = zip(images, maps, strict=True)
    pictures = [(picture_of(image), coloured(each, most)) for image, each in both]
    return pictures, f"maps: {method}, {METHODS[method]}; bright raises the score"


def caption(explanation: Explanation) -> list[str]:
    """Return sentences that say what is explained, how, and by which scale."""
    quantity, method = QUANTITIES[explanation.quantity], METHODS[explanation.method]
    scale = "the value, if the whole image were like that place"
    if explanation.method == "occlusion":
        scale = "the fall of the value if that place is hidden"
    return [
        f"Value: {quantity}. Bright places raise it, dark ones lower it.",
        f"Method: {explanation.method}, {method}.",
        f"Scale: {scale}.",
    ]


def picture_of(image: NDArray[np.float32]) -> PillowImage:
    """Return `(height, width, 1 or 3)` pixels in [0, 1] as a picture."""
    from PIL import Image

    levels = np.uint8(np.rint(255 * image))
    return Image.fromarray(np.broadcast_to(levels, (*levels.shape[:2], 3)).copy())


def _font() -> Any:
    """Return the font of file names: Pillow's own lacks every letter beyond ASCII."""
    from PIL import ImageFont

    found = find_spec("matplotlib")  # it brings a font, and is not imported
    if found is None or found.origin is None:
        return ImageFont.load_default(_TEXT)
    folder = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
    try:
        return ImageFont.truetype(folder / "DejaVuSans.ttf", _TEXT - 1)  # as wide as Pillow's at 14
    except OSError:
        return ImageFont.load_default(_TEXT)


def _fitted(shape: Sequence[int]) -> tuple[int, int]:
    """Return width and height of an image whose longer side is drawn with `_SIDE` pixels."""
    height, width = shape[:2]
    factor = _SIDE / max(height, width)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _shortened(text: str, font: Any, width: float) -> str:
    """Return the end of a text that fits into a width."""
    short = text
    while len(text) > 1 and font.getlength(short) > width:
        text = text[1:]
        short = f"…{text}"
    return short
