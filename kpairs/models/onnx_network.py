"""Networks that others exported to ONNX as frozen towers; they run on torch alone."""

import hashlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
from keras import KerasTensor, ops
from onnx import helper

from kpairs.errors import InputError, KpairsError, UsageError, raised_as

OPERATOR = "kpairs.network::OnnxNetwork"  # that exporters write down, and `joined` replaces
_OPENED: dict[str, tuple[bytes, Any]] = {}  # networks and their sessions, by digest
_LARGEST = 2**30  # bytes of a file
_FEATURES = "kpairs_features"


@keras.saving.register_keras_serializable("kpairs")
class OnnxNetwork(keras.layers.Layer):
    """The features of an image by an ONNX network; of maps their means over the image.

    From `(batch, height, width, channels)` pixels in [0, 1] to `(batch, width)` float32. The file's
    bytes, `length` of them, are this layer's weight. With `channels_last` the network takes images
    as they are, else channels first.
    """

    def __init__(self, length: int, width: int, channels_last: bool, **options: Any) -> None:
        super().__init__(trainable=False, **options)
        self.length, self.width, self.channels_last = length, width, channels_last

    def build(self, input_shape: tuple[Any, ...]) -> None:
        if keras.backend.backend() != "torch":
            raise KpairsError("ONNX networks run on torch alone; set KERAS_BACKEND=torch")
        self.content = self.add_weight(
            (self.length,), "zeros", "uint8", trainable=False, name="content"
        )

    def call(self, images: KerasTensor) -> KerasTensor:
        import torch

        if torch.jit.is_tracing():  # type: ignore[attr-defined]
            raise UsageError("TorchScript cannot hold an ONNX network; export to onnx")
        pixels = images if self.channels_last else ops.transpose(images, (0, 3, 1, 2))
        if torch.compiler.is_exporting():
            return torch.onnx.ops.symbolic(
                OPERATOR,
                (pixels,),
                {"digest": self._digest},
                dtype=torch.float32,
                shape=(pixels.shape[0], self.width),
                version=1,
            )
        features = _run(self._prepared(), keras.ops.convert_to_numpy(pixels))
        return ops.convert_to_tensor(features)

    def _prepared(self) -> Any:
        """Return a session of the network that the weights are now; tracing cannot look at them."""
        content = keras.ops.convert_to_numpy(self.content).tobytes()
        self._digest = hashlib.sha256(content).hexdigest()
        if self._digest not in _OPENED:
            _OPENED[self._digest] = content, _opened(content)
        return _OPENED[self._digest][1]

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(store)
        self._prepared()

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return (input_shape[0], self.width)

    def get_config(self) -> dict[str, Any]:
        own = {"length": self.length, "width": self.width, "channels_last": self.channels_last}
        config = {**super().get_config(), **own}
        del config["trainable"]
        return config


def read(file: str, height: int, width: int, opset: int = 20) -> keras.Model:
    """Return a frozen model from pixels in [0, 1] to the features of an ONNX file.

    The file has one input (batch, channels, height, width), or with channels last, of 1 or 3
    channels, and outputs (batch, n) or maps (batch, n, height, width); the batch must be free.
    `height` and `width` are for networks that take any. Raises InputError for another file.
    """
    text = (
        f"{file}: expected an ONNX network from images (batch, channels, height, width) to vectors "
        "or maps, cannot use it"
    )
    with raised_as(InputError, text):
        path = Path(file)
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"more than {_LARGEST:,} bytes")
        network = onnx.load_model(path, load_external_data=False)
        _check(network)
        network = onnx.version_converter.convert_version(network, opset)
        sides, channels, channels_last = _input(network, height, width)
        _pool(network)
        content = network.SerializeToString()
        sample = np.zeros((2, *sides, channels), np.float32)
        sample = sample if channels_last else sample.transpose(0, 3, 1, 2)
        found = _run(_opened(content), sample)
    image = keras.Input((*sides, channels))
    layer = OnnxNetwork(len(content), found.shape[1], channels_last)
    layer.build(image.shape)
    layer.content.assign(np.frombuffer(content, np.uint8))
    layer._prepared()
    return keras.Model(image, layer(image))


