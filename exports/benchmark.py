"""How fast pair models run: exported files beside the models that they come from."""

import os
import tempfile
import time

import keras
import numpy as np
import onnx
import torch

from kpairs.errors import UsageError
from kpairs.exports.runners import RUNNERS, random_pairs, runners, subject
from kpairs.training.environment import compute, describe

BATCHES = tuple(2**n for n in range(11))
QUICK_BATCHES = (1, 32, 512)
_PRODUCT, _SIDE = "product", 1024


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
    torch, so that a slower moment of the machine meets all of them. A ratio is the median of the
    repeats' ratios of medians, but of the products each repeat's fastest counts: a peak.
    Percentiles are over all calls.

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
        `pairs_per_s` and `gflops` at the median, `share_of_peak` of the matrix product's speed,
        and `over_onnx`, how many times as long as runner onnx it took. `peak_gflops` is the matrix
        product's speed with the first of `threads`, `peaks` all of them. `models` holds the
        floating-point operations per pair, two for each multiplication and addition of the
        convolutions and dense layers, and which runners are missing and why. `runners` says what
        each is, `machine` where it ran.

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
    pairs = random_pairs(max(batches))
    result = {"rows": [], "peak_gflops": None, "peaks": [], "models": [], "runners": RUNNERS}
    speeds = {count: [] for count in threads}
    for name in map(str, models):
        say(f"{name}: its exports")
        with tempfile.TemporaryDirectory() as folder:
            with compute("cpu"):
                result["machine"] = describe("cpu", 1)
                forms = subject(name, folder, data_root)
            flops = flops_per_pair(forms.files["onnx"])
            result["models"].append(
                {"model": name, "flops_per_pair": flops, "skipped": forms.skipped}
            )
            for count in threads:
                with compute("cpu", count):
                    functions = {_PRODUCT: _product(), **runners(forms, count)}
                    for batch in batches:
                        say(f"{name}: batch {batch}, {count} thread{'s' * (count > 1)}")
                        times = _times(functions, pairs, batch, repeats, seconds)
                        speed = [2e-9 * _SIDE**3 / min(t) for t in times.pop(_PRODUCT)]
                        speeds[count] += speed
                        place = {"model": name, "batch": batch, "threads": count}
                        result["rows"] += _rows(place, times, flops, speed)
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
    """Seconds per call: for each function a list of arrays, one per repeat."""
    left, right = pairs.left[:batch], pairs.right[:batch]
    calls = {}
    for name, function in functions.items():
        function(left, right)
        (once,) = _timed(function, left, right, 1)
        calls[name] = int(np.clip(seconds / once, 3, 1000))
    times = {name: [] for name in functions}
    for repeat in range(repeats):
        for name in list(functions)[:: 1 if repeat % 2 else -1]:
            functions[name](left, right)  # brings its code and weights back into the caches
            times[name].append(_timed(functions[name], left, right, calls[name]))
    return times


def _timed(function, left, right, calls):
    ends = [time.perf_counter()]
    for _ in range(calls):
        function(left, right)
        ends.append(time.perf_counter())
    return np.diff(ends)


def _rows(place, times, flops, speed):
    """One row per runner; `speed` is the product's in each repeat, in GFLOP/s."""
    medians = {name: np.array([np.median(t) for t in parts]) for name, parts in times.items()}
    for name, parts in times.items():
        p50, p95, p99 = np.percentile(np.concatenate(parts), (50, 95, 99))
        work = 1e-9 * flops * place["batch"]
        yield {
            "runner": name,
            **place,
            "p50_us": 1e6 * p50,
            "p95_us": 1e6 * p95,
            "p99_us": 1e6 * p99,
            "calls": sum(map(len, parts)),
            "pairs_per_s": place["batch"] / p50,
            "gflops": work / p50,
            "share_of_peak": float(np.median(work / medians[name] / speed)),
            "over_onnx": float(np.median(medians[name] / medians["onnx"])),
        }
