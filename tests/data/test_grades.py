"""Graded images of one's own: their order, their splits, what they look like, their cache."""

import os
from collections import Counter

import numpy as np
import pytest
from faults import full_disk
from hypothesis import given, settings
from hypothesis import strategies as st
from idx_writer import write_idx
from PIL import Image

from kpairs.data import PairSet, decode, draw_pairs, load_digits
from kpairs.data.cache import clean, prepared_images, usage
from kpairs.data.divided import divided_pairs
from kpairs.data.examples import write_digits, write_photographs, write_samples
from kpairs.data.grades import ranked, read_grades
from kpairs.data.pixels import prepare
from kpairs.data.settings import PixelSettings
from kpairs.data.sources import is_graded, settings_for
from kpairs.data.stored import Stored
from kpairs.data.survey import survey
from kpairs.errors import InputError, KpairsError, UsageError


def write(folder, names, count=10, size=(12, 9), mode="L", ending="png", dark=False):
    """`count` pictures in each class folder: a random block on paper."""
    rng = np.random.default_rng(1)
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            picture = np.full((size[1], size[0], 3), 255 if dark else 0, np.uint8)
            picture[2:-2, 2:-2] = rng.integers(0, 256, 3)
            Image.fromarray(picture).convert(mode).save(folder / name / f"{i}.{ending}")
    return folder


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("1", "2", "10"), ("1", "2", "10")),
        (("0", "1", "-1"), ("-1", "0", "1")),
        (("1.5", "1.25", "1.10"), ("1.10", "1.25", "1.5")),
    ],
)
def test_numbers_rank_by_value(names, expected):
    assert ranked(names, "here") == expected


@pytest.mark.parametrize(
    ("names", "proposed"),
    [
        (("low", "medium", "high"), "low,medium,high"),
        (("Severe", "mild", "None", "moderate"), "None,mild,moderate,Severe"),
        (("very low", "high", "Low"), "very low,Low,high"),
        (("age10", "age2"), "age2,age10"),
    ],
)
def test_a_known_scale_is_proposed_and_never_assumed(names, proposed):
    with pytest.raises(UsageError, match=f"add --classes {proposed}$"):
        ranked(names, "here")
    assert ranked(names, "here", proposed.split(",")) == tuple(proposed.split(","))


def test_names_in_no_known_order():
    with pytest.raises(UsageError, match=r"grades cat, dog, elk is not known.* lowest first$"):
        ranked({"dog", "cat", "elk"}, "here")
    assert ranked({"dog", "cat"}, "here", ["dog", "cat"]) == ("dog", "cat")
    for classes in (["dog"], ["dog", "cat", "elk"], ["dog", "cat", "cat"]):
        with pytest.raises(UsageError, match=r"expected the grades of here .*\(cat, dog\)"):
            ranked({"dog", "cat"}, "here", classes)


def test_one_grade_equal_grades_and_too_many():
    with pytest.raises(InputError, match="at least two grades, received '3' only"):
        ranked({"3"}, "here")
    with pytest.raises(InputError, match="grades of different value"):
        ranked({"1", "1.0", "2"}, "here")
    with pytest.raises(InputError, match="at most 100 grades, received 101"):
        ranked(map(str, range(101)), "here")


def test_a_folder_is_split_by_name(tmp_path):
    folder = write(tmp_path / "photos", ("1", "2", "10"))
    (folder / "2" / "._1.png").write_bytes(b"a file of macOS")
    (folder / "2" / "notes.txt").write_text("a note")
    (folder / "2" / "folder.png").mkdir()
    train, test = (read_grades(folder, split) for split in ("train", "test"))
    assert train.classes == test.classes == ("1", "2", "10")
    assert [os.path.basename(f) for f in test.files] == ["4.png", "9.png"] * 3
    assert test.grades.tolist() == [0, 0, 1, 1, 2, 2]
    assert len(train) == 24
    assert not set(train.files) & set(test.files)


def test_a_folder_with_its_own_splits(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        write(tmp_path / split, ("low", "high", "medium"), count)
    order = ["low", "medium", "high"]
    assert len(read_grades(tmp_path, "train", order)) == 9
    assert len(read_grades(tmp_path, "test", order)) == 6
    for file in (tmp_path / "test" / "low").iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"low: expected images .* for the test split"):
        read_grades(tmp_path, "train", order)
    (tmp_path / "test" / "low").rmdir()
    with pytest.raises(InputError, match=r"same classes in train/ and test/; low in one only"):
        read_grades(tmp_path, "train", order)
    (tmp_path / "test").rename(tmp_path / "val")
    with pytest.raises(InputError, match="expected test/ beside train/"):
        read_grades(tmp_path, "train", order)


