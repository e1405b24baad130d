"""Every layout of TIFF against its 8-bit form, other formats, memory, and broken files."""

import io
import os
import struct
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kpairs.data import decode as decoding
from kpairs.data.decode import decode, missing_package, opened
from kpairs.data.pixels import InkWarning, looks_dark, prepare, to_pixels
from kpairs.data.settings import PixelSettings
from kpairs.errors import InputError

EIGHT = np.random.default_rng(0).integers(0, 256, (37, 53, 4), np.uint8)
LAYOUTS = {"grey": 1, "white": 1, "la": 2, "rgb": 3, "rgba": 4, "rgbx": 4}
TOPS = {"u1": 255, "u2": 2**16 - 1, "u4": 2**32 - 1, "i2": 2**15 - 1, "f2": 1, "f4": 1, "f8": 1}


def write_tiff(path, kind, dtype, planar, order, packed, tile):
    """Write the 8-bit picture in a layout, and return it."""
    picture, top = EIGHT[..., : LAYOUTS[kind]], TOPS[dtype]
    levels = picture / 255 if top == 1 else picture.astype(object) * top // 255
    levels = (top - levels if kind == "white" else levels).astype(dtype)
    options = {"photometric": {"grey": "minisblack", "white": "miniswhite"}.get(kind, "rgb")}
    if kind == "la":
        options |= {"photometric": "minisblack", "extrasamples": ["unassalpha"]}
    elif kind in ("rgba", "rgbx"):
        options["extrasamples"] = ["unassalpha" if kind == "rgba" else "unspecified"]
    if levels.shape[-1] > 1:
        options["planarconfig"] = planar
    levels = levels[..., 0] if levels.shape[-1] == 1 else levels
    tifffile.imwrite(
        path,
        np.moveaxis(levels, -1, 0) if planar == "separate" else levels,
        byteorder=order,
        compression="zlib" if packed else None,
        predictor=packed == "predicted" and top > 1,
        tile=tile,
        metadata=None,
        **options,
    )
    return picture[..., :3] if kind == "rgbx" else picture


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(sorted(LAYOUTS)),
    dtype=st.sampled_from(sorted(TOPS)),
    separate=st.booleans(),
    order=st.sampled_from("<>"),
    packed=st.sampled_from(["", "packed", "predicted"]),
    tile=st.sampled_from([None, (16, 16)]),
)
def test_a_tiff_is_its_8_bit_form_or_refused(
    kind, dtype, separate, order, packed, tile, tmp_path_factory
):
    """Pillow gave garbage, half the brightness or the negative for some of these."""
    path = tmp_path_factory.getbasetemp() / "any.tif"
    planar = "separate" if separate and LAYOUTS[kind] > 1 else "contig"
    expected = write_tiff(path, kind, dtype, planar, order, packed, tile)
    try:
        received = decode(path)
    except InputError:
        assert dtype != "u1" or planar == "separate"
        return
    top = 1 if received.dtype == np.float32 else np.iinfo(received.dtype).max
    assert received.shape == expected.shape
    np.testing.assert_allclose(received / top, expected / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "dtype", "order"),
    [
        *(("grey", "u2", "<"), ("grey", "u2", ">"), ("white", "u2", "<"), ("white", "f4", "<")),
        *(("white", "u1", ">"), ("rgb", "u2", ">"), ("rgba", "u2", "<"), ("grey", "f4", ">")),
    ],
)
def test_layouts_that_are_read(kind, dtype, order, tmp_path):
    """What scanners, microscopes and X-ray machines write; not refused."""
    expected = write_tiff(tmp_path / "a.tif", kind, dtype, "contig", order, "", None)
    setting = PixelSettings(12, 12, 3, ink="mixed", rounded=True)
    np.testing.assert_array_equal(
        prepare(tmp_path / "a.tif", setting).pixels, prepare(expected[None], setting).pixels
    )


