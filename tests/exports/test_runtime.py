"""The exported file on its own: what loading refuses, rules for images, and what it imports."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import file_formats
import numpy as np
import onnx
import pytest
import reliability_script
from click.testing import CliRunner
from onnx import TensorProto, helper

from kpairs.cli import main
from kpairs.data.splits import draw_pairs
from kpairs.errors import InputError
from kpairs.exports.runtime import PairModel
from kpairs.exports.runtime.loading import is_sealed, seal
from kpairs.exports.writing.onnx import OPSET, write_proto

CLASSES = tuple("0123456789")


@pytest.fixture
def file(exported):
    """The ONNX file of auxws with first weights."""
    return exported("auxws")[1][0].path


@pytest.fixture
def copy(file, tmp_path):
    """A copy of the file, without the JSON beside it."""
    path = tmp_path / "copy.onnx"
    path.write_bytes(file.read_bytes())
    return path


def test_images_of_any_size_and_number(exported, mnist):
    trained, (export, *_), _ = exported("auxws")
    model, file = trained.model, export.path
    pairs = draw_pairs(mnist["test"], 200, np.random.default_rng(7))
    loaded = PairModel.load(file)
    raw = mnist["test"].images[:6]
    received = loaded.predict(raw[:3], raw[3:])  # 28x28 uint8
    pixels = [raw[i : i + 3].reshape(3, 14, 2, 14, 2).mean((2, 4)) / 255 for i in (0, 3)]
    left, right = (p[..., None].astype(np.float32) for p in pixels)
    expected = model.predict({"left": left, "right": right}, verbose=0)
    for key in expected:
        np.testing.assert_allclose(received[key], expected[key], atol=1e-5)
    # 42x42 is 14x14 with every pixel three times three; 20x28 is padded with black to 28x28.
    enlarged = loaded.predict(np.repeat(np.repeat(left, 3, 1), 3, 2), right)
    np.testing.assert_allclose(enlarged["comparison"], expected["comparison"], atol=1e-5)
    narrow = loaded.predict(raw[:3, 4:-4], raw[3:])
    blacked = raw[:3].copy()
    blacked[:, :4] = blacked[:, -4:] = 0
    np.testing.assert_array_equal(
        narrow["comparison"], loaded.predict(blacked, raw[3:])["comparison"]
    )
    many = loaded.predict(np.tile(pairs.left, (6, 1, 1, 1)), np.tile(pairs.right, (6, 1, 1, 1)))
    once = loaded.predict(pairs.left, pairs.right)
    for key, values in many.items():  # 1,200 pairs: three blocks, in order
        np.testing.assert_allclose(values, np.tile(once[key], (6, 1)), atol=1e-6)
    for values in loaded.predict_probabilities(pairs.left[:5], pairs.right[:5]).values():
        np.testing.assert_allclose(values.sum(axis=1), 1)
    assert [len(v) for v in loaded.predict(pairs.left[:0], pairs.right[:0]).values()] == [0, 0, 0]


def test_images_that_are_refused(file, exported):
    pairs = exported("auxws")[2]
    loaded, one = PairModel.load(file), pairs.right[:1]
    with pytest.raises(InputError, match="1 != 2"):
        loaded.predict(pairs.left[:1], pairs.right[:2])
    for image, message in (
        (np.zeros((1, 0, 5), np.float32), "left: expected pictures of 1x1 pixels or more"),
        (np.zeros(14, np.float32), r"expected shape \(n, height, width\)"),
        (np.zeros((1, 14, 14, 5), np.float32), r"expected shape .* received \(1, 14, 14, 5\)"),
        (np.full((1, 14, 14, 1), np.nan, np.float32), "left: .*NaN"),
        (np.full((1, 20, 14), np.inf), "left: .*NaN or infinite"),
        (np.full((1, 20, 14), 255.0), "pass 0..255 as uint8"),
        (np.zeros((1, 20, 14), np.int64), "received int64"),
    ):
        with pytest.raises(InputError, match=message):
            loaded.predict(image, one)


def test_damaged_copies_are_all_refused_and_none_ends_the_process(copy):
    """500 copies; half as many with a new seal, which are as good as any file of a stranger's."""
    script = Path(__file__).parents[1] / "fuzz_script.py"
    command = [sys.executable, script, copy, "500", "20261121"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("0 accepted")


def test_damaged_exports_are_run_or_refused_in_one_line(file, monkeypatch):
    """What else is wrong with a file than some bytes: its metadata, or the JSON beside it."""
    monkeypatch.setattr(file_formats, "_export", file.read_bytes)
    names = [name for name, form in file_formats.FORMATS.items() if form.exported]
    assert [reliability_script.damaged_files(name, 15, 20261124) for name in names] == [[]] * 5


def test_the_seal():
    data = seal(b"body")
    assert is_sealed(data)
    assert not any(
        map(is_sealed, (b"", b"body", data[:-1], data + b"x", b"b" + data[2:], data * 2))
    )


def test_the_json_beside_the_file(copy):
    """It is checked where it is there; another file's, or a broken one, refuses the model."""
    import hashlib

    beside = copy.with_name("copy.onnx.json")
    beside.write_text(json.dumps({"sha256": hashlib.sha256(copy.read_bytes()).hexdigest()}))
    assert PairModel.load(copy).arch == "auxws"
    for text, message in (
        (json.dumps({"sha256": "0" * 64}), "copy.onnx: expected SHA-256 0000"),
        ("{}", "copy.onnx.json: expected the description"),
        ("[" * 100_000, "copy.onnx.json: expected the description"),
        (" " * 2**21, "at most 1,048,576 bytes, received 2,097,152"),
    ):
        beside.write_text(text)
        with pytest.raises(InputError, match=message):
            PairModel.load(copy)


def _chain_of_functions(model):
    """3,000 functions, each calling the next: onnxruntime runs out of stack."""
    for i in range(3000):
        call = helper.make_node(f"f{i + 1}" if i < 2999 else "Relu", ["x"], ["y"])
        call.domain = "own" if i < 2999 else ""
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("own", 1)]
        model.functions.append(helper.make_function("own", f"f{i}", ["x"], ["y"], [call], opsets))


