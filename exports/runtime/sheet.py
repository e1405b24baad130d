"""A contact sheet: ranked images side by side, the highest first."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kpairs.data.decode import THREADS, decode
from kpairs.data.settings import WHITE
from kpairs.errors import UsageError
from kpairs.files import atomic_path

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

_SIDE, _CAPTION, _GAP = 96, 14, 6  # pixels
_WIDEST = 20  # images in a row
_FOOTER = 480  # pixels of a footer's width
MOST = 2000
_FORMATS = (".png", ".jpg", ".jpeg", ".webp")


def check_sheet_name(path: str | Path) -> None:
    """Refuse a picture's name with another suffix than .png, .jpg, .jpeg or .webp."""
    if Path(path).suffix.lower() not in _FORMATS:
        raise UsageError(f"{path}: expected a picture's name that ends in {', '.join(_FORMATS)}")


def draw_ranked_sheet(
    files: Sequence[Path],
    captions: Sequence[str],
    path: Path,
    columns: int | None = None,
    maps: Sequence[tuple[PillowImage, PillowImage]] = (),
    footer: str = "",
    white: int = WHITE,
) -> None:
    """Draw images with captions, row by row, to a PNG, JPEG or WebP file.

    Args:
        files: the images, at most `MOST`.
        captions: a short text for each.
        path: the file to write.
        columns: images in a row; default about as many as there are rows, at most 20.
        maps: in place of each file its picture as a network sees it, and a map of it beside.
        footer: the sheet's last line.
        white: level of 16-bit grey that is white.
    """
    from PIL import Image, ImageDraw

    columns = columns or min(_WIDEST, max(1, round(len(files) ** 0.5)))
    rows = -(-len(files) // columns)
    step = _SIDE * (2 if maps else 1) + _GAP, _SIDE + _CAPTION + _GAP
    width = max(columns * step[0] + _GAP, _FOOTER if footer else 0)
    height = rows * step[1] + _GAP + (_CAPTION if footer else 0)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    with ThreadPoolExecutor(THREADS) as pool:
        cells = maps or (
            (small,) for small in pool.map(lambda file: _thumbnail(file, white), files)
        )
        for number, cell in enumerate(cells):
            row, column = divmod(number, columns)
            left, top = column * step[0] + _GAP, row * step[1] + _GAP
            for place, small in enumerate(map(_contained, cell)):
                spare = [(_SIDE - side) // 2 for side in small.size]
                sheet.paste(small, (left + place * _SIDE + spare[0], top + spare[1]))
            draw.text((left, top + _SIDE + 1), captions[number], fill="black")
    draw.text((_GAP, height - _CAPTION), footer, fill="black")
    with atomic_path(path) as temporary:
        sheet.save(temporary)


def _contained(image: PillowImage) -> PillowImage:
    from PIL import ImageOps

    return ImageOps.contain(image, (_SIDE, _SIDE))


def _thumbnail(file: Path, white: int) -> PillowImage:
    from PIL import Image

    pixels = decode(file)
    if pixels.dtype != np.uint8:
        top = 1.0 if np.issubdtype(pixels.dtype, np.floating) else white
        pixels = np.rint(np.minimum(pixels * (255 / top), 255)).astype(np.uint8)
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[pixels.shape[-1]]
    image = Image.fromarray(pixels[..., 0] if mode == "L" else pixels, mode)
    if mode in ("LA", "RGBA"):
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return _contained(image.convert("RGB"))
