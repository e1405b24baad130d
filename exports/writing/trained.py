"""A trained network in the forms that exports are made from, each made once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import onnx
from numpy.typing import NDArray

import kpairs
from kpairs.data.pairs import KNOWN, PairSet
from kpairs.data.settings import DIGITS, PixelSettings
from kpairs.errors import UsageError
from kpairs.exports.writing.maps import maps_of
from kpairs.exports.writing.onnx import to_proto
from kpairs.exports.writing.parity import TOLERANCE, errors_pct
from kpairs.exports.writing.torch_files import Named, to_program
from kpairs.judging.agreement import share
from kpairs.judging.reference import Reference
from kpairs.models.backbone import backbone_of, feature_digest
from kpairs.models.own import OwnNetwork
from kpairs.models.registry import Architecture, trainable_parameters
from kpairs.networks import ARCHS, build, build_options
from kpairs.recipes import SOLVED
from kpairs.training.batches import predict
from kpairs.training.linear import featured, head_of, head_width
from kpairs.training.network import architecture_of_run, load_round
from kpairs.training.records import read_temperature

if TYPE_CHECKING:
    import torch

    from kpairs.training.run import Run

_PERCENTILES = (2.5, 10, 25, 50, 75, 90, 97.5)


@dataclass(frozen=True)
class Trained:
    """A trained network, and all that its files say of it."""

    # A Keras model on the torch backend, from `{"left", "right"}` to outputs by name.
    model: keras.Model
    # Kind of each output by name, a key of `OUTPUT_KINDS`; `comparison` comes first.
    outputs: Mapping[str, str]
    classes: tuple[str, ...] = ()  # class names in rank order; empty where no output tells a class
    pixels: PixelSettings = DIGITS  # of the images that it was trained on
    # Further entries of the description, such as `arch`, `source` and `training`.
    about: Mapping[str, Any] = field(default_factory=dict)
    # Builds the same network without weights, each shared tower called once on both images; None
    # exports `model` as it is.
    folded: Callable[[], keras.Model] | None = None
    # Scores and features of the training images; None where nobody gave any.
    reference: Reference | None = None
    # Entries of the description that say the test error, where it is known already: a model that
    # learned from all pairs is not measured on them.
    tested: Mapping[str, Any] | None = None
    _protos: dict[int, onnx.ModelProto] = field(init=False, default_factory=dict, repr=False)

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
        """Describe a model that `kpairs.build` built with these arguments.

        `options` are further ones: the architecture's own, `head`, `word`, ...; `training` holds
        data, pairs, epochs and seed, JSON-ready.
        """
        options = dict(options or {})

        def folded() -> keras.Model:
            return build(architecture.name, len(classes), rescaling, fold=True, **options)

        inside = "inside the model: {:.9g} * pixel + {:.9g}" if rescaling else "none"
        return cls(
            model,
            architecture.called(options.get("word", "digit")).outputs,
            classes,
            pixels,
            {
                "arch": architecture.name,
                "report": architecture.report,
                "source": architecture.source,
                "preprocessing": inside.format(*rescaling or ()),
                "training": training,
            },
            folded if ARCHS.get(architecture.name) is architecture else None,
        )

    @classmethod
    def from_run(
        cls, run: Run, number: int, classes: tuple[str, ...], pixels: PixelSettings
    ) -> Trained:
        """Load the model of one round of a run, trained on any backend."""
        recipe = run.recipe
        training = {name: recipe.flat()[name] for name in ("pairs", "epochs", "seed")}
        training["data"] = Path(recipe.data.source).name  # of a path no more: files go to strangers
        trained = cls.from_architecture(
            load_round(run, number),
            architecture_of_run(run),
            classes,
            rescaling=run.row(number)["rescaling"],
            options=build_options(recipe),
            pixels=pixels,
            training={**training, "round": number, "backend": run.environment["backend"]},
        )
        if (temperature := read_temperature(run.folder(number))) is not None:
            trained = replace(trained, about={**trained.about, "temperature": temperature})
        if not run.cross_validated:
            return trained
        found = run.row(number)["cross_validated"]
        wrong = {"comparison": run.row(number)["test"]["comparison_error_pct"]}
        tested = {"test_pairs": found["pairs"], "test_error_pct": wrong, "cross_validated": found}
        return replace(trained, tested=tested)

    @classmethod
    def from_keras(
        cls,
        model: keras.Model,
        outputs: Mapping[str, str] | None = None,
        classes: tuple[str, ...] = (),
        pixels: PixelSettings | None = None,
    ) -> Trained:
        """Describe a functional Keras model that compares two images, as `OwnNetwork.of` takes it.

        Those outputs are exported that `outputs` names. By default a picture is padded to the
        model's input size, and taken as pictures are (ink "mixed"). Raises UsageError for other
        inputs, no comparison, an output whose kind is not known, or of a width that its kind does
        not have.
        """
        own = OwnNetwork.of(model, outputs)
        shape = tuple(own.model.inputs[0].shape[1:])
        height, width, channels = shape
        pixels = pixels or PixelSettings(height, width, channels, ink="mixed")
        if pixels.shape != shape:
            raise UsageError(
                f"pixels: expected settings of the model's shape {shape}, received {pixels.shape}"
            )
        trained = cls.from_architecture(own.model, own.architecture, classes, pixels=pixels)
        _check_widths(trained)
        return trained

    @property
    def is_linear(self) -> bool:
        """True for kpairs' own linear head on a frozen network."""
        return self.about["arch"] in SOLVED and self.folded is not None

    @property
    def tolerance(self) -> float:
        """Permitted difference of a file; ten times it behind a linear head, tuned further or not.

        Its score is the small difference of large terms, and each is rounded by its own size.
        """
        return 10 * TOLERANCE if self.about["arch"] in SOLVED else TOLERANCE

    def predicted(self, pairs: PairSet) -> dict[str, NDArray[Any]]:
        """Compute the model's outputs for pairs; a linear head sees each image once."""
        if self.is_linear:
            pairs = featured(self.model, pairs)[0]
            return predict(head_of(self.model), pairs)
        return predict(self.model, pairs)

    @cached_property
    def module(self) -> Named:
        """Network as a torch module that takes images by position."""
        twin = self.model
        if self.folded is not None:
            twin = self.folded()
            twin.set_weights(self.model.get_weights())
        return Named(twin, list(self.outputs)).eval()

    @cached_property
    def program(self) -> torch.export.ExportedProgram:
        """Module as a program of any batch."""
        return to_program(self.module)

    def proto(self, opset: int) -> onnx.ModelProto:
        """Write the program down in ONNX; UsageError tells of a wrong opset."""
        if opset not in self._protos:
            self._protos[opset] = to_proto(self.program, list(self.outputs), opset)
        return self._protos[opset]

    def inside(self, opset: int) -> dict[str, Any]:
        """Name values inside the ONNX graph, as entries of the description.

        Of a linear head `features`: the value that it takes, its width, the digest of the network
        that computes it, and the names of the head's weights and offset. Where scores are linear in
        means over places also `maps`, as `maps_of` finds them.
        """
        found = self.folded and maps_of(self.proto(opset).graph)  # of a tower that sees both sides
        maps = {"maps": found} if found else {}
        if not self.is_linear or head_width(self.model) != 1:  # grades have weights of their own
            return maps
        products = ("MatMul", "Gemm")
        nodes = self.proto(opset).graph.node
        head = next(node for node in reversed(nodes) if node.op_type in products)
        tensor, weights, *offset = head.input
        if not offset:  # of a product alone: what is added to it
            (added,) = (node for node in nodes if head.output[0] in node.input)
            offset = [name for name in added.input if name != head.output[0]]
        network = backbone_of(self.model)
        about = {"width": network.output.shape[1], "digest": feature_digest(network)}
        about |= {"tensor": tensor, "weights": weights, "offset": offset[0]}
        return {"features": about, **maps}

    def description(self, pairs: PairSet | None) -> dict[str, Any]:
        """Describe the files, JSON-ready: contents, test error, how a picture becomes an input."""
        shape = ", ".join(map(str, self.pixels.shape))
        values = "features" if self.pixels.features else "pixels in [0, 1]"
        tested = dict(self.tested or {})
        if not tested:
            tested = {"test_pairs": 0 if pairs is None else len(pairs), "test_error_pct": {}}
            if pairs is not None:
                wrong = errors_pct(self.predicted(pairs), self.outputs, pairs)
                tested["test_error_pct"] = wrong
        if pairs is not None:
            wrong = tested["test_error_pct"]
            tested["beats_chance"] = _beats_chance(wrong["comparison"], tested["test_pairs"], pairs)
        scores: dict[str, Any] = {}
        if self.reference is not None and len(self.reference.scores):
            scores = {"training_scores": quantiles(self.reference)}
            scores["standard_errors"] = self.reference.has_deviation
        about = dict(self.about)
        training = about.pop("training")
        return {
            "kpairs": kpairs.__version__,
            **about,
            "parameters": trainable_parameters(self.model),
            "input": f"left and right: float32 {values}, shape (batch, {shape})"
            + (", bright on dark" if self.pixels.always_bright else ""),
            **({} if self.pixels.features else {"pixel_range": [0.0, 1.0]}),
            "pixels": self.pixels.to_dict(),
            "pictures": str(self.pixels),
            "outputs": dict(self.outputs),
            "classes": list(self.classes),
            "label": "comparison class 1 means left <= right in the order of classes",
            **tested,
            **scores,
            "training": training,
        }


