"""How fast kpairs trains: beside stock Keras and beside a loop written by hand in PyTorch."""

import multiprocessing
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from kpairs.bench.handwritten import Training
from kpairs.data import load_digits
from kpairs.data.splits import Split
from kpairs.networks import ARCHS
from kpairs.recipes import Recipe
from kpairs.reports import RECIPES
from kpairs.training.batches import Batches, Randomness, shuffled
from kpairs.training.callbacks import StopOnNonFinite
from kpairs.training.compile import build_round, rescaling_of
from kpairs.training.device import compute, describe
from kpairs.training.draw import draw_round
from kpairs.training.engine.lower import lower
from kpairs.training.train import train

# The reports' own batch sizes; 1,000 pairs without augmentation.
CASES = ("c4l2_ws", "auxws", "wsal_bd")
RUNNERS = ("engine", "keras", "torch")
_ROUNDS_CASE = "c4l2_ws"


def bench_training(
    *,
    quick: bool = False,
    device: str = "auto",
    jobs: int = 2,
    data_root: str | Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure training steps and whole rounds.

    Each repeat trains by every runner in turn, so that a slower moment of the machine
    meets all of them; a ratio is the median of the repeats' ratios.

    Args:
        quick: fewer repeats, few and short rounds, no memory: about half a minute.
        device: see `kpairs.train`.
        jobs: processes for the rounds.
        data_root: cache folder of the digit images.
        say: called with what is being measured.

    Returns:
        JSON-ready dict: `cases` (milliseconds per step by runner, and their ratios), `rounds`
        (the same rounds by kpairs and by the hand-written loop, in seconds, with the start of
        kpairs' processes), `memory` (peak MiB of a process that trains an epoch of auxws, by
        runner; None if quick or not on Linux) and `machine`.
    """
    splits = [load_digits("mnist", split, data_root) for split in ("train", "test")]
    cases = []
    with compute(device) as name:
        machine = describe(name, 1)
        for case in CASES:
            say(case)
            cases.append(_case(case, splits, name, *((3, 30) if quick else (9, 100))))
        memory = None
        if not quick:
            say("memory")
            memory = {runner: _peak_memory(runner, device, data_root) for runner in RUNNERS}
        say(f"rounds with {jobs} jobs")
        rounds = _rounds(splits, device, name, jobs, quick, data_root)
    return {"cases": cases, "rounds": rounds, "memory": memory, "machine": machine}


def _recipe(case: str) -> Recipe:
    return replace(RECIPES[case], augmentation="none", rounds=1)


def _runner(
    kind: str, recipe: Recipe, splits: Sequence[Split], device: str, epochs: int
) -> Callable[[], Any]:
    """Make a function that trains some epochs."""
    pairs, _ = draw_round(recipe, 1, *splits)
    if kind == "torch":
        training = Training(recipe, pairs, device)
        return lambda: [training.epoch() for _ in range(epochs)]
    outputs = ARCHS[recipe.arch].outputs
    model = build_round(recipe, 1, 10, rescaling_of(recipe.normalization, pairs))
    if kind == "keras":
        x, y = pairs.inputs(), pairs.targets(outputs)
        return partial(model.fit, x, y, batch_size=recipe.batch_size, epochs=epochs, verbose=0)
    order = shuffled(recipe, 1, len(pairs))
    batches = Batches(pairs, outputs, recipe.batch_size, device, order)
    lower(model, *batches.first())
    callbacks = [Randomness(recipe.seed, 1, batches), StopOnNonFinite(recipe.learning_rate)]
    fit = partial(model.fit, batches, shuffle=False, callbacks=callbacks, verbose=0)
    return partial(fit, epochs=epochs)


def _case(
    case: str, splits: Sequence[Split], device: str, repeats: int, least_steps: int
) -> dict[str, Any]:
    recipe = _recipe(case)
    steps = -(-recipe.pairs // recipe.batch_size)
    epochs = max(1, least_steps // steps)
    runners = {kind: _runner(kind, recipe, splits, device, epochs) for kind in RUNNERS}
    times: dict[str, list[float]] = {kind: [] for kind in RUNNERS}
    for repeat in range(repeats + 1):
        for kind in RUNNERS if repeat % 2 else RUNNERS[::-1]:
            started = time.perf_counter()
            runners[kind]()
            if repeat:  # the first warms up
                seconds = time.perf_counter() - started
                times[kind].append(1000 * seconds / (epochs * steps))
    return {
        "case": f"{case}, batch {recipe.batch_size}",
        **{f"{kind}_ms": statistics.median(times[kind]) for kind in RUNNERS},
        "engine_over_torch": _ratio(times["engine"], times["torch"]),
        "engine_over_keras": _ratio(times["engine"], times["keras"]),
        "repeats": repeats,
    }


def _ratio(times: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(times, others, strict=True))


def _rounds(
    splits: Sequence[Split],
    device: str,
    device_name: str,
    jobs: int,
    quick: bool,
    data_root: str | Path | None,
) -> dict[str, Any]:
    """Whole rounds, with the test error after every epoch and all that is saved."""
    recipe = _recipe(_ROUNDS_CASE)
    recipe = replace(recipe, rounds=4, epochs=5) if quick else replace(recipe, rounds=20)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        train(recipe, out, device=device, jobs=jobs, data_root=data_root)
    engine = time.perf_counter() - started
    started = time.perf_counter()
    for number in range(1, recipe.rounds + 1):
        pairs, test_pairs = draw_round(recipe, number, *splits)
        training = Training(recipe, pairs, device_name)
        for _ in range(recipe.epochs):
            training.epoch()
            training.error(test_pairs)
    torch = time.perf_counter() - started
    return {
        "case": f"{recipe.rounds} rounds of {recipe.epochs} epochs of {_ROUNDS_CASE}",
        "jobs": jobs,
        "engine_s": engine,
        "torch_s": torch,
        "engine_over_torch": engine / torch,
        "engine_rounds_per_minute": 60 * recipe.rounds / engine,
        "torch_rounds_per_minute": 60 * recipe.rounds / torch,
    }


def _peak_memory(runner: str, device: str, data_root: str | Path | None) -> float | None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_train_alone, (runner, device, data_root))


def _train_alone(runner: str, device: str, data_root: str | Path | None) -> float | None:
    recipe = _recipe("auxws")
    splits = [load_digits("mnist", split, data_root) for split in ("train", "test")]
    with compute(device) as name:
        _runner(runner, recipe, splits, name, 1)()
    # getrusage would count what the parent process had before this one was its own.
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(peak[1]) / 2**10 if peak else None
