"""Exported files against the Keras models that they came from, and what loading refuses."""

import json
import subprocess
import sys

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from kpairs.archs import ARCHS, build
from kpairs.data import draw_pairs
from kpairs.errors import InputError, ParityError, UsageError
from kpairs.exports.onnx import OPSET, export_onnx, export_run
from kpairs.exports.parity import check_parity
from kpairs.exports.runtime import PairModel
from kpairs.initialization import initialize
from kpairs.outputs import decisions, probabilities
from kpairs.training import train

CLASSES = tuple("0123456789")


@pytest.fixture(scope="module")
def exported(tmp_path_factory, mnist):
    """`exported(name)` -> (Keras model, file, parity, pairs), each exported once."""
    made = {}
    folder = tmp_path_factory.mktemp("exports")

    def make(name):
        if name not in made:
            rng = np.random.default_rng(7)
            model = build(name)
            initialize(model, "torch", rng)
            count = 1000 if ARCHS[name].report == "haidinger" else 200
            pairs = draw_pairs(mnist["test"], count, rng)
            file = folder / f"{name}.onnx"
            _, parity = export_onnx(model, ARCHS[name], CLASSES, pairs, file)
            made[name] = model, file, parity, pairs
        return made[name]

    return make


@pytest.mark.parametrize("name", sorted(ARCHS))
def test_onnxruntime_equals_keras(name, exported):
    """With onnxruntime directly, as a stranger would; on 1,000 test pairs for report 001."""
    model, file, parity, pairs = exported(name)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert names == list(ARCHS[name].outputs)
    assert [value.name for value in session.get_inputs()] == ["left", "right"]
    expected = model.predict(pairs.inputs(), batch_size=1000, verbose=0)
    for batch in (1, 2, 7, 1000):
        parts = [
            session.run(names, {k: v[i : i + batch] for k, v in pairs.inputs().items()})
            for i in range(0, len(pairs), batch)
        ]
        for position, key in enumerate(names):
            received = np.concatenate([part[position] for part in parts])
            np.testing.assert_allclose(received, expected[key], atol=1e-5, rtol=0)
            kind = ARCHS[name].outputs[key]
            np.testing.assert_array_equal(decisions(received, kind), decisions(expected[key], kind))
    assert max(parity.max_difference.values()) <= 1e-5
    assert list(parity.max_difference) == names
    _assert_stands_alone(name, file)


