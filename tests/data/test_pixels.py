"""One function makes a network's input of every picture: the same pixels however it comes."""

import json
import struct
import warnings
import zlib
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from kpairs.data import pixels
from kpairs.data.decode import decode
from kpairs.data.pixels import InkWarning, looks_dark, prepare, to_pixels
from kpairs.data.settings import DIGITS, FITS, INKS, PixelSettings, parse_size
from kpairs.data.splits import Digits
from kpairs.errors import InputError, UsageError

anything = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
setting = st.builds(
    PixelSettings,
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    channels=st.sampled_from([1, 3]),
    fit=st.sampled_from(list(FITS)),
    ink=st.sampled_from(list(INKS)),
    rounded=st.booleans(),
)
size = st.tuples(st.integers(1, 40), st.integers(1, 40))
seed = st.integers(0, 2**32 - 1)


def noise(size, channels, seed, count=None, dtype=np.uint8):
    shape = (*([] if count is None else [count]), *size, channels)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def test_mnist_has_the_reports_pixels_bit_for_bit(mnist):
    """The mean of 2x2 pixels in float64, divided by 255: what all reported rows were trained on."""
    images = mnist["test"].images
    means = images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4), dtype=np.float64)
    expected = (means / 255).astype(np.float32)[..., None]
    np.testing.assert_array_equal(to_pixels(images), expected)


def test_auto_leaves_every_digit_of_mnist_as_it_is(mnist):
    """So that a digit network's metadata may say auto where it was trained on bright ink."""
    for digits in mnist.values():
        assert not looks_dark(digits.images[..., None]).any()
        inverted = prepare(255 - digits.images[:2000]).inverted
        assert inverted.all()


@anything
@given(setting, size, seed, st.sampled_from([1, 3, 4]), st.sampled_from([np.uint8, np.uint16]))
def test_the_shape_and_the_range(setting, size, seed, channels, dtype):
    prepared = prepare(noise(size, channels, seed, 3, dtype), setting)
    assert prepared.pixels.shape == (3, *setting.shape)
    assert prepared.pixels.dtype == np.float32
    assert prepared.pixels.min() >= 0
    assert prepared.pixels.max() <= 1
    if setting.rounded:
        levels = np.rint(255 * prepared.pixels)
        np.testing.assert_array_equal((levels / 255).astype(np.float32), prepared.pixels)


@anything
@given(setting, size, seed, st.sampled_from([1, 2, 3, 4]))
def test_a_batch_gives_what_each_picture_gives(setting, size, seed, channels):
    """Bit for bit, ink included: nothing depends on the neighbours."""
    batch = noise(size, channels, seed, 4)
    whole = prepare(batch, setting)
    for i in range(4):
        for part, single in zip(whole, prepare(batch[i : i + 1], setting), strict=True):
            np.testing.assert_array_equal(part[i : i + 1], single)


@anything
@given(setting, size, seed, st.sampled_from([1, 2, 3, 4]), st.integers(1, 400))
def test_strips_give_what_the_whole_gives(setting, size, seed, channels, values):
    """Bit for bit, however few values are looked at together."""
    batch = noise(size, channels, seed, 2)
    whole = prepare(batch, setting)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixels, "_AT_ONCE", values)
        for part, other in zip(whole, prepare(batch, setting), strict=True):
            np.testing.assert_array_equal(part, other)


@anything
@given(setting, size, seed, st.sampled_from([1, 2, 3, 4]))
def test_the_same_picture_in_other_types(setting, size, seed, channels):
    """8 bits, 16 bits and floats give the same bits wherever pixels are summed."""
    picture = noise(size, channels, seed, 1)
    expected = prepare(picture, setting).pixels
    others = [picture.astype(np.uint16) * 257, picture / 255, (picture / 255).astype(np.float32)]
    for other in others:
        received = prepare(other, setting).pixels
        if (*size, channels) == setting.shape and not setting.rounded and other.dtype.kind == "f":
            np.testing.assert_allclose(received, expected, atol=1e-7)  # floats stay as they are
        else:
            np.testing.assert_array_equal(received, expected)


