"""Example data: photographs and digits as folders, and samples of a test split."""

import os

import numpy as np
import pytest
from faults import full_disk

from kpairs.data.examples import write_digits, write_photographs, write_samples
from kpairs.data.pixels import prepare
from kpairs.data.settings import PixelSettings
from kpairs.data.source import open_source
from kpairs.errors import KpairsError, UsageError


def grades_by_file(source):
    """The grade of each file, each of which has one."""
    return source.rated.grade[np.argsort(source.rated.image)]


def test_photographs_as_graded_folders(tmp_path):
    folder = tmp_path / "photographs"
    assert write_photographs(folder, 60, 15) == {"train": 60, "test": 15, "pairs": 180}
    graded = open_source(folder)
    assert graded.classes == tuple("01234")
    grades = {
        part: graded.rated.grade[graded.side == number]
        for number, part in enumerate(("train", "test"))
    }
    assert [np.bincount(part).tolist() for part in grades.values()] == [[12] * 5, [3] * 5]
    assert graded.look.settings().shape == (64, 64, 3)
    compared = open_source(folder / "pairs.csv")
    assert [compared.counts(part)["pairs"] for part in ("train", "test")] == [150, 30]
    assert compared.classes == graded.classes
    assert "on both sides" not in compared.describe()
    grade = dict(zip(graded.rated.images.files, grades_by_file(graded), strict=True))
    pairs = compared.parts["train"]
    left, right = ([grade[pairs.files[i]] for i in side] for side in (pairs.left, pairs.right))
    np.testing.assert_array_equal(pairs.probability, (1 + np.sign(np.subtract(right, left))) / 2)
    with pytest.raises(KpairsError, match="exists already"):
        write_photographs(folder)
    write_photographs(tmp_path / "again", 60, 15)
    for one, other in zip(
        graded.rated.images.files, open_source(tmp_path / "again").rated.images.files, strict=True
    ):
        with open(one, "rb") as first, open(other, "rb") as second:
            assert first.read() == second.read()


def test_digits_as_folders(tmp_path, mnist):
    assert write_digits(mnist, tmp_path / "digits", 90) == {"train": 90, "test": 90}
    source = open_source(tmp_path / "digits", root=tmp_path)
    train = source.split("train", PixelSettings(28, 28, ink="bright", rounded=True))
    files = [source.rated.images.files[i] for i in source.rated.image[source.side == 0]]
    images = np.asarray(train.images)[..., 0]
    numbers = [int(os.path.basename(f)[:5]) for f in files]
    np.testing.assert_array_equal(images, np.float32(mnist["train"].images[numbers] / 255))
    np.testing.assert_array_equal(train.labels, mnist["train"].labels[numbers])


def test_a_full_disk_leaves_no_half_a_folder(tmp_path, mnist):
    folder = tmp_path / "digits"
    with full_disk(), pytest.raises(OSError, match=r"nothing of the new folder is kept.*digits"):
        write_digits(mnist, folder, 10)
    assert not folder.exists()


def test_samples_never_replace_another_file(tmp_path, mnist):
    paths = write_samples(open_source("mnist"), tmp_path)
    assert [path.name for path in paths] == [f"{digit}.png" for digit in range(10)]
    seven = mnist["test"].images[np.argmax(mnist["test"].labels == 7)]
    np.testing.assert_array_equal(prepare(paths[7]).pixels, prepare(seven).pixels)
    write_samples(open_source("mnist"), tmp_path)  # the same images again are no loss
    (tmp_path / "3.png").write_text("precious")
    with pytest.raises(KpairsError, match=r"3.png exists already"):
        write_samples(open_source("mnist"), tmp_path)
    assert (tmp_path / "3.png").read_text() == "precious"


def test_samples_of_images_of_ones_own_are_the_files_themselves(tmp_path, image_folder):
    source = open_source(image_folder, root=tmp_path)
    (first, *_) = write_samples(source, tmp_path / "samples")
    assert first.name == "1.png"
    assert first.read_bytes() in {file.read_bytes() for file in (image_folder / "1").iterdir()}
    (tmp_path / "pairs.csv").write_text(
        "left,right,label\n"
        + "".join(f"images/1/{i}.png,images/2/{i}.png,right\n" for i in range(20))
    )
    with pytest.raises(UsageError, match="samples: expected images with grades, received"):
        write_samples(open_source(tmp_path / "pairs.csv"), tmp_path / "none")