def test_folders_without_what_is_needed(tmp_path):
    with pytest.raises(InputError, match="at least two class folders"):
        read_grades(tmp_path, "train")
    write(tmp_path, ("1", "2"), 4)
    with pytest.raises(InputError, match="for the test split, received none of 1, 2"):
        read_grades(tmp_path, "train")


def table(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_csv_file(tmp_path):
    write(tmp_path / "images", ("a", "b"))
    rows = [f"images/{c}/{i}.png,{2 if c == 'a' else 10},x" for c in "ab" for i in range(10)]
    source = table(tmp_path / "grades.csv", "Image, grade,note", *rows, rows[3], "", ",,")
    train, test = (read_grades(source, split) for split in ("train", "test"))
    assert train.classes == ("2", "10")
    assert Counter(train.grades.tolist()) == {0: 8, 1: 8}
    assert len(test) == 4
    assert not set(train.files) & set(test.files)
    assert train.files[0] == str(tmp_path / "images" / "a" / "0.png")
    assert train.places[0] == f"{source} row 2"
    divided = table(
        tmp_path / "divided.csv",
        "split,grade,image",
        *(f"{s},{g},{s}{g}{i}.png" for s in ("train", "TEST") for g in (1, 2) for i in range(3)),
    )
    assert len(read_grades(divided, "train")) == len(read_grades(divided, "test")) == 6


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a,b", "1,2"], "expected the columns image and grade, perhaps split, .* received a, b"),
        ([""], "received an empty file"),
        (["image,grade"], "expected images .*, received none"),
        (["image,grade", "a.png"], "row 2: expected 2 cells, received 1"),
        (["image,grade", "a.png,0,75"], "received 3; quote cells .* decimals with a point"),
        (["image,grade", "a.png,"], "row 2: expected an image and its grade"),
        (["image,grade,split", "a.png,1,val"], "row 2: expected the split train or test, .* val"),
        (
            ["image,grade", "a.png,1", "./a.png,2", "b.png,2"],
            "row 3: expected one grade for .*a.png",
        ),
        (
            ["image,grade,split", "a.png,1,train", "a.png,1,test", "b.png,2,test"],
            "row 3: expected one split for .*a.png, received test here and train in .* row 2",
        ),
        (["image,grade", *(f"{i}.png,1" for i in range(9))], "at least two grades, received '1'"),
        (
            ["image,grade,split", "a.png,1,train", "b.png,2,train"],
            "images of every grade for the test split, received none of 1, 2",
        ),
        (
            ["image,grade,split", "a.png,1,train", "b.png,2,test"],
            "images of every grade for the train split, received none of 2",
        ),
        (["image,grade", '"a.png,1'], "expected a CSV file of grades, received: unexpected end"),
        (["image,grade", "\0,1"], "row 2: expected an image"),
        (["image,grade", "a" * 200_000 + ",1"], "expected a CSV file of grades"),
    ],
)
def test_csv_files_that_say_too_little(tmp_path, lines, message):
    with pytest.raises(InputError, match=message):
        read_grades(table(tmp_path / "grades.csv", *lines), "train")


def test_csv_files_that_cannot_be_read(tmp_path):
    (tmp_path / "damaged.csv").write_bytes("image,grade\n\xff,1\n".encode() + b"\xff,2\n")
    os.mkfifo(tmp_path / "pipe.csv")
    for name, message in (
        ("damaged.csv", "expected a CSV file of grades, received: 'utf-8' codec"),
        ("pipe.csv", "received none"),
        ("none.csv", "received none"),
    ):
        with pytest.raises(InputError, match=f"{name}: .*{message}"):
            read_grades(tmp_path / name, "train")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text("0123456789.-ab", min_size=1, max_size=5), min_size=2, unique=True))
def test_any_names_are_ranked_or_refused(names):
    try:
        order = ranked(names, "here")
    except (InputError, UsageError):
        return
    values = [float(name) for name in order]
    assert values == sorted(values)
    assert sorted(order) == sorted(names)


@pytest.mark.parametrize("dark", [False, True])
def test_what_pictures_look_like(tmp_path, dark):
    grey = survey(read_grades(write(tmp_path / "grey", "12", dark=dark), "train"))
    assert (grey.channels, grey.size, grey.ink) == (1, (12, 9), "dark" if dark else "bright")
    colour = survey(read_grades(write(tmp_path / "colour", "12", mode="RGB"), "train"))
    assert colour.channels == 3
    compressed = write(tmp_path / "jpeg", "12", mode="L", ending="jpg")
    for file in compressed.rglob("*.jpg"):
        Image.open(file).convert("RGB").save(file)  # as many cameras store grey
    assert survey(read_grades(compressed, "train")).channels == 1


