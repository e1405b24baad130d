"""`kpairs predict` on pictures, folders and CSV files, and the rules for a user's own pictures."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kpairs.cli import main
from kpairs.data import draw_pairs
from kpairs.data.images import to_pixels, write_samples
from kpairs.data.pictures import fit_pixels, read_picture
from kpairs.errors import InputError
from kpairs.exports.export import export_model
from kpairs.exports.runtime import PairModel
from kpairs.models.initialization import initialize
from kpairs.networks import ARCHS, build

DIGITS = ("left_digit", "right_digit")


@pytest.fixture(scope="module")
def model(tmp_path_factory, mnist):
    """An exported auxws with initial weights."""
    rng = np.random.default_rng(7)
    keras_model = build("auxws")
    initialize(keras_model, "torch", rng)
    pairs = draw_pairs(mnist["test"], 20, rng)
    stem = tmp_path_factory.mktemp("exports") / "auxws"
    (export,) = export_model(keras_model, ARCHS["auxws"], tuple("0123456789"), pairs, stem)
    return export.path


@pytest.fixture
def samples(mnist, workplace):
    """A folder with one image of each digit, 0.png to 9.png."""
    write_samples(mnist["test"], workplace / "samples")
    return workplace / "samples"


def kpairs(*arguments, expect=0):
    result = CliRunner().invoke(main, ["predict", *map(str, arguments)])
    assert result.exit_code == expect, result.output + result.stderr
    return result.stderr if expect else result.stdout


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    seed=st.integers(0, 2**32 - 1),
    as_uint8=st.booleans(),
)
def test_fitting_keeps_the_mean_and_the_range(height, width, seed, as_uint8):
    """Means over areas of a square padded with black: the sum of all light stays."""
    images = np.random.default_rng(seed).integers(0, 256, (2, height, width), dtype=np.uint8)
    given_images = images if as_uint8 else (images / 255).astype(np.float32)
    pixels = fit_pixels(given_images)
    assert pixels.shape == (2, 14, 14, 1)
    assert pixels.dtype == np.float32
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    light = images.sum((1, 2)) / 255 / max(height, width) ** 2
    np.testing.assert_allclose(pixels.mean((1, 2, 3)), light, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("side", [1, 5, 14, 20, 28, 45, 100])
def test_fitting_averages_areas(side, rng):
    """Held against every pixel cut into 14x14 parts, which whole blocks can then be made of."""
    image = rng.integers(0, 256, (side, side), dtype=np.uint8)
    parts = np.repeat(np.repeat(image, 14, 0), 14, 1)
    expected = parts.reshape(14, side, 14, side).mean((1, 3)) / 255
    np.testing.assert_allclose(fit_pixels(image[None])[0, :, :, 0], expected, atol=1e-6)
    if side % 14 == 0:
        np.testing.assert_array_equal(fit_pixels(image[None]), to_pixels(image[None]))


def test_ink_is_seen_at_the_border(samples, mnist, workplace):
    for digit in range(10):
        bright = Image.open(samples / f"{digit}.png").convert("L")
        expected, inverted = read_picture(samples / f"{digit}.png")
        assert not inverted
        Image.fromarray(255 - np.asarray(bright)).save("dark.png")
        # Drawn on nothing: bright ink and dark ink, the strokes opaque.
        for name, grey in (("clear_bright.png", 255), ("clear_dark.png", 0)):
            full = Image.new("L", bright.size, grey)
            Image.merge("LA", (full, bright)).save(name)
        for name, dark in (
            ("dark.png", True),
            ("clear_bright.png", False),
            ("clear_dark.png", True),
        ):
            pixels, inverted = read_picture(name)
            assert inverted == dark
            np.testing.assert_allclose(pixels, expected, atol=1.5 / 255)
            flagged, _ = read_picture(name, "dark" if dark else "bright")
            np.testing.assert_array_equal(flagged, pixels)
    assert read_picture("dark.png", "bright")[0].mean() > 0.5


def test_no_digit_of_mnist_is_taken_for_dark_ink(mnist):
    """The rule of `read_picture` on all 70,000 images: the median of the outermost pixels."""
    for digits in mnist.values():
        n = digits.images
        border = np.concatenate([n[:, 0], n[:, -1], n[:, :, 0], n[:, :, -1]], axis=1)
        assert np.median(border, axis=1).max() == 0


def test_pictures_from_elsewhere(samples, workplace):
    """A JPEG from a phone, lying on its side; and pictures that are too large or damaged."""
    upright = Image.open(samples / "7.png").convert("RGB").resize((300, 300))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right to see it
    upright.rotate(90).save("phone.jpg", exif=exif, quality=95)
    expected, _ = read_picture(samples / "7.png")
    assert np.abs(read_picture("phone.jpg")[0] - expected).mean() < 0.05
    Image.new("L", (4201, 3)).save("large.png")
    with pytest.raises(InputError, match="at most 4200x4200 pixels, received 3x4201"):
        read_picture("large.png")
    (workplace / "short.png").write_bytes((samples / "7.png").read_bytes()[:-60])
    with pytest.raises(InputError, match=r"short.png: the image cannot be read"):
        read_picture("short.png")


def test_two_images(model, samples):
    answer = json.loads(kpairs(model, samples / "3.png", samples / "7.png", "--json"))
    images = [np.asarray(Image.open(samples / f"{d}.png").convert("L"))[None] for d in (3, 7)]
    expected = PairModel.load(model).predict_probabilities(*images)
    assert answer["probability"] == expected["comparison"][0, 1]
    assert answer["left_not_higher"] == (answer["probability"] >= 0.5)
    assert answer["right_digit"] == str(expected["right_digit"][0].argmax())
    Image.fromarray(255 - images[1][0]).save("dark.png")
    dark = json.loads(kpairs(model, samples / "3.png", "dark.png", "--json"))
    assert dark == {**answer, "right": "dark.png", "right_inverted": True}
    assert "dark.png: " in kpairs(model, samples / "3.png", "dark.png")
    assert "dark on bright, inverted" in kpairs(model, samples / "3.png", "dark.png")
    forced = json.loads(kpairs(model, samples / "3.png", "dark.png", "--json", "--ink", "bright"))
    assert not forced["right_inverted"]
    assert forced["probability"] != answer["probability"]


def test_the_example_without_kpairs_gives_the_same_answer(model, samples, workplace):
    """The page's code as it stands: onnxruntime, NumPy and Pillow."""
    page = (Path(__file__).parents[2] / "docs" / "exports.md").read_text()
    (code,) = [part.split("```")[0] for part in page.split("```python\n") if "Image.open" in part]
    assert "kpairs." not in code
    (workplace / "auxws.onnx").write_bytes(model.read_bytes())
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer = json.loads(kpairs(model, samples / "3.png", samples / "7.png", "--json"))
    relation = "<=" if answer["left_not_higher"] else ">"
    sure = max(answer["probability"], 1 - answer["probability"])
    assert done.stdout.splitlines() == [
        f"comparison: left {relation} right ({sure:.1%})",
        *(f"{d}: {answer[d]} ({answer[f'{d}_probability']:.1%})" for d in DIGITS),
    ]


