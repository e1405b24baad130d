"""Training speed of kpairs, of stock Keras, and of loops written by hand in PyTorch."""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binom

from kpairs import seeds
from kpairs.bench.handwritten import NEVER_FOLDED, PLAIN, TUNED, Training
from kpairs.bench.memory import peak_mib
from kpairs.data import PairSet
from kpairs.data.source import open_source
from kpairs.data.splits import Split
from kpairs.recipes import Recipe
from kpairs.reports import RECIPES
from kpairs.training.batches import Batches, Randomness, varied
from kpairs.training.callbacks import StopOnNonFinite
from kpairs.training.compile import Phase, compile_model
from kpairs.training.device import compute, describe
from kpairs.training.engine.lower import lower
from kpairs.training.network import architecture_of, build_round
from kpairs.training.prepare import draw_round, rescaling_of
from kpairs.training.train import train

# The reports' own batch sizes, without augmentation.
_DIGITS = ("c4l2_ws", "auxws", "wsal_bd")
# Photographs: the architecture, their side in pixels, and the batch size.
_PHOTOGRAPHS = {
    "ranker, 64x64": ("ranker", 64, 64),
    "ranker, 128x128": ("ranker", 128, 64),
    "ranker, 224x224": ("ranker", 224, 64),
    "lite0 fine-tuned, 128x128": ("linear", 128, 16),
}
CASES = (*_DIGITS, *_PHOTOGRAPHS)
RUNNERS = ("engine", "tuned", "torch", "keras")
_TUNED_ALONE = 128  # pixels a side, from where the slower runners are left out
_ROUNDS_CASE = "c4l2_ws"
_ROUNDS = ((4, 5), (8, 25))  # and their epochs
_MEMORY_CASE = "ranker, 64x64"
_LEAST, _MOST = 6, 20  # turns
_SECONDS = 20.0  # after which a case gets no more turns than the least
_NARROW = 0.02  # of a ratio's interval: its width relative to the ratio
Progress = Callable[[str, int, int], None]


