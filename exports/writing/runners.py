"""Runners of one pair model: its exported files, and the model that they come from."""

import contextlib
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime
import torch

from kpairs.bench.handwritten import NETWORKS
from kpairs.data import PairSet
from kpairs.errors import first_line, unknown
from kpairs.exports.runtime import PairModel
from kpairs.exports.writing.export import export_model
from kpairs.exports.writing.formats import Int8, Onnx, TorchScript
from kpairs.exports.writing.int8 import write_int8
from kpairs.exports.writing.quiet import quiet
from kpairs.exports.writing.trained import Trained
from kpairs.models.initialization import initialize
from kpairs.networks import ARCHS, build
from kpairs.training.evaluate import run_splits
from kpairs.training.network import architecture_of_run
from kpairs.training.run import Run

RUNNERS = {
    "onnx": "the exported file by PairModel, without its checks of the images",
    "onnx_checked": "the same by PairModel.predict; more than 512 pairs run on all cores",
    "onnx_whole": "the same file by onnxruntime alone, the whole batch in one call",
    "int8": "the exported file quantised to 8 bits, as onnx",
    "stock": "the file of Keras' model.export(format='onnx'), by onnxruntime alone",
    "torchscript": "the exported TorchScript file by torch",
    "eager": "the Keras model called on torch tensors",
    "handwritten": "the same network written by hand in PyTorch, where there is one",
    "keras": "model.predict",
}
Runner = Callable[[np.ndarray, np.ndarray], Any]
_DIGITS = tuple("0123456789")


@dataclass
class Subject:
    """A model in all its forms."""

    name: str  # what the user called it
    files: dict[str, Path]  # ONNX files by runner
    model: keras.Model | None  # None where only a file was given
    outputs: tuple[str, ...]  # names of its outputs
    arch: str  # name of the architecture
    skipped: dict[str, str]  # why a runner is missing, by name
    shape: tuple[int, ...]  # of one image


def random_pairs(count: int, shape: tuple[int, ...]) -> PairSet:
    """Make pairs of noise; their content makes no difference to the time."""
    rng = np.random.default_rng(1)
    left, right = (rng.random((count, *shape), dtype=np.float32) for _ in range(2))
    left_digit, right_digit = (rng.integers(0, 10, count) for _ in range(2))
    return PairSet(left, right, left_digit, right_digit)


def subject(name: str, folder: str | Path, data_root: str | Path | None = None) -> Subject:
    """Bring a model into every form, with files in a folder.

    `name` is an architecture, which gets fresh weights; a run folder, whose first round is taken;
    or an exported .onnx file, which gives the runners of that file alone. Raises UsageError for an
    unknown architecture, InputError for a file or folder that cannot be read.
    """
    folder = Path(folder)
    if name.endswith(".onnx"):
        loaded = PairModel.load(name)
        shape = loaded.pixels.shape
        files, skipped = {"onnx": Path(name)}, {}
        if "quantized" in loaded.metadata:
            skipped["int8"] = "the file is quantised already"
        else:
            files["int8"] = folder / "int8.onnx"
            shutil.copyfile(name, files["int8"])
            pairs = random_pairs(64, shape)
            write_int8(files["int8"], loaded.metadata, pairs, pairs)
        return Subject(name, files, None, tuple(loaded.outputs), loaded.arch, skipped, shape)
    trained = _trained(name, data_root)
    model = trained.model
    shape = tuple(model.inputs[0].shape[1:])
    pairs = random_pairs(64, shape)
    formats = (Onnx(), Int8(calibration=pairs), TorchScript())
    exports = export_model(trained, pairs, folder / "kpairs", formats)
    files = {export.format: export.path for export in exports}
    skipped = {}
    try:
        files["stock"] = _stock_file(model, folder / "stock.onnx")
    except Exception as error:  # Keras' exporter is what is measured; it may fail as it likes
        skipped["stock"] = first_line(error)
    arch = trained.about["arch"]
    return Subject(name, files, model, tuple(model.output), arch, skipped, shape)


def _trained(name: str, data_root: str | Path | None) -> Trained:
    """Return an architecture with fresh weights, or the first round of a run."""
    if name in ARCHS:
        model = build(name)
        initialize(model, "torch", np.random.default_rng(1))
        return Trained.from_architecture(model, ARCHS[name], _DIGITS)
    if Path(name).is_dir():
        run = Run.open(name)
        architecture_of_run(run)
        _, (split, _) = run_splits(run, data_root)
        return Trained.from_run(run, 1, split.classes, split.settings)
    raise unknown("architecture, run folder or .onnx file", name, ARCHS)


def runners(subject: Subject, threads: int) -> dict[str, Runner]:
    """Make functions of `(left, right)`, `(batch, *shape)` float32 each, by the names in `RUNNERS`.

    `threads` are those of onnxruntime; torch's are set by the caller.
    """
    files = subject.files
    exported = PairModel.load(files["onnx"], threads)
    made: dict[str, Runner] = {
        "onnx": exported.run,
        "onnx_checked": exported.predict,
        "onnx_whole": _whole(files["onnx"], threads),
    }
    if "int8" in files:
        made["int8"] = PairModel.load(files["int8"], threads).run
    if "stock" in files:
        made["stock"] = _whole(files["stock"], threads)
    if (model := subject.model) is None:
        return made
    with quiet():
        made["torchscript"] = _on_tensors(torch.jit.load(files["torchscript"]))
    made["eager"] = _on_tensors(lambda *pair: model(_by_name(*pair), training=False))
    if subject.arch in NETWORKS:  # of 14x14 digits
        network = NETWORKS[subject.arch]().eval()
        # Its convolutions want channels first; with one channel that is the same memory.
        made["handwritten"] = _on_tensors(lambda *pair: network(*(t.movedim(3, 1) for t in pair)))
    made["keras"] = lambda left, right: model.predict(
        _by_name(left, right), batch_size=len(left), verbose=0
    )
    return made


def _stock_file(model: keras.Model, path: Path) -> Path:
    blank = np.zeros((1, *model.inputs[0].shape[1:]), np.float32)
    model.predict(_by_name(blank, blank), verbose=0)  # the exporter wants a model that was called
    with quiet(), contextlib.redirect_stdout(io.StringIO()):
        model.export(path, format="onnx", verbose=False)
    return path


def _whole(file: Path, threads: int) -> Runner:
    """Return a session as a stranger would make one, with inputs in the file's order."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(file, options, ["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return lambda *pair: session.run(None, dict(zip(names, pair, strict=True)))


def _on_tensors(function: Callable[..., Any]) -> Runner:
    @torch.inference_mode()
    def run(left: np.ndarray, right: np.ndarray) -> Any:
        return function(torch.from_numpy(left), torch.from_numpy(right))

    return run


def _by_name(left: Any, right: Any) -> dict[str, Any]:
    return {"left": left, "right": right}
