"""Every architecture in every format against its Keras model, and what stands beside the files."""

import hashlib
import json
import logging
import re
import shutil
import sys
import warnings
from collections import Counter
from dataclasses import replace
from typing import ClassVar

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from families import FEW, networks
from onnx import TensorProto
from struck import inconsistent

from kpairs.cli import main
from kpairs.data.pairs import PairSet
from kpairs.data.splits import draw_pairs
from kpairs.errors import InputError, KpairsError, ParityError, UsageError
from kpairs.exports.runtime import PairModel
from kpairs.exports.writing.benchmark import bench_inference
from kpairs.exports.writing.export import export, export_model
from kpairs.exports.writing.formats import OPSET, Int8, Onnx, TorchExport, TorchScript
from kpairs.exports.writing.parity import check_parity
from kpairs.exports.writing.quiet import quiet
from kpairs.models.outputs import decisions, probabilities
from kpairs.models.pair import layers_of
from kpairs.networks import ARCHS, build
from kpairs.recipes import SOLVED
from kpairs.training.run import Run
from kpairs.training.train import train

CLASSES = tuple("0123456789")


# The ten blocks of resnet, all alike, are written three times with the slow tests.
QUICK = [*(name for name in FEW if name != "resnet"), "auxws"]


@networks(QUICK)
def test_every_format_equals_keras(name, exported, mnist, rng):
    """With onnxruntime directly, as a stranger would; on 1,000 test pairs for report 001."""
    trained, exports, checked = exported(name)
    count = 1000 if ARCHS[name].report == "haidinger" else 130
    pairs = draw_pairs(mnist["test"], count, rng)
    file = exports[0].path
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert names == list(ARCHS[name].outputs)
    assert [value.name for value in session.get_inputs()] == ["left", "right"]
    expected = trained.model.predict(pairs.inputs(), batch_size=1000, verbose=0)
    for batch in (1, 2, 7, 128):
        parts = [
            session.run(names, {k: v[i : i + batch] for k, v in pairs.inputs().items()})
            for i in range(0, len(pairs), batch)
        ]
        for position, key in enumerate(names):
            received = np.concatenate([part[position] for part in parts])
            np.testing.assert_allclose(received, expected[key], atol=1e-5, rtol=0)
            if (kind := ARCHS[name].outputs[key]) != "score":
                decided = decisions(expected[key], kind)
                np.testing.assert_array_equal(decisions(received, kind), decided)
    _assert_stands_alone(name, file)
    for made in exports:  # each file was loaded again and compared when it was written
        assert list(made.parity.max_difference) == names
        assert max(made.parity.max_difference.values()) <= 1e-5
        assert made.parity.pairs == len(checked)
        assert made.parity.batches == (1, 2, 7, min(128, len(checked)))
        data = made.path.read_bytes()
        assert hashlib.sha256(data).hexdigest() == made.description["sha256"]
        assert b"site-packages" not in data  # no source lines and paths of this machine
        assert b'File "' not in data


