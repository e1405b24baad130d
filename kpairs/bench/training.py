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

from kpairs import seeds
from kpairs.bench.handwritten import NEVER_FOLDED, PLAIN, TUNED, Training
from kpairs.bench.memory import peak_mib
from kpairs.data import PairSet
from kpairs.data.source import open_source
from kpairs.data.splits import Split
from kpairs.recipes import Recipe
from kpairs.reports import RECIPES
from kpairs.training.batches import Batches, Randomness, shuffled
from kpairs.training.callbacks import StopOnNonFinite
from kpairs.training.compile import compile_model
from kpairs.training.device import compute, describe
from kpairs.training.engine.lower import lower
from kpairs.training.network import architecture_of, build_round, rescale
from kpairs.training.prepare import draw_round, rescaling_of
from kpairs.training.train import train

# The reports' own batch sizes, without augmentation, and photographs.
CASES = ("c4l2_ws", "auxws", "wsal_bd", "ranker")
RUNNERS = ("engine", "tuned", "torch", "keras")
_ROUNDS_CASE = "c4l2_ws"
_PHOTOGRAPHS, _BATCH = (64, 64, 3), 64
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
    meets all of them; a ratio is the median of the turns' ratios. On a CPU a step's time is that
    for which its one thread had the processor. A tuned loop that may call its tower once or twice
    is measured both ways, and the faster way counts. `quick` means fewer turns, few and short
    rounds and no memory: less than a minute.

    Returns:
        JSON-ready dict: `cases` (milliseconds per step by runner, and the engine's ratio to each;
        with `profile` the operations, each with its milliseconds and calls per step), `rounds`
        (the same rounds by kpairs and by the plain and the tuned loop, in seconds, with the start
        of kpairs' processes), `memory` (peak MiB of a process that trains an epoch of auxws, by
        runner; None if quick or not on Linux) and `machine`.
    """
    source = open_source("mnist", root=data_root)
    splits = source.split("train"), source.split("test")
    cases = []
    with compute(device) as name:
        machine = describe(name, 1)
        for case in CASES:
            cases.append(_case(case, splits, name, quick, profile, partial(progress, case)))
        memory = None
        if not quick:
            memory = {}
            for done, runner in enumerate(RUNNERS):
                progress("memory", done, len(RUNNERS))
                memory[runner] = _peak_memory(runner, device, data_root)
        rounds = _rounds(splits, device, name, jobs, quick, data_root, progress)
    return {"cases": cases, "rounds": rounds, "memory": memory, "machine": machine}


def _recipe(case: str, quick: bool = False) -> Recipe:
    changes: dict[str, Any] = {"augmentation": "none", "rounds": 1}
    if quick:
        changes["pairs"] = min(RECIPES[case].data.pairs, 30 * RECIPES[case].fit.batch_size)
    if case == "ranker":
        changes |= {"batch_size": _BATCH, "schedule": "constant"}
        changes["pairs"] = _BATCH if quick else 2 * _BATCH
        changes |= {"image_size": _PHOTOGRAPHS[:2], "channels": _PHOTOGRAPHS[2]}
    return RECIPES[case].replace(**changes)


def _pairs(recipe: Recipe, splits: Sequence[Split]) -> PairSet:
    """Draw a round's pairs; noise stands in for photographs, because it takes as long."""
    if recipe.network.arch != "ranker":
        return draw_round(recipe, 1, *splits)[0]
    rng = seeds.generator(recipe.fit.seed, 1, "pairs")
    left, right = rng.random((2, recipe.data.pairs, *_PHOTOGRAPHS), np.float32)
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
    rescale(model, rescaling_of(recipe.data.normalization, pairs))
    compile_model(model, recipe, architecture_of(recipe))
    if kind == "keras":
        x, y = pairs.inputs(), pairs.targets(outputs)
        return partial(model.fit, x, y, batch_size=recipe.fit.batch_size, verbose=0)
    order = shuffled(recipe, 1, len(pairs))
    batches = Batches(pairs, outputs, recipe.fit.batch_size, device, order)
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
    turns = 3 if quick else 20
    clock = time.process_time if device.startswith("cpu") else time.perf_counter
    runners = {kind: _runner(kind, recipe, pairs, device) for kind in RUNNERS}
    if case not in NEVER_FOLDED:
        runners["folded"] = _runner("tuned", recipe, pairs, device, fold=True)
    times: dict[str, list[float]] = {kind: [] for kind in runners}
    for turn in range(turns + 1):
        progress(turn, turns + 1)
        for kind in list(runners)[:: 1 if turn % 2 else -1]:
            started = clock()
            runners[kind]()
            if turn:  # the first warms up
                times[kind].append(1000 * (clock() - started) / steps)
    folded = times.pop("folded", times["tuned"])
    is_faster = statistics.median(folded) < statistics.median(times["tuned"])
    times["tuned"] = folded if is_faster else times["tuned"]
    return {
        "case": f"{case}, batch {recipe.fit.batch_size}",
        **{f"{kind}_ms": statistics.median(times[kind]) for kind in RUNNERS},
        **{
            f"engine_over_{kind}": _ratio(times["engine"], times[kind])
            for kind in RUNNERS
            if kind != "engine"
        },
        "tuned_folds": is_faster or case == "ranker",
        "repeats": turns,
        **({"profile": _profile(runners["engine"], steps, device)} if profile else {}),
    }


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
    splits: Sequence[Split],
    device: str,
    device_name: str,
    jobs: int,
    quick: bool,
    data_root: str | Path | None,
    progress: Progress,
) -> dict[str, Any]:
    """Time whole rounds, with the test error after every epoch and all that is saved."""
    recipe = _recipe(_ROUNDS_CASE)
    recipe = recipe.replace(rounds=4, epochs=5) if quick else recipe.replace(rounds=20)
    what = f"{recipe.fit.rounds} rounds of {recipe.fit.epochs} epochs of {_ROUNDS_CASE}"
    progress(what, 0, 3)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        train(recipe, out, device=device, jobs=jobs, data_root=data_root)
    seconds = {"engine": time.perf_counter() - started}
    tunings = {"tuned": replace(TUNED, fold=True), "torch": PLAIN}
    for done, (kind, tuning) in enumerate(tunings.items(), 1):
        progress(what, done, 3)
        started = time.perf_counter()
        for number in range(1, recipe.fit.rounds + 1):
            pairs, test_pairs = draw_round(recipe, number, *splits)
            training = Training(recipe, pairs, device_name, tuning)
            for _ in range(recipe.fit.epochs):
                training.epoch()
                training.error(test_pairs)
        seconds[kind] = time.perf_counter() - started
    return {
        "case": what,
        "jobs": jobs,
        **{f"{kind}_s": value for kind, value in seconds.items()},
        **{f"engine_over_{kind}": seconds["engine"] / seconds[kind] for kind in tunings},
        **{
            f"{kind}_rounds_per_minute": 60 * recipe.fit.rounds / value
            for kind, value in seconds.items()
        },
    }


def _peak_memory(runner: str, device: str, data_root: str | Path | None) -> float | None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_train_alone, (runner, device, data_root))


def _train_alone(runner: str, device: str, data_root: str | Path | None) -> float | None:
    recipe = _recipe("auxws")
    source = open_source("mnist", root=data_root)
    splits = source.split("train"), source.split("test")
    with compute(device) as name:
        _runner(runner, recipe, _pairs(recipe, splits), name)()
    return peak_mib()
