"""Speed of pair models: exported files beside the models that they come from."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import torch

from kpairs.data.pairs import PairSet
from kpairs.errors import UsageError
from kpairs.exports.runtime.bounds import shapes_of
from kpairs.exports.writing.runners import RUNNERS, Runner, Subject, random_pairs, runners, subject
from kpairs.training.device import compute, describe

BATCHES = tuple(2**n for n in range(11))
QUICK_BATCHES = (1, 32, 512)
_PRODUCT, _SIDE = "product", 1024
_PRODUCT_GFLOP = 2e-9 * _SIDE**3


@dataclass(frozen=True)
class _Times:
    """Times of some calls, one after the other."""

    wall: np.ndarray  # `(calls,)` seconds of each
    cpu: float  # mean seconds of processor time per call, of all threads


def bench_inference(
    models: Sequence[str | Path] = ("auxws",),
    *,
    quick: bool = False,
    batches: Sequence[int] | None = None,
    threads: Sequence[int] | None = None,
    data_root: str | Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure how fast models run, by every runner, beside this machine's matrix product.

    Each repeat times every runner in turn and the product of two 1024 x 1024 float32 matrices by
    torch, so that a slower moment of the machine meets all of them. A ratio of two runners is the
    median of the repeats' ratios of medians; a share of the product's speed compares the fastest
    call of each, which other programs on the machine disturb least. Percentiles are over all calls.

    Args:
        models: see `kpairs.exports.writing.runners.subject`.
        quick: fewer repeats and batch sizes, one thread.
        batches: batch sizes; default 1, 2, 4 ... 1024, quick 1, 32 and 512.
        threads: numbers of CPU threads; default one and all cores, quick one.
        data_root: cache folder of the digit images.
        say: called with what is being measured.

    Returns:
        JSON-ready dict. `rows` holds, for each `model`, `runner`, `batch` and `threads`, a call's
        percentiles in microseconds, `cpu_us` of processor time, `pairs_per_s` and `gflops` at the
        median, `share_of_peak` of the matrix product's speed, and `over_onnx`, how many times as
        long as runner onnx it took. `peaks` is the matrix product's speed by `threads`. `models`
        has the operations per pair, and which runners are missing and why.

    Raises:
        UsageError: another backend than torch, or a model that is none.
        InputError: a file or folder that cannot be read.
    """
    if keras.backend.backend() != "torch":
        raise UsageError(
            f"bench infer: expected KERAS_BACKEND=torch, received {keras.backend.backend()}"
        )
    batches = batches or (QUICK_BATCHES if quick else BATCHES)
    threads = threads or ((1,) if quick else tuple(sorted({1, os.cpu_count() or 1})))
    effort = (5, 0.02) if quick else (9, 0.05)
    rows: list[dict[str, Any]] = []
    described = []
    speeds: dict[int, list[float]] = {count: [] for count in threads}
    with tempfile.TemporaryDirectory() as folder:
        for forms in _subjects(models, Path(folder), data_root, say):
            # As a stranger's export has them; ours has none that it could leave out.
            flops = flops_per_pair(forms.files.get("stock", forms.files["onnx"]))
            known = {"model": forms.name, "flops_per_pair": flops, "skipped": forms.skipped}
            described.append(known)
            for count in threads:
                for batch, times in _measured(forms, batches, count, effort, say):
                    speeds[count] += [_PRODUCT_GFLOP / min(t.wall) for t in times[_PRODUCT]]
                    kind = {"model": forms.name, "batch": batch, "threads": count}
                    rows += _rows(kind, times, 1e-9 * flops * batch)
    peaks = [{"threads": count, "gflops": float(np.median(speeds[count]))} for count in threads]
    return {
        "rows": rows,
        "peak_gflops": peaks[0]["gflops"],
        "peaks": peaks,
        "models": described,
        "runners": RUNNERS,
        "machine": describe("cpu", 1),
    }