def test_the_size_follows_from_the_pictures(tmp_path):
    photos = write(tmp_path / "photos", "12", size=(640, 480))
    assert survey(read_grades(photos, "train")).size == (64, 48)
    write(tmp_path / "photos", "3", size=(480, 640))
    mixed = survey(read_grades(photos, "train"))
    assert mixed.size == (64, 64)
    assert (mixed.widths, mixed.heights) == ((480, 640), (480, 640))
    assert mixed.settings() == PixelSettings(64, 64, 1, "pad", "bright", rounded=True)
    chosen = mixed.settings((32, 24), 3, "crop", "mixed")
    assert chosen == PixelSettings(24, 32, 3, "crop", "mixed", rounded=True)


def test_bright_and_dark_pictures_are_mixed(tmp_path):
    write(tmp_path / "p", "1", dark=True)
    write(tmp_path / "p", "2", dark=False)
    assert survey(read_grades(tmp_path / "p", "train")).ink == "mixed"


@pytest.fixture
def graded(tmp_path):
    return read_grades(write(tmp_path / "photos", "12", mode="RGB"), "train")


def test_the_cache_holds_what_prepare_gives(graded, tmp_path):
    setting = PixelSettings(7, 5, 3, ink="bright", rounded=True)
    steps = []
    file, doubtful = prepared_images(
        graded, setting, tmp_path / "cache", lambda *s: steps.append(s)
    )
    assert np.load(file).dtype == np.uint8
    expected = prepare(list(graded.files), setting)
    np.testing.assert_array_equal(np.asarray(Stored(file)), expected.pixels)
    assert steps == [(i + 1, 16) for i in range(16)]
    assert doubtful == []
    assert prepared_images(graded, setting, tmp_path / "cache", pytest.fail) == (file, [])


def test_changed_pictures_and_other_settings_make_another_file(graded, tmp_path):
    setting, root = PixelSettings(7, 5, 3, ink="bright", rounded=True), tmp_path / "cache"
    prepared_images(graded, setting, root)
    other = PixelSettings(7, 5, 3, ink="dark", rounded=True)
    _, doubtful = prepared_images(graded, other, root)
    assert doubtful == list(range(16))
    Image.new("RGB", (9, 9), "red").save(graded.files[3])
    file, _ = prepared_images(graded, setting, root)
    np.testing.assert_array_equal(np.load(file)[3, 2, 2], [255, 0, 0])
    assert len(list((root / "images").glob("*.npy"))) == 3
    files, freed = clean(root)
    assert files >= 6
    assert freed > 3 * 16 * 7 * 5 * 3
    assert clean(root) == (0, 0)


def test_an_unreadable_picture_is_named_with_its_row(tmp_path):
    write(tmp_path / "photos", "12", 30)
    rows = [f"photos/{c}/{i}.png,{c}" for c in "12" for i in range(30)]
    source = table(tmp_path / "grades.csv", "image,grade", *rows)
    graded, setting = read_grades(source, "train"), PixelSettings(ink="mixed", rounded=True)
    broken = tmp_path / "photos" / "2" / "11.png"
    broken.write_bytes(broken.read_bytes()[:-30])
    message = r"grades.csv row 43: .*photos/2/11.png: the image cannot be read"
    with pytest.raises(InputError, match=message):
        prepared_images(graded, setting, tmp_path / "cache")
    with pytest.raises(InputError, match=message):
        survey(graded)
    assert not list((tmp_path / "cache").rglob("*.npy"))
    broken.unlink()
    with pytest.raises(InputError, match=r"grades.csv row 43: .*11.png: no such image file"):
        prepared_images(graded, setting, tmp_path / "cache")


@pytest.fixture
def decoded(monkeypatch):
    """Formats of the images that are decoded, in order."""
    seen, load = [], decode.load
    monkeypatch.setattr(decode, "load", lambda image: (seen.append(image.format), load(image))[1])
    return seen


def test_each_image_is_decoded_once(graded, tmp_path, decoded):
    setting = survey(graded).settings()
    prepared_images(graded, setting, tmp_path / "cache")
    assert len(decoded) == len(graded)
    prepared_images(graded, setting, tmp_path / "cache")
    assert len(decoded) == len(graded)


