"""Sources: found, opened once, read strictly, and checked."""

import gzip
import shutil

import numpy as np
import pytest
from idx_writer import write_idx
from image_folders import table, write

from kpairs.data.pairs import PairSet
from kpairs.data.pixels import prepare
from kpairs.data.settings import PixelSettings
from kpairs.data.source import (
    ComparedPairs,
    GradedImages,
    IdxFolder,
    NamedDigits,
    ScoredImages,
    cache_root,
    open_source,
)
from kpairs.data.splits import draw_pairs
from kpairs.data.stored import Stored
from kpairs.errors import InputError, KpairsError, UsageError


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


def test_graded_images_load_as_their_network_sees_them(tmp_path):
    folder = write(tmp_path / "photos", ("low", "high"), mode="RGB", size=(20, 30))
    with pytest.raises(UsageError, match="add --classes low,high"):
        open_source(folder, root=tmp_path)
    source = open_source(folder, root=tmp_path, classes=("low", "high"))
    train = source.split("train")
    assert (source.word, train.classes) == ("grade", ("low", "high"))
    assert len(train) == source.counts("train")["images"]
    assert train.settings == PixelSettings(30, 20, 3, "pad", "bright", rounded=True)
    files = [source.rated.images.files[i] for i in source.rated.image[source.side == 0]]
    expected = prepare(files, train.settings).pixels
    np.testing.assert_array_equal(np.asarray(train.pixels(np.arange(len(train)))), expected)
    small = source.settings(size=(14, 14), channels=1, fit="crop", ink="mixed")
    assert small == PixelSettings(14, 14, 1, "crop", "mixed", rounded=True)
    test = source.split("test", small)
    assert test.pixels(np.array([1, 0])).shape == (2, 14, 14, 1)


def test_graded_images_in_pairs(tmp_path, rng):
    for part in ("train", "test"):
        write(tmp_path / "photos" / part, "123", 8, mode="RGB")
    train = open_source(tmp_path / "photos", root=tmp_path).split("train")
    few = draw_pairs(train, 12, rng)
    assert len(np.unique(np.concatenate([few.left.rows, few.right.rows]))) == 24
    many = draw_pairs(train, 100, rng)
    pairs = set(zip(many.left.rows.tolist(), many.right.rows.tolist(), strict=True))
    assert len(pairs) == 100  # no pair twice, no image against itself
    assert all(left != right for left, right in pairs)
    uses = np.bincount(np.concatenate([many.left.rows, many.right.rows]))
    assert uses.min() >= 5  # 200 places for 24 images: 8.3 on average
    assert uses.max() <= 9
    assert len(draw_pairs(train, 24 * 23, rng)) == 24 * 23
    with pytest.raises(InputError, match="553 pairs need more images, received 24; at most 552"):
        draw_pairs(train, 553, rng)
    targets = many.targets(["comparison", "left_grade", "right_grade"])
    np.testing.assert_array_equal(targets["left_grade"], train.labels[many.left.rows])
    joined = PairSet.concat(few, many.take(np.arange(10)))
    assert isinstance(joined.left, Stored)
    assert len(joined) == 22
    assert joined.inputs()["right"].shape == (22, 9, 12, 3)


def test_each_kind_of_source_is_opened_as_one(tmp_path, idx_folder, image_folder):
    rows = [f"images/1/{i}.png,images/2/{i}.png,right" for i in range(20)]
    files = [f"images/{c}/{i}.png" for c in (1, 2) for i in range(20)]
    pairs = table(tmp_path / "Pairs.CSV", "left,right,label", *rows)
    grades = table(
        tmp_path / "g.csv", "image,grade", *(f"{f},{n % 3}" for n, f in enumerate(files))
    )
    scores = table(
        tmp_path / "s.csv", "image,score", *(f"{f},{n % 3}" for n, f in enumerate(files))
    )
    kinds = NamedDigits, IdxFolder, GradedImages, GradedImages, ScoredImages, ComparedPairs
    for data, kind in zip(
        ("MNIST", idx_folder, image_folder, grades, scores, pairs), kinds, strict=True
    ):
        source = open_source(data, root=None if kind is NamedDigits else tmp_path)
        assert type(source) is kind
        assert source.describe().startswith(source.name)
        assert source.digest() == open_source(data).digest()
        assert source.most_pairs("train") >= 1
        assert bool(source.classes) == (kind not in (ScoredImages, ComparedPairs))


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ("none", "none: no such file or folder$"),
        ("none.csv", "none.csv: no such file or folder$"),
        ("mnits", "mnits: no such file or folder; did you mean mnist"),
        ("", "data: expected a name, a folder or a table, received nothing"),
        ("text", "expected a folder of images, or a table"),
    ],
)
def test_what_is_no_source(workplace, odd, message):
    (workplace / "text").write_text("")
    with pytest.raises(KpairsError, match=message):
        open_source(odd)


@pytest.mark.parametrize("margin", [0, 0.25, 5])
def test_scored_images_make_pairs_by_value(tmp_path, image_folder, margin):
    """Two whose scores are no further apart than the margin tie."""
    files = [f"images/{c}/{i}.png" for c in (1, 2) for i in range(20)]
    value = {str(tmp_path / file): n / 10 for n, file in enumerate(files)}
    path = table(tmp_path / "s.csv", "image,score", *(f"{f},{n / 10}" for n, f in enumerate(files)))
    source = open_source(path, root=tmp_path)
    train = source.split("train", PixelSettings(4, 4, 1, ink="mixed", rounded=True))
    pairs = draw_pairs(train, 60, margin=margin)
    used = [source.rated.images.files[i] for i in source.rated.image[source.side == 0]]
    left, right = (np.array([value[used[i]] for i in s.rows]) for s in (pairs.left, pairs.right))
    expected = np.where(np.abs(left - right) <= margin, 0.5, left < right)
    np.testing.assert_array_equal(pairs.comparison, expected)
    assert (pairs.left_digit == -1).all()


def test_ratings_are_counted_beside_images(tmp_path, image_folder):
    rows = [f"images/{c}/{i}.png,{c + i + j}" for c in (1, 2) for i in range(20) for j in range(3)]
    source = open_source(table(tmp_path / "s.csv", "image,score", *rows), root=tmp_path)
    train, test = (len(set(source.files(part))) for part in ("train", "test"))
    told = f"{3 * train} ratings of {train} training and {3 * test} of {test} test images with"
    assert told in source.describe()
    assert source.counts("train") == {"ratings": 3 * train, "images": train}


def test_dark_digits_in_idx_files_are_seen_by_all(idx_folder):
    """Of files of one's own the training images decide; the named sources are known."""
    bright, dark = np.zeros((20, 28, 28), np.uint8), np.full((20, 28, 28), 255, np.uint8)
    for images in (bright, dark):
        images[:, 8:20, 8:20] = 100
        for prefix in ("train", "t10k"):
            write_idx(idx_folder / f"{prefix}-images-idx3-ubyte", images)
            labels = (np.arange(20) % 10).astype(np.uint8)
            write_idx(idx_folder / f"{prefix}-labels-idx1-ubyte", labels)
        digits = open_source(idx_folder).split("test")
        assert digits.settings.ink == ("bright" if images is bright else "dark")
        assert digits.pixels(np.arange(2))[0, 0, 0, 0] == 0
    assert [open_source(name).settings().ink for name in ("mnist", "qmnist", "kmnist")] == [
        *("auto", "auto", "bright")
    ]
