"""A contact sheet: ranked images side by side, the highest first."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kpairs.data.decode import THREADS, decode, on_white
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
    maps: Sequence[tuple[PillowImage, PillowImage]] = (),
    footer: str = "",
    white: int = WHITE,
) -> None:
    """Draw at most `MOST` images with captions, row by row, to a PNG, JPEG or WebP file.

    `maps` are in place of each file its picture as a network sees it, and a map of it beside.
    """
    from PIL import Image, ImageDraw

    columns = min(_WIDEST, max(1, round(len(files) ** 0.5)))  # about as many as rows
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

    levels = on_white(decode(file), white)
    shape = (*levels.shape[:2], 3)
    return _contained(Image.fromarray(np.ascontiguousarray(np.broadcast_to(levels, shape))))
