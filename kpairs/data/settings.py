"""The settings by which a picture becomes a network's input. They travel with every network."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from kpairs.errors import InputError, UsageError, unknown

FITS = {"pad": "padded", "crop": "cropped", "stretch": "stretched"}
INKS = {
    "bright": "bright on dark",
    "dark": "dark on bright",
    "mixed": "with bright and dark grounds, as photographs have",
    "auto": "bright on dark, and what looks dark on bright by its border is inverted",
}
LARGEST_SIDE = 1024
FEATURES = "features"  # the backbone of things whose features are known
MOST_FEATURES = 65_536  # of a thing: they are a picture of one row
LONGEST_SIDE = 64  # of a network's input, where neither the user nor the network says
WHITE = 65535  # the highest level of 16 bits


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class PixelSettings:
    """The way from a picture to a network's input; stored with every trained network.

    Attributes:
        height, width: pixels of the network's input.
        channels: 1 for grey, 3 for RGB.
        fit: what is done where the shapes differ, a key of `FITS`: padded with the background's
            colour, cropped around the middle, or stretched.
        ink: what the training images are, a key of `INKS`. Grey pictures that are dark on bright
            are inverted, so that a network always sees bright on black; colours never are.
        rounded: pixels are rounded to 1/255, as images of one's own are kept in training.
        white: level of 16-bit grey that is white: 4095 where files hold 12 bits.
        features: there are no pixels: a row of `width` features of any size stands in their place.

    Raises:
        UsageError: an unknown name, or a number out of range.
    """

    height: int = 14
    width: int = 14
    channels: int = 1
    fit: str = "pad"
    ink: str = "auto"
    rounded: bool = False
    white: int = WHITE
    features: bool = False

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            side = getattr(self, name)
            most = MOST_FEATURES if self.features else LARGEST_SIDE
            if not _is_whole(side) or not 0 < side <= most:
                raise UsageError(f"{name}: expected 1 to {most} pixels, received {side!r}")
        if not _is_whole(self.channels) or self.channels not in (1, 3):
            raise UsageError(f"channels: expected 1 (grey) or 3 (RGB), received {self.channels!r}")
        for name, known in (("fit", FITS), ("ink", INKS)):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        if not _is_whole(self.white) or not 1 <= self.white <= WHITE:
            raise UsageError(f"white: expected a level of 1 to {WHITE}, received {self.white!r}")
        for name in ("rounded", "features"):
            if not isinstance(value := getattr(self, name), bool):
                raise UsageError(f"{name}: expected true or false, received {value!r}")
        if self.features and (self.height, self.channels) != (1, 1):
            raise UsageError(f"features: expected one row of one channel, received {self.shape}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one image: `(height, width, channels)`."""
        return self.height, self.width, self.channels

    @property
    def always_bright(self) -> bool:
        """True if the network sees bright on dark alone, because what is not was inverted."""
        return self.ink == "bright" or (self.channels == 1 and self.ink in ("dark", "auto"))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a JSON-ready dict, which `from_dict` reads back.

        The usual `white` and `features` are left out, as in files from before there were these.
        """
        return {name: v for name, v in asdict(self).items() if (name, v) not in _LATER.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], name: str = "pixels") -> PixelSettings:
        """Read settings from a dict, such as a file's metadata.

        Raises:
            InputError: missing, unknown or impossible entries.
        """
        known = {f.name for f in fields(cls)}
        if not isinstance(values, Mapping) or {*_LATER, *values} != known:
            raise InputError(f"{name}: expected the settings {', '.join(sorted(known))}")
        try:
            return cls(**values)
        except (UsageError, TypeError) as error:
            raise InputError(f"{name}: {error}") from error

    def __str__(self) -> str:
        if self.features:
            return f"{self.width} features of each"
        colour = "grey" if self.channels == 1 else "RGB"
        inverted = " and inverted" if self.channels == 1 and self.ink == "dark" else ""
        ink = "" if self.ink == "mixed" else f", {INKS[self.ink]}{inverted}"
        size = f"{self.width}x{self.height} {colour} pixels (width x height){ink}"
        white = "" if self.white == WHITE else f"; in 16-bit grey {self.white} is white"
        return f"{size}; other shapes are {FITS[self.fit]}{white}"


_LATER = {"white": WHITE, "features": False}  # settings that early files lack
# What the reports' digits are, and what a ready-made digit network accepts.
DIGITS = PixelSettings()


def parse_classes(text: str) -> tuple[str, ...]:
    """Read the names of classes, lowest first: "mild,moderate,severe".

    A name that holds a comma is quoted: `0,"0,5",1`.

    Raises:
        UsageError: an empty name.
    """
    parts = next(csv.reader([text], skipinitialspace=True), [])
    names = tuple(part.strip() for part in parts)
    if not names or not all(names):
        raise UsageError(f"classes: expected names such as mild,severe, received {text!r}")
    return names


def format_classes(names: Iterable[str]) -> str:
    """Write names of classes as `parse_classes` reads them."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return line.getvalue()


def parse_size(text: str) -> tuple[int, int]:
    """Read an image size: "64" is 64x64, "64x48" 64 wide and 48 high.

    Returns:
        `(width, height)`.

    Raises:
        UsageError: another text.
    """
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() for part in parts):
        raise UsageError(
            f"image size: expected one such as 64 or 64x48 (width x height), received {text!r}"
        )
    sizes = [int(part) for part in parts]
    return sizes[0], sizes[-1]
