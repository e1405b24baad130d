"""The images that a training, an evaluation or a look is about, opened once.

`open_source` looks at the disk once and returns one of five kinds of source. Nothing after it asks
what a string is.
"""

from __future__ import annotations

import hashlib
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kpairs.data.annotations import SPLITS, Columns, ImageFiles
from kpairs.data.cache import Survey, ink_of, prepared_images, survey
from kpairs.data.compared import ComparedImages, are_compared, count_outcomes, read_compared
from kpairs.data.division import TEST_SHARE, rescue_empty_grades, sides, sides_of_pairs, units_of
from kpairs.data.grades import RatedImages, read_rated
from kpairs.data.groups import name_groups, number_groups
from kpairs.data.named import SOURCES, available, find_idx_source, read_split
from kpairs.data.pixels import contradiction
from kpairs.data.settings import DIGITS, LONGEST_SIDE, WHITE, PixelSettings
from kpairs.data.splits import Compared, Digits, Scored, Split
from kpairs.data.stored import Featured, Stored
from kpairs.data.table import Progress, is_table, read_table
from kpairs.data.vectors import Vectors
from kpairs.errors import InputError, UsageError, missing, unknown

log = logging.getLogger(__name__)
_DECIDED = len(("width", "height", "channels", "fit", "ink"))


def cache_root() -> Path:
    """Return the folder for fetched data: `$KPAIRS_DATA`, else the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("KPAIRS_DATA") or platformdirs.user_cache_dir("kpairs"))


def open_source(
    data: str | Path = "mnist",
    *,
    columns: Mapping[str, str] | None = None,
    words: Mapping[str, str] | None = None,
    images: str | Path | None = None,
    group: str | None = None,
    classes: Sequence[str] | None = None,
    white: int | None = None,
    skip_missing: bool = False,
    root: str | Path | None = None,
    fetch: bool = True,
    progress: Progress | None = None,
) -> Source:
    """Open images by name or place.

    Args:
        data: "mnist", "fashionmnist", "kmnist", "qmnist"; a folder that holds MNIST-like IDX
            files; a folder of class folders; a table of graded or scored images, see
            `kpairs.data.grades`, or of compared pairs, see `kpairs.data.compared`.
        columns: a table's own headers by the usual names, where they differ.
        words: "left", "right" or "tie" by a table's own words for who ranks higher.
        images: folder of the images that a table names, where it is not the table's own; or a file
            of features by those names, see `kpairs.data.vectors.read_vectors`.
        group: "folder", or a regular expression on names: images that belong together, such as a
            patient's, and are in one split; see `kpairs.data.groups.name_groups`. Default a
            table's column group.
        classes: the grades' names, lowest first, where they are no numbers.
        white: level of 16-bit grey that is white, such as 4095 for 12 bits; default 65535.
        skip_missing: leave out a table's rows that name missing images, and say how many.
        root: the cache folder of fetched and prepared images; default `cache_root()`.
        fetch: download a named source that is missing.
        progress: called with how many bytes of a table of how many are read.

    Returns:
        A `NamedDigits`, `IdxFolder`, `GradedImages`, `ScoredImages` or `ComparedPairs`.

    Raises:
        UsageError: an unknown column or word, grades whose order is not known, or groups of digits.
        InputError: no such file or folder, or one that cannot be read or makes no sense.

    Example:
        >>> import kpairs
        >>> kpairs.open_source("mnist").split("test")
        Digits(mnist test split: 10,000 images)
    """
    place, path = Path(root or cache_root()), Path(data)
    key = str(data).lower().replace("-", "").replace("_", "")
    idx = find_idx_source(path) if key not in SOURCES and path.is_dir() else None
    if group is not None and (key in SOURCES or idx):
        raise UsageError(f"group: expected images of one's own, received {data}")
    if key in SOURCES:
        return NamedDigits(key, place, fetch)
    if not str(data).strip():
        raise UsageError("data: expected a name, a folder or a table, received nothing")
    if idx:
        return IdxFolder(path, *idx)
    read_by: dict[str, Any] = {"group": group, "white": white}
    if path.is_dir():
        listed: RatedImages | ComparedImages = read_rated(path, classes=classes)
    else:
        table = {"columns": columns, "images": images, "skip_missing": skip_missing}
        listed = _read_table(path, words, progress, classes=classes, **table)
        read_by |= {**table, "words": words, "skip_missing": skip_missing or None}
        read_by["images"] = None if images is None else str(Path(images).absolute())
    if group is not None:
        listed = replace(listed, group=name_groups(listed.images.files, group))
    source: Source
    if isinstance(listed, ComparedImages):
        source = ComparedPairs(listed, path, place)
    else:
        source = (GradedImages if listed.classes else ScoredImages)(listed, path, place)
    source.read_by = {name: value for name, value in read_by.items() if value is not None}
    return source


def _read_table(
    path: Path, words: Mapping[str, str] | None, progress: Progress | None, **how: Any
) -> RatedImages | ComparedImages:
    """Read a table of one's own; say which data set with a name may be meant where it is none."""
    if not path.is_file():
        near = unknown("data", path, SOURCES)
        hint = str(near).partition(": ")[2] if "did you mean" in str(near) else ""
        raise InputError(f"{missing(path)}{'; ' if hint else ''}{hint}")
    if not is_table(path):
        raise InputError(
            f"{path}: expected a folder of images, or a table (.csv, .tsv or .jsonl) of graded "
            "images or compared pairs; received another file. Rename a table to end in .csv"
        )
    header = next(read_table(path, "pairs or grades"))[1]
    if are_compared(Columns(header, how["columns"], path)):
        return read_compared(path, words=words, progress=progress, **how)
    return read_rated(path, **how)