def test_folders_and_csv_files(model, samples, workplace):
    """A folder against one image, two folders by name, and a CSV: the same answers."""
    one = {
        d: json.loads(kpairs(model, samples / f"{d}.png", samples / "4.png", "--json"))
        for d in range(10)
    }
    rows = json.loads(kpairs(model, samples, samples / "4.png", "--json"))
    assert [row["left"] for row in rows] == [str(samples / f"{d}.png") for d in range(10)]
    for d, row in enumerate(rows):
        assert row["probability"] == pytest.approx(one[d]["probability"], abs=1e-6)
    mirrored = json.loads(kpairs(model, samples / "4.png", samples, "--json"))
    assert mirrored[9]["right"] == str(samples / "9.png")

    other = workplace / "other"
    other.mkdir()
    for d in range(10):
        Image.open(samples / "4.png").save(other / f"{d}.bmp")
    paired = json.loads(kpairs(model, samples, other, "--json"))
    assert [r["right"] for r in paired] == [str(other / f"{d}.bmp") for d in range(10)]
    assert [r["probability"] for r in paired] == [r["probability"] for r in rows]

    (workplace / "lists").mkdir()
    lines = [f"../samples/{d}.png,{samples}/4.png,x" for d in range(10)]
    (workplace / "lists/pairs.csv").write_text("\n".join(["left,right,note", *lines]) + "\n")
    listed = list(csv.DictReader(io.StringIO(kpairs(model, "lists/pairs.csv", "--csv"))))
    assert [float(r["probability"]) for r in listed] == [r["probability"] for r in rows]
    assert [r["left_digit"] for r in listed] == [r["left_digit"] for r in rows]
    table = kpairs(model, "lists/pairs.csv")
    assert table.count("left <= right") + table.count("left > right") == 10


def test_what_predict_refuses(model, samples, workplace):
    (workplace / "empty").mkdir()
    (workplace / "few").mkdir()
    Image.new("L", (28, 28)).save("few/3.png")
    texts = {
        "headless.csv": "a,b\n1,2\n",
        "semicolons.csv": "left;right\nsamples/3.png;a,b.png\n",
        "none.csv": "left,right\n",
        "half.csv": "left,right\nsamples/3.png,\n",
        "gone.csv": "left,right\nsamples/3.png,gone.png\n",
        "binary.csv": "left,right\n\xff\n",
    }
    for name, text in texts.items():
        (workplace / name).write_bytes(text.encode("latin-1"))
    three = samples / "3.png"
    for arguments, code, message in (
        ([three], 2, "expected LEFT and RIGHT, or a .csv file of pairs"),
        (["missing.csv"], 4, "missing.csv: cannot read the pairs: No such file"),
        (["headless.csv"], 4, "headless.csv: expected the columns left and right; received a, b"),
        (["none.csv"], 4, "none.csv: expected pairs below the header"),
        (["half.csv"], 4, "half.csv: expected two paths in pair 1, received an empty one"),
        (["gone.csv"], 4, "gone.png: no such image file"),
        (["binary.csv"], 4, "binary.csv: expected a CSV file of pairs"),
        (["empty", three], 4, "empty: expected images"),
        ([samples, "few"], 4, "9 are in one only, such as 0"),
        ([three, three, "--json", "--csv"], 2, "expected --json or --csv, received both"),
    ):
        stderr = kpairs(model, *arguments, expect=code)
        assert message in stderr.splitlines()[-1], stderr
