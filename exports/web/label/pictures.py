"""Images as the page shows them: upright, scaled down, without what else a file tells."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from kpairs.data.decode import Picture, on_white, opened

SIZES = (320, 640, 1024, 1600, 2400)  # longest sides that a page may ask for; and 0, a file's own
_STRIP = 2**22  # pixels that are decoded at a time
_EXACT = 3 * 2**20  # pixels up to which nothing is lost where nothing is reduced
_KEPT = 64 * 2**20  # bytes of images that are kept for the next who asks


@dataclass(frozen=True)
class Shown:
    """An encoded image."""

    data: bytes  # a PNG or JPEG file
    kind: str  # its media type
    width: int  # of the original
    height: int


def shown(file: str, name: str, longest: int, white: int = 65535) -> Shown:
    """Return an image with at most `longest` pixels a side, 0 for its own; InputError says `name`.

    Images that need no reduction are PNG, pixel by pixel as in the file; others are JPEG of high
    quality. `white` is the level of 16-bit grey that is shown white.
    """
    from PIL import Image

    with opened(file, name, least=longest) as picture:
        width, height = picture.of
        pixels = _reduced(picture, longest or max(width, height), white)
    image = Image.fromarray(pixels.squeeze(axis=2) if pixels.shape[2] == 1 else pixels)
    if longest and max(image.size) > longest:
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    exact = image.size == (width, height) and width * height <= _EXACT
    file_of = io.BytesIO()
    if exact:
        image.save(file_of, "PNG", compress_level=1)
    else:
        image.save(file_of, "JPEG", quality=95, subsampling=0)
    return Shown(file_of.getvalue(), "image/png" if exact else "image/jpeg", width, height)


def check_readable(file: str, name: str | None = None) -> None:
    """Decode an image; InputError tells that it cannot be read."""
    with opened(file, name, least=1):
        pass


def _reduced(picture: Picture, longest: int, white: int) -> NDArray[np.uint8]:
    """Return 8-bit pixels, reduced by a whole factor, strip by strip: memory stays small."""
    sides = picture.height, picture.width
    factor = max(min(max(sides) // longest, *sides), 1)
    height, width = (side // factor * factor for side in sides)
    rows = max(_STRIP // width // factor, 1) * factor
    strips = []
    for top in range(0, height, rows):
        strip = on_white(picture.part(top, min(top + rows, height)), white)
        if factor > 1:
            blocks = strip[:, :width].reshape(-1, factor, width // factor, factor, strip.shape[2])
            strip = np.rint(blocks.mean(axis=(1, 3), dtype=np.float32)).astype(np.uint8)
        strips.append(strip)
    return np.concatenate(strips)


class Kept:
    """The images that were shown last, up to 64 MiB."""

    def __init__(self) -> None:
        self._images: OrderedDict[tuple[int, int], Shown] = OrderedDict()
        self._size, self._lock = 0, Lock()

    def get(self, number: int, longest: int, make: Callable[[], Shown]) -> Shown:
        """Return an image that is kept, or make and keep it."""
        with self._lock:
            if found := self._images.get((number, longest)):
                self._images.move_to_end((number, longest))
                return found
        made = make()
        with self._lock:
            if (number, longest) not in self._images:
                self._images[number, longest] = made
                self._size += len(made.data)
            while self._size > _KEPT:
                self._size -= len(self._images.popitem(last=False)[1].data)
        return made
