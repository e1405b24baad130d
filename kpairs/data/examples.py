"""Images to try one's own images by: degraded photographs, graded and compared, and digits as PNGs.

Photographs are those that scikit-learn and scikit-image carry, so that nothing is fetched.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kpairs.data.source import GradedImages, Source
from kpairs.errors import KpairsError, UsageError
from kpairs.files import FULL, atomic_path, write_rows

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

    from kpairs.data.splits import Digits

_PHOTOGRAPHS = {
    "sklearn.datasets.images": ("china.jpg", "flower.jpg"),
    "skimage.data": (
        *("astronaut.png", "chelsea.png", "coffee.png", "ihc.png"),
        *("motorcycle_left.png", "rocket.jpg"),
    ),
}
_SIDE = 64
_GRADES = 5
# Of each grade: deviation of a Gaussian blur in pixels, JPEG quality, deviation of noise in levels.
_BLUR = (0.0, 0.8, 1.4, 2.4, 4.0)
_JPEG = (95, 40, 18, 9, 4)
_NOISE = (0.0, 8.0, 18.0, 36.0, 70.0)
KINDS = ("blur", "jpeg", "noise")
_TEST_SHARE = 0.3  # of each photograph's width, on its right
_COMPARISONS = {"train": 2.5, "test": 2.0}  # times as many as images
# What is flat shows neither blur nor compression: crops need this deviation of luminance.
_TEXTURE = 12.0


def write_photographs(folder: str | Path, train: int = 2000, test: int = 500) -> dict[str, int]:
    """Write crops of photographs, degraded by five grades of blur, compression or noise, as PNGs.

    `<folder>/train/0` to `4` and `test/0` to `4`, each 64x64 in colour; grade 0 is as it was. Each
    crop is degraded in one of the three ways. Test crops come from the right part of the
    photographs, which no training crop touches. `<folder>/pairs.csv` says of pairs of them which is
    more degraded, as if someone had compared them: columns left, right, label (left, right, or tie
    for equal grades), split, left_grade and right_grade. Returns how many images were written by
    split, and how many `pairs`.

    Raises:
        KpairsError: the folder exists.
        UsageError: the packages with the photographs are missing.
    """
    photographs = _photographs()
    rng = np.random.default_rng(0)
    with _new(folder) as new:
        for split, count in (("train", train), ("test", test)):
            for number in range(count):
                grade, kind = number % _GRADES, KINDS[(number // _GRADES) % len(KINDS)]
                name, photograph = photographs[rng.integers(len(photographs))]
                crop = _degraded(_crop(photograph, split, rng), kind, grade, rng)
                place = new / split / str(grade)
                place.mkdir(parents=True, exist_ok=True)
                crop.save(place / f"{number:05d}-{name}-{kind}.png")
        rows = list(_judged(new, np.random.default_rng(1)))
        write_rows(new / "pairs.csv", rows)
    return {"train": train, "test": test, "pairs": len(rows)}


def _judged(folder: Path, rng: np.random.Generator) -> Iterator[dict[str, str | int]]:
    """Yield random pairs of crops as rows of compared pairs: the more degraded one ranks higher."""
    for split, each in _COMPARISONS.items():
        files = sorted((folder / split).glob("*/*.png"))
        pairs: dict[tuple[int, int], None] = {}  # each once, in the order drawn
        while len(pairs) < each * len(files):
            left, right = rng.choice(len(files), 2, replace=False).tolist()
            pairs[left, right] = None
        for pair in pairs:
            left, right = (int(files[i].parent.name) for i in pair)
            names = (files[i].relative_to(folder).as_posix() for i in pair)
            yield {
                **dict(zip(("left", "right"), names, strict=True)),
                "label": "tie" if left == right else "left" if left > right else "right",
                "split": split,
                "left_grade": left,
                "right_grade": right,
            }


def write_digits(
    digits: dict[str, Digits], folder: str | Path, count: int = 4000
) -> dict[str, int]:
    """Write the first images of each split as PNGs, in class folders of a new folder.

    By default what a round of 2,000 pairs takes. Returns how many were written, by split.
    """
    from PIL import Image

    with _new(folder) as new:
        for split, part in digits.items():
            for number, (image, label) in enumerate(zip(part.images, part.labels, strict=True)):
                if number == count:
                    break
                place = new / split / part.classes[label]
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(place / f"{number:05d}.png")
    return {split: min(count, len(part)) for split, part in digits.items()}


def write_samples(source: Source, folder: str | Path) -> list[Path]:
    """Write the first test image of each class as `<class>.png`; of image files, as they are.

    Returns the paths. Raises UsageError for images without classes, KpairsError where another file
    of such a name is there.
    """
    if not source.classes or source.judged:
        raise UsageError(f"samples: expected images with grades, received {source.name}")
    if isinstance(source, GradedImages):
        found = [(Path(f).read_bytes(), Path(f).suffix) for f in source.first_of_each("test")]
    else:
        digits: Any = source.split("test")
        numbers = [int(np.argmax(digits.labels == i)) for i in range(len(source.classes))]
        found = [(_as_png(digits.images[i]), ".png") for i in numbers]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, (data, ending) in zip(source.classes, found, strict=True):
        path = folder / f"{name}{ending}"
        if path.exists() and path.read_bytes() != data:
            raise KpairsError(f"{path} exists already and is another image; choose a new folder")
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
        paths.append(path)
    return paths


def _as_png(image: NDArray[Any]) -> bytes:
    """Write a grey image, of levels or of floats in [0, 1], as a PNG file."""
    from PIL import Image

    if image.dtype != np.uint8:
        image = np.rint(255 * image).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


@contextmanager
def _new(folder: str | Path) -> Iterator[Path]:
    """Make a new folder to fill; it is gone again where that fails or is stopped."""
    folder = Path(folder)
    if folder.exists():
        raise KpairsError(f"{folder} exists already; choose a new folder")
    try:
        yield folder
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in FULL:
            said = f"{error.strerror}; nothing of the new folder is kept"
            raise OSError(error.errno, said, str(folder)) from error
        raise


def _photographs() -> list[tuple[str, PillowImage]]:
    from PIL import Image

    found = []
    for package, names in _PHOTOGRAPHS.items():
        try:
            place = files(package)
        except ImportError as error:
            raise UsageError(
                "the photographs are those of scikit-learn and scikit-image; expected both, "
                "install them with: pip install scikit-learn scikit-image"
            ) from error
        for name in names:
            with Image.open(io.BytesIO((place / name).read_bytes())) as image:
                found.append((name.split(".")[0], image.convert("RGB")))
    return found


def _crop(
    photograph: PillowImage, split: str, rng: np.random.Generator, side: int = _SIDE
) -> PillowImage:
    """Draw a square part with some texture, from the split's side of the photograph."""
    border = round((1 - _TEST_SHARE) * photograph.width)
    low, high = (0, border) if split == "train" else (border, photograph.width)
    for _ in range(1000):
        left = int(rng.integers(low, high - side + 1))
        top = int(rng.integers(0, photograph.height - side + 1))
        crop = photograph.crop((left, top, left + side, top + side))
        if np.asarray(crop.convert("L")).std() > _TEXTURE:
            return crop
    raise KpairsError("a photograph without texture")


