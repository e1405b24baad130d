"""Image files and arrays become pixels."""

import numpy as np
import pytest

from kpairs.data.images import read_image, to_pixels, write_samples
from kpairs.errors import InputError, KpairsError


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
