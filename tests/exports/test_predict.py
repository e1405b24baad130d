"""`kpairs predict` on pictures, folders and CSV files, and the rules for a user's own pictures."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper
from PIL import Image

from kpairs.cli import main
from kpairs.data.examples import write_samples
from kpairs.data.source import open_source
from kpairs.exports.runtime import PairModel
from kpairs.exports.writing.onnx import write_proto

DIGITS = ("left_digit", "right_digit")


@pytest.fixture
def model(exported):
    """An exported auxws with first weights."""
    return exported("auxws")[1][0].path


@pytest.fixture
def samples(workplace):
    """A folder with one image of each digit, 0.png to 9.png."""
    write_samples(open_source("mnist"), workplace / "samples")
    return workplace / "samples"


def kpairs(*arguments, expect=0):
    result = CliRunner().invoke(main, ["predict", *map(str, arguments)])
    assert result.exit_code == expect, result.output + result.stderr
    return result.stderr if expect else result.stdout


def test_pictures_from_elsewhere(model, samples, workplace):
    """A JPEG from a phone, lying on its side; colours, opacity and 16 bits: all seen alike."""
    upright = Image.open(samples / "7.png").convert("RGB").resize((300, 300))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right to see it
    upright.rotate(90).save("phone.jpg", exif=exif, quality=95)
    grey = Image.open(samples / "7.png").convert("L")
    full = Image.new("L", grey.size, 0)
    Image.merge("LA", (full, grey)).save("clear.png")  # dark ink on nothing
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save("deep.png")
    grey.convert("RGB").save("colour.webp", lossless=True)
    grey.save("page.tiff")
    expected = json.loads(kpairs(model, samples / "3.png", samples / "7.png", "--json"))
    for name in ("phone.jpg", "clear.png", "deep.png", "colour.webp", "page.tiff"):
        answer = json.loads(kpairs(model, samples / "3.png", name, "--json"))
        close = {"abs": 0.02 if name == "phone.jpg" else 1e-6}
        assert answer["probability"] == pytest.approx(expected["probability"], **close)
        assert answer["right_inverted"] == (name == "clear.png")
    (workplace / "short.png").write_bytes((samples / "7.png").read_bytes()[:-60])
    message = kpairs(model, samples / "3.png", "short.png", expect=4)
    assert "short.png: the image cannot be read" in message


def test_an_image_against_itself(model, samples, workplace):
    """It ranks no higher, whatever the network says; a copy under another name too."""
    Image.open(samples / "3.png").save("copy.bmp")
    for other in (samples / "3.png", "copy.bmp"):
        answer = json.loads(kpairs(model, samples / "3.png", other, "--json"))
        assert (answer["same"], answer["left_not_higher"], answer["probability"]) == (True, True, 1)
        text = kpairs(model, samples / "3.png", other)
        assert text.splitlines()[-1] == "left = right: one and the same picture"
    assert not json.loads(kpairs(model, samples / "3.png", samples / "4.png", "--json"))["same"]


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
    assert forced["right_doubtful"]
    assert forced["probability"] != answer["probability"]


def test_the_example_without_kpairs_gives_the_same_answer(model, samples, workplace):
    """The page's code as it stands: onnxruntime, NumPy and Pillow."""
    page = (Path(__file__).parents[2] / "docs" / "languages.md").read_text()
    blocks = [part.split("```")[0] for part in page.split("```python\n")[1:]]
    (code,) = [block for block in blocks if "Image.open" in block]
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
    shown = [table.count(f"left {relation} right") for relation in ("<=", ">", "=")]
    assert (sum(shown), shown[2]) == (10, 1)


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
        (["missing.csv"], 4, "missing.csv: no such file or folder"),
        (["headless.csv"], 4, "headless.csv: expected the columns left and right; received a, b"),
        (["none.csv"], 4, "none.csv: expected pairs below the header"),
        (["half.csv"], 4, "half.csv row 2: expected a path in each column, received none"),
        (["gone.csv"], 4, "gone.png: no such image file"),
        (["binary.csv"], 4, "binary.csv row 2: expected 2 cells, received 1"),
        (["empty", three], 4, "empty: expected images"),
        ([samples, "few"], 4, "9 are in one only, such as 0"),
        ([three, three, "--json", "--csv"], 2, "expected --json or --csv, received both"),
    ):
        stderr = kpairs(model, *arguments, expect=code)
        assert message in stderr.splitlines()[-1], stderr


def _answering(path, make):
    """An exported file whose comparison is what some nodes make of the network's own."""
    proto = onnx.load(path)
    metadata = proto.metadata_props[0].value
    for node in proto.graph.node:
        for i, name in enumerate(node.output):
            if name == "comparison":
                node.output[i] = "own"
    proto.graph.node.extend(make(proto))
    write_proto(proto, metadata, path)


def _not_a_number(proto):
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(np.nan), "nan"))
    return [helper.make_node("Add", ["own", "nan"], ["comparison"])]


def _rows(starts, times):
    def make(proto):
        for name, value in (("zero", [0]), ("end", [starts]), ("times", [times, 1])):
            array = np.array(value, np.int64)
            proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        return [
            helper.make_node("Slice", ["own", "zero", "end"], ["cut"]),
            helper.make_node("Tile", ["cut", "times"], ["comparison"]),
        ]

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_not_a_number, "expected numbers in comparison, the model gave NaN"),
        (_rows(0, 1), "expected a row of comparison for each of 1 pairs, the model gave 0"),
        (_rows(2**31, 2), "expected a row of comparison for each of 1 pairs, the model gave 2"),
    ],
)
def test_a_model_without_answers_is_refused(make, message, exported, tmp_path):
    path = tmp_path / "odd.onnx"
    path.write_bytes(exported("auxws")[1][0].path.read_bytes())
    _answering(path, make)
    Image.new("L", (28, 28)).save(tmp_path / "a.png")
    Image.new("L", (28, 28), 9).save(tmp_path / "b.png")
    for extra in ([], ["--json"]):
        stderr = kpairs(path, tmp_path / "a.png", tmp_path / "b.png", *extra, expect=4)
        assert message in stderr
        assert len(stderr.splitlines()) == 1


def test_names_cannot_move_a_terminals_cursor(exported, tmp_path):
    model = exported("auxws")[1][0].path
    odd = tmp_path / "a\x1b[2J.png"
    Image.new("L", (28, 28)).save(odd)
    Image.new("L", (28, 28), 9).save(tmp_path / "b.png")
    (tmp_path / "c\x1b[2J.png").write_bytes(b"")
    shown = kpairs(model, odd, tmp_path / "b.png")
    assert "\x1b" not in shown
    assert "a\\x1b[2J.png" in shown
    assert "\x1b" not in kpairs(model, tmp_path / "c\x1b[2J.png", odd, expect=4)
    proto = onnx.load(model)
    metadata = json.loads(proto.metadata_props[0].value)
    metadata["classes"][3] = "3\x1b[2J"
    write_proto(proto, json.dumps(metadata), tmp_path / "odd.onnx")
    kpairs(tmp_path / "odd.onnx", odd, tmp_path / "b.png", expect=4)