def test_a_picture_that_changes_after_the_survey_is_decoded_again(graded, tmp_path):
    setting = survey(graded).settings()
    Image.new("RGB", (9, 9), "red").save(graded.files[3])
    file, _ = prepared_images(graded, setting, tmp_path / "cache")
    np.testing.assert_array_equal(
        np.asarray(Stored(file))[3], prepare(graded.files[3], setting).pixels[0]
    )


def test_pictures_that_change_places_are_prepared_anew(graded, tmp_path):
    """Of equal size and time, as unpacked or synchronised files have."""
    setting = PixelSettings(7, 5, 3, ink="bright", rounded=True)
    one, other = graded.files[2:4]
    for file in (one, other):
        Image.new("RGB", (9, 9), "red" if file == one else "blue").save(file, "BMP")
        os.utime(file, (1e9, 1e9))
    first = np.load(prepared_images(graded, setting, tmp_path / "cache")[0])
    os.rename(one, tmp_path / "x")
    os.rename(other, one)
    os.rename(tmp_path / "x", other)
    second = np.load(prepared_images(graded, setting, tmp_path / "cache")[0])
    np.testing.assert_array_equal(second[[3, 2]], first[[2, 3]])
    assert (first[2] != first[3]).any()


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-9]),
        lambda file: file.write_bytes(file.read_bytes()[20:]),
        lambda file: np.save(file, np.zeros((3, 7, 5, 3), np.uint8)),
        lambda file: np.save(file, np.zeros((16, 7, 5, 3), np.float32)),
        lambda file: file.with_suffix(".json").write_text("{"),
        lambda file: file.with_suffix(".json").write_text("[1]"),
        lambda file: file.with_suffix(".json").write_text('{"doubtful": [99], "faint": []}'),
        lambda file: file.with_suffix(".json").write_text('{"doubtful": null, "faint": []}'),
        lambda file: file.with_suffix(".json").write_bytes(b"\xff"),
        lambda file: file.with_suffix(".json").unlink(),
    ],
)
def test_a_damaged_cache_is_made_anew(damage, graded, tmp_path):
    setting = PixelSettings(7, 5, 3, ink="bright", rounded=True)
    file, _ = prepared_images(graded, setting, tmp_path / "cache")
    whole = file.read_bytes()
    damage(file)
    assert prepared_images(graded, setting, tmp_path / "cache") == (file, [])
    assert file.read_bytes() == whole
    assert usage(tmp_path / "cache")[1] > len(whole)


def test_faint_pictures_and_names_that_are_no_text(tmp_path, caplog):
    for grade in "12":
        (tmp_path / "p" / grade).mkdir(parents=True)
        for i in range(5):
            name = os.fsencode(tmp_path / "p" / grade) + b"/\xff%d.png" % i
            Image.fromarray(np.full((9, 9), 4095, np.uint16)).save(os.fsdecode(name))
    graded = read_grades(tmp_path / "p", "train")
    setting = survey(graded).settings()
    for _ in range(2):  # from the cache too
        caplog.clear()
        prepared_images(graded, setting, tmp_path / "cache")
        (record,) = caplog.records
        assert "8 of 8 pictures have 16 bits and use less than a tenth" in record.getMessage()


def test_a_cache_that_cannot_be_written(graded, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KpairsError, match="cannot keep prepared images here"):
        prepared_images(graded, PixelSettings(rounded=True), tmp_path / "file")


def test_photographs_as_graded_folders(tmp_path):
    folder = tmp_path / "photographs"
    assert write_photographs(folder, 60, 15) == {"train": 60, "test": 15, "pairs": 180}
    train, test = (read_grades(folder, split) for split in ("train", "test"))
    assert train.classes == tuple("01234")
    assert np.bincount(train.grades).tolist() == [12] * 5
    assert np.bincount(test.grades).tolist() == [3] * 5
    looks = survey(train)
    assert (looks.size, looks.channels) == ((64, 64), 3)
    division = divided_pairs(folder / "pairs.csv")
    assert [len(part) for part in (division.train, division.test)] == [150, 30]
    assert (division.shared, division.train.classes) == (0, train.classes)
    grade, pairs = dict(zip(train.files, train.grades, strict=True)), division.train
    left, right = ([grade[pairs.files[i]] for i in side] for side in (pairs.left, pairs.right))
    higher = np.sign(np.subtract(right, left))
    np.testing.assert_array_equal(pairs.probability, (1 + higher) / 2)
    with pytest.raises(KpairsError, match="exists already"):
        write_photographs(folder)
    write_photographs(tmp_path / "again", 60, 15)
    for one, other in zip(train.files, read_grades(tmp_path / "again", "train").files, strict=True):
        with open(one, "rb") as first, open(other, "rb") as second:
            assert first.read() == second.read()


