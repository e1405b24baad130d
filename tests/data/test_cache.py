"""What pictures look like, and the cache of prepared ones."""

import os

import numpy as np
import pytest
from image_folders import table, write
from PIL import Image

from kpairs.data import decode
from kpairs.data.cache import clean, prepared_images, survey, usage
from kpairs.data.grades import read_rated
from kpairs.data.pixels import prepare
from kpairs.data.settings import PixelSettings
from kpairs.data.source import open_source
from kpairs.data.stored import Stored
from kpairs.errors import InputError, KpairsError


@pytest.mark.parametrize("dark", [False, True])
def test_what_pictures_look_like(tmp_path, dark):
    grey = survey(read_rated(write(tmp_path / "grey", "12", dark=dark)).images)
    assert (grey.settings().shape, grey.ink) == ((9, 12, 1), "dark" if dark else "bright")
    colour = survey(read_rated(write(tmp_path / "colour", "12", mode="RGB")).images)
    assert colour.channels == 3
    compressed = write(tmp_path / "jpeg", "12", mode="L", ending="jpg")
    for file in compressed.rglob("*.jpg"):
        Image.open(file).convert("RGB").save(file)  # as many cameras store grey
    assert survey(read_rated(compressed).images).channels == 1


def test_the_size_follows_from_the_pictures(tmp_path):
    photos = write(tmp_path / "photos", "12", size=(640, 480))
    assert survey(read_rated(photos).images).settings().shape[:2] == (48, 64)
    write(tmp_path / "photos", "3", size=(480, 640))
    mixed = survey(read_rated(photos).images)
    assert mixed.settings().shape[:2] == (64, 64)
    assert mixed.settings(longest=16).shape[:2] == (16, 16)
    assert (mixed.widths, mixed.heights) == ((480, 640), (480, 640))
    assert mixed.settings() == PixelSettings(64, 64, 1, "pad", "bright", rounded=True)
    chosen = mixed.settings((32, 24), 3, "crop", "mixed")
    assert chosen == PixelSettings(24, 32, 3, "crop", "mixed", rounded=True)


def test_bright_and_dark_pictures_are_mixed(tmp_path):
    write(tmp_path / "p", "1", dark=True)
    write(tmp_path / "p", "2", dark=False)
    assert survey(read_rated(tmp_path / "p").images).ink == "mixed"


@pytest.fixture
def graded(tmp_path):
    return read_rated(write(tmp_path / "photos", "12", mode="RGB")).images


def test_the_cache_holds_what_prepare_gives(graded, tmp_path):
    setting = PixelSettings(7, 5, 3, ink="bright", rounded=True)
    steps = []
    file, doubtful = prepared_images(
        graded, setting, tmp_path / "cache", lambda *s: steps.append(s)
    )
    assert np.load(file).dtype == np.uint8
    expected = prepare(list(graded.files), setting)
    np.testing.assert_array_equal(np.asarray(Stored(file)), expected.pixels)
    assert steps == [(i + 1, 20) for i in range(20)]
    assert doubtful == []
    assert prepared_images(graded, setting, tmp_path / "cache", pytest.fail) == (file, [])


def test_changed_pictures_and_other_settings_make_another_file(graded, tmp_path):
    setting, root = PixelSettings(7, 5, 3, ink="bright", rounded=True), tmp_path / "cache"
    prepared_images(graded, setting, root)
    other = PixelSettings(7, 5, 3, ink="dark", rounded=True)
    _, doubtful = prepared_images(graded, other, root)
    assert doubtful == list(range(20))
    Image.new("RGB", (9, 9), "red").save(graded.files[3])
    file, _ = prepared_images(graded, setting, root)
    np.testing.assert_array_equal(np.load(file)[3, 2, 2], [255, 0, 0])
    assert len(list((root / "images").glob("*.npy"))) == 3
    files, freed = clean(root)
    assert files >= 6
    assert freed > 3 * 20 * 7 * 5 * 3
    assert clean(root) == (0, 0)


def test_an_unreadable_picture_is_named_with_its_row(tmp_path):
    write(tmp_path / "photos", "12", 30)
    rows = [f"photos/{c}/{i}.png,{c}" for c in "12" for i in range(30)]
    source = table(tmp_path / "grades.csv", "image,grade", *rows)
    graded, setting = read_rated(source).images, PixelSettings(ink="mixed", rounded=True)
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
        lambda file: np.save(file, np.zeros((20, 7, 5, 3), np.float32)),
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
    graded = read_rated(tmp_path / "p").images
    setting = survey(graded).settings()
    for _ in range(2):  # from the cache too
        caplog.clear()
        prepared_images(graded, setting, tmp_path / "cache")
        (record,) = caplog.records
        assert "10 of 10 pictures have 16 bits and use less than a tenth" in record.getMessage()
    # Their ink is judged by that white: all are white.
    assert (setting.ink, survey(graded, 4095).settings().ink) == ("bright", "dark")
    assert open_source(tmp_path / "p", white=4095).settings().white == 4095


def test_a_cache_that_cannot_be_written(graded, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KpairsError, match="cannot keep prepared images here"):
        prepared_images(graded, PixelSettings(rounded=True), tmp_path / "file")
