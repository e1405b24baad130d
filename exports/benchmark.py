"""How fast pair models run: exported files beside the models that they come from."""

import os
import tempfile
import time
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import keras
import numpy as np
import onnx
import torch

from kpairs.errors import UsageError
from kpairs.exports.runners import RUNNERS, random_pairs, runners, subject
from kpairs.training.device import compute, describe

BATCHES = tuple(2**n for n in range(11))
QUICK_BATCHES = (1, 32, 512)
_PRODUCT, _SIDE = "product", 1024
_PRODUCT_GFLOP = 2e-9 * _SIDE**3


@dataclass(frozen=True)
class _Times:
    """Some calls, one after the other.

    Attributes:
        wall: `(calls,)` seconds of each.
        cpu: mean seconds of processor time per call, of all threads.
    """

    wall: np.ndarray
    cpu: float


def bench_inference(
    models=("auxws",),
    *,
    quick=False,
    batches=None,
    threads=None,
    data_root=None,
    say=lambda text: None,
):
    """Measure how fast models run, by every runner, beside this machine's matrix product.

    Each repeat times every runner in turn and the product of two 1024 x 1024 float32 matrices by
    torch, so that a slower moment of the machine meets all of them. A ratio of two runners is the
    median of the repeats' ratios of medians; a share of the product's speed compares the fastest
    call of each, which other programs on the machine disturb least. Percentiles are over all calls.

    Args:
        models: see `kpairs.exports.runners.subject`.
        quick: fewer repeats and batch sizes, one thread.
        batches: batch sizes; default 1, 2, 4 ... 1024, quick 1, 32 and 512.
        threads: numbers of CPU threads; default one and all cores, quick one.
        data_root: cache folder of the digit images.
        say: called with what is being measured.

    Returns:
        JSON-ready dict. `rows` holds for each `model`, `runner`, `batch` and `threads`: the
        percentiles `p50_us`, `p95_us` and `p99_us` of a call in microseconds over `calls` calls,
        `cpu_us` of processor time, `pairs_per_s` and `gflops` at the median, `share_of_peak` of the
        matrix product's speed, and `over_onnx`, how many times as long as runner onnx it took.
        `peak_gflops` is the matrix product's speed with the first of `threads`, `peaks` all of
        them. `models` holds the floating-point operations per pair, two for each multiplication and
        addition of the convolutions and dense layers, as the stock export has them (the file where
        there is no such export), and which runners are missing and why. `runners` says what each
        is, `machine` where it ran.

    Raises:
        UsageError: another backend than torch, or a model that is none.
        Others: see `kpairs.exports.runners.subject`.
    """
    if keras.backend.backend() != "torch":
        raise UsageError(
            f"bench infer: expected KERAS_BACKEND=torch, received {keras.backend.backend()}"
        )
    batches = batches or (QUICK_BATCHES if quick else BATCHES)
    threads = threads or ((1,) if quick else tuple(sorted({1, os.cpu_count() or 1})))
    repeats, seconds = (5, 0.02) if quick else (9, 0.05)
    result = {"rows": [], "peak_gflops": None, "peaks": [], "models": [], "runners": RUNNERS}
    speeds = {count: [] for count in threads}
    with tempfile.TemporaryDirectory() as folder:
        subjects = []
        with compute("cpu"):
            result["machine"] = describe("cpu", 1)
            for number, name in enumerate(map(str, models)):
                say(f"{name}: its exports")
                place = Path(folder, str(number))
                place.mkdir()
                subjects.append(subject(name, place, data_root))
        for forms in subjects:
            # Of the whole network: ours may compute less, what pooling leaves out.
            flops = flops_per_pair(forms.files.get("stock", forms.files["onnx"]))
            result["models"].append(
                {"model": forms.name, "flops_per_pair": flops, "skipped": forms.skipped}
            )
            pairs = random_pairs(max(batches), forms.shape)
            for count in threads:
                with compute("cpu", count):
                    functions = {_PRODUCT: _product(), **runners(forms, count)}
                    for batch in batches:
                        say(f"{forms.name}: batch {batch}, {count} thread{'s' * (count > 1)}")
                        times = _times(functions, pairs, batch, repeats, seconds)
                        speeds[count] += [_PRODUCT_GFLOP / min(t.wall) for t in times[_PRODUCT]]
                        place = {"model": forms.name, "batch": batch, "threads": count}
                        result["rows"] += _rows(place, times, 1e-9 * flops * batch)
    result["peaks"] = [
        {"threads": count, "gflops": float(np.median(speeds[count]))} for count in threads
    ]
    result["peak_gflops"] = result["peaks"][0]["gflops"]
    return result


def flops_per_pair(file):
    """Floating-point operations of an ONNX file's convolutions and matrix products for one pair.

    A multiplication and an addition are two operations.
    """
    proto = onnx.load(file)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del proto.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shapes[value.name] = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    total = 0
    for node in graph.node:
        if node.op_type in ("Conv", "MatMul", "Gemm"):
            weights = shapes[node.input[1]]
            summed = weights[1:] if node.op_type == "Conv" else shapes[node.input[0]][-1:]
            total += 2 * int(np.prod(shapes[node.output[0]]) * np.prod(summed))
    return total


def _product():
    factor, result = torch.rand(_SIDE, _SIDE), torch.empty(_SIDE, _SIDE)
    return lambda left, right: torch.mm(factor, factor, out=result)


def _times(functions, pairs, batch, repeats, seconds):
    """For each function a list of `_Times`, one per repeat."""
    left, right = pairs.left[:batch], pairs.right[:batch]
    calls = {}
    for name, function in functions.items():
        function(left, right)
        (once,) = _timed(function, left, right, 1).wall
        calls[name] = int(np.clip(seconds / once, 3, 1000))
    times = {name: [] for name in functions}
    for repeat in range(repeats):
        for name in list(functions)[:: 1 if repeat % 2 else -1]:
            functions[name](left, right)  # brings its code and weights back into the caches
            times[name].append(_timed(functions[name], left, right, calls[name]))
    return times


def _timed(function, left, right, calls):
    cpu, ends = time.process_time(), [time.perf_counter()]
    for _ in range(calls):
        function(left, right)
        ends.append(time.perf_counter())
    return _Times(np.diff(ends), (time.process_time() - cpu) / calls)


def _rows(place, times, work):
    """One row per runner; `work` is what a batch takes, in GFLOP."""

    def per_repeat(name, measure):
        return np.array([measure(part) for part in times[name]])

    def fastest(part):
        return min(part.wall)

    def median(part):
        return np.median(part.wall)

    peak = _PRODUCT_GFLOP / min(per_repeat(_PRODUCT, fastest))
    for name in list(times)[1:]:  # the product comes first
        p50, p95, p99 = np.percentile(np.concatenate([p.wall for p in times[name]]), (50, 95, 99))
        cpu = np.median(per_repeat(name, attrgetter("cpu")))
        yield {
            "runner": name,
            **place,
            "p50_us": 1e6 * p50,
            "p95_us": 1e6 * p95,
            "p99_us": 1e6 * p99,
            "cpu_us": 1e6 * float(cpu),
            "calls": sum(len(part.wall) for part in times[name]),
            "pairs_per_s": place["batch"] / p50,
            "gflops": work / p50,
            "share_of_peak": float(work / min(per_repeat(name, fastest)) / peak),
            "over_onnx": float(np.median(per_repeat(name, median) / per_repeat("onnx", median))),
        }