def bench_training(
    *,
    quick: bool = False,
    device: str = "auto",
    jobs: int = 2,
    profile: bool = False,
    data_root: str | Path | None = None,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Measure training steps and whole rounds.

    Every runner trains in short turns, one after the other, so that a slower moment of the machine
    meets all of them; a ratio is the median of the turns' ratios. Turns end when the 95 % interval
    of the ratio to the tuned loop is 2 % wide, after 20 turns, or after 20 seconds and six turns.
    On a CPU a step's time is that for which its one thread had the processor. A tuned loop that may
    call its tower once or twice is measured both ways, and the faster way counts.

    Args:
        quick: three turns of small cases, few and short rounds, no memory: a minute.
        device: see `kpairs.train`.
        jobs: processes for the rounds.
        profile: tell where the engine's steps spend their time.
        data_root: cache folder of the digit images.
        progress: called with what is measured, and how many turns of how many of it are done.

    Returns:
        JSON-ready dict: `cases` (milliseconds per step by runner, the engine's ratio to each, and
        the 95 % interval of that to the tuned loop, None of fewer than six turns; with `profile`
        the operations, each with its milliseconds and calls per step), `rounds` (for each number of
        rounds the seconds of kpairs, with the start of its processes, and of the tuned loop),
        `memory` (the case, and peak MiB of a process that trains an epoch of it, by runner; None if
        quick or not on Linux) and `machine`.
    """
    source = open_source("mnist", root=data_root)
    splits = source.split("train"), source.split("test")
    cases: list[dict[str, Any]] = []
    memory: dict[str, Any] | None = None
    with compute(device) as name:
        machine = describe(name, 1)
        for case in CASES[: -3 if quick else None]:
            cases.append(_case(case, splits, name, quick, profile, partial(progress, case)))
        if not quick:
            memory = {"case": _MEMORY_CASE}
            for done, runner in enumerate(RUNNERS):
                progress("memory", done, len(RUNNERS))
                memory[runner] = _peak_memory(runner, device, data_root)
        rounds = [
            _rounds(*each, splits, device, name, jobs, data_root, progress)
            for each in _ROUNDS[: 1 if quick else None]
        ]
    return {"cases": cases, "rounds": rounds, "memory": memory, "machine": machine}


def _recipe(case: str, quick: bool = False) -> Recipe:
    changes: dict[str, Any] = {"augmentation": "none", "rounds": 1}
    if case not in _PHOTOGRAPHS:
        if quick:
            changes["pairs"] = min(RECIPES[case].data.pairs, 30 * RECIPES[case].fit.batch_size)
        return RECIPES[case].replace(**changes)
    arch, side, batch = _PHOTOGRAPHS[case]
    changes |= {"batch_size": batch, "pairs": batch, "schedule": "constant"}
    changes |= {"image_size": (side, side), "channels": 3}
    if arch == "linear":
        changes["backbone"] = "lite0"
    return RECIPES[arch].replace(**changes)


def _pairs(recipe: Recipe, splits: Sequence[Split]) -> PairSet:
    """Draw a round's pairs; noise stands in for photographs, because it takes as long."""
    size = recipe.data.image_size
    if size is None:
        return draw_round(recipe, 1, *splits)[0]
    rng = seeds.generator(recipe.fit.seed, 1, "pairs")
    left, right = rng.random((2, recipe.data.pairs, *size, 3), np.float32)
    return PairSet(left, right, *rng.integers(0, 10, (2, recipe.data.pairs)))


def _runner(
    kind: str, recipe: Recipe, pairs: PairSet, device: str, fold: bool = False
) -> Callable[[], Any]:
    """Make a function that trains an epoch."""
    if kind in ("torch", "tuned"):
        tuning = PLAIN if kind == "torch" else replace(TUNED, fold=fold)
        return Training(recipe, pairs, device, tuning).epoch
    outputs = architecture_of(recipe).outputs
    model = build_round(recipe, 1, 10)
    rescaling = rescaling_of(recipe.data.normalization, pairs)
    compile_model(model, recipe, architecture_of(recipe), Phase(0, 1), rescaling=rescaling)
    if kind == "keras":
        x, y = pairs.inputs(), pairs.targets(outputs)
        return partial(model.fit, x, y, batch_size=recipe.fit.batch_size, verbose=0)
    vary = partial(varied, recipe, 1, pairs)
    batches = Batches(pairs, outputs, recipe.fit.batch_size, device, vary)
    lower(model, *batches.first())
    callbacks = [
        Randomness(recipe.fit.seed, 1, batches),
        StopOnNonFinite(recipe.optimizer.learning_rate),
    ]
    return partial(model.fit, batches, shuffle=False, callbacks=callbacks, verbose=0)


def _case(
    case: str,
    splits: Sequence[Split],
    device: str,
    quick: bool,
    profile: bool,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    recipe = _recipe(case, quick)
    pairs = _pairs(recipe, splits)
    steps = -(-recipe.data.pairs // recipe.fit.batch_size)
    clock = time.process_time if device.startswith("cpu") else time.perf_counter
    large = case in _PHOTOGRAPHS and _PHOTOGRAPHS[case][1] >= _TUNED_ALONE
    measured = RUNNERS[: 2 if large else None]
    runners = {kind: _runner(kind, recipe, pairs, device) for kind in measured}
    if recipe.network.arch not in NEVER_FOLDED:
        runners["folded"] = _runner("tuned", recipe, pairs, device, fold=True)
    times: dict[str, list[float]] = {kind: [] for kind in runners}
    least, most = (3, 3) if quick else (_LEAST, _MOST)
    started = time.perf_counter()
    for turn in range(most + 1):
        progress(turn, most + 1)
        if turn > least and (
            time.perf_counter() - started > _SECONDS
            or _is_narrow(_interval(times["engine"], _faster(times)))
        ):
            break
        for kind in list(runners)[:: 1 if turn % 2 else -1]:
            begun = clock()
            runners[kind]()
            if turn:  # the first warms up
                times[kind].append(1000 * (clock() - begun) / steps)
    folds = times["tuned"] is not _faster(times)
    times["tuned"] = _faster(times)
    ratios = {kind: _ratio(times["engine"], times[kind]) for kind in measured[1:]}
    return {
        "case": f"{case}, batch {recipe.fit.batch_size}",
        **{f"{kind}_ms": statistics.median(times[kind]) for kind in measured},
        **{f"engine_over_{kind}": ratio for kind, ratio in ratios.items()},
        "engine_over_tuned_95": _interval(times["engine"], times["tuned"]),
        "tuned_folds": folds or case in _PHOTOGRAPHS,
        "repeats": len(times["engine"]),
        **({"profile": _profile(runners["engine"], steps, device)} if profile else {}),
    }


def _faster(times: dict[str, list[float]]) -> list[float]:
    """Return the times of the tuned loop, by the faster of its two ways."""
    return min(times["tuned"], times.get("folded", times["tuned"]), key=statistics.median)


def _interval(times: Sequence[float], others: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of the median ratio, by order statistics; None of fewer than six."""
    ratios = sorted(a / b for a, b in zip(times, others, strict=True))
    if len(ratios) < _LEAST:
        return None
    place = int(binom.ppf(0.025, len(ratios), 0.5)) - 1
    return ratios[place], ratios[-1 - place]


def _is_narrow(interval: tuple[float, float] | None) -> bool:
    return interval is not None and interval[1] - interval[0] < _NARROW * interval[0]


def _ratio(times: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(times, others, strict=True))


def _profile(epoch: Callable[[], Any], steps: int, device: str) -> list[dict[str, Any]]:
    """Measure the parts of an epoch's steps with torch's profiler, which itself slows them."""
    # Kineto is for GPUs, and prints lines of its own.
    with torch.autograd.profiler.profile(use_kineto=not device.startswith("cpu")) as profiler:
        epoch()
    rows = [
        {
            "operation": event.key.removeprefix("aten::"),
            "ms": (event.self_cpu_time_total + event.self_device_time_total) / 1000 / steps,
            "calls": event.count / steps,
        }
        for event in profiler.key_averages()
    ]
    return sorted(rows, key=lambda row: -row["ms"])


def _rounds(
    number: int,
    epochs: int,
    splits: Sequence[Split],
    device: str,
    device_name: str,
    jobs: int,
    data_root: str | Path | None,
    progress: Progress,
) -> dict[str, Any]:
    """Time whole rounds, with the test error after every epoch and all that is saved."""
    recipe = _recipe(_ROUNDS_CASE).replace(rounds=number, epochs=epochs)
    what = f"{number} rounds of {epochs} epochs of {_ROUNDS_CASE}"
    progress(what, 0, 2)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        train(recipe, out, device=device, jobs=jobs, data_root=data_root)
    ours = time.perf_counter() - started
    progress(what, 1, 2)
    started = time.perf_counter()
    for each in range(1, number + 1):
        pairs, test_pairs = draw_round(recipe, each, *splits)
        training = Training(recipe, pairs, device_name, replace(TUNED, fold=True))
        for _ in range(epochs):
            training.epoch()
            training.error(test_pairs)
    tuned = time.perf_counter() - started
    ratio = {"engine_over_tuned": ours / tuned}
    return {"case": what, "jobs": jobs, "engine_s": ours, "tuned_s": tuned, **ratio}


def _peak_memory(runner: str, device: str, data_root: str | Path | None) -> float | None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_train_alone, (runner, device, data_root))


def _train_alone(runner: str, device: str, data_root: str | Path | None) -> float | None:
    recipe = _recipe(_MEMORY_CASE)
    source = open_source("mnist", root=data_root)
    splits = source.split("train"), source.split("test")
    with compute(device) as name:
        _runner(runner, recipe, _pairs(recipe, splits), name)()
    return peak_mib()