@pytest.mark.parametrize(
    ("kind", "dtype", "planar", "message"),
    [
        ("grey", "i2", "contig", "received signed numbers; save it as PNG"),
        ("grey", "u4", "contig", "received whole numbers of 32 bits, whose white is not known"),
        ("rgb", "u2", "separate", "received separate planes of 16 bits"),
        ("la", "u2", "contig", "received another layout of TIFF"),
    ],
)
def test_layouts_that_are_refused(kind, dtype, planar, message, tmp_path):
    write_tiff(tmp_path / "a.tif", kind, dtype, planar, "<", "", None)
    with pytest.raises(InputError, match=rf"a.tif: expected pixels of 8 bits, .*{message}"):
        decode(tmp_path / "a.tif")


@pytest.mark.parametrize("photometric", [0, 1])
def test_twelve_bits_packed_are_scaled_to_sixteen(photometric, tmp_path):
    levels = np.linspace(0, 4095, 64).astype(int).reshape(8, 8)
    data = b"".join(
        bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in levels.reshape(-1, 2).tolist()
    )
    tags = [(256, 8), (257, 8), (258, 12), (259, 1), (262, photometric), (273, 8), (277, 1)]
    tags += [(278, 8), (279, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    header = struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data
    file = header + struct.pack("<H", len(tags)) + entries + bytes(4)
    if photometric == 0:  # not known to Pillow
        with pytest.raises(InputError, match="another layout of TIFF"):
            decode(io.BytesIO(file), "x.tif")
        return
    received = decode(io.BytesIO(file), "x.tif")[..., 0]
    np.testing.assert_array_equal(received, np.rint(levels * 65535 / 4095).astype(np.uint16))


def test_pictures_of_whole_numbers_without_a_known_white():
    with pytest.raises(InputError, match=r"image: expected pixels of 8 bits.* of 32 bits"):
        decode(Image.new("I", (4, 4), 255))


def test_twelve_bits_in_sixteen_are_told_and_scaled(tmp_path):
    """They were 16 grey levels without a word."""
    levels = np.linspace(0, 4095, 400).astype(np.uint16).reshape(20, 20)
    Image.fromarray(levels).save(tmp_path / "xray.png")
    setting = PixelSettings(20, 20, ink="mixed", rounded=True)
    with pytest.warns(InkWarning, match="1 of 1 pictures have 16 bits and use less than a tenth"):
        to_pixels(tmp_path / "xray.png", setting, "left")
    faint = prepare([levels, levels * 15, levels * 0], setting).faint
    assert faint.tolist() == [True, False, False]
    white = PixelSettings(20, 20, ink="mixed", rounded=True, white=4095)
    expected = (np.rint(255.0 * levels / 4095) / 255).astype(np.float32)
    for picture in (tmp_path / "xray.png", levels, levels[None, ..., None]):
        scaled = prepare(picture, white)
        np.testing.assert_array_equal(scaled.pixels[0, ..., 0], expected)
        assert not scaled.faint.any()
    with pytest.raises(InputError, match=r"xray: expected levels up to 4095, .* received 5000"):
        prepare(np.full((2, 2), 5000, np.uint16), white, "xray")


def test_other_formats_people_have(tmp_path):
    """The first frame of a GIF; JPEGs by their other endings."""
    grey = np.kron(np.arange(0, 256, 16, dtype=np.uint8), np.ones((16, 2), np.uint8))
    frames = [Image.fromarray(grey), Image.fromarray(255 - grey)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    setting = PixelSettings(16, 32, ink="mixed")
    expected = prepare(grey, setting).pixels
    np.testing.assert_array_equal(prepare(tmp_path / "a.gif", setting).pixels, expected)
    for ending in ("jfif", "jpe"):
        frames[0].save(tmp_path / f"a.{ending}", "JPEG", quality=100)
        received = prepare(tmp_path / f"a.{ending}", setting).pixels
        np.testing.assert_allclose(received, expected, atol=0.02)
    if not missing_package(".avif"):
        frames[0].save(tmp_path / "a.avif", quality=100)
        received = prepare(tmp_path / "a.avif", setting).pixels
        np.testing.assert_allclose(received, expected, atol=0.05)


def test_a_format_without_its_package_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "missing_package", lambda e: "pillow-heif" * (e == ".heic"))
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    with pytest.raises(InputError, match=r"a.heic: install pillow-heif to read such images"):
        decode(tmp_path / "a.heic")


@settings(max_examples=40, deadline=None)
@given(orientation=st.integers(0, 9), channels=st.sampled_from([1, 3, 4]), data=st.data())
def test_parts_of_a_turned_picture(orientation, channels, data):
    height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    picture, file = EIGHT[:height, :width, :channels], io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture.squeeze(-1) if channels == 1 else picture).save(file, "PNG", exif=exif)
    upright = {
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.swapaxes(0, 1),
        6: picture[::-1].swapaxes(0, 1),
        7: picture[::-1, ::-1].swapaxes(0, 1),
        8: picture[:, ::-1].swapaxes(0, 1),
    }.get(orientation, picture)
    with opened(file) as found:
        assert (found.height, found.width, found.channels) == upright.shape
        rows = sorted(data.draw(st.tuples(*[st.integers(0, found.height - 1)] * 2)))
        columns = sorted(data.draw(st.tuples(*[st.integers(0, found.width - 1)] * 2)))
        received = found.part(rows[0], rows[1] + 1, columns[0], columns[1] + 1)
        expected = upright[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1]
        np.testing.assert_array_equal(received, expected)
        assert looks_dark(found) == looks_dark(upright[None])


def test_a_large_jpeg_can_be_looked_at_in_a_reduced_size(tmp_path):
    Image.fromarray(np.kron(EIGHT[..., :3], np.ones((40, 40, 1), np.uint8))).save(
        tmp_path / "a.jpg"
    )
    with opened(tmp_path / "a.jpg", least=256) as found:
        assert (found.of, min(found.width, found.height)) == ((2120, 1480), 370)
        small = found.part(0, found.height)
    with opened(tmp_path / "a.jpg") as found:
        assert (found.of, found.width) == ((2120, 1480), 2120)
        np.testing.assert_allclose(found.part(0, 1480).mean(), small.mean(), atol=1)
    Image.fromarray(EIGHT[..., :3]).save(tmp_path / "small.jpg")
    with opened(tmp_path / "small.jpg", least=256) as found:
        assert found.width == 53


def test_a_png_that_lacks_rows_is_refused_from_bytes_too():
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(9 * 7))) + chunk(b"IEND", b"")
    with pytest.raises(InputError, match=r"left: .* its data end 9 bytes early"):
        decode(io.BytesIO(b"\x89PNG\r\n\x1a\n" + header + body), "left")