def _nested_graphs(model):
    for _ in range(25):
        inner = helper.make_graph(list(model.graph.node)[:1], "inner", [], [])
        empty = helper.make_graph([], "empty", [], [])
        node = helper.make_node("If", ["left"], ["out"], then_branch=inner, else_branch=empty)
        del model.graph.node[:]
        model.graph.node.append(node)


def _external_weights(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def _external_constant(model):
    node = helper.make_node("Constant", [], ["c"], value=TensorProto(name="far"))
    node.attribute[0].t.external_data.add(key="location", value="../weights")
    model.graph.node.append(node)


def _other_domain(model):
    model.graph.node[0].domain = "com.microsoft"


def _training(model):
    model.training_info.add()


def _first(model):
    """The name of what the network makes of its images first."""
    return model.graph.node[0].output[0]


def _sized(kind, shape):
    """A change that adds a tensor of this shape, made by an operator that takes shapes."""

    def change(model):
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(np.array(shape, np.int64), "bomb_shape")
        )
        inputs = ["bomb_shape"] if kind == "ConstantOfShape" else [_first(model), "bomb_shape"]
        model.graph.node.insert(1, helper.make_node(kind, inputs, ["bomb"]))

    return change


def _products(model):
    """60 products of matrices of 4096 x 4096, all of one vector."""
    row = onnx.numpy_helper.from_array(np.ones((1, 4096), np.float32), "row")
    column = onnx.numpy_helper.from_array(np.ones((4096, 1), np.float32), "column")
    model.graph.initializer.extend([row, column])
    nodes = [helper.make_node("MatMul", ["column", "row"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{i}", f"m{i}"], [f"m{i + 1}"]) for i in range(60)]
    model.graph.node.extend(nodes)


def _kept_values(model):
    """Twenty values of half a GiB, all of which a last node waits for."""
    _sized("ConstantOfShape", [2**13, 2**14])(model)
    names = [f"k{i}" for i in range(20)]
    model.graph.node.extend(helper.make_node("Relu", ["bomb"], [name]) for name in names)
    model.graph.node.append(helper.make_node("Sum", names, ["kept"]))


def _many_nodes(model):
    names = [_first(model), *(f"n{i}" for i in range(25_000))]
    model.graph.node.extend(
        helper.make_node("Relu", [one], [other]) for one, other in pairwise(names)
    )


def _unknown_size(model):
    model.graph.node.append(helper.make_node("Shape", [_first(model)], ["s"]))
    model.graph.node.append(helper.make_node("NonZero", ["s"], ["z"]))


def _sparse(model):
    model.graph.sparse_initializer.add()


def _unknown_operator(model):
    model.graph.node[0].op_type = "Rlu"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_chain_of_functions, "3000 functions of its own"),
        (_nested_graphs, "a graph inside a node, If"),
        (_external_weights, "weights in another file"),
        (_external_constant, "weights in another file, far"),
        (_other_domain, "operators outside the ONNX standard, com.microsoft"),
        (_training, "a training graph"),
        (_unknown_operator, "No Op registered for Rlu"),
        (_sized("ConstantOfShape", [2**15, 2**15]), "1,073,741,824 numbers from one Constant"),
        (_sized("Expand", [2**30, 1, 1, 1, 1]), "420,906,795,008 numbers from one Expand, more"),
        (_sized("Tile", [2**12, 2**12, 2, 2]), "26,306,674,688 numbers from one Tile, more than"),
        (_products, "4.2e+12 operations for one pair, more than 5.5e+11"),
        (_kept_values, "2,952,808,570 numbers for one pair, more than 2,147"),
        (_many_nodes, "25,030 nodes, more than 20,000"),
        (_unknown_size, "operators that no pair model needs, NonZero"),
        (_sparse, "sparse weights"),
    ],
)
def test_what_no_pair_model_has_is_refused_though_it_is_sealed(change, message, copy):
    proto = onnx.load(copy)
    metadata = proto.metadata_props[0].value
    change(proto)
    write_proto(proto, metadata, copy)
    result = CliRunner().invoke(main, ["predict", str(copy), *_images(copy.parent)])
    assert result.exit_code == 4
    assert f"copy.onnx: expected an ONNX model, received: {message}" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_files_that_are_refused(copy, tmp_path):
    good = copy.read_bytes()
    plain = onnx.load(copy)
    del plain.metadata_props[:]
    bomb = b""
    for _ in range(20_000):  # a graph in a node in a graph: one message within the other
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # AttributeProto.g, NodeProto.attribute, graph.node
            size, length = len(bomb), b""
            while size > 127:
                length, size = length + bytes([size & 127 | 128]), size >> 7
            bomb = tag + length + bytes([size]) + bomb
            if len(bomb) > 100_000:
                break
    cases = {
        "text.onnx": (b"hello", "expected an ONNX model as 'kpairs export' wrote it"),
        "empty.onnx": (b"", "expected an ONNX model as"),
        "short.onnx": (good[: len(good) // 2], "damaged, changed, or written by another program"),
        "plain.onnx": (plain.SerializeToString(), "damaged, changed, or written by another"),
        "other.onnx": (seal(plain.SerializeToString()), "expected a pair model written by"),
        "noise.onnx": (seal(b"hello"), "expected an ONNX model, received"),
        "deep.onnx": (seal(b"\x3a" + bomb), "expected an ONNX model, received"),
    }
    images = _images(tmp_path)
    for name, (data, message) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=f"{name}: {message}|{name}: .*{message}") as refusal:
            PairModel.load(tmp_path / name)
        assert "\n" not in str(refusal.value)
    with pytest.raises(InputError, match=r"missing.onnx: cannot read the model: no such file"):
        PairModel.load(tmp_path / "missing.onnx")
    os.truncate(copy, 2**28 + 1)  # sparse: nothing of it is on the disk
    result = CliRunner().invoke(main, ["predict", str(copy), *images])
    assert result.exit_code == 4
    assert "expected a model of at most 268,435,456 bytes, received 268,435,457" in result.stderr


@pytest.mark.parametrize(
    "change",
    [
        {"classes": 5},
        {"classes": None},
        {"classes": ["a", "b"]},
        {"classes": [1] * 10},
        {"outputs": {"comparison": "logits"}},
        {"outputs": {"comparison": "sigmoid", "left_digit": "logits", "right_digit": "logits"}},
        {"outputs": {"comparison": "odd", "left_digit": "logits", "right_digit": "logits"}},
        {"arch": 3},
    ],
)
def test_metadata_that_does_not_fit_the_file(change, copy):
    proto = onnx.load(copy)
    metadata = json.loads(proto.metadata_props[0].value)
    for text in (json.dumps({**metadata, **change}), "[" * 100_000, "[]", ""):
        write_proto(proto, text, copy)
        with pytest.raises(InputError, match="expected a pair model written by"):
            PairModel.load(copy)


def test_prediction_needs_neither_keras_nor_torch(file, tmp_path):
    script = (
        "import sys\n"
        "from kpairs.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "heavy = ('keras', 'torch', 'torchvision', 'matplotlib', 'scipy', 'rich', 'onnxscript')\n"
        "print([m for m in heavy if m in sys.modules])\n"
    )
    command = [sys.executable, "-c", script, "predict", file, *_images(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2].startswith("left ")
    assert done.stdout.splitlines()[-1] == "[]"


def _images(folder):
    from PIL import Image

    for name in ("a.png", "b.png"):
        Image.new("L", (28, 28)).save(folder / name)
    return str(folder / "a.png"), str(folder / "b.png")