def _assert_stands_alone(name, file):
    proto = onnx.load(file)
    onnx.checker.check_model(proto, full_check=True)
    assert {o.domain: o.version for o in proto.opset_import} == {"": OPSET}
    assert not any(t.data_location == TensorProto.EXTERNAL for t in proto.graph.initializer)
    for value in (*proto.graph.input, *proto.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    (entry,) = proto.metadata_props
    metadata = json.loads(entry.value)
    assert metadata["arch"] == name
    assert metadata["outputs"] == ARCHS[name].outputs
    assert metadata["classes"] == list(CLASSES)
    assert b'File "' not in proto.SerializeToString()  # no source lines of this machine


def test_a_run_exports_into_its_folder(tiny, workplace):
    run = train(tiny("auxws", rounds=2), "run")
    path, nodes, parity = export_run(run, 2)
    assert str(path) == "run/auxws.onnx"
    assert nodes == len(onnx.load(path).graph.node)
    assert parity.pairs == 30
    assert parity.batches == (1, 2, 7, 30)
    with pytest.raises(UsageError, match=r"model.keras: expected a file name that ends in .onnx"):
        export_run(run, 1, run.model_file(1))
    assert keras.saving.load_model(run.model_file(1))
    with pytest.raises(InputError, match="round 3 has no model"):
        export_run(run, 3)


def test_the_runtimes_rules_for_images(exported, mnist):
    model, file, _, pairs = exported("auxws")
    loaded = PairModel.load(file)
    raw = mnist["test"].images[:6]
    received = loaded.predict(raw[:3], raw[3:])  # 28x28 uint8
    pixels = [raw[i : i + 3].reshape(3, 14, 2, 14, 2).mean((2, 4)) / 255 for i in (0, 3)]
    left, right = (p[..., None].astype(np.float32) for p in pixels)
    expected = model.predict({"left": left, "right": right}, verbose=0)
    for key in expected:
        np.testing.assert_allclose(received[key], expected[key], atol=1e-5)
    with pytest.raises(InputError, match="1 != 2"):
        loaded.predict(pairs.left[:1], pairs.right[:2])
    with pytest.raises(InputError, match=r"left: expected .* received 13x13"):
        loaded.predict(np.zeros((1, 13, 13), np.float32), pairs.right[:1])
    with pytest.raises(InputError, match=r"right: .*NaN"):
        loaded.predict(pairs.left[:1], np.full((1, 14, 14, 1), np.nan, np.float32))
    rows = loaded.predict_probabilities(pairs.left[:5], pairs.right[:5])
    for values in rows.values():
        np.testing.assert_allclose(values.sum(axis=1), 1)
    assert [len(v) for v in loaded.predict(pairs.left[:0], pairs.right[:0]).values()] == [0, 0, 0]


def test_probabilities_of_each_kind(rng):
    unit = rng.random((50, 1)).astype(np.float32)
    both = probabilities(unit, "sigmoid")
    np.testing.assert_allclose(both[:, 1:], unit)
    np.testing.assert_allclose(both.sum(axis=1), 1)
    np.testing.assert_array_equal(decisions(unit, "sigmoid"), unit[:, 0] > 0.5)
    rows = rng.dirichlet(np.ones(10), 50).astype(np.float32)
    np.testing.assert_allclose(probabilities(rows, "probabilities"), rows, rtol=1e-6)
    np.testing.assert_array_equal(decisions(rows, "probabilities"), rows.argmax(1))


def test_probabilities_are_softmax_and_decisions_its_largest(rng):
    from scipy.special import softmax

    logits = rng.normal(0, 300, (50, 10)).astype(np.float32)
    np.testing.assert_allclose(probabilities(logits, "logits"), softmax(logits.astype(float), -1))
    np.testing.assert_array_equal(decisions(logits, "logits"), logits.argmax(1))
    with pytest.raises(KeyError):
        probabilities(logits, "guess")


def test_a_file_that_disagrees_is_not_written(exported, tmp_path, monkeypatch):
    """The check compares with another model's answers: nothing may be left behind."""
    model, *_, pairs = exported("auxws")
    other = build("auxws")
    initialize(other, "torch", np.random.default_rng(8))
    monkeypatch.setattr(
        "kpairs.exports.onnx.check_parity", lambda m, e, p: check_parity(other, e, p)
    )
    target = tmp_path / "auxws.onnx"
    target.write_bytes(b"an earlier export")
    with pytest.raises(ParityError, match="comparison at batch 1: expected differences up to"):
        export_onnx(model, ARCHS["auxws"], CLASSES, pairs, target)
    assert target.read_bytes() == b"an earlier export"
    assert list(tmp_path.iterdir()) == [target]


def test_parity_wants_every_output_by_name(exported):
    model, *_ = exported("auxws")
    simple = PairModel.load(exported("simple")[1])
    with pytest.raises(ParityError, match=r"the exported file has \['comparison'\]"):
        check_parity(model, simple, exported("simple")[3])


def test_parity_catches_a_small_difference_and_nan(exported):
    model, file, _, pairs = exported("auxws")

    class Shifted(PairModel):
        shift = 0.0

        def predict(self, left, right):
            outputs = super().predict(left, right)
            outputs["right_digit"] = outputs["right_digit"] + np.float32(self.shift)
            return outputs

    shifted = Shifted.load(file)
    check_parity(model, shifted, pairs)
    for Shifted.shift in (2e-5, np.nan):
        with pytest.raises(ParityError, match="right_digit at batch 1"):
            check_parity(model, shifted, pairs)


def _plain_onnx(path):
    """A valid ONNX file that kpairs did not write."""
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    opset = helper.make_opsetid("", OPSET)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), path)


def test_files_that_loading_refuses(exported, tmp_path, monkeypatch):
    good = exported("auxws")[1].read_bytes()
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "short.onnx").write_bytes(good[: len(good) // 2])
    _plain_onnx(tmp_path / "other.onnx")
    cases = {
        "missing.onnx": "cannot read the model: no such file",
        "text.onnx": "expected an ONNX model, received",
        "empty.onnx": "expected an ONNX model, received",
        "short.onnx": "expected an ONNX model, received",
        "other.onnx": "expected a pair model written by 'kpairs export'",
    }
    for name, message in cases.items():
        with pytest.raises(InputError, match=f"{name}: {message}") as refusal:
            PairModel.load(tmp_path / name)
        assert "\n" not in str(refusal.value)
    monkeypatch.setattr("kpairs.exports.runtime._MAX_BYTES", 1000)
    with pytest.raises(InputError, match="at most 1000 bytes"):
        PairModel.load(exported("auxws")[1])


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
def test_metadata_that_does_not_fit_the_file(change, exported, tmp_path):
    proto = onnx.load(exported("auxws")[1])
    (entry,) = proto.metadata_props
    for text in (json.dumps({**json.loads(entry.value), **change}), "[" * 100_000, "[]", ""):
        entry.value = text
        onnx.save(proto, tmp_path / "odd.onnx")
        with pytest.raises(InputError, match="expected a pair model written by"):
            PairModel.load(tmp_path / "odd.onnx")


def test_the_runtime_needs_neither_keras_nor_torch(exported):
    script = (
        "import sys\n"
        "from kpairs.exports.runtime import PairModel\n"
        "import numpy as np\n"
        "x = np.zeros((1, 14, 14, 1), np.float32)\n"
        "print(sorted(PairModel.load(sys.argv[1]).predict(x, x)))\n"
        "print([m for m in ('keras', 'torch', 'torchvision', 'matplotlib') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, exported("auxws")[1]], capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["['comparison', 'left_digit', 'right_digit']", "[]"]


def test_export_refuses_another_backend(exported, monkeypatch, tmp_path):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    model, *_, pairs = exported("auxws")
    with pytest.raises(UsageError, match="expected KERAS_BACKEND=torch, received jax"):
        export_onnx(model, ARCHS["auxws"], CLASSES, pairs, tmp_path / "x.onnx")
