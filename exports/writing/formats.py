"""The formats of exported files: one object each. To add a format is to add a class to `FORMATS`.

Writers and loaders are imported where they are needed: the command line lists the formats in its
help, and must answer at once.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from kpairs.errors import InputError, UsageError

if TYPE_CHECKING:
    from kpairs.data import PairSet
    from kpairs.exports.writing.int8 import Quantization
    from kpairs.exports.writing.parity import Parity, Runnable
    from kpairs.exports.writing.trained import Trained

OPSET = 20


@dataclass(frozen=True)
class Written:
    """Facts about a file that was written."""

    description: Mapping[str, Any]  # metadata inside the file
    facts: Mapping[str, Any]  # further entries of the description beside it
    # The check against Keras; None where the file computes something else.
    parity: Parity | None = None
    quantization: Quantization | None = None  # losses and gains of 8 bits; None for float32


@dataclass(frozen=True)
class Format(ABC):
    """A kind of file that holds a network."""

    opset: int = OPSET  # version of the ONNX operators, for the formats that have some
    calibration: PairSet | None = None  # pairs that show the range of every value, for int8

    name: ClassVar[str]  # as `kpairs export` takes it
    ending: ClassVar[str]  # of its files
    title: ClassVar[str]  # in a model card
    engine: ClassVar[str]  # the library that runs it
    help: ClassVar[str]  # of its option on the command line

    @abstractmethod
    def write(self, trained: Trained, description: Mapping[str, Any], path: Path) -> None:
        """Write a network and its JSON-ready description; UsageError tells of a wrong opset."""

    @abstractmethod
    def load(self, path: Path) -> Runnable:
        """Load a file that was just written; UsageError tells of a wrong opset."""

    @abstractmethod
    def usage(self, file: str, outputs: str) -> str:
        """Show how to run a file in Python without kpairs, given its name and outputs."""

    def check(self) -> None:  # noqa: B027 - most formats miss nothing
        """Refuse by a UsageError, before any work, exports that something is missing for."""

    def facts(self, trained: Trained) -> dict[str, Any]:
        """Return further entries of the description beside a file."""
        return {}

    def export(
        self, trained: Trained, pairs: PairSet, description: Mapping[str, Any], path: Path
    ) -> Written:
        """Write a file, load it again and check it on pairs; raises as these and `check_parity`."""
        from kpairs.exports.writing.parity import check_parity

        self.write(trained, description, path)
        parity = check_parity(trained.model, self.load(path), pairs, tolerance=trained.tolerance)
        return Written(description, self.facts(trained), parity)


class Onnx(Format):
    """ONNX: one file that runs anywhere."""

    name = "onnx"
    ending = ".onnx"
    title = "ONNX"
    engine = "onnxruntime"
    help = "Write ONNX (.onnx), the default."

    def write(self, trained: Trained, description: Mapping[str, Any], path: Path) -> None:
        from kpairs.exports.writing.onnx import write_proto

        described = {**description, **trained.inside(self.opset)}
        reference = trained.reference and trained.reference.to_text()
        write_proto(trained.proto(self.opset), json.dumps(described), path, reference)

    def load(self, path: Path) -> Runnable:
        import onnxruntime

        from kpairs.exports.runtime import PairModel

        try:
            return PairModel.load(path)
        except InputError as error:
            reason = str(error).removeprefix(f"{path}: ")
            if self.opset == OPSET:
                raise UsageError(f"this network's ONNX file cannot be run: {reason}") from error
            raise UsageError(
                f"opset: expected one that onnxruntime {onnxruntime.__version__} runs, such as "
                f"{OPSET}; received {self.opset}: {reason}"
            ) from error

    def usage(self, file: str, outputs: str) -> str:
        return (
            "import onnxruntime\n\n"
            f"session = onnxruntime.InferenceSession({file})\n"
            f'values = session.run({outputs}, {{"left": left, "right": right}})'
        )

    def facts(self, trained: Trained) -> dict[str, Any]:
        return {"opset": self.opset, "nodes": len(trained.proto(self.opset).graph.node)}


class TorchScript(Format):
    """TorchScript: for programs that load models by `torch.jit`."""

    name = "torchscript"
    ending = ".pt"
    title = "TorchScript"
    engine = "torch.jit"
    help = "Write TorchScript (.pt)."
    loads = "torch.jit.load({})"

    def write(self, trained: Trained, description: Mapping[str, Any], path: Path) -> None:
        from kpairs.exports.writing.torch_files import write_torchscript

        write_torchscript(trained.module, json.dumps(description), path)

    def load(self, path: Path) -> Runnable:
        from kpairs.exports.writing.torch_files import TorchModel

        return TorchModel(path)

    def usage(self, file: str, outputs: str) -> str:
        loaded = self.loads.format(file)
        return f"import torch\n\nmodel = {loaded}\nvalues = model(left, right)  # {outputs}"


class TorchExport(TorchScript):
    """torch.export: the program format of PyTorch 2."""

    name = "torch-export"
    ending = ".pt2"
    title = "torch.export program"
    engine = "torch.export"
    help = "Write a torch.export program (.pt2)."
    loads = "torch.export.load({}).module()"

    def write(self, trained: Trained, description: Mapping[str, Any], path: Path) -> None:
        from kpairs.exports.writing.torch_files import write_program

        write_program(trained.program, json.dumps(description), path)


class Int8(Onnx):
    """ONNX in 8 bits: the checked float32 file, then quantised and measured."""

    name = "int8"
    ending = ".int8.onnx"
    title = "ONNX, quantised to int8"
    help = "Write ONNX quantised to 8 bits (.int8.onnx), calibrated on the training pairs."

    def check(self) -> None:
        if self.calibration is None:
            raise UsageError("int8: expected pairs to calibrate on, received none")

    def export(
        self, trained: Trained, pairs: PairSet, description: Mapping[str, Any], path: Path
    ) -> Written:
        from kpairs.exports.writing.int8 import write_int8

        super().export(trained, pairs, description, path)
        description, quantization = write_int8(path, description, self.calibration, pairs)
        return Written(description, {"opset": self.opset}, quantization=quantization)


class Html(Onnx):
    """One page of HTML that runs the network itself, in any browser."""

    name = "html"
    ending = ".html"
    title = "HTML, with the network inside"
    engine = "the page"
    help = "Write one HTML page to draw on, with the network inside (.html); needs no network."

    def export(
        self, trained: Trained, pairs: PairSet, description: Mapping[str, Any], path: Path
    ) -> Written:
        from kpairs.exports.runtime import PairModel
        from kpairs.exports.web.browser import NothingRunsIt, PageModel
        from kpairs.exports.web.page import standalone
        from kpairs.exports.writing.parity import check_parity, in_blocks

        with TemporaryDirectory(prefix="kpairs-") as folder:
            file = Path(folder) / "model.onnx"
            super().export(trained, pairs, description, file)
            model = PairModel.load(file)
            path.write_text(standalone(trained.proto(self.opset), model, pairs), encoding="utf-8")
        page = PageModel(path)
        _, asked = next(in_blocks(pairs))  # more would take a browser minutes
        try:
            parity = check_parity(trained.model, page, asked, batches=(1,))
        except NothingRunsIt:
            parity = None
        return Written(description, {"checked_by": page.engine}, parity)

    def usage(self, file: str, outputs: str) -> str:
        return f"import webbrowser\n\nwebbrowser.open({file})"


FORMATS: dict[str, type[Format]] = {
    format_.name: format_ for format_ in (Onnx, TorchScript, TorchExport, Int8, Html)
}
