"""A network that a user built: any functional Keras model of two images with a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras

from kpairs.data.pairs import KNOWN, Targets
from kpairs.errors import UsageError, unknown
from kpairs.models.outputs import OUTPUT_KINDS, Output
from kpairs.models.pair import Outputs, Pair
from kpairs.models.registry import PIXELS, Architecture, Shape

_SIDES = ("left", "right")
_KIND_OF_ACTIVATION = {"sigmoid": "sigmoid", "softmax": "probabilities", "linear": "logits"}


@dataclass(frozen=True)
class OwnNetwork:
    """A user's network with inputs and outputs named as kpairs' are."""

    model: keras.Model  # from `{"left", "right"}` to outputs by name, `comparison` first
    architecture: Architecture  # what training needs to know of it

    @classmethod
    def of(
        cls, model: keras.Model, outputs: Mapping[str, str | Output] | None = None
    ) -> OwnNetwork:
        """Adopt a model.

        Args:
            model: a functional model with two image inputs, left first unless they are named left
                and right, and a comparison among its outputs: one sigmoid unit, P(left ranks no
                higher), or two units, softmax or logits, whose second is that.
            outputs: kind of each output that trains, a key of
                `kpairs.models.outputs.OUTPUT_KINDS`, by name; the first is the comparison, and an
                `Output` learns targets of its own. Default: all outputs; kinds as the last
                activations tell.

        Raises:
            UsageError: other inputs, no comparison, a kind that cannot be told, or an output whose
                target nobody knows.
        """
        _check_inputs(model)
        found = _outputs_of(model)
        chosen = _chosen(model, found, outputs)
        first = next(iter(chosen))
        own = {name: x.target for name, x in chosen.items() if isinstance(x, Output)}
        kinds = {
            name: x.kind if isinstance(x, Output) else x or _kind(model, name, found[name])
            for name, x in chosen.items()
        }
        _check_kinds(model, kinds, own)
        named = {"comparison" if name == first else name: found[name] for name in kinds}
        as_ours = isinstance(model.output, dict) and isinstance(model.input, dict)
        if as_ours and list(named) == list(found) and tuple(_input_names(model)) == _SIDES:
            adopted = model
        else:
            adopted = _renamed(model, list(found), named, first)
        shape: Shape = tuple(model.inputs[0].shape[1:])
        about = dict(zip(named, kinds.values(), strict=True))
        return cls(adopted, architecture_of_outputs(model.name, about, shape, own))

    def copy(self, rescaling: tuple[float, float] | None = None) -> keras.Model:
        """Return a fresh copy with the same weights, which sees `scale * pixel + offset`."""
        model = keras.models.clone_model(self.model)
        model.set_weights(self.model.get_weights())
        if rescaling is None:
            return model
        inputs = {side: keras.Input(model.inputs[0].shape[1:], name=side) for side in _SIDES}
        layer = keras.layers.Rescaling(*rescaling, name=PIXELS)
        seen = {side: layer(image) for side, image in inputs.items()}
        return keras.Model(inputs, model(seen), name=model.name)


def architecture_of_outputs(
    name: str,
    outputs: Mapping[str, str],
    shape: Shape | None = None,
    own_targets: Targets | None = None,
) -> Architecture:
    """Return what training needs to know of a network in no registry; see `Architecture`."""
    return Architecture(name, "own", "", outputs, _unbuildable, shape, own_targets or {})


def _unbuildable(pair: Pair, *, classes: int = 10) -> Outputs:
    raise UsageError("a network of one's own is not built by name; pass the model itself")


def _check_inputs(model: keras.Model) -> None:
    functional = isinstance(model, keras.Model) and hasattr(model, "inputs") and model.inputs
    if not functional or len(model.inputs) != 2:
        count = len(model.inputs) if functional else 0
        raise UsageError(
            f"model: expected a functional Keras model with two image inputs, received {count}"
        )
    shapes = [tuple(x.shape[1:]) for x in model.inputs]
    if shapes[0] != shapes[1] or len(shapes[0]) != 3 or None in shapes[0]:
        raise UsageError(
            "model: expected two inputs of one shape (height, width, channels), received "
            f"{shapes[0]} and {shapes[1]}"
        )


def _input_names(model: keras.Model) -> list[str]:
    return list(model.input) if isinstance(model.input, dict) else [x.name for x in model.inputs]


def _outputs_of(model: keras.Model) -> dict[str, keras.KerasTensor]:
    if isinstance(model.output, dict):
        return dict(model.output)
    return dict(zip(model.output_names, model.outputs, strict=True))


def _chosen(
    model: keras.Model,
    found: Mapping[str, keras.KerasTensor],
    outputs: Mapping[str, str | Output] | None,
) -> dict[str, str | Output]:
    """Return the outputs that train, the comparison first; "" for a kind that nobody told."""
    if outputs is None:
        first = next(iter(found)) if len(found) == 1 else "comparison"
        outputs = {first: "", **dict.fromkeys(found, "")}
    if not outputs:
        raise UsageError("outputs: expected the comparison at least, received none")
    first = next(iter(outputs))
    if first != "comparison" and "comparison" in outputs:
        raise UsageError(f"outputs: expected comparison first, received {', '.join(outputs)}")
    if isinstance(outputs[first], Output):
        raise UsageError(f"outputs: expected a kind for the comparison {first}, not an Output")
    for name in outputs:
        if name not in found:
            raise UsageError(
                f"model {model.name}: expected an output {name}, received "
                f"{', '.join(found)}; name the comparison: outputs={{'{next(iter(found))}': "
                "'sigmoid'}"
            )
    return dict(outputs)


def _check_kinds(model: keras.Model, kinds: Mapping[str, str], own: Mapping[str, object]) -> None:
    """Refuse unknown kinds, and outputs whose target nobody knows."""
    for number, (name, kind) in enumerate(kinds.items()):
        if kind not in OUTPUT_KINDS or (name in own and kind == "score"):
            raise unknown(f"kind of output {name}", kind, set(OUTPUT_KINDS) - {"score"})
        if name not in own and name not in KNOWN and number:  # the first is the comparison
            raise UsageError(
                f"model {model.name}: nothing is known that output {name} could learn; say it: "
                f"outputs={{..., '{name}': kpairs.Output(kind, target)}} with a function of "
                "pairs that gives its targets; or name only the outputs that train"
            )


def _kind(model: keras.Model, name: str, tensor: keras.KerasTensor) -> str:
    """Tell the kind of an output by the activation of the layer that gives it."""
    layer = next((x for x in model.layers if getattr(x, "output", None) is tensor), None)
    activation = getattr(getattr(layer, "activation", None), "__name__", None)
    if isinstance(layer, keras.layers.Softmax):
        activation = "softmax"
    kind = _KIND_OF_ACTIVATION.get(activation or "")
    if kind is None or (kind == "logits" and tensor.shape[-1] == 1):
        known = ", ".join(f"{k} ({v})" for k, v in OUTPUT_KINDS.items())
        raise UsageError(
            f"model {model.name}: the kind of output {name} cannot be told from its last layer; "
            f"say which: outputs={{'{name}': ...}}, one of {known}"
        )
    return kind


def _renamed(
    model: keras.Model, found: list[str], named: Mapping[str, object], first: str
) -> keras.Model:
    inputs = {side: keras.Input(model.inputs[0].shape[1:], name=side) for side in _SIDES}
    names = _input_names(model)
    given = [inputs[side] for side in (names if set(names) == set(_SIDES) else _SIDES)]
    result = model(dict(zip(names, given, strict=True)) if isinstance(model.input, dict) else given)
    if not isinstance(result, dict):
        result = dict(zip(found, keras.tree.flatten(result), strict=True))
    outputs = {new: result[first if new == "comparison" else new] for new in named}
    return keras.Model(inputs, outputs, name=model.name)
