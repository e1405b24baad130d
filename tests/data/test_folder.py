"""A user's own folders of images: classes, their rank, and their splits."""

import shutil

import numpy as np
import pytest

from kpairs.data import load_digits
from kpairs.errors import InputError, UsageError


def test_image_folder(image_folder):
    train, test = (load_digits(image_folder, split) for split in ("train", "test"))
    assert train.classes == test.classes == ("1", "2", "10")  # by value, not by letter
    assert (len(train), len(test)) == (48, 12)
    means = [train.images[train.labels == k].mean() for k in range(3)]
    assert means == sorted(means)  # class k's images are 80 k brighter
    both = np.concatenate([train.images, test.images]).reshape(60, -1)
    assert len(np.unique(both, axis=0)) == 60  # no image in both splits


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("0", "1", "-1"), ("-1", "0", "1")),
        (("1.5", "1.25", "1.10"), ("1.10", "1.25", "1.5")),
        (("age10", "age2"), ("age2", "age10")),
        (("low", "high", "²"), ("high", "low", "²")),
    ],
)
def test_the_rank_of_class_folders(names, expected, image_folder, tmp_path):
    for name in names:
        shutil.copytree(image_folder / "1", tmp_path / "own" / name)
        (tmp_path / "own" / name / "._1.png").write_bytes(b"a file of macOS")
        (tmp_path / "own" / name / "folder.png").mkdir()
    assert load_digits(tmp_path / "own").classes == expected


def test_folders_of_one_rank_or_half_divided(image_folder, tmp_path):
    (image_folder / "2").rename(image_folder / "01")
    with pytest.raises(InputError, match="expected class folders of different rank"):
        load_digits(image_folder)
    shutil.copytree(image_folder, tmp_path / "half" / "train")
    shutil.copytree(image_folder, tmp_path / "half" / "val")
    with pytest.raises(InputError, match="expected test/ beside train/"):
        load_digits(tmp_path / "half")


def test_image_folder_with_its_own_splits(image_folder, tmp_path):
    divided = tmp_path / "divided"
    shutil.copytree(image_folder, divided / "train")
    shutil.copytree(image_folder, divided / "test")
    assert len(load_digits(divided, "test")) == 60
    shutil.rmtree(divided / "test" / "10")
    with pytest.raises(InputError, match="expected the classes of train/"):
        load_digits(divided, "test")


def test_bad_folders(tmp_path, image_folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected at least two class folders"):
        load_digits(tmp_path / "empty")
    for file in list((image_folder / "2").iterdir())[3:]:
        file.unlink()
    with pytest.raises(InputError, match="for the test split, received none"):
        load_digits(image_folder, "test")
    with pytest.raises(UsageError, match="'mnits': did you mean mnist"):
        load_digits("mnits")