class Source(ABC):
    """Images with what people said of them, opened and not yet decoded.

    Attributes:
        name: the key of a named source, else an absolute path: valid from anywhere.
        classes: names of the classes, lowest first; empty where nobody graded.
        word: what outputs call a class, "digit" or "grade".
        judged: whether people compared the pairs, so that there are no others.
        undivided: whether all pairs are in both splits: the error is cross-validated.
        are_photographs: whether the images are in colour or of no one ink, as drawings are not.
        read_by: the `columns`, `words`, `images` (an absolute path), `group`, `white` and
            `skip_missing` that it was opened with.
        vectors: features by name, where there are no images.
    """

    word: ClassVar[str] = "grade"
    judged: ClassVar[bool] = False
    undivided = False
    are_photographs = False
    name: str
    classes: tuple[str, ...]
    read_by: Mapping[str, Any] = {}
    vectors: Vectors | None = None

    @property
    def _white(self) -> int:
        return int(self.read_by.get("white", WHITE))

    def settings(
        self,
        *,
        size: tuple[int, int] | None = None,
        channels: int | None = None,
        fit: str | None = None,
        ink: str | None = None,
        longest: int = LONGEST_SIDE,
    ) -> PixelSettings:
        """Choose how an image becomes a network's input; what is given counts.

        Args:
            size: `(width, height)`.
            channels: 1 or 3.
            fit: a key of `kpairs.data.settings.FITS`.
            ink: a key of `kpairs.data.settings.INKS`.
            longest: pixels to which photographs' longer side is reduced, without a size.

        Raises:
            UsageError: a value that is no setting.
            InputError: an image that cannot be read.
        """
        given: dict[str, Any] = {"channels": channels, "fit": fit, "ink": ink}
        given |= dict(zip(("width", "height"), size or (), strict=False))
        given = {name: value for name, value in given.items() if value is not None}
        if self.vectors is not None and given:
            raise UsageError("features: expected no size, channels, fit or ink of images")
        if len(given) == _DECIDED:  # no look is needed
            return PixelSettings(**given, rounded=self.word == "grade", white=self._white)
        return replace(self._usual(longest), **given)

    @abstractmethod
    def _usual(self, longest: int) -> PixelSettings:
        """Return the settings where nothing is given, at most so many pixels a side."""

    def split(
        self,
        part: str,
        settings: PixelSettings | None = None,
        progress: Progress | None = None,
    ) -> Split:
        """Load one split.

        Args:
            part: "train" or "test".
            settings: how an image becomes a network's input; default `self.settings()`.
            progress: called with how many of how many images are prepared.

        Raises:
            InputError: files that are missing, corrupt or inconsistent.
            KpairsError: a named source that cannot be fetched, or a cache that cannot be written.
        """
        return self._split(part, settings or self.settings(), progress)

    @abstractmethod
    def _split(self, part: str, settings: PixelSettings, progress: Progress | None) -> Split:
        """Load one split with these settings."""

    def splits(
        self, settings: PixelSettings, progress: Progress | None = None
    ) -> tuple[Split, Split]:
        """Load the training and the test split; see `split`."""
        return self.split("train", settings, progress), self.split("test", settings, progress)

    @abstractmethod
    def most_pairs(self, part: str) -> int:
        """Count the pairs that can be drawn from a split."""

    def counts(self, part: str) -> dict[str, int]:
        """Return how many images a split has, and how many pairs if people compared them."""
        return {"images": len(self.split(part))}

    def whole(self) -> Source:
        """Return the source with all pairs in both splits; as it is where something divides it."""
        return self

    @abstractmethod
    def describe(self) -> str:
        """Say in one line what there is."""

    def announce(self, settings: PixelSettings) -> None:
        """Log what the user's own images are, and how a network sees them."""
        if self.word == "grade":
            log.info("%s", self.describe())
            log.info("the network sees %s", settings)

    @abstractmethod
    def digest(self) -> str:
        """Return a digest of the images and of what people said of them."""

    def rows(self, base: Path) -> list[dict[str, object]] | None:
        """Return the source as rows of a table, paths relative to `base`; None for digits."""
        return None

    def fingerprints(self, base: Path) -> dict[str, str]:
        """Return the fingerprint of each image by its path relative to `base`, or by its name."""
        return {}

    def files(self, part: str) -> tuple[str, ...]:
        """Return the paths of a split's images; none for digits."""
        return ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class _Digits(Source):
    """Digits, or images like them, in IDX files."""

    word = "digit"

    @abstractmethod
    def _count(self, part: str) -> int: ...

    @abstractmethod
    def _ink(self) -> str: ...

    def _usual(self, longest: int) -> PixelSettings:
        return replace(DIGITS, ink=self._ink())

    def most_pairs(self, part: str) -> int:
        return self._count(part) // 2

    def describe(self) -> str:
        train, test = (f"{self._count(part):,}" for part in SPLITS)
        of = f"images of {len(self.classes)} classes"
        return f"{self.name}: {train} training and {test} test {of}"


