"""Fixtures that several test files share. Real digits are real: fetched once, like a user's."""

import functools
import gc
import signal
import sys

import numpy as np
import pytest
import torch
from idx_writer import write_idx

from kpairs.data.source import open_source
from kpairs.data.splits import Digits
from kpairs.reports import RECIPES

torch.set_num_threads(1)  # tests run in as many processes as there are cores
gc.set_threshold(100_000)  # as in the command, see kpairs.cli.run

# What a shell starts in the background ignores Ctrl-C, and so would the programs that tests press
# it on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """Let torch list but once what it can translate to ONNX: half a second of every export."""
    if "kpairs.exports.writing.onnx" in sys.modules:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))
    # Modules stay to the end: a training collects garbage after each round, and would look through
    # them each time, half a second.
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    gc.unfreeze()


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("there is no GPU")


@pytest.fixture(scope="session")
def mnist():
    """The two splits of the real MNIST."""
    source = open_source("mnist")
    return {split: source.split(split) for split in ("train", "test")}


@pytest.fixture
def rng():
    return np.random.default_rng(20190922)


@pytest.fixture
def noise_digits(rng, tmp_path):
    """400 noise images of ten classes, all different."""
    images = rng.integers(0, 256, (400, 28, 28), dtype=np.uint8)
    classes = tuple("0123456789")
    return Digits(images, rng.permutation(np.arange(400) % 10), classes, "noise", tmp_path)


@pytest.fixture(scope="session")
def tiny():
    """A recipe that trains in a second: `tiny("auxws", epochs=2)`."""

    def make(arch, **changes):
        small = {"pairs": 40, "test_pairs": 30, "epochs": 1, "batch_size": 20}
        return RECIPES[arch].replace(**{"augmentation": "none", **small, **changes})

    return make


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty current folder, so that runs/ lands there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def idx_folder(tmp_path, rng):
    """A folder of small MNIST-like IDX files: 200 training and 100 test images, ten classes."""
    folder = tmp_path / "idx"
    for prefix, count in (("train", 200), ("t10k", 100)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))
    return folder


@pytest.fixture
def image_folder(tmp_path, rng):
    """Class folders 1, 2 and 10 of 20 PNGs each, 28x28 and 56x56."""
    from PIL import Image

    folder = tmp_path / "images"
    for label, name in enumerate(("1", "2", "10")):
        (folder / name).mkdir(parents=True)
        for i in range(20):
            side = 28 if i % 2 else 56
            image = rng.integers(0, 80, (side, side), dtype=np.uint8) + np.uint8(80 * label)
            Image.fromarray(image).save(folder / name / f"{i}.png")
    return folder
