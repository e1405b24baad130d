"""A trained network in the forms that exports are made from, each made once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import onnx

import kpairs
from kpairs.data import PairSet
from kpairs.data.settings import DIGITS, PixelSettings
from kpairs.errors import UsageError, unknown
from kpairs.exports.writing.onnx import to_proto
from kpairs.exports.writing.parity import errors_pct
from kpairs.exports.writing.torch_files import Named, to_program
from kpairs.models.outputs import OUTPUT_KINDS
from kpairs.models.registry import Architecture, trainable_parameters
from kpairs.networks import build
from kpairs.training.batches import predict
from kpairs.training.network import architecture_of_run, load_round

if TYPE_CHECKING:
    import torch

    from kpairs.training.run import Run

_KINDS = {"softmax": "probabilities", "sigmoid": "sigmoid"}  # by the last layer's activation
_WORDS = ("digit", "grade", "score")


@dataclass(frozen=True)
class Trained:
    """A trained network, and all that its files say of it.

    Attributes:
        model: a Keras model on the torch backend, from `{"left", "right"}` to outputs by name.
        outputs: kind of each output by name, a key of `OUTPUT_KINDS`; `comparison` comes first.
        classes: class names in rank order; empty where no output tells a class.
        pixels: the `PixelSettings` of the images that it was trained on.
        about: further entries of the description, such as `arch`, `source` and `training`.
        folded: builds the same network without weights, each shared tower called once on both
            images; None exports `model` as it is.
    """

    model: keras.Model
    outputs: Mapping[str, str]
    classes: tuple[str, ...] = ()
    pixels: PixelSettings = DIGITS
    about: Mapping[str, Any] = field(default_factory=dict)
    folded: Callable[[], keras.Model] | None = None

    @classmethod
    def from_architecture(
        cls,
        model: keras.Model,
        architecture: Architecture,
        classes: tuple[str, ...],
        rescaling: tuple[float, float] | None = None,
        options: Mapping[str, Any] | None = None,
        pixels: PixelSettings = DIGITS,
        training: Mapping[str, Any] | None = None,
    ) -> Trained:
        """Describe a model that `kpairs.build` built.

        Args:
            model: the Keras model.
            architecture: its `kpairs.models.registry.Architecture`.
            classes: class names in rank order.
            rescaling: the model's, see `kpairs.models.registry.build`.
            options: further arguments of `build`: the architecture's own, `head`, `word`, ...
            pixels: how pictures became its inputs.
            training: data, pairs, epochs and seed of the training, JSON-ready.
        """
        options = dict(options or {})
        inside = "inside the model: {:.9g} * pixel + {:.9g}" if rescaling else "none"
        return cls(
            model,
            architecture.named(options.get("word", "digit")),
            classes,
            pixels,
            {
                "arch": architecture.name,
                "report": architecture.report,
                "source": architecture.source,
                "preprocessing": inside.format(*rescaling or ()),
                "training": training,
            },
            lambda: build(architecture.name, len(classes), rescaling, fold=True, **options),
        )

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
        return cls.from_architecture(
            load_round(run, number),
            architecture_of_run(run),
            classes,
            rescaling=run.row(number)["rescaling"],
            options=recipe.build_options,
            pixels=pixels,
            training={**training, "round": number, "backend": run.environment["backend"]},
        )

    @classmethod
    def from_keras(
        cls,
        model: keras.Model,
        outputs: Mapping[str, str] | None = None,
        classes: tuple[str, ...] = (),
        pixels: PixelSettings | None = None,
        comparison: str | None = None,
    ) -> Trained:
        """Describe any functional Keras model that compares two images.

        Args:
            model: two inputs of one shape `(height, width, 1 or 3)`, pixels in [0, 1]: those named
                left and right, else the first is the left one. Its outputs may be one tensor, a
                list or a dict. Class 1 of the comparison means that left ranks no higher.
            outputs: kind of each exported output by its name in the file, keys of `OUTPUT_KINDS`.
                Default: the comparison, and outputs named `left_` and `right_` digit, grade or
                score; a kind follows from the last layer's activation, softmax or sigmoid.
            classes: class names in rank order, where outputs tell a class.
            pixels: how a picture becomes an input; default the model's input size, padded, taken as
                pictures are (ink "mixed").
            comparison: name of the model's output that compares; default the only one, or
                "comparison".

        Raises:
            UsageError: other inputs, no comparison, or an output whose kind is not known.
        """
        found = _outputs(model)
        chosen = comparison or (next(iter(found)) if len(found) == 1 else "comparison")
        if chosen not in found:
            raise unknown("output (the comparison; name it by comparison=...)", chosen, found)
        names = {"comparison": chosen}
        known = [f"{side}_{word}" for word in _WORDS for side in ("left", "right")]
        names |= {name: name for name in outputs or known if name in found and name != chosen}
        if missing := set(outputs or ()) - set(names):
            raise unknown("output", missing.pop(), found)
        kinds = {
            name: (outputs or {}).get(name) or _kind(model, own, found[own][1])
            for name, own in names.items()
        }
        for name, kind in kinds.items():
            if kind not in OUTPUT_KINDS:
                raise unknown(f"kind of the output {name}", kind, OUTPUT_KINDS)
        left, right = _inputs(model)
        height, width, channels = left.shape[1:]
        if pixels is None:
            pixels = PixelSettings(height, width, channels, ink="mixed")
        if pixels.shape != (height, width, channels):
            raise UsageError(
                f"pixels: expected settings of the model's shape {(height, width, channels)}, "
                f"received {pixels.shape}"
            )
        _check_widths({name: found[own][0] for name, own in names.items()}, kinds, classes)
        given = keras.Model([left, right], {name: found[own][0] for name, own in names.items()})
        sides = [keras.Input(left.shape[1:], name=side) for side in ("left", "right")]
        renamed = keras.Model(dict(zip(("left", "right"), sides, strict=True)), given(sides))
        about = {
            "arch": model.name,
            "report": "",
            "source": "a Keras model",
            "preprocessing": "none",
            "training": None,
        }
        return cls(renamed, kinds, tuple(classes), pixels, about)

    @cached_property
    def module(self) -> Named:
        """The network as a torch module that takes images by position."""
        twin = self.model
        if self.folded is not None:
            twin = self.folded()
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

    def description(self, pairs: PairSet | None) -> dict[str, Any]:
        """Describe the files: contents, test error, and how a picture becomes an input.

        Args:
            pairs: test pairs; None where there are none.

        Returns:
            A JSON-ready dict, the same for every format.
        """
        shape = ", ".join(map(str, self.pixels.shape))
        wrong = {}
        if pairs is not None:
            wrong = errors_pct(predict(self.model, pairs), self.outputs, pairs)
        about = dict(self.about)
        training = about.pop("training")
        return {
            "kpairs": kpairs.__version__,
            **about,
            "parameters": trainable_parameters(self.model),
            "input": f"left and right: float32 pixels in [0, 1], shape (batch, {shape})"
            + (", bright on dark" if self.pixels.always_bright else ""),
            "pixel_range": [0.0, 1.0],
            "pixels": self.pixels.to_dict(),
            "pictures": str(self.pixels),
            "outputs": dict(self.outputs),
            "classes": list(self.classes),
            "label": "comparison class 1 means left <= right in the order of classes",
            "test_pairs": 0 if pairs is None else len(pairs),
            "test_error_pct": wrong,
            "training": training,
        }


def _inputs(model: keras.Model) -> list[keras.KerasTensor]:
    """Return the left and the right input of a functional model."""
    inputs = list(getattr(model, "inputs", None) or ())
    shapes = {tuple(value.shape[1:]) for value in inputs}
    if len(inputs) != 2 or len(shapes) != 1 or len(shape := shapes.pop()) != 3 or None in shape:
        received = ", ".join(str(tuple(value.shape)) for value in inputs) or "none"
        raise UsageError(
            f"{model.name}: expected a functional model with two image inputs of one shape "
            f"(batch, height, width, channels), received {received}"
        )
    named = {value.name: value for value in inputs}
    return [named["left"], named["right"]] if {"left", "right"} == set(named) else inputs


def _outputs(model: keras.Model) -> dict[str, tuple[keras.KerasTensor, str]]:
    """Return the tensor and the last layer's name of each output, by key or by layer."""
    tensors, layers = list(model.outputs), list(model.output_names)
    keys = layers
    if isinstance(model.output, dict):
        names = {id(tensor): key for key, tensor in model.output.items()}
        keys = [names[id(tensor)] for tensor in tensors]
    return dict(zip(keys, zip(tensors, layers, strict=True), strict=True))


def _kind(model: keras.Model, name: str, layer: str) -> str:
    """Return the kind of an output that its name or its layer's activation tells."""
    if name.endswith("_score"):
        return "score"
    last = next((one for one in model.layers if one.name == layer), None)
    activation = getattr(getattr(last, "activation", None), "__name__", layer)
    if activation in _KINDS:
        return _KINDS[activation]
    raise UsageError(
        f"{name}: expected a last layer with the activation softmax or sigmoid, received "
        f"{activation}; say what the output holds, for example outputs={{'{name}': 'logits'}}"
    )


def _check_widths(
    tensors: Mapping[str, keras.KerasTensor], kinds: Mapping[str, str], classes: tuple[str, ...]
) -> None:
    for name, tensor in tensors.items():
        width = 2 if name == "comparison" else len(classes)
        width = 1 if kinds[name] in ("sigmoid", "score") else width
        if tuple(tensor.shape[1:]) != (width,):
            raise UsageError(
                f"{name}: expected the shape (batch, {width}) of {kinds[name]}"
                f"{'' if name == 'comparison' else f' and {len(classes)} classes'}, received "
                f"{tuple(tensor.shape)}"
            )