def save(picture, path, **options):
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[picture.shape[-1]]
    Image.fromarray(picture.squeeze(-1) if mode == "L" else picture, mode).save(path, **options)


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
@pytest.mark.parametrize("ending", ["png", "webp", "tiff", "bmp"])
@anything
@given(setting=setting, size=size, seed=seed, channels=st.sampled_from([1, 2, 3, 4]))
def test_a_file_gives_what_its_array_gives(ending, setting, size, seed, channels, tmp_path):
    """Formats that lose nothing; as a path, as a Pillow image and as an array."""
    if ending == "bmp" and channels != 3:  # Pillow's BMPs have no opacity; grey ones have a palette
        channels = 3
    picture = noise(size, channels, seed)
    if channels in (2, 4) and ending == "webp":
        picture[..., -1] |= 1  # WebP may drop the colour of what nobody sees
    path = tmp_path / f"picture.{ending}"
    save(picture, path, **({"lossless": True, "exact": True} if ending == "webp" else {}))
    expected = prepare(picture[None], setting)
    with Image.open(path) as image:
        image.load()
        for received in (prepare(path, setting), prepare(image, setting)):
            for one, other in zip(expected, received, strict=True):
                np.testing.assert_array_equal(one, other)


def test_a_jpeg_gives_what_pillow_decodes(tmp_path):
    rng = np.random.default_rng(3)
    smooth = np.kron(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8), np.ones((9, 9, 1), np.uint8))
    setting = PixelSettings(24, 32, 3, ink="mixed", rounded=True)
    for mode in ("RGB", "L", "CMYK"):
        Image.fromarray(smooth).convert(mode).save(tmp_path / "p.jpg", quality=90)
        with Image.open(tmp_path / "p.jpg") as image:
            array = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(
            prepare(tmp_path / "p.jpg", setting).pixels, prepare(array, setting).pixels
        )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_a_picture(orientation, tmp_path):
    """As Pillow's own transposition does, in a file and in a Pillow image."""
    picture = Image.fromarray(noise((30, 20), 3, 5))
    exif = Image.Exif()
    exif[0x0112] = orientation
    setting = PixelSettings(12, 12, 3, ink="mixed")
    for ending in ("png", "tiff", "jpg"):
        path = tmp_path / f"turned.{ending}"
        picture.save(path, exif=exif)
        with Image.open(path) as image:
            upright = np.asarray(ImageOps.exif_transpose(image))
            expected = prepare(upright, setting).pixels
            np.testing.assert_array_equal(prepare(path, setting).pixels, expected)
            np.testing.assert_array_equal(prepare(image, setting).pixels, expected)
        assert (upright.shape[0] < upright.shape[1]) == (orientation > 4)


def test_palettes_bits_and_one_clear_colour(tmp_path):
    grey = Image.fromarray(np.repeat(np.arange(0, 256, 16, dtype=np.uint8)[None], 16, 0))
    setting = PixelSettings(16, 16, ink="bright")
    expected = prepare(np.asarray(grey), setting).pixels
    grey.convert("P").save(tmp_path / "palette.png")
    np.testing.assert_array_equal(prepare(tmp_path / "palette.png", setting).pixels, expected)
    bits = Image.fromarray(np.eye(16, dtype=bool))
    bits.save(tmp_path / "bits.png")
    np.testing.assert_array_equal(
        prepare(tmp_path / "bits.png", setting).pixels[0, :, :, 0], np.eye(16)
    )
    np.testing.assert_array_equal(
        prepare(np.eye(16, dtype=bool), setting).pixels[0, :, :, 0], np.eye(16)
    )
    grey.save(tmp_path / "clear.png", transparency=240)  # white becomes nothing, which is black
    assert prepare(tmp_path / "clear.png", setting).pixels[0, 0, -1, 0] == 0


def test_sixteen_bits(tmp_path):
    deep = np.linspace(0, 65535, 28 * 28).astype(np.uint16).reshape(28, 28)
    setting = PixelSettings(ink="mixed")
    blocks = deep.reshape(14, 2, 14, 2).astype(np.int64).sum(axis=(1, 3))
    expected = (blocks / (4 * 65535)).astype(np.float32)
    for ending in ("png", "tiff"):
        Image.fromarray(deep).save(tmp_path / f"deep.{ending}")
        received = prepare(tmp_path / f"deep.{ending}", setting).pixels
        np.testing.assert_array_equal(received[0, :, :, 0], expected)
    floats = Image.fromarray((deep / 65535).astype(np.float32))
    floats.save(tmp_path / "float.tiff")
    received = prepare(tmp_path / "float.tiff", setting).pixels
    np.testing.assert_array_equal(received[0, :, :, 0], expected)
    Image.fromarray(deep.astype(np.int32) * 2).save(tmp_path / "deeper.tiff")
    with pytest.raises(InputError, match="received signed numbers; save it as PNG"):
        prepare(tmp_path / "deeper.tiff")


