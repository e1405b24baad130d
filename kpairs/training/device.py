"""The machine that a training ran on: versions, backend, device and hardware."""

import ctypes
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from threading import Lock
from typing import Any

import keras

import kpairs
from kpairs.errors import KpairsError, UsageError
from kpairs.models.registry import conventions

DEVICES = ("auto", "cpu", "gpu", "cuda")
_PACKAGES = ("keras", "numpy", "onnx", "onnxruntime", "onnxscript")


@contextmanager
def compute(device: str = "auto", threads: int = 1) -> Iterator[str]:
    """Run a block on one device with a number of CPU threads; yields the device's Keras name.

    Small networks get one thread by default: PyTorch's own choice collapses as soon as anything
    else runs on the machine (4.5 became 98 ms per step), and cores are better used by rounds.

    The device is "auto" (a GPU if there is one), "cpu", "gpu" or "cuda" for the first one, or on
    torch "cuda:1" for another. Raises UsageError for an unknown one, KpairsError where the backend
    sees no GPU.
    """
    numbered = re.fullmatch(r"cuda:\d+", device)
    if device not in DEVICES and not numbered:
        raise UsageError(
            f"device: expected one of {', '.join(DEVICES)}, cuda:N, received {device!r}"
        )
    seen = [] if device == "cpu" else _gpus()
    gpu = next((name for name in seen if not numbered or name == device), None)
    if gpu is None and device not in ("auto", "cpu"):
        raise KpairsError(
            f"device {device}: the {keras.backend.backend()} backend sees "
            f"{', '.join(seen) or 'no GPU'} on this machine; expected cpu or auto"
        )
    # torch moves a Parameter from "cpu" to "cpu:0" by copying it into a plain tensor, which Keras
    # refuses for the integer state of a dropout layer; the other backends expect an index.
    name = gpu or ("cpu" if keras.backend.backend() == "torch" else "cpu:0")
    with conventions(), _threads(threads), _kept_memory(), keras.device(name):
        yield name


def _gpus() -> list[str]:
    """Keras' names of the GPUs that the backend sees."""
    if keras.backend.backend() != "torch":
        # jax raises when asked for a kind of device that it has none of.
        return [n for n in keras.distribution.list_devices() if n.startswith("gpu")]
    import torch

    if torch.cuda.is_available():
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return ["mps"] if torch.backends.mps.is_available() else []


@contextmanager
def _threads(threads: int) -> Iterator[None]:
    if keras.backend.backend() != "torch":
        yield
        return
    import torch

    before = torch.get_num_threads(), not torch.full((), 1e-40).mul(1.0)
    torch.set_num_threads(threads)
    # Adam's averages of a dead unit's gradients shrink to subnormal numbers, with which a CPU
    # computes ten times slower; as zeros they change nothing.
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_flush_denormal(before[1])


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # of glibc's malloc.h
_KEEP = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1))
# What they are in a process that has used large arrays; once set, glibc moves them no more.
_GIVE_BACK = ((_M_MMAP_MAX, 65536), (_M_TRIM_THRESHOLD, 2**26), (_M_MMAP_THRESHOLD, 2**25))
_keeping, _keeping_lock = 0, Lock()


@contextmanager
def _kept_memory() -> Iterator[None]:
    """Keep in this process, where its C library is glibc, the memory that large tensors leave.

    glibc gives arrays of 32 MiB and more back to the system each time, and new pages cost an
    operation eight times its own time (25 against 3 ms of a batch of 128 images of 64x64x16).
    """
    global _keeping
    libc = _glibc() if keras.backend.backend() == "torch" else None
    if libc is None:
        yield
        return
    with _keeping_lock:
        _keeping += 1
        for setting in _KEEP:
            libc.mallopt(*setting)
    try:
        yield
    finally:
        with _keeping_lock:
            _keeping -= 1
            if not _keeping:
                for setting in _GIVE_BACK:
                    libc.mallopt(*setting)
                libc.malloc_trim(0)


@cache
def _glibc() -> Any:
    """Return the C library of this process; None where it is not glibc."""
    try:
        libc = ctypes.CDLL(None)
        _ = libc.gnu_get_libc_version, libc.mallopt, libc.malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return libc


def describe(device: str, threads: int) -> dict[str, Any]:
    """Versions and hardware as a JSON-ready dict; `device` as `compute` yields it."""
    backend = keras.backend.backend()
    return {
        "kpairs": kpairs.__version__,
        "python": platform.python_version(),
        "backend": backend,
        "packages": {name: version(name) for name in sorted({*_PACKAGES, backend})},
        "device": device,
        "device_name": _device_name(device),
        "instructions": _instructions(),
        "threads": threads,
        "cores": os.cpu_count(),
        "platform": platform.platform(terse=True),
    }


def _instructions() -> dict[str, str]:
    """Return the CPU's instructions that the libraries use, on which rounding depends."""
    if keras.backend.backend() != "torch":
        return {}
    import torch

    limits = {"onednn": "ONEDNN_MAX_CPU_ISA", "mkl": "MKL_ENABLE_INSTRUCTIONS"}
    return {
        "torch": torch.backends.cpu.get_cpu_capability(),
        **{name: os.environ.get(limit, "all") for name, limit in limits.items()},
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _device_name(device: str) -> str:
    if device.startswith("cpu"):
        return _processor()
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return device