def test_digits_as_folders(tmp_path, mnist):
    assert write_digits(mnist, tmp_path / "digits", 90) == {"train": 90, "test": 90}
    train = read_grades(tmp_path / "digits", "train")
    images = prepare(list(train.files), PixelSettings(28, 28, ink="bright")).pixels[..., 0]
    numbers = [int(os.path.basename(f)[:5]) for f in train.files]
    np.testing.assert_array_equal(images, np.float32(mnist["train"].images[numbers] / 255))
    np.testing.assert_array_equal(train.grades, mnist["train"].labels[numbers])


def test_a_full_disk_leaves_no_half_a_folder(tmp_path, mnist):
    folder = tmp_path / "digits"
    with full_disk(), pytest.raises(OSError, match=r"nothing of the new folder is kept.*digits"):
        write_digits(mnist, folder, 10)
    assert not folder.exists()


def test_samples_never_replace_another_file(tmp_path, mnist):
    paths = write_samples(mnist["test"], tmp_path)
    assert [path.name for path in paths] == [f"{digit}.png" for digit in range(10)]
    seven = mnist["test"].images[np.argmax(mnist["test"].labels == 7)]
    np.testing.assert_array_equal(prepare(paths[7]).pixels, prepare(seven).pixels)
    write_samples(mnist["test"], tmp_path)  # the same images again are no loss
    (tmp_path / "3.png").write_text("precious")
    with pytest.raises(KpairsError, match=r"3.png exists already"):
        write_samples(mnist["test"], tmp_path)
    assert (tmp_path / "3.png").read_text() == "precious"


def test_graded_images_load_as_their_network_sees_them(tmp_path):
    folder = write(tmp_path / "photos", ("low", "high"), mode="RGB", size=(20, 30))
    with pytest.raises(UsageError, match="add --classes low,high"):
        load_digits(folder, root=tmp_path)
    train = load_digits(folder, root=tmp_path, classes=("low", "high"))
    assert (train.word, train.classes, len(train)) == ("grade", ("low", "high"), 16)
    assert train.settings == PixelSettings(30, 20, 3, "pad", "bright", rounded=True)
    listed = read_grades(folder, "train", ("low", "high"))
    expected = prepare(list(listed.files), train.settings).pixels
    np.testing.assert_array_equal(np.asarray(train.pixels(np.arange(16))), expected)
    small = settings_for(folder, (14, 14), 1, "crop", "mixed", ("low", "high"))
    assert small == PixelSettings(14, 14, 1, "crop", "mixed", rounded=True)
    test = load_digits(folder, "test", tmp_path, settings=small, classes=("low", "high"))
    assert test.pixels(np.array([1, 0])).shape == (2, 14, 14, 1)


def test_graded_images_in_pairs(tmp_path, rng):
    train = load_digits(write(tmp_path / "photos", "123", mode="RGB"), root=tmp_path)
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


def test_what_is_a_graded_source(tmp_path, idx_folder):
    write(tmp_path / "photos", "12")
    source = table(tmp_path / "Grades.CSV", "image,grade")
    assert [is_graded(d) for d in ("mnist", idx_folder, tmp_path / "photos", source)] == [
        *(False, False, True, True)
    ]
    for odd in (tmp_path / "none", tmp_path / "none.csv", "mnits", ""):
        with pytest.raises(UsageError, match="unknown data source, folder or CSV file"):
            is_graded(odd)


def test_dark_digits_in_idx_files_are_seen_by_all(idx_folder):
    """Of files of one's own the training images decide; the named sources are known."""
    bright, dark = np.zeros((20, 28, 28), np.uint8), np.full((20, 28, 28), 255, np.uint8)
    for images in (bright, dark):
        images[:, 8:20, 8:20] = 100
        for prefix in ("train", "t10k"):
            write_idx(idx_folder / f"{prefix}-images-idx3-ubyte", images)
            labels = (np.arange(20) % 10).astype(np.uint8)
            write_idx(idx_folder / f"{prefix}-labels-idx1-ubyte", labels)
        digits = load_digits(idx_folder, "test")
        assert digits.settings.ink == ("bright" if images is bright else "dark")
        assert digits.pixels(np.arange(2))[0, 0, 0, 0] == 0
    assert [settings_for(name).ink for name in ("mnist", "qmnist", "kmnist")] == [
        *("auto", "auto", "bright")
    ]
