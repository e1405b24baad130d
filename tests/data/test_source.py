"""Named sources and folders of IDX files: found, read strictly, and checked."""

import gzip
import shutil

import numpy as np
import pytest
from idx_writer import write_idx

from kpairs.data import open_source
from kpairs.data.source import cache_root
from kpairs.errors import InputError


def test_mnist_is_mnist(mnist):
    assert {k: len(d) for k, d in mnist.items()} == {"train": 60_000, "test": 10_000}
    assert mnist["train"].images.shape == (60_000, 28, 28)
    # LeCun's counts of each digit in the test split.
    counts = np.bincount(mnist["test"].labels).tolist()
    assert counts == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_idx_folder(idx_folder):
    digits = open_source(idx_folder).split("test")
    assert len(digits) == 100
    assert digits.classes == tuple("0123456789")
    for file in list(idx_folder.iterdir()):
        with gzip.open(f"{file}.gz", "wb") as packed:
            packed.write(file.read_bytes())
        file.unlink()
    np.testing.assert_array_equal(open_source(idx_folder).split("test").images, digits.images)


def damage(folder, what):
    images, labels = (folder / f"train-{n}-ubyte" for n in ("images-idx3", "labels-idx1"))
    data = images.read_bytes()
    if what == "truncated":
        images.write_bytes(data[:-100])
    elif what == "longer":
        images.write_bytes(data + b"\0")
    elif what == "empty":
        images.write_bytes(b"")
    elif what == "header only":
        images.write_bytes(data[:6])
    elif what == "200 dimensions":
        images.write_bytes(b"\0\0\x08\xc8" + bytes(800))
    elif what == "not idx":
        images.write_bytes(b"<html>not found</html>")
    elif what == "label 77":
        labels.write_bytes(labels.read_bytes()[:-1] + bytes([77]))
    elif what == "fewer labels":
        write_idx(labels, np.arange(150, dtype=np.uint8) % 10)
    elif what == "missing":
        labels.unlink()
    elif what == "one class":
        write_idx(labels, np.zeros(200, np.uint8))
    elif what == "broken gzip":
        images.with_name(images.name + ".gz").write_bytes(gzip.compress(data)[:-40])
        images.unlink()


DAMAGES = {
    "truncated": r"expected 156816 bytes for shape \(200, 28, 28\), received 156716",
    "longer": "expected 156816 bytes .* received 156817",
    "empty": "expected an IDX file",
    "header only": "expected an IDX header of 16 bytes, received 6",
    "200 dimensions": "expected 1 to 3 dimensions, received 200",
    "not idx": "expected an IDX file, received one that begins b'<htm'",
    "label 77": r"numbered 0 to 10, received \[77\]",
    "fewer labels": "expected 200 labels, one per image",
    "missing": "train-labels-idx1-ubyte: expected the train split's file",
    "one class": "at least two classes numbered 0 to 1",
    "broken gzip": "gz: cannot be read",
}


@pytest.mark.parametrize("what", DAMAGES)
def test_damaged_idx_files(idx_folder, what):
    damage(idx_folder, what)
    with pytest.raises(InputError, match=DAMAGES[what]):
        open_source(idx_folder).split("train")


def test_the_training_split_decides_the_classes(idx_folder):
    write_idx(idx_folder / "t10k-labels-idx1-ubyte", np.arange(100, dtype=np.uint8) % 3)
    assert open_source(idx_folder).split("test").classes == tuple("0123456789")
    write_idx(idx_folder / "t10k-labels-idx1-ubyte", np.arange(100, dtype=np.uint8) % 11)
    with pytest.raises(InputError, match=r"t10k-labels.* numbered 0 to 9, received \[10\]"):
        open_source(idx_folder).split("test")


def test_one_flipped_byte_of_mnist(mnist, tmp_path):
    folder = tmp_path / "MNIST" / "raw"
    shutil.copytree(mnist["train"].folder, folder)
    file = folder / "t10k-labels-idx1-ubyte"
    data = bytearray(file.read_bytes())
    data[5000] ^= 1
    file.write_bytes(data)
    with pytest.raises(InputError, match="t10k-labels-idx1-ubyte: corrupt: expected MD5 27ae3e4e"):
        open_source("mnist", root=tmp_path).split("test")
    assert len(open_source("mnist", root=tmp_path).split("train")) == 60_000
    assert file.read_bytes() == data  # never replaced behind the user's back


@pytest.mark.parametrize("name", ["fashionmnist", "FashionMNIST", "fashion-mnist"])
def test_named_sources_in_torchvisions_layout(idx_folder, tmp_path, name):
    (tmp_path / "cache" / "FashionMNIST").mkdir(parents=True)
    idx_folder.rename(tmp_path / "cache" / "FashionMNIST" / "raw")
    assert len(open_source(name, root=tmp_path / "cache").split("train")) == 200


def test_qmnist_labels_have_eight_columns(tmp_path, rng):
    folder = tmp_path / "QMNIST" / "raw"
    labels = rng.integers(0, 1000, (30, 8)).astype(np.int32)
    labels[:, 0] = np.arange(30) % 10
    for split in ("train", "test"):
        write_idx(folder / f"qmnist-{split}-images-idx3-ubyte", np.zeros((30, 28, 28), np.uint8))
        write_idx(folder / f"qmnist-{split}-labels-idx2-int", labels)
    digits = open_source("qmnist", root=tmp_path).split("test")
    assert digits.labels.tolist() == [i % 10 for i in range(30)]


def test_missing_without_fetching(tmp_path):
    with pytest.raises(InputError, match="mnist is not here; missing train-images-idx3-ubyte"):
        open_source("mnist", root=tmp_path, fetch=False).split("train")


def test_the_environment_variable_moves_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KPAIRS_DATA", str(tmp_path))
    assert cache_root() == tmp_path