def joined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put networks in the place of their operators in an exported model."""
    domain, _, kind = OPERATOR.partition("::")
    graph, nodes = model.graph, []
    for number, node in enumerate(graph.node):
        if (node.domain, node.op_type) != (domain, kind):
            nodes.append(node)
            continue
        digest = helper.get_node_attr_value(node, "digest").decode()
        network = onnx.load_model_from_string(_OPENED[digest][0])
        network = onnx.compose.add_prefix(network, f"network_{number}_")
        (entry,), (exit_,) = _inputs(network), network.graph.output
        nodes.append(helper.make_node("Identity", [node.input[0]], [entry.name]))
        nodes.extend(network.graph.node)
        nodes.append(helper.make_node("Identity", [exit_.name], [node.output[0]]))
        graph.initializer.extend(network.graph.initializer)
    if len(nodes) != len(graph.node):
        del graph.node[:]
        graph.node.extend(nodes)
        kept = [entry for entry in model.opset_import if entry.domain != domain]
        del model.opset_import[:]
        model.opset_import.extend(kept)
    return model


def _inputs(network: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    constants = {tensor.name for tensor in network.graph.initializer}
    return [value for value in network.graph.input if value.name not in constants]


def _input(network: onnx.ModelProto, height: int, width: int) -> tuple[tuple[int, int], int, bool]:
    """Return height and width that a network takes, its channels, and whether they are last."""
    (value,) = _inputs(network)
    kind = value.type.tensor_type
    dims = [dim.dim_value for dim in kind.shape.dim]  # 0 where it is free
    if kind.elem_type != onnx.TensorProto.FLOAT or len(dims) != 4 or dims[0]:
        raise ValueError(f"its input is {dims}; expected four axes of float32, the batch free")
    channels_last = dims[1] not in (1, 3) and dims[3] in (1, 3)
    channels, own = (dims[3], dims[1:3]) if channels_last else (dims[1], dims[2:])
    if channels not in (1, 3):
        raise ValueError(f"its input is {dims}; expected 1 or 3 channels")
    return (own[0] or height, own[1] or width), channels, channels_last


def _pool(network: onnx.ModelProto) -> None:
    """Make one output of all: vectors as they are, maps by their means."""
    graph, vectors = network.graph, []
    for output in graph.output:
        rank = len(output.type.tensor_type.shape.dim)
        if rank not in (2, 4):
            raise ValueError(f"its output {output.name} has {rank} axes, expected 2 or 4")
        name = output.name
        if rank == 4:
            name = f"{output.name}_pooled"
            graph.node.append(helper.make_node("GlobalAveragePool", [output.name], [f"{name}_4"]))
            graph.node.append(helper.make_node("Flatten", [f"{name}_4"], [name]))
        vectors.append(name)
    graph.node.append(helper.make_node("Concat", vectors, [_FEATURES], axis=1))
    del graph.output[:]
    graph.output.append(
        helper.make_tensor_value_info(_FEATURES, onnx.TensorProto.FLOAT, ["batch", None])
    )


def _check(network: onnx.ModelProto) -> None:
    """Refuse what no such network needs; onnxruntime may end the process on a damaged one."""
    onnx.checker.check_model(network, full_check=True)
    if {entry.domain for entry in network.opset_import} - {"", "ai.onnx"}:
        raise ValueError("operators of others than ONNX")


def _opened(content: bytes) -> Any:
    """Return a session; the bytes may come from anybody's .keras file."""
    import onnxruntime

    _check(onnx.load_model_from_string(content))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _run(session: Any, pixels: Any) -> Any:
    (features,) = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(pixels)})
    return features
