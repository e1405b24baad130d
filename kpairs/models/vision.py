"""Networks of `torchvision.models` as towers; they run on torch alone."""

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops
from numpy.typing import NDArray

from kpairs.errors import InputError, KpairsError, UsageError, raised_as, unknown

PREFIX = "torchvision/"  # of the networks' names
OTHERWISE = "; give a file of them, or use lite0 or statistics"
_CONTAINER = 0.8  # a child with this share of the weights holds stages, and is none


@keras.saving.register_keras_serializable("kpairs")
class VisionMaps(keras.layers.Layer):
    """The maps of a network of `torchvision.models`: its last one at each resolution.

    From `(batch, height, width, 3)` RGB pixels in [0, 1] to maps `(batch, height, width,
    channels)`, the largest first. The arrays of the `network`, such as "resnet18", are this layer's
    weights: a saved model holds them and the network's name, and no code. Batch normalisation and
    dropout always are as in inference.

    Raises UsageError for an unknown network, one without maps, or images that it does not take,
    KpairsError on another backend than torch, or without torchvision.
    """

    def __init__(self, network: str, **options: Any) -> None:
        super().__init__(**options)
        self.network = network

    def build(self, input_shape: tuple[Any, ...]) -> None:
        import torch

        module, (self._mean, self._deviation) = _built(self.network)
        self._module = [module]  # in a list, so that torch does not count its weights again
        with keras.device("cpu"):
            self.arrays = {
                name: self.add_weight(
                    tuple(tensor.shape),
                    keras.initializers.Constant(tensor.detach().numpy()),
                    keras.backend.standardize_dtype(tensor.dtype),
                    trainable=isinstance(tensor, torch.nn.Parameter),
                    name=name.replace(".", "_"),
                )
                for name, tensor in (*module.named_parameters(), *module.named_buffers())
            }
        height, width = input_shape[1:3]
        received = f"expected images that it takes, received {width}x{height} (width x height)"
        with torch.no_grad(), raised_as(UsageError, f"{PREFIX}{self.network}: {received}"):
            found = self._run(torch.zeros(1, 3, height, width), dict(_units(module)))
        last: dict[tuple[int, ...], tuple[str, Any]] = {}
        for name, unit in _units(module):
            if isinstance(unit, torch.nn.AdaptiveAvgPool2d):  # whose result is the last map's mean
                break
            shape = tuple(getattr(found.get(name), "shape", ()))
            # Maps with their channels last, as Swin's, would have other proportions.
            if len(shape) == 4 and 0.62 < shape[2] / shape[3] * width / height < 1.62:
                last[shape[2:]] = name, shape
        if not last:
            raise UsageError(f"{PREFIX}{self.network}: expected a network with maps of the image")
        self._stages = dict(last.values())

    def call(self, images: KerasTensor) -> list[KerasTensor]:
        mean, deviation = map(ops.convert_to_tensor, (self._mean, self._deviation))
        pixels = (images - mean) / deviation
        module = self._module[0]
        units = {name: unit for name, unit in _units(module) if name in self._stages}
        found = self._run(ops.transpose(pixels, (0, 3, 1, 2)), units)
        return [ops.transpose(found[name], (0, 2, 3, 1)) for name in self._stages]

    def _run(self, pixels: Any, units: Mapping[str, Any]) -> dict[str, Any]:
        """Run the network, and return the last output of each of its parts.

        Other threads may run it at the same time, whose outputs a hook is given too.
        """
        module, thread = self._module[0], threading.get_ident()
        for name, variable in self.arrays.items():  # torch.func refuses to be traced
            place, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(place), leaf, variable.value)
        found: dict[str, Any] = {}

        def keep(name: str) -> Any:
            def hook(module: Any, inputs: Any, output: Any) -> None:
                if threading.get_ident() == thread:
                    found[name] = output

            return hook

        hooks = [unit.register_forward_hook(keep(name)) for name, unit in units.items()]
        try:
            module(pixels)
        finally:
            for hook in hooks:
                hook.remove()
        return {name: found[name] for name in units if name in found}

    def load(self, weights: str) -> None:
        """Take a file's `state_dict`, "imagenet" weights as torchvision publishes them, or "none".

        Raises InputError for a file that does not hold this network's weights, KpairsError where
        weights could not be fetched.
        """
        import torch
        from torchvision.models import get_model_weights

        if weights == "none":
            return
        if weights == "imagenet":
            text = f"{PREFIX}{self.network}: its ImageNet weights cannot be fetched"
            with raised_as(KpairsError, text, OTHERWISE):
                stored = get_model_weights(self.network).DEFAULT.get_state_dict(check_hash=True)
        else:
            text = "expected a file that torch.save wrote of a state_dict, cannot read it"
            with raised_as(InputError, f"{weights}: {text}"):
                stored = torch.load(weights, map_location="cpu", weights_only=True)
        wanted = {name: tuple(variable.shape) for name, variable in self.arrays.items()}
        given = {k: tuple(getattr(v, "shape", ())) for k, v in stored.items()}
        if wanted != given:
            odd = min(wanted.items() ^ given.items())[0]
            raise InputError(
                f"{weights}: expected the state_dict of {PREFIX}{self.network}; {odd} should be "
                f"{wanted.get(odd, 'absent')} and is {given.get(odd, 'absent')}"
            )
        for name, variable in self.arrays.items():
            variable.assign(stored[name])

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return [(input_shape[0], h, w, c) for _, c, h, w in self._stages.values()]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "network": self.network}


def _built(network: str) -> tuple[Any, list[NDArray[np.float32]]]:
    """Return a network with weights freshly drawn, and mean and deviation of its pixels."""
    if keras.backend.backend() != "torch":
        raise KpairsError(f"{PREFIX}{network} runs on torch alone; set KERAS_BACKEND=torch")
    with raised_as(KpairsError, "torchvision cannot be imported"):
        from torchvision import models
    if network not in (known := models.list_models(module=models)):
        raise unknown("network of torchvision", network, known)
    module = models.get_model(network, weights=None).eval()
    if hasattr(module, "transform_input"):  # as with their published weights
        module.transform_input = True
    pixels = models.get_model_weights(network).DEFAULT.transforms()
    return module, [np.array(values, np.float32) for values in (pixels.mean, pixels.std)]


def _units(module: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """List the parts of a network in order; of one that holds most weights, its parts."""
    whole = _kernels(module)
    for name, child in module.named_children():
        if any(True for _ in child.children()) and _kernels(child) > _CONTAINER * whole:
            yield from _units(child, f"{prefix}{name}.")
        else:
            yield prefix + name, child


def _kernels(module: Any) -> int:
    """Count the weights of convolutions."""
    return sum(p.numel() for p in module.parameters() if p.ndim == 4)