def _assert_stands_alone(name, file):
    proto = onnx.load(file)
    onnx.checker.check_model(proto, full_check=True)
    assert {o.domain: o.version for o in proto.opset_import} == {"": OPSET}
    assert not any(t.data_location == TensorProto.EXTERNAL for t in proto.graph.initializer)
    for value in (*proto.graph.input, *proto.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    metadata = json.loads({e.key: e.value for e in proto.metadata_props}["kpairs"])
    assert metadata["arch"] == name
    assert metadata["outputs"] == ARCHS[name].outputs
    assert metadata["classes"] == list(CLASSES)
    graph = proto.graph
    items = (graph, *graph.node, *graph.input, *graph.output, *graph.value_info)
    assert not any(item.metadata_props for item in (*items, *graph.initializer))
    _assert_no_leftovers(name, graph)


def _assert_no_leftovers(name, graph):
    """One node per operation, and the shared tower once: counted on the Keras model's layers."""
    kinds = Counter(node.op_type for node in graph.node)
    assert not kinds.keys() & {"Cast", "CastLike", "Identity", "Dropout", "Constant", "Split"}
    made_by = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type == "Transpose":
            before = made_by.get(node.input[0])
            assert before is None or before.op_type != "Transpose"
    if name in SOLVED:  # statistics of images are one layer, and many operations
        return
    layers = Counter(type(layer).__name__ for layer in layers_of(build(name)))
    assert kinds["Conv"] == layers["Conv2D"]
    assert kinds["MatMul"] + kinds["Gemm"] == layers["Dense"]
    assert kinds["MaxPool"] == layers["MaxPooling2D"]


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:FutureWarning")
@networks(QUICK, QUICK)
def test_a_stranger_finds_the_names_in_torch_files(name, exported, rng):
    """With torch alone: the outputs' order stands in an extra file."""
    trained, (_, script, program), _ = exported(name)
    left, right = (rng.random((9, 14, 14, 1), dtype=np.float32) for _ in range(2))
    expected = trained.model.predict({"left": left, "right": right}, verbose=0)
    extras = [{"kpairs.json": ""}, {"kpairs.json": ""}]
    loaded = torch.jit.load(script.path, _extra_files=extras[0])
    again = torch.export.load(program.path, extra_files=extras[1]).module()
    for function, extra in zip((loaded, again), extras, strict=True):
        metadata = json.loads(extra["kpairs.json"])
        assert metadata["classes"] == list(CLASSES)
        for n in (1, 9):
            with torch.no_grad():
                values = function(torch.from_numpy(left[:n]), torch.from_numpy(right[:n]))
            for key, value in zip(metadata["outputs"], values, strict=True):
                np.testing.assert_allclose(value.numpy(), expected[key][:n], atol=1e-6)


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    recipe = tiny("auxws", rounds=2, normalization="standardize")
    return train(recipe, tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def run(trained, workplace):
    return Run.open(shutil.copytree(trained.path, "run"))


def test_a_run_exports_into_its_folder(run):
    (made,) = export(run, number=2)
    assert str(made.path) == "run/auxws.onnx"
    described = json.loads((run.path / "auxws.onnx.json").read_text())
    assert described == json.loads(json.dumps(made.description))
    assert described["nodes"] == len(onnx.load(made.path).graph.node)
    assert described["test_error_pct"]["comparison"] == pytest.approx(
        run.row(2)["test"]["comparison_error_pct"]
    )
    scale, offset = run.row(2)["rescaling"]
    assert described["preprocessing"] == f"inside the model: {scale:.9g} * pixel + {offset:.9g}"
    assert described["training"]["round"] == 2
    assert described["parameters"] == 56_470
    card = (run.path / "auxws.onnx.md").read_text()
    assert described["sha256"] in card
    assert "report 001" in card
    assert made.parity.pairs == 30
    assert made.parity.batches == (1, 2, 7, 30)
    inside = PairModel.load(made.path).metadata
    assert {k: described[k] for k in inside} == inside
    with pytest.raises(UsageError, match=r"model.keras: expected a file name that ends in .onnx"):
        export(run, run.model_file(1))
    assert keras.saving.load_model(run.model_file(1))
    with pytest.raises(InputError, match="round 3 has no model"):
        export(run, number=3)


def test_int8_and_opset(run, workplace, caplog):
    """Quantised from the float file; its own errors and metadata; another opset on request."""
    float32, int8 = export(run, "x.onnx", formats=("onnx", "int8"), opset=18)
    assert [e.path.name for e in (float32, int8)] == ["x.onnx", "x.int8.onnx"]
    for made in (float32, int8):
        assert onnx.load(made.path).opset_import[0].version == 18
        assert PairModel.load(made.path).arch == "auxws"
    kinds = Counter(node.op_type for node in onnx.load(int8.path).graph.node)
    assert kinds["QuantizeLinear"] > 5
    q = int8.quantization
    assert q.bytes_after == int8.path.stat().st_size < float32.path.stat().st_size / 2
    assert q.error_pct_before == float32.description["test_error_pct"]
    assert q.error_pct_after == PairModel.load(int8.path).metadata["test_error_pct"]
    assert set(q.time_ratio) == {"1", "128"}
    assert re.search(
        r"Before quantisation: comparison [\d.]+ %, left_digit [\d.]+ %, right_digit [\d.]+ %, "
        r"[\d,]+ bytes.*: [\d.]+ at batch 1 and [\d.]+ at batch 128; above 1 is slower\.",
        (workplace / "x.int8.onnx.md").read_text(),
    )
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert all("no better than chance" in text for text in said)
    measured = bench_inference([int8.path], batches=(1,), quick=True)
    assert measured["models"][0]["skipped"] == {"int8": "the file is quantised already"}
    assert [row["runner"] for row in measured["rows"]] == ["onnx", "onnx_checked", "onnx_whole"]


def test_names_of_several_files_and_a_folder_in_the_place_of_one(run, workplace):
    formats = ("torchscript", "torch-export")
    exports = export(run, "my.model.pt2", formats=formats)
    assert [e.path.name for e in exports] == ["my.model.pt", "my.model.pt2"]
    before = {f: f.read_bytes() for f in workplace.iterdir() if f.is_file()}
    expected = {f"my.model.{s}{e}" for s in ("pt", "pt2") for e in ("", ".json", ".md")}
    assert {file.name for file in before} == expected
    with pytest.raises(UsageError, match=r"x.onnx: expected a file name that ends in .pt2"):
        export(run, "x.onnx", formats=("torch-export",))
    place = workplace / "my.model.pt2"
    del before[place]
    place.unlink()
    place.mkdir()
    with pytest.raises(KpairsError, match=r"pt2: expected a file to write, received a folder"):
        export(run, "my.model.pt", number=2, formats=formats)
    assert {f: f.read_bytes() for f in before} == before
    with pytest.raises(KpairsError, match="nowhere: expected a folder to write to"):
        export(run, "nowhere/x.onnx")


def test_opsets_that_cannot_be_had(exported, tmp_path, caplog):
    """Asked for 9, torch's exporter writes 18; 27 is written, and onnxruntime refuses it."""
    trained, _, pairs = exported("conv_1")
    for opset, message in ((9, "asked for 9 it gave"), (27, "onnxruntime .* received 27")):
        with pytest.raises(UsageError, match=f"opset: expected .*{message}"):
            export_model(trained, pairs, tmp_path / "x", [Onnx(opset)])
    assert not list(tmp_path.iterdir())
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert all("no better than chance" in text for text in said)  # nothing of its attempts


def test_formats_that_cannot_be_had(run, exported, tmp_path):
    with pytest.raises(UsageError, match="unknown format 'onxn': did you mean onnx"):
        export(run, "x.onnx", formats=("onxn",))
    trained, _, pairs = exported("auxws")
    with pytest.raises(UsageError, match="int8: expected pairs to calibrate on"):
        export_model(trained, pairs, tmp_path / "x", [Int8()])


def test_silence_ends_with_its_block(caplog):
    """What others say, and how the user has set their logging, stays."""
    with quiet("talker", "", about=["nobody asks"]):
        for name in ("talker", "", "talker.child", "other"):
            logging.getLogger(name).warning("what nobody asks, %s", name or "root")
        logging.getLogger("talker").warning("what somebody asks")
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
    logging.getLogger("talker").warning("what nobody asks, afterwards")
    assert caplog.messages == [
        "what nobody asks, talker.child",
        "what nobody asks, other",
        "what somebody asks",
        "what nobody asks, afterwards",
    ]


def writing(format_, other):
    """A format whose files hold another model than the one that is exported."""

    class Wrong(format_):
        def write(self, trained, description, path):
            super().write(other, description, path)

    return Wrong()


@pytest.mark.parametrize("format_", [Onnx, TorchScript, TorchExport])
def test_a_file_that_disagrees_is_not_written(format_, exported, another, tmp_path):
    trained, _, pairs = exported("auxws")
    target = tmp_path / f"auxws{format_.ending}"
    target.write_bytes(b"an earlier export of kpairs")
    with pytest.raises(ParityError, match="comparison at batch 1: expected differences up to"):
        export_model(trained, pairs, tmp_path / "auxws", [writing(format_, another)])
    assert target.read_bytes() == b"an earlier export of kpairs"
    assert list(tmp_path.iterdir()) == [target]


def test_at_no_moment_is_another_model_described(exported, another, tmp_path):
    """What a kill would leave: looked at before each change of a file of a second export."""
    trained, _, pairs = exported("auxws")
    export_model(another, pairs, tmp_path / "auxws", [TorchScript()])
    seen = []

    def look(event, facts):
        if seen is not None and event in ("os.rename", "os.remove") and "auxws" in str(facts[0]):
            seen.append([event, *inconsistent(tmp_path)])

    sys.addaudithook(look)  # for good
    export_model(trained, pairs, tmp_path / "auxws", [TorchScript()])
    events, seen = seen, None
    assert events.count(["os.rename"]) == 3
    assert all(len(event) == 1 for event in events), events
    assert not list(inconsistent(tmp_path))


def test_one_file_that_disagrees_stops_all(exported, another, tmp_path):
    trained, _, pairs = exported("auxws")
    with pytest.raises(ParityError):
        export_model(trained, pairs, tmp_path / "x", [Onnx(), writing(TorchScript, another)])
    assert not list(tmp_path.iterdir())


def test_parity_wants_every_output_by_name(exported):
    trained, *_ = exported("auxws")
    _, exports, pairs = exported("conv_1")
    other = PairModel.load(exports[0].path)
    with pytest.raises(ParityError, match=r"the exported file has \['comparison'\]"):
        check_parity(trained.model, other, pairs)


def test_parity_catches_a_small_difference_and_nan(exported):
    trained, exports, pairs = exported("auxws")

    class Shifted(PairModel):
        shift = 0.0

        def run(self, left, right, chunk):
            outputs = super().run(left, right, chunk)
            outputs["right_digit"] = outputs["right_digit"] + np.float32(self.shift)
            return outputs

    shifted = Shifted.load(exports[0].path)
    check_parity(trained.model, shifted, pairs)
    for Shifted.shift in (2e-5, np.nan):
        with pytest.raises(ParityError, match="right_digit at batch 1"):
            check_parity(trained.model, shifted, pairs)


class Nudged:
    """A model whose comparison is moved by less than may be, to the side that lost."""

    def __init__(self, name, model):
        self.outputs, self.model = ARCHS[name].outputs, model

    def run(self, left, right, chunk):
        values = self.model.predict({"left": left, "right": right}, verbose=0)
        held = values["comparison"]
        held[np.arange(len(held)), 1 - decisions(held, "logits")] += np.float32(2e-6)
        return values


def test_a_decision_that_differs_by_rounding_is_refused_but_between_equal_scores(mnist, rng):
    pairs = draw_pairs(mnist["test"], 9, rng)
    undecided = build("simple")
    undecided.layers[-1].set_weights([np.zeros((100, 2)), np.zeros(2)])
    with pytest.raises(ParityError, match="expected Keras' decisions, 9 of 9 differ"):
        check_parity(undecided, Nudged("simple", undecided), pairs)
    scored, alike = build("ranker"), replace(pairs, right=pairs.left)
    assert check_parity(scored, Nudged("ranker", scored), alike).pairs == 9


def test_export_refuses_another_backend(exported, monkeypatch, tmp_path):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    trained, _, pairs = exported("auxws")
    with pytest.raises(UsageError, match="expected KERAS_BACKEND=torch, received jax"):
        export_model(trained, pairs, tmp_path / "x")
    assert not list(tmp_path.iterdir())


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


def test_only_earlier_exports_are_replaced(exported, tmp_path):
    trained, _, pairs = exported("auxws")
    target = tmp_path / "auxws.onnx"
    target.write_bytes(b"a model of somebody else")
    with pytest.raises(KpairsError, match=r"auxws.onnx: exists already; add --force"):
        export_model(trained, pairs, tmp_path / "auxws")
    assert target.read_bytes() == b"a model of somebody else"
    export_model(trained, pairs, tmp_path / "auxws", force=True)
    export_model(trained, pairs, tmp_path / "auxws")


def test_large_images_are_checked_some_at_a_time(rng):
    """Memory follows from the images of one call, whatever the number of pairs."""
    left, right = (rng.random((30, 128, 128, 1), dtype=np.float32) for _ in range(2))
    inputs = [keras.Input((128, 128, 1), name=side) for side in ("left", "right")]
    means = [keras.layers.GlobalAveragePooling2D()(one) for one in inputs]
    outputs = {"comparison": keras.layers.Concatenate()(means)}
    model = keras.Model(dict(zip(("left", "right"), inputs, strict=True)), outputs)

    class Same:
        outputs: ClassVar = {"comparison": "logits"}
        seen: ClassVar = []

        def run(self, left, right, chunk):
            self.seen.append(len(left))
            return model.predict({"left": left, "right": right}, verbose=0)

    pairs = PairSet(left, right, *np.zeros((2, 30), np.int64))
    parity = check_parity(model, Same(), pairs)
    assert parity.batches == (1, 2, 7, 11)
    assert (parity.pairs, max(Same.seen), sum(Same.seen)) == (30, 11, 4 * 30)


def test_too_little_memory_is_told_in_one_line(run, monkeypatch):
    def full(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate ...")

    monkeypatch.setattr("kpairs.exports.writing.export.run_splits", full)
    done = CliRunner().invoke(main, ["export", str(run.path)])
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("Error: not enough memory: expected")