@anything
@given(st.integers(1, 30), st.integers(1, 30), seed)
def test_areas_are_averaged(side, target, seed):
    """Held against every pixel cut into parts, which whole blocks can then be made of."""
    picture = noise((side, side), 1, seed)[..., 0]
    parts = np.repeat(np.repeat(picture, target, 0), target, 1).astype(np.int64)
    sums = parts.reshape(target, side, target, side).sum((1, 3))
    received = prepare(picture, PixelSettings(target, target, ink="mixed")).pixels[0, :, :, 0]
    np.testing.assert_array_equal(received, (sums / (side**2 * 255)).astype(np.float32))


@anything
@given(size, st.tuples(st.integers(1, 20), st.integers(1, 20)), seed)
def test_fits(size, shape, seed):
    """Padding keeps all light, cropping the middle, stretching the mean."""
    picture = noise(size, 1, seed)
    height, width = shape
    common = {"height": height, "width": width, "ink": "bright"}
    stretched = prepare(picture, PixelSettings(**common, fit="stretch")).pixels
    np.testing.assert_allclose(stretched.mean(), picture.mean() / 255, rtol=1e-5, atol=1e-6)
    padded = prepare(picture, PixelSettings(**common, fit="pad")).pixels
    scale = max(size[0] / height, size[1] / width)  # of a pixel, up to a whole number of them
    area = np.ceil(scale * height - 1e-9) * np.ceil(scale * width - 1e-9)
    np.testing.assert_allclose(padded.mean(), picture.sum() / 255 / area, rtol=1e-5, atol=1e-6)
    same = np.full((*size, 1), 77, np.uint8)
    cropped = prepare(same, PixelSettings(**common, fit="crop")).pixels
    np.testing.assert_allclose(cropped, 77 / 255, rtol=1e-6)


def test_padding_and_cropping_keep_the_middle():
    wide = np.zeros((4, 8), np.uint8)
    wide[:, 2:6] = 255
    square = {"height": 4, "width": 4, "ink": "bright"}
    cropped = prepare(wide, PixelSettings(**square, fit="crop")).pixels[0, :, :, 0]
    np.testing.assert_array_equal(cropped, np.ones((4, 4)))
    padded = prepare(wide, PixelSettings(**square, fit="pad")).pixels[0, :, :, 0]
    expected = np.zeros((4, 4))
    expected[1:3, 1:3] = 1
    np.testing.assert_array_equal(padded, expected)
    dark = prepare(255 - wide, PixelSettings(height=4, width=4, ink="dark")).pixels[0, :, :, 0]
    np.testing.assert_array_equal(dark, expected)  # padded with white, then inverted
    mixed = prepare(wide, PixelSettings(height=4, width=4, ink="mixed")).pixels[0, 0, :, 0]
    np.testing.assert_allclose(mixed, 128 / 255)


def drawing(dark, opacity=None):
    """A bar on paper, `(20, 20, 1 or 2)`."""
    picture = np.full((20, 20), 255 if dark else 0, np.uint8)
    picture[5:15, 9:12] = 0 if dark else 255
    return picture[..., None] if opacity is None else np.stack([picture, opacity], axis=-1)


def test_dark_on_bright_is_seen_by_the_border_or_by_what_is_opaque():
    bar = np.where(drawing(False)[..., 0] > 0, 255, 0).astype(np.uint8)
    setting = PixelSettings(20, 20)
    expected = prepare(drawing(False), setting)
    assert not expected.inverted.any()
    for dark in (False, True):
        on_paper = prepare(drawing(dark), setting)
        on_nothing = prepare(drawing(dark, bar)[None], setting)
        for prepared in (on_paper, on_nothing):
            assert prepared.inverted[0] == dark
            np.testing.assert_array_equal(prepared.pixels, expected.pixels)
    clear = prepare(np.zeros((20, 20, 4), np.uint8), setting)
    assert not clear.pixels.any()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("ink", ["bright", "dark"])
