"""The files that PyTorch runs: TorchScript (.pt) and torch.export (.pt2).

Both are programs: loading one from a stranger runs the stranger's code. kpairs loads only those
that it has just written, to check them.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import torch

from kpairs.exports.writing.quiet import quiet

METADATA_FILE = "kpairs.json"


class Named(torch.nn.Module):
    """A network that takes images by position and returns outputs as a tuple, in their order.

    `model.export` is no substitute: it loses the outputs' names and sorts them.
    """

    def __init__(self, model: keras.Model, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def sample(self) -> tuple[torch.Tensor, ...]:
        """Make two images such as it takes."""
        # A batch of 1 would be specialised to; the two images must not be one tensor either.
        return tuple(torch.rand(2, *value.shape[1:]) for value in self.model.inputs)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute the outputs in their order."""
        outputs = self.model({"left": left, "right": right}, training=False)
        return tuple(outputs[name] for name in self.names)


class TorchModel:
    """A .pt or .pt2 file of our own, as `check_parity` takes one."""

    def __init__(self, path: Path) -> None:
        extra = {METADATA_FILE: ""}
        with quiet():
            if path.suffix == ".pt2":
                self._module = torch.export.load(path, extra_files=extra).module()
            else:
                self._module = torch.jit.load(path, map_location="cpu", _extra_files=extra)
        self.outputs: Mapping[str, str] = json.loads(extra[METADATA_FILE])["outputs"]

    @torch.no_grad()
    def run(self, left: np.ndarray, right: np.ndarray, chunk: int) -> dict[str, np.ndarray]:
        """Compute the outputs, as `kpairs.exports.runtime.PairModel.run` does."""
        parts = [
            self._module(*(torch.from_numpy(side[i : i + chunk].copy()) for side in (left, right)))
            for i in range(0, len(left), chunk)
        ]
        values = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
        return dict(zip(self.outputs, values, strict=True))


def to_program(module: Named) -> torch.export.ExportedProgram:
    """Trace a module as a program of any batch."""
    batch = torch.export.Dim("batch")
    shapes = {"left": {0: batch}, "right": {0: batch}}
    with quiet():
        program = torch.export.export(module, module.sample(), dynamic_shapes=shapes, strict=False)
    for node in program.graph.nodes:  # source lines and paths of this machine
        node.meta.pop("stack_trace", None)
    return program


def write_program(program: torch.export.ExportedProgram, metadata: str, path: Path) -> None:
    """Write a .pt2 file; `metadata`, a JSON text, goes in as an extra file."""
    with quiet():
        buffer = io.BytesIO()  # given a path, torch names the archive by it
        torch.export.save(program, buffer, extra_files={METADATA_FILE: metadata})
    path.write_bytes(buffer.getvalue())


def write_torchscript(module: Named, metadata: str, path: Path) -> None:
    """Write a TorchScript file: a trace, because `torch.jit.script` fails on Keras' forward."""
    buffer = io.BytesIO()
    with quiet(), torch.no_grad():
        traced = torch.jit.trace(module, module.sample(), check_trace=False)
        torch.jit.save(traced, buffer, _extra_files={METADATA_FILE: metadata})
    with zipfile.ZipFile(buffer) as full, zipfile.ZipFile(path, "w") as bare:
        for name in full.namelist():
            if not name.endswith(".debug_pkl"):  # source lines and paths of this machine
                bare.writestr(zipfile.ZipInfo(name), full.read(name))