def quantiles(reference: Reference) -> dict[str, Any]:
    """Return the distribution of training images' scores, JSON-ready."""
    steps = len(reference.scores) - 1
    percentiles = {
        f"{percent:g}": float(reference.scores[round(percent / 100 * steps)])
        for percent in _PERCENTILES
    }
    return {"images": reference.images, "percentiles": percentiles}


def _beats_chance(error_pct: float, tested: int, pairs: PairSet) -> bool:
    """Tell whether more of `tested` pairs are right than the commoner answer gets, beyond chance.

    `pairs` of the same kind tell how common each answer is.
    """
    target = np.asarray(pairs.comparison, np.float64)
    target = target[target != 0.5]
    if not len(target):
        return False
    common = max(float((target > 0.5).mean()), float((target < 0.5).mean()))
    return share((1 - error_pct / 100) * tested, tested).low > common


def _check_widths(trained: Trained) -> None:
    """Refuse outputs of another width than their kind and the classes give."""
    known = {name: kind for name, kind in trained.outputs.items() if name in KNOWN}
    for name, kind in known.items():
        width = 2 if name == "comparison" else len(trained.classes)
        width = 1 if kind in ("sigmoid", "score") else width
        if (received := tuple(trained.model.output[name].shape[1:])) != (width,):
            of = "" if name == "comparison" else f" and {len(trained.classes)} classes"
            raise UsageError(
                f"{name}: expected the shape (batch, {width}) of {kind}{of}, received "
                f"(batch, {', '.join(map(str, received))})"
            )