def test_contradicting_ink_is_a_warning_and_no_guess(ink, channels):
    setting = PixelSettings(20, 20, channels, ink=ink)
    agreeing = drawing(ink == "dark")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = to_pixels(agreeing, setting)
    assert (pixels[0, 0, 0] == (0 if channels == 1 or ink == "bright" else 1)).all()
    with pytest.warns(InkWarning, match="1 of 1 pictures look (dark|bright) on"):
        contradicting = to_pixels(255 - agreeing, setting)
    np.testing.assert_allclose(contradicting, 1 - pixels)  # as they are, not turned over
    assert prepare([agreeing, 255 - agreeing], setting).doubtful.tolist() == [False, True]
    assert not prepare(255 - agreeing, PixelSettings(20, 20, channels, ink="mixed")).doubtful.any()


def test_grey_in_colour_and_colour_in_grey():
    grey = noise((9, 9), 1, 1)
    setting = PixelSettings(9, 9, 3, ink="mixed")
    np.testing.assert_array_equal(
        prepare(grey, setting).pixels, prepare(np.repeat(grey, 3, -1), setting).pixels
    )
    colour = noise((9, 9), 3, 2)
    luminance = (colour.astype(int) @ [299, 587, 114]) / 255_000  # ITU-R 601
    received = prepare(colour, PixelSettings(9, 9, ink="mixed")).pixels[0, :, :, 0]
    np.testing.assert_array_equal(received, luminance.astype(np.float32))


def test_shapes_of_arrays():
    picture, setting = noise((8, 9), 1, 0), PixelSettings(8, 9, ink="mixed")
    for array in (picture, picture[..., 0], picture[None], picture[None, ..., 0]):
        assert prepare(array, setting).pixels.shape == (1, 8, 9, 1)
    assert prepare([picture] * 3, setting).pixels.shape == (3, 8, 9, 1)
    assert prepare(noise((8, 9), 3, 0), setting).pixels.shape == (1, 8, 9, 1)
    for empty in ([], np.zeros((0, 28, 28), np.uint8)):
        prepared = prepare(empty)
        assert [part.shape for part in prepared] == [(0, 14, 14, 1), (0,), (0,), (0,)]
    image = np.zeros((14, 14, 1), np.float32)
    assert prepare(image).pixels.dtype == np.float32


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (np.zeros((14,), np.uint8), r"expected shape \(n, height, width\)"),
        (np.zeros((1, 14, 14, 5), np.uint8), r"received \(1, 14, 14, 5\)"),
        (np.zeros((5, 3, 14, 14), np.uint8), r"14\) \(channels first\? np.moveaxis\(x, 1, -1\)"),
        (np.zeros((1, 0, 14), np.uint8), "expected pictures of 1x1 pixels or more"),
        (np.zeros((1, 14, 14), np.int64), "received int64"),
        (np.full((1, 14, 14), np.nan), "received 196 NaN or infinite"),
        (np.full((1, 14, 14), 255.0), r"expected float pixels in \[0, 1\]"),
        (np.full((1, 14, 14), -0.1), r"received -0.1 to -0.1"),
    ],
)
def test_what_an_array_cannot_mean(pictures, message):
    with pytest.raises(InputError, match=f"left: .*{message}"):
        prepare(pictures, DIGITS, "left")


def test_channels_first_is_no_three_grey_pictures():
    """A network of colours refuses it; one of grey takes a batch of three as one of four."""
    picture = noise((3, 9), 14, 1)
    with pytest.raises(InputError, match=r"\(3, 9, 14\), which may be one .* np.moveaxis\(x, 0"):
        prepare(picture, PixelSettings(14, 14, 3, ink="mixed"))
    assert len(prepare(picture).pixels) == 3
    assert len(prepare(picture[..., None], PixelSettings(14, 14, 3, ink="mixed")).pixels) == 3


def test_files_that_cannot_be_read(tmp_path):
    Image.new("L", (28, 28)).save(tmp_path / "good.png")
    good = (tmp_path / "good.png").read_bytes()
    cases = {
        "text.png": (b"not an image", "expected an image"),
        "empty.jpg": (b"", "expected an image"),
        "short.png": (good[:-20], "cannot be read"),
        "header.png": (good[:11] + b"\5" + good[12:], "cannot be read"),
    }
    for name, (data, _) in cases.items():
        (tmp_path / name).write_bytes(data)
    messages = {name: message for name, (_, message) in cases.items()}
    Image.new("L", (28, 28)).save(tmp_path / "other.ico")
    messages |= {"other.ico": "expected an image", "missing.png": "no such image file"}
    messages |= {".": "no such image file"}
    for name, message in messages.items():
        with pytest.raises(InputError, match=f"{name}: .*{message}"):
            prepare(tmp_path / name)


