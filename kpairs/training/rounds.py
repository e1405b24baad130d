"""Training and evaluating rounds: data drawn anew, a fresh model, one fit."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from rich.console import Console

from kpairs import seeds
from kpairs.archs import ARCHS
from kpairs.data import augment_pairs, draw_pairs, load_digits
from kpairs.data.sources import canonical
from kpairs.errors import InputError
from kpairs.files import write_json
from kpairs.outputs import decisions
from kpairs.plots import draw_curves
from kpairs.training.callbacks import HistoryFile, LiveProgress, StopOnNonFinite
from kpairs.training.environment import compute, describe
from kpairs.training.interrupt import Interruption
from kpairs.training.models import (
    build_round,
    check_architecture,
    check_builds,
    load_round,
    rescaling_of,
    save_model,
)
from kpairs.training.runs import Run

_EVALUATION_BATCH = 1000


def train(recipe, out=None, *, device="auto", threads=1, data_root=None, progress=None):
    """Train a recipe's rounds into a new run folder.

    Round r draws its training pairs, test pairs, initial weights, order and dropout from
    (seed, r) alone, so rounds can be repeated one by one, and on a CPU with the same number of
    threads the same recipe gives the same weights bit for bit. Seeds Python's, NumPy's and the
    backend's global generators.

    Args:
        recipe: a `Recipe`.
        out: the run folder; default `runs/<date>-<arch>`.
        device: "auto" (a GPU if there is one), "cpu" or "gpu".
        threads: CPU threads.
        data_root: cache folder of the digit images.
        progress: a `rich.console.Console` for live progress; None for silence.

    Returns:
        The finished `Run`.

    Raises:
        UsageError, InputError: see `Recipe` and `load_digits`.
        KpairsError: the folder exists or cannot be written, the loss became NaN or infinite, ...
        KeyboardInterrupt: interrupted; its message says what is saved.
    """
    check_architecture(recipe)
    recipe = replace(recipe, data=canonical(recipe.data))  # a folder's path as seen from anywhere
    splits = [load_digits(recipe.data, split, data_root) for split in ("train", "test")]
    draw_round(recipe, 1, *splits, augment=False)  # too few images: say so before the folder exists
    with compute(device, threads) as device_name:
        check_builds(recipe, len(splits[0].classes))
        run = Run.create(recipe, out)
        environment = describe(device_name, threads)
        environment["started"] = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(run.path / "environment.json", environment)
        interruption = Interruption()
        for number in range(1, recipe.rounds + 1):
            try:
                with interruption.noted():
                    _train_round(run, number, *splits, interruption, progress)
                    interruption.check()
            except KeyboardInterrupt as error:
                done = f"{len(run.rounds)} of {recipe.rounds} rounds are finished"
                raise KeyboardInterrupt(
                    f"interrupted in round {number}; {done}, saved in {run.path}"
                ) from error
    return run


def draw_round(recipe, number, train_digits, test_digits, augment=True):
    """The training pairs (augmented) and test pairs of one round, as two `PairSet`s."""
    rng = seeds.generator(recipe.seed, number, "pairs")
    train_pairs = draw_pairs(train_digits, recipe.pairs, rng)
    test_pairs = draw_pairs(test_digits, recipe.test_pairs, rng)
    if augment and recipe.augmentation == "shifts_and_swap":
        rng = seeds.generator(recipe.seed, number, "augmentation")
        train_pairs = augment_pairs(train_pairs, rng)
    return train_pairs, test_pairs


def _train_round(run, number, train_digits, test_digits, interruption, console):
    recipe = run.recipe
    outputs = ARCHS[recipe.arch].outputs
    train_pairs, test_pairs = draw_round(recipe, number, train_digits, test_digits)
    classes = len(train_digits.classes)
    rescaling = rescaling_of(recipe.normalization, train_pairs)
    model = build_round(recipe, number, classes, rescaling)
    folder = run.folder(number)
    folder.mkdir()
    progress = LiveProgress(number, recipe.rounds, outputs, console or Console(quiet=True))
    started = time.perf_counter()
    try:
        model.fit(
            train_pairs.inputs(),
            train_pairs.targets(outputs),
            batch_size=recipe.batch_size,
            epochs=recipe.epochs,
            shuffle=recipe.shuffle,
            validation_data=(test_pairs.inputs(), test_pairs.targets(outputs)),
            validation_batch_size=_EVALUATION_BATCH,
            callbacks=[
                HistoryFile(folder / "history.csv"),
                StopOnNonFinite(recipe.learning_rate),
                interruption,
                progress,
            ],
            verbose=0,
        )
    finally:
        progress.close()
    seconds = time.perf_counter() - started
    save_model(model, recipe, classes, rescaling, folder / "model.keras")
    run.add_round(
        {
            "round": number,
            "epochs": recipe.epochs,
            "rescaling": rescaling and list(rescaling),
            "train": errors(model, train_pairs, outputs),
            "test": errors(model, test_pairs, outputs),
            "best_epoch": _best_epoch(run.history(number)),
            "seconds": round(seconds, 2),
        }
    )
    draw_curves([run.history(n) for n in run.rounds], run.path / "curves.png", recipe.arch)


def _best_epoch(history):
    """The epoch with the least test error: chosen on test pairs, as report 004 does."""
    best = max(history, key=lambda row: row["test_comparison_accuracy"])
    error = 100 * (1 - best["test_comparison_accuracy"])
    return {"epoch": int(best["epoch"]), "comparison_error_pct": round(error, 4)}


def errors(model, pairs, outputs):
    """Error rates of a model in inference mode.

    Args:
        model: a Keras model with these outputs.
        pairs: a `PairSet`.
        outputs: kind of each named output, as the registry gives it.

    Returns:
        `comparison_error_pct`, and with digit outputs `digit_error_pct` over both images, in
        percent.
    """
    values = model.predict(pairs.inputs(), batch_size=_EVALUATION_BATCH, verbose=0)
    wrong = {
        name: decisions(values[name], kind) != getattr(pairs, name)
        for name, kind in outputs.items()
    }
    rates = {"comparison_error_pct": _percent(wrong["comparison"])}
    if "left_digit" in wrong:
        both = np.concatenate([wrong["left_digit"], wrong["right_digit"]])
        rates["digit_error_pct"] = _percent(both)
    return rates


def _percent(wrong):
    return round(100 * float(np.mean(wrong)), 6)


def evaluate(run, *, device="auto", threads=1, data_root=None, test_pairs=None):
    """Evaluate each finished round of a run on pairs drawn again from its recipe.

    Args:
        run: a `Run`.
        device, threads: see `train`.
        data_root: cache folder of the digit images.
        test_pairs: number of test pairs; default the recipe's, which are those of the training.

    Returns:
        A list of rows like those of `run.metrics["rounds"]`.

    Raises:
        InputError: no finished round, a model that cannot be read, or missing data.
    """
    recipe = run.recipe if test_pairs is None else replace(run.recipe, test_pairs=test_pairs)
    check_architecture(recipe)
    if not run.rounds:
        raise InputError(f"{run.path}: expected a finished round, received none")
    splits = [load_digits(recipe.data, split, data_root) for split in ("train", "test")]
    outputs = ARCHS[recipe.arch].outputs
    rows = []
    with compute(device, threads):
        for number in run.rounds:
            model = load_round(run, number, len(splits[0].classes))
            train_pairs, drawn_test_pairs = draw_round(recipe, number, *splits)
            train, test = (errors(model, p, outputs) for p in (train_pairs, drawn_test_pairs))
            rows.append({"round": number, "train": train, "test": test})
    return rows