class NamedDigits(_Digits):
    """MNIST or a data set like it, known by name, in the cache folder."""

    classes = tuple(str(i) for i in range(10))

    def __init__(self, key: str, root: Path, fetch: bool = True) -> None:
        self.name, self.root, self.fetch = key, root, fetch

    @cached_property
    def folder(self) -> Path:
        """The folder of its files, fetched first if any is missing."""
        return available(self.name, self.root, self.fetch)

    def _ink(self) -> str:
        return SOURCES[self.name].ink

    def _split(self, part: str, settings: PixelSettings, progress: Progress | None) -> Digits:
        name = f"{self.name} {part} split"
        digits = read_split(self.folder, SOURCES[self.name], part, name, named=True)
        return replace(digits, settings=settings)

    def _count(self, part: str) -> int:
        return 60_000 if part == "train" or self.name == "qmnist" else 10_000

    def digest(self) -> str:
        return self.name  # its files' checksums are known


class IdxFolder(_Digits):
    """A folder of MNIST-like IDX files."""

    def __init__(self, path: Path, place: Path, like: Any) -> None:
        self.name, self.folder = str(path.absolute()), place
        self._splits = {
            part: read_split(place, like, part, f"{self.name} {part} split", named=False)
            for part in SPLITS
        }
        self.classes = self._splits["train"].classes

    def _ink(self) -> str:
        return ink_of(self._splits["train"].images)

    def _split(self, part: str, settings: PixelSettings, progress: Progress | None) -> Digits:
        return replace(self._splits[part], settings=settings)

    def _count(self, part: str) -> int:
        return len(self._splits[part])

    def digest(self) -> str:
        found = hashlib.sha256()
        for part in SPLITS:
            digits = self._splits[part]
            found.update(np.ascontiguousarray(digits.images).tobytes() + digits.labels.tobytes())
        return found.hexdigest()[:32]


