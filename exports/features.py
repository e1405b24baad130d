"""Features of image files, by the network that a linear head uses: no keras, no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from kpairs.data.annotations import ImageFiles
from kpairs.data.cache import prepared_images, survey
from kpairs.data.features import Progress, kept_features
from kpairs.data.settings import WHITE
from kpairs.data.source import cache_root
from kpairs.data.stored import Stored
from kpairs.frozen import SIZE, digest, interpolation, lite0_structure, seen_sides
from kpairs.models.lite0_weights import STAGES, STEM, has_imagenet, imagenet

_BATCH = 2  # images, and as many mirrored, that pass together: more take memory and no less time
_OPSET = 20


def file_features(
    files: Sequence[str],
    progress: Progress | None = None,
    root: Path | None = None,
    white: int = WHITE,
) -> NDArray[np.float32]:
    """Return features of image files, `(n, d)`, by the network that a linear head would use.

    EfficientNet-Lite0 where its weights are installed; else classical statistics, by Keras. Images
    are reduced to at most 128 pixels a side.

    Args:
        files: n paths.
        progress: called with how many of how many images passed.
        root: the cache folder; default `kpairs.data.source.cache_root()`.
        white: level of 16-bit grey that is white.

    Raises:
        InputError: a file that cannot be read.
        KpairsError: the cache folder cannot be written.
    """
    if not files:
        return np.zeros((0, 0), np.float32)
    pictures = ImageFiles(tuple(files), tuple(files), "images", Path(files[0]).parent)
    settings = survey(pictures, white).settings(longest=SIZE)
    prepared, _ = prepared_images(pictures, settings, root or cache_root())
    images = Stored(prepared)
    if not has_imagenet():
        from kpairs.training.features import statistics_features  # imports Keras

        return np.asarray(statistics_features(images, progress))
    network = Lite0(*settings.shape)
    return kept_features(images, network.digest, network.width, network.features, progress)[:]


class Lite0:
    """The feature network "lite0" of `kpairs.models.backbone.feature_network`, mirrored.

    Args:
        height, width: of the images, in pixels.
        channels: 1 or 3.

    Attributes:
        width: numbers of an image, 816.
        digest: as `kpairs.models.backbone.feature_digest` gives it for Keras' network.
    """

    width = STEM + sum(channels for *_, channels in STAGES)

    def __init__(self, height: int, width: int, channels: int) -> None:
        self._shape = height, width, channels
        self._arrays = {name: both for name, both in imagenet().items() if name != "conv_head"}
        structure = lite0_structure(*self._shape, SIZE, mirrored=True)
        self.digest = digest(structure, (array for both in self._arrays.values() for array in both))

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        data = _graph(*self._shape, self._arrays).SerializeToString()
        return onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])

    def features(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return features of images, `(n, 816)`; several pass side by side on all cores.

        Args:
            images: `(n, height, width, channels)` float32 pixels in [0, 1].
        """

        def run(start: int) -> NDArray[np.float32]:
            block = images[start : start + _BATCH]
            both = np.concatenate([block, block[:, :, ::-1]])
            (found,) = session.run(None, {"images": both})
            mean: NDArray[np.float32] = found.reshape(2, len(block), -1).mean(axis=0)
            return mean

        session = self._session
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            parts = list(pool.map(run, range(0, len(images), _BATCH)))
        return np.concatenate([np.zeros((0, self.width), np.float32), *parts])


def _graph(
    height: int, width: int, channels: int, arrays: dict[str, list[NDArray[np.float32]]]
) -> onnx.ModelProto:
    """Write `kpairs.models.lite0` as ONNX, from images to the means of its eight maps."""
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def constant(array: Any) -> str:
        name = f"c{len(constants)}"
        constants.append(onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def convolved(x: str, name: str, stride: int = 1, active: bool = True) -> str:
        kernel, bias = arrays[name]
        depthwise = "depthwise" in name
        order = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)  # to (out, in, h, w)
        weights = constant(np.ascontiguousarray(kernel.transpose(order)))
        options: dict[str, Any] = {"strides": [stride] * 2, "auto_pad": "SAME_UPPER"}
        options["group"] = len(bias) if depthwise else 1
        x = add("Conv", x, weights, constant(bias), **options)
        return add("Clip", x, zero, six) if active else x

    zero, six = constant(np.float32(0)), constant(np.float32(6))
    x = add("Transpose", "images", perm=[0, 3, 1, 2])
    high, wide = seen_sides(height, width, SIZE)
    if (high, wide) != (height, width):
        x = add("MatMul", constant(interpolation(height, high)), x)
        x = add("MatMul", x, constant(np.ascontiguousarray(interpolation(width, wide).T)))
    if channels == 1:
        x = add("Concat", x, x, x, axis=1)
    x = add("Sub", add("Mul", x, constant(np.float32(2))), constant(np.float32(1)))
    x = convolved(x, "conv_stem", 2)
    maps, block = [x], 0
    for repeats, _, stride, expansion, _ in STAGES:
        for repeat in range(repeats):
            before, name = x, f"blocks_{block}"
            if expansion != 1:
                x = convolved(x, f"{name}_expand_conv")
            x = convolved(x, f"{name}_depthwise_conv", 1 if repeat else stride)
            x = convolved(x, f"{name}_project_conv", active=False)
            x = add("Add", x, before) if repeat else x
            block += 1
        maps.append(x)
    axes = constant(np.array([2, 3], np.int64))
    add("Concat", *(add("ReduceMean", one, axes, keepdims=0) for one in maps), axis=1)
    nodes[-1].output[0] = "features"
    image = helper.make_tensor_value_info("images", 1, ["batch", height, width, channels])
    features = helper.make_tensor_value_info("features", 1, ["batch", Lite0.width])
    graph = helper.make_graph(nodes, "lite0", [image], [features], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)