def test_files_held_at_one_time_are_bounded():
    memory, entered, leave = decoding._Memory(100), threading.Event(), threading.Event()

    def hold(count):
        with memory.taken(count):
            entered.set()
            leave.wait(5)

    with memory.taken(60):
        with memory.taken(40):
            pass
        waiting = threading.Thread(target=hold, args=[50])
        waiting.start()
        assert not entered.wait(0.05)
    assert entered.wait(5)
    leave.set()
    waiting.join()
    with memory.taken(1000):  # one alone may be larger
        pass


def test_short_memory_is_one_line(tmp_path, monkeypatch):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr(decoding, "load", lambda image: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(InputError, match=r"a.png: not enough memory for this image"):
        prepare(tmp_path / "a.png")


_PEAK = """
import resource, sys
from kpairs.data.pixels import prepare
from kpairs.data.settings import PixelSettings
import PIL.Image, PIL.PngImagePlugin
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
prepare(sys.argv[1], PixelSettings(64, 64, 1, ink=sys.argv[2], rounded=True))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_large_picture_is_prepared_in_strips(tmp_path):
    """9 megapixels of RGBA are 36 MB; they took 460."""
    Image.new("RGBA", (3000, 3000), (9, 99, 199, 128)).save(tmp_path / "a.png", compress_level=1)
    command = [sys.executable, "-c", _PEAK, str(tmp_path / "a.png"), "auto"]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert peak < 120


def test_whatever_a_name_is(tmp_path):
    name = os.path.join(os.fsencode(tmp_path), b"\xff.png")
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", name)
    assert decode(os.fsdecode(name)).shape == (4, 4, 1)
    with open(name, "wb"):
        pass
    with pytest.raises(InputError, match=r"udcff.png: expected an image") as error:
        decode(os.fsdecode(name))
    str(error.value).encode()