class _OwnImages(Source):
    """Image files of the user's own."""

    def __init__(self, images: ImageFiles, path: Path, root: Path) -> None:
        self.name, self.root, self._images = str(path.absolute()), root, images
        self.vectors = images.vectors

    @abstractmethod
    def _training_files(self) -> ImageFiles:
        """Return the files of the training split."""

    @cached_property
    def look(self) -> Survey:
        """The look of the training images."""
        return survey(self._training_files(), self._white)

    @property
    def are_photographs(self) -> bool:  # type: ignore[override]
        return self.vectors is None and self.look.are_photographs

    def _usual(self, longest: int) -> PixelSettings:
        if self.vectors is None:
            return self.look.settings(longest)
        width = self.vectors.values.shape[1]
        return PixelSettings(1, width, ink="mixed", rounded=True, features=True)

    def _prepared(
        self,
        files: ImageFiles,
        settings: PixelSettings,
        progress: Progress | None,
    ) -> Stored:
        """Prepare images; say how many contradict the settings' ink.

        Raises:
            InputError: features where a network takes pictures, pictures where it takes features,
                or another number of features.
        """
        width = None if self.vectors is None else self.vectors.values.shape[1]
        if width != (settings.width if settings.features else None):
            raise InputError(
                f"{self.name}: expected what the network learned from, {settings}; received "
                f"{'images' if width is None else f'{width} features'}"
            )
        if self.vectors is not None:
            return Featured(self.vectors.values, self.vectors.rows(files.files))
        file, odd = prepared_images(files, settings, self.root, progress)
        if odd:
            said = contradiction(len(odd), len(files), files.places[odd[0]], settings)
            log.warning("%s: %s", files.name, said)
        return Stored(file)

    def fingerprints(self, base: Path) -> dict[str, str]:
        return dict(zip(self._paths(base), self._images.fingerprints.values(), strict=True))

    def _paths(self, base: Path) -> list[str]:
        files = self._images.files
        return [os.path.relpath(f, base) for f in files] if self.vectors is None else list(files)

    def digest(self) -> str:
        found = hashlib.sha256()
        for row in self.rows(Path(self.name).parent) or ():
            found.update(repr(row).encode("utf-8", "surrogateescape"))
        for known in self._images.fingerprints.values():
            found.update(known.encode())
        return found.hexdigest()[:32]


class _RatedSource(_OwnImages):
    """Images that people graded or scored."""

    kind: ClassVar[str]

    def __init__(self, rated: RatedImages, path: Path, root: Path) -> None:
        super().__init__(rated.images, path, root)
        self.rated, self.classes = rated, rated.classes
        if rated.split is None:
            units = units_of(rated.images, rated.group)
            grade = np.zeros(len(rated.images), np.int64)
            if rated.grade is not None:
                grade[rated.image[::-1]] = rated.grade[::-1]
            self.side = rescue_empty_grades(sides(units), grade, units)[rated.image]
        else:
            self.side = rated.split

    def _part(self, part: str) -> tuple[ImageFiles, NDArray[np.int64], NDArray[np.int64]]:
        """Return a split's files, the number of the file of each rating, and its ratings.

        Raises:
            InputError: it has no images; for training, none of a grade.
        """
        rows = np.flatnonzero(self.side == SPLITS.index(part))
        there = set() if self.rated.grade is None else set(self.rated.grade[rows].tolist())
        lacking = [c for i, c in enumerate(self.classes) if i not in there]
        if not len(rows) or (part == "train" and lacking):
            raise InputError(
                f"{self.name}: expected images of every grade for the {part} split, received none "
                f"{'of ' if lacking else ''}{', '.join(lacking)}; where nothing says the split, a "
                "fifth of the images is for testing"
            )
        used: dict[int, int] = {}
        numbers = [used.setdefault(i, len(used)) for i in self.rated.image[rows].tolist()]
        files = self.rated.images.take(used, f"{self.name} {part} split")
        return files, np.array(numbers), rows

    def _split(self, part: str, settings: PixelSettings, progress: Progress | None) -> Split:
        files, numbers, rows = self._part(part)
        images, rated = self._prepared(files, settings, progress)[numbers], self.rated
        group = None if rated.group is None else number_groups(rated.group)[rated.image[rows]]
        about = files.name, Path(self.name), settings, group
        if rated.score is not None:
            return Scored(images, rated.score[rows], *about)
        return Digits(images, np.asarray(rated.grade)[rows], self.classes, *about)

    def _training_files(self) -> ImageFiles:
        return self._part("train")[0]

    def files(self, part: str) -> tuple[str, ...]:
        return self._part(part)[0].files

    def counts(self, part: str) -> dict[str, int]:
        files, numbers, _ = self._part(part)
        repeated = {"ratings": len(numbers)} if len(numbers) > len(files.files) else {}
        return {**repeated, "images": len(files.files)}

    def most_pairs(self, part: str) -> int:
        _, images, _ = self._part(part)
        different = len(images) * (len(images) - 1)
        return different - int(sum(n * (n - 1) for n in np.bincount(images)))

    def rows(self, base: Path) -> list[dict[str, object]]:
        rated, ratings = self.rated, self._ratings()
        paths = self._paths(base)
        group = rated.group
        return [
            {
                "image": paths[image],
                self.kind: rating,
                "split": SPLITS[side],
                **({} if group is None else {"group": group[image]}),
            }
            for image, rating, side in zip(
                rated.image.tolist(), ratings, self.side.tolist(), strict=True
            )
        ]

    @abstractmethod
    def _ratings(self) -> list[object]: ...

    def _counts(self, of: str) -> str:
        image, note = self.rated.image, f"; {self.rated.note}" if self.rated.note else ""
        ratings = [np.count_nonzero(self.side == i) for i in (0, 1)]
        train, test = (f"{len(np.unique(image[self.side == i])):,}" for i in (0, 1))
        if sum(ratings) > len(np.unique(image)):
            train, test = f"{ratings[0]:,} ratings of {train}", f"{ratings[1]:,} of {test}"
        return f"{self.name}: {train} training and {test} test images{of}{note}"


