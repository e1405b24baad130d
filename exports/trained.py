"""A trained model in the forms that exports are made from, each made once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import onnx

import kpairs
from kpairs.data import PairSet
from kpairs.data.settings import DIGITS, PixelSettings
from kpairs.exports.onnx import to_proto
from kpairs.exports.parity import errors_pct
from kpairs.exports.torch_files import Named, to_program
from kpairs.models.registry import Architecture, trainable_parameters
from kpairs.networks import ARCHS, build
from kpairs.training.network import load_round

if TYPE_CHECKING:
    import torch

    from kpairs.training.run import Run


@dataclass(frozen=True)
class Trained:
    """A trained model, and what it was made and trained by.

    Attributes:
        model: the Keras model, on the torch backend.
        architecture: its `kpairs.models.registry.Architecture`.
        classes: class names in rank order.
        rescaling: with which it was built, see `kpairs.models.registry.build`.
        options: with which it was built: arguments of the architecture, `head`, `word`, ...
        pixels: the `PixelSettings` of the images that it was trained on.
        training: what it was trained on, JSON-ready, for the description.
    """

    model: keras.Model
    architecture: Architecture
    classes: tuple[str, ...]
    rescaling: tuple[float, float] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    pixels: PixelSettings = DIGITS
    training: Mapping[str, Any] | None = None

    @classmethod
    def from_run(
        cls, run: Run, number: int, classes: tuple[str, ...], pixels: PixelSettings
    ) -> Trained:
        """Load the model of one round of a run.

        Args:
            run: a `kpairs.Run`, trained on any backend.
            number: the round.
            classes: class names in rank order.
            pixels: how its pictures became inputs.

        Raises:
            InputError: no such round, or its model cannot be read.
        """
        recipe = run.recipe
        training = {name: recipe.flat()[name] for name in ("pairs", "epochs", "seed")}
        training["data"] = Path(recipe.data.source).name  # of a path no more: files go to strangers
        return cls(
            load_round(run, number, len(classes)),
            ARCHS[recipe.network.arch],
            classes,
            rescaling=run.row(number)["rescaling"],
            options=recipe.build_options,
            pixels=pixels,
            training={**training, "round": number, "backend": run.environment["backend"]},
        )

    @cached_property
    def outputs(self) -> dict[str, str]:
        """Kind of each output by name, in the registered order."""
        return self.architecture.named(self.options.get("word", "digit"))

    @cached_property
    def module(self) -> Named:
        """The network as a torch module that calls each shared tower once, on both images."""
        twin = build(
            self.architecture.name, len(self.classes), self.rescaling, fold=True, **self.options
        )
        twin.set_weights(self.model.get_weights())
        return Named(twin, list(self.outputs)).eval()

    @cached_property
    def program(self) -> torch.export.ExportedProgram:
        """The module as a program of any batch."""
        return to_program(self.module)

    def proto(self, opset: int) -> onnx.ModelProto:
        """Write the program down in ONNX.

        Args:
            opset: version of the operators.

        Raises:
            UsageError: torch's exporter does not write that opset.
        """
        if opset not in self._protos:
            self._protos[opset] = to_proto(self.program, list(self.outputs), opset)
        return self._protos[opset]

    @cached_property
    def _protos(self) -> dict[int, onnx.ModelProto]:
        return {}

    def description(self, pairs: PairSet) -> dict[str, Any]:
        """Say what the files hold, how good the model is, and how a picture becomes an input.

        Args:
            pairs: test pairs.

        Returns:
            A JSON-ready dict, the same for every format.
        """
        decided = self.model.predict(pairs.inputs(), batch_size=len(pairs), verbose=0)
        shape = ", ".join(map(str, self.pixels.shape))
        inside = "inside the model: {:.9g} * pixel + {:.9g}" if self.rescaling else "none"
        return {
            "kpairs": kpairs.__version__,
            "arch": self.architecture.name,
            "report": self.architecture.report,
            "source": self.architecture.source,
            "parameters": trainable_parameters(self.model),
            "input": f"left and right: float32 pixels in [0, 1], shape (batch, {shape})"
            + (", bright on dark" if self.pixels.always_bright else ""),
            "pixel_range": [0.0, 1.0],
            "pixels": self.pixels.to_dict(),
            "pictures": str(self.pixels),
            "preprocessing": inside.format(*self.rescaling or ()),
            "outputs": self.outputs,
            "classes": list(self.classes),
            "label": "comparison class 1 means left <= right in the order of classes",
            "test_pairs": len(pairs),
            "test_error_pct": errors_pct(decided, self.outputs, pairs),
            "training": self.training,
        }