def _subjects(
    models: Sequence[str | Path],
    folder: Path,
    data_root: str | Path | None,
    say: Callable[[str], None],
) -> list[Subject]:
    """Export each model into a folder of its own, in all forms that are timed."""
    found = []
    for number, name in enumerate(map(str, models)):
        say(f"{name}: its exports")
        place = folder / str(number)
        place.mkdir()
        with compute("cpu"):
            found.append(subject(name, place, data_root))
    return found


def _measured(
    forms: Subject,
    batches: Sequence[int],
    threads: int,
    effort: tuple[int, float],
    say: Callable[[str], None],
) -> Iterator[tuple[int, dict[str, list[_Times]]]]:
    """Time every runner of a model at each batch size, and the matrix product beside them."""
    pairs = random_pairs(max(batches), forms.shape)
    with compute("cpu", threads):
        functions = {_PRODUCT: _product(), **runners(forms, threads)}
        for batch in batches:
            say(f"{forms.name}: batch {batch}, {threads} thread{'s' * (threads > 1)}")
            yield batch, _times(functions, pairs, batch, effort)


def flops_per_pair(file: str | Path) -> int:
    """Count the floating-point operations of an ONNX file for one pair: convolutions and products.

    A multiplication and an addition are two operations.
    """
    proto = onnx.load(file)
    shapes, total = shapes_of(proto), 0
    for node in proto.graph.node:
        if node.op_type in ("Conv", "MatMul", "Gemm"):
            weights = shapes[node.input[1]]
            summed = weights[1:] if node.op_type == "Conv" else shapes[node.input[0]][-1:]
            total += 2 * int(np.prod(shapes[node.output[0]]) * np.prod(summed))
    return total


def _product() -> Runner:
    factor, result = torch.rand(_SIDE, _SIDE), torch.empty(_SIDE, _SIDE)
    return lambda left, right: torch.mm(factor, factor, out=result)


def _times(
    functions: Mapping[str, Runner], pairs: PairSet, batch: int, effort: tuple[int, float]
) -> dict[str, list[_Times]]:
    """Return `_Times` for each function: so many, each of about so many seconds."""
    repeats, seconds = effort
    left, right = (np.asarray(images[:batch]) for images in (pairs.left, pairs.right))
    calls = {}
    for name, function in functions.items():
        function(left, right)
        (once,) = _timed(function, left, right, 1).wall
        calls[name] = int(np.clip(seconds / once, 3, 1000))
    times: dict[str, list[_Times]] = {name: [] for name in functions}
    for repeat in range(repeats):
        for name in list(functions)[:: 1 if repeat % 2 else -1]:
            functions[name](left, right)  # brings its code and weights back into the caches
            times[name].append(_timed(functions[name], left, right, calls[name]))
    return times


def _timed(function: Runner, left: np.ndarray, right: np.ndarray, calls: int) -> _Times:
    cpu, ends = time.process_time(), [time.perf_counter()]
    for _ in range(calls):
        function(left, right)
        ends.append(time.perf_counter())
    return _Times(np.diff(ends), (time.process_time() - cpu) / calls)


def _rows(
    place: Mapping[str, Any], times: Mapping[str, list[_Times]], work: float
) -> Iterator[dict[str, Any]]:
    """Yield one row per runner; `work` is the GFLOP of a batch."""

    def fastest(name: str) -> float:
        return min(min(part.wall) for part in times[name])

    def medians(name: str) -> np.ndarray:
        return np.array([np.median(part.wall) for part in times[name]])

    peak = _PRODUCT_GFLOP / fastest(_PRODUCT)
    for name in list(times)[1:]:  # the product comes first
        p50, p95, p99 = np.percentile(np.concatenate([p.wall for p in times[name]]), (50, 95, 99))
        yield {
            "runner": name,
            **place,
            "p50_us": 1e6 * p50,
            "p95_us": 1e6 * p95,
            "p99_us": 1e6 * p99,
            "cpu_us": 1e6 * float(np.median([part.cpu for part in times[name]])),
            "calls": sum(len(part.wall) for part in times[name]),
            "pairs_per_s": place["batch"] / p50,
            "gflops": work / p50,
            "share_of_peak": float(work / fastest(name) / peak),
            "over_onnx": float(np.median(medians(name) / medians("onnx"))),
        }