def test_pictures_too_large_to_decode(tmp_path, monkeypatch):
    Image.new("1", (400, 300)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    with pytest.raises(InputError, match=r"large.png: the image cannot be read: Image size \(1200"):
        decode(tmp_path / "large.png")


@anything
@given(setting, st.sampled_from([65535, 4095]))
def test_settings_travel_as_json(setting, white):
    assert ("white" in setting.to_dict()) is False  # as files of before there was one
    setting = replace(setting, white=white)
    assert PixelSettings.from_dict(json.loads(json.dumps(setting.to_dict()))) == setting
    assert f"{setting.width}x{setting.height}" in str(setting)


def test_settings_say_which_level_is_white():
    assert str(PixelSettings(white=4095)).endswith("in 16-bit grey 4095 is white")
    assert "white" not in str(PixelSettings())


@pytest.mark.parametrize(
    "changes",
    [
        {"height": 0},
        {"width": 1025},
        {"width": 14.0},
        {"height": True},
        {"channels": 2},
        {"fit": "squeeze"},
        {"ink": "blue"},
        {"ink": ["bright"]},
        {"rounded": 1},
        {"white": 0},
        {"white": 65536},
        {"white": 255.0},
        {"more": 1},
    ],
)
def test_settings_from_elsewhere_are_checked(changes):
    with pytest.raises(InputError, match=r"^here: "):
        PixelSettings.from_dict({**DIGITS.to_dict(), **changes}, "here")
    for odd in (None, [], "x", {}):
        with pytest.raises(InputError, match=r"^here: "):
            PixelSettings.from_dict(odd, "here")


def test_sizes_as_people_type_them():
    assert parse_size("64") == (64, 64)
    assert parse_size("64x48") == (64, 48)
    for text in ("", "64x", "axb", "1x2x3", "-4"):
        with pytest.raises(UsageError, match="expected one such as 64 or 64x48"):
            parse_size(text)


@pytest.mark.parametrize("interlaced", [0, 1])
def test_a_png_that_lacks_rows_is_refused(interlaced, tmp_path):
    """Pillow gives black for them, where the compressed data are whole and too few."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    # The rows of Adam7's seven passes.
    widths = [1, 1, 2, 2, 2, 4, 4, 4, 4, 4, 4, *[8] * 4] if interlaced else [8] * 8
    data = b"".join(b"\0" + bytes([200] * width) for width in widths)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, interlaced))
    for name, missing in (("whole", 0), ("short", 9)):
        body = chunk(b"IDAT", zlib.compress(data[: len(data) - missing])) + chunk(b"IEND", b"")
        (tmp_path / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)
    assert (decode(tmp_path / "whole.png") == 200).all()
    with pytest.raises(InputError, match=r"short.png: .* its data end 9 bytes early"):
        decode(tmp_path / "short.png")


def test_images_as_narrow_as_colours_are_many(tmp_path):
    """IDX images that are three or four pixels wide are no single picture of so many channels."""
    digits = Digits(np.zeros((5, 6, 4), np.uint8), np.arange(5), tuple("01234"), "narrow", tmp_path)
    assert digits.pixels(np.arange(3)).shape == (3, 14, 14, 1)


def test_a_picture_too_narrow_to_be_padded():
    with pytest.raises(InputError, match=r"no larger than .* received 1x262156"):
        prepare(np.zeros((1, 262_156, 1, 1), np.uint8))


def test_a_large_jpeg_is_prepared_from_a_part_of_its_size(tmp_path):
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    small.resize((1600, 1200), Image.Resampling.BICUBIC).save(tmp_path / "a.jpg", quality=95)
    seen = PixelSettings(32, 32, 3, "pad", "mixed")
    whole = prepare(decode(tmp_path / "a.jpg")[None], seen).pixels
    for picture in (tmp_path / "a.jpg", BytesIO((tmp_path / "a.jpg").read_bytes())):
        reduced = prepare(picture, seen).pixels
        np.testing.assert_allclose(reduced, whole, atol=3 / 255)