def _degraded(crop: PillowImage, kind: str, grade: float, rng: np.random.Generator) -> PillowImage:
    """Degrade a crop; between two grades, by an amount between theirs."""
    from PIL import Image, ImageFilter

    def amount(of_grade: Sequence[float]) -> float:
        return float(np.interp(grade, range(_GRADES), of_grade))

    if grade == 0:
        return crop
    if kind == "blur":
        return crop.filter(ImageFilter.GaussianBlur(amount(_BLUR)))
    if kind == "jpeg":
        packed = io.BytesIO()
        crop.save(packed, "JPEG", quality=round(amount(_JPEG)))
        return Image.open(packed).convert("RGB")
    levels = np.asarray(crop)
    noisy: NDArray[Any] = levels + rng.normal(0, amount(_NOISE), levels.shape)
    return Image.fromarray(np.rint(noisy.clip(0, 255)).astype(np.uint8))


def degraded_photographs(
    count: int, seed: int = 0, side: int = 128, grades: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return crops of photographs and by how much each is degraded, for simulated judges.

    `(count, side, side, 3)` uint8 crops, and `(count,)` amounts between 0 and 4, or the five
    grades. Raises UsageError where the packages with the photographs are missing.
    """
    photographs, rng = _photographs(), np.random.default_rng(seed)
    crops = np.empty((count, side, side, 3), np.uint8)
    amounts = rng.integers(0, _GRADES, count) if grades else rng.uniform(0, _GRADES - 1, count)
    for crop, amount in zip(crops, amounts.tolist(), strict=True):
        _, photograph = photographs[rng.integers(len(photographs))]
        kind = KINDS[rng.integers(len(KINDS))]
        crop[:] = np.asarray(_degraded(_crop(photograph, "train", rng, side), kind, amount, rng))
    return crops, amounts.astype(np.float64)