class GradedImages(_RatedSource):
    """A folder of class folders, or a table of images and grades."""

    kind = "grade"

    def first_of_each(self, part: str) -> list[str]:
        """Return the first file of each grade in a split, or in all where it has none there."""
        grades, side = np.asarray(self.rated.grade), self.side == SPLITS.index(part)
        found = []
        for rank in range(len(self.classes)):
            mine = np.flatnonzero((grades == rank) & side)
            mine = mine if len(mine) else np.flatnonzero(grades == rank)
            found.append(self.rated.images.files[self.rated.image[mine[0]]])
        return found

    def _ratings(self) -> list[object]:
        return [self.classes[grade] for grade in np.asarray(self.rated.grade).tolist()]

    def describe(self) -> str:
        return self._counts(f" of {len(self.classes)} grades, {' < '.join(self.classes)}")


class ScoredImages(_RatedSource):
    """A table of images and numbers, such as mean opinion scores."""

    kind = "score"

    def _ratings(self) -> list[object]:
        return np.asarray(self.rated.score).tolist()

    def describe(self) -> str:
        scores = np.asarray(self.rated.score)
        return self._counts(f" with scores from {scores.min():g} to {scores.max():g}")


class ComparedPairs(_OwnImages):
    """A table of pairs that people compared.

    Attributes:
        listed: all pairs of the table.
        lost: number of rows in neither split, since one of their images is in each.
    """

    judged = True

    def __init__(self, listed: ComparedImages, path: Path, root: Path) -> None:
        super().__init__(listed.images, path, root)
        self.listed, self.classes = listed, listed.classes
        if listed.split is not None:
            self.side = listed.split
        else:
            units = units_of(listed.images, listed.group)
            decided = listed.probability != 0.5
            side = sides_of_pairs(units, listed.left, listed.right, decided)
            left, right = side[listed.left], side[listed.right]
            self.side = np.where(left == right, left, -1)
        self.lost = int(np.count_nonzero(self.side < 0))

    def whole(self) -> ComparedPairs:
        told = self.listed.split
        if self.undivided or (told is not None and told.any()):  # some are for testing
            return self
        source = copy(self)
        source.undivided, source.lost = True, 0
        vars(source).pop("parts", None)
        vars(source).pop("look", None)
        return source

    @cached_property
    def parts(self) -> dict[str, ComparedImages]:
        """The pairs of each split.

        Raises:
            InputError: a split without pairs that say anything.
        """
        return {part: self._part(part) for part in SPLITS}

    def _part(self, part: str) -> ComparedImages:
        rows = (
            np.full(len(self.listed), True) if self.undivided else self.side == SPLITS.index(part)
        )
        # One name, so that what is said of both splits is said once.
        name = f"{self.listed.source}{'' if self.undivided else f' {part} split'}"
        pairs = self.listed.take(rows, name)
        _check_pairs(pairs, part)
        return pairs

    def _training_files(self) -> ImageFiles:
        return self.parts["train"].images

    def files(self, part: str) -> tuple[str, ...]:
        return self.parts[part].files

    def counts(self, part: str) -> dict[str, int]:
        return {"pairs": len(self.parts[part]), "images": len(self.parts[part].files)}

    def examples(self) -> list[str]:
        """Say the first rows in words, so that a wrong direction is seen."""
        return [self.listed.in_words(row) for row in range(min(3, len(self.listed)))]

    def _split(self, part: str, settings: PixelSettings, progress: Progress | None) -> Compared:
        return self.prepared(self.parts[part], settings, progress)

    def everything(self, settings: PixelSettings) -> Compared:
        """Load the pairs to evaluate on: all, or those that the table says are for testing."""
        whole = self.listed if self.listed.split is None else self._part("test")
        return self.prepared(whole, settings)

    def prepared(
        self,
        pairs: ComparedImages,
        settings: PixelSettings,
        progress: Progress | None = None,
    ) -> Compared:
        """Load some of the pairs."""
        return Compared(self._prepared(pairs.images, settings, progress), pairs, settings)

    def most_pairs(self, part: str) -> int:
        return len(self.parts[part])

    def rows(self, base: Path) -> list[dict[str, object]]:
        paths = self._paths(base)
        found: list[dict[str, object]] = []
        for part, pairs in list(self.parts.items())[: 1 if self.undivided else None]:
            number = {file: i for i, file in enumerate(self.listed.files)}
            own = [paths[number[file]] for file in pairs.files]
            for i in range(len(pairs)):
                row: dict[str, object] = {
                    "left": own[pairs.left[i]],
                    "right": own[pairs.right[i]],
                    "right_wins": float(pairs.probability[i]),
                    **({} if self.undivided else {"split": part}),
                }
                if pairs.weight is not None:
                    row["weight"] = float(pairs.weight[i])
                if pairs.judge is not None:
                    row["judge"] = str(pairs.judge[i])
                if pairs.group is not None:
                    groups = [pairs.group[side[i]] for side in (pairs.left, pairs.right)]
                    names = ("left_group", "right_group") if groups[0] != groups[1] else ("group",)
                    row |= dict(zip(names, groups, strict=False))
                for side, grades in (("left", pairs.left_grade), ("right", pairs.right_grade)):
                    if self.classes:
                        grade = int(grades[i])
                        row[f"{side}_grade"] = self.classes[grade] if grade >= 0 else ""
                found.append(row)
        return found

    def describe(self) -> str:
        listed, (train, test) = self.listed, self.parts.values()
        found = count_outcomes(listed)
        left, right, ties = (f"{100 * n / len(listed):.3g} %" for n in found.higher)
        shared = 0 if self.undivided else len({*train.files} & {*test.files})
        parts = [
            f"{listed.source}: {len(listed):,} judgement{'s' * (len(listed) > 1)} of "
            f"{found.images:,} images; left ranks "
            f"higher in {left}, right in {right}, ties {ties}",
            "all train, and test by cross-validation"
            if self.undivided
            else f"{len(train):,} to train, {len(test):,} to test",
        ]
        for count, what, text in (
            (self.lost, "row", "left out, since one image is for training and one for testing"),
            (shared, "image", "on both sides, as the table says"),
            (listed.unjudged, "row", "left out without a judgement"),
            (found.contradicting, "pair", "of images judged both ways"),
            (found.cyclic, "pair", "on cycles (a above b above c above a)"),
        ):
            if count:
                parts.append(f"{count:,} {what}{'s' * (count > 1)} {text}")
        if listed.note:
            parts.append(listed.note)
        if self.classes:
            parts.append(f"grades {' < '.join(self.classes)}")
        return "; ".join(parts)


def _check_pairs(pairs: ComparedImages, part: str) -> None:
    """Refuse a split without pairs that say anything."""
    if not len(pairs):
        raise InputError(
            f"{pairs.source}: expected pairs for the {part} split, received none; where no column "
            f"split says, {TEST_SHARE:.0%} of the images are for testing: add a column split, with "
            "train and test, or more pairs of other images"
        )
    if pairs.weight is not None and not pairs.weight.any():
        raise InputError(
            f"{pairs.source}: expected weights above 0 in the {part} split, received only zeros"
        )
    if (pairs.probability == 0.5).all():
        raise InputError(
            f"{pairs.source}: expected pairs of which one ranks higher in the {part} split, "
            f"received ties only ({len(pairs):,})"
        )
