"""One round: the training of one network, from its last checkpoint if there is one."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras

from kpairs.data import PairSet
from kpairs.data.splits import Split
from kpairs.files import refuse_links
from kpairs.models.own import OwnNetwork
from kpairs.models.registry import Architecture
from kpairs.networks import import_modules, imported_modules
from kpairs.recipes import Recipe
from kpairs.training.compile import Own
from kpairs.training.device import compute
from kpairs.training.evaluate import measure
from kpairs.training.fit import Fitted, Machine, fit
from kpairs.training.graded import GradesHead
from kpairs.training.linear import LinearHead
from kpairs.training.lock import locked
from kpairs.training.network import architecture_of, build_round, rescale, save_model
from kpairs.training.prepare import Prepared, prepare
from kpairs.training.progress import tested_as
from kpairs.training.records import read_history
from kpairs.training.workers import log

HELD_OUT = "held-out"  # folder of a round's first fine-tuning


@dataclass(frozen=True)
class Round:
    """One round to train, complete: it can be sent to another process.

    Attributes:
        recipe: the completed recipe.
        number: the round, from 1.
        folder: where to write.
        pairs: training pairs as drawn, not augmented, and test pairs.
        classes: number of ranks.
        machine: how the training runs.
        network: a network of the user's own in place of the recipe's.
        own: other Keras objects of the user's own.
        test_images: images of which all ordered pairs are measured too, where a study asks for
            that; default those of the test pairs.
        normalized_by: the pairs whose mean and deviation standardise images; default the
            training pairs.
        imports: modules of the user's own architectures, which another process imports first.
    """

    recipe: Recipe
    number: int
    folder: Path
    pairs: tuple[PairSet, PairSet]
    classes: int
    machine: Machine = field(default_factory=Machine)
    network: OwnNetwork | None = None
    own: Own = field(default_factory=Own)
    test_images: Split | None = None
    normalized_by: PairSet | None = None
    imports: tuple[str, ...] = field(default_factory=imported_modules)


def train_round(
    task: Round,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    model: keras.Model | None = None,
) -> dict[str, Any]:
    """Train one round, from its last checkpoint if there is one.

    Args:
        task: the round.
        callbacks: further Keras callbacks, of kpairs' own display.
        model: the round's network as `build_round` returns it, if it is built already.

    Returns:
        The round's row of `Run.metrics`. Its best epoch is chosen on the test pairs, as report 004
        does; where there are validation pairs, on those, and then it is also the result.

    Raises:
        KpairsError: the loss became NaN or infinite; another process trains this round.
        InputError: a checkpoint that cannot be read; a folder that leads elsewhere.
    """
    import_modules(task.imports)
    callbacks = list(callbacks)
    recipe, number, folder, machine = task.recipe, task.number, task.folder, task.machine
    network = task.network.architecture if task.network else architecture_of(recipe)
    outputs = network.named(recipe.data.word)
    refuse_links(folder)
    folder.mkdir(exist_ok=True)
    with locked(folder), compute(machine.device, machine.threads) as device:
        tuned = network.linear and bool(recipe.fit.fine_tune)
        until = _epochs_that_help(task, network, device, callbacks) if tuned else None
        data = prepare(recipe, number, *task.pairs, task.normalized_by, whole=tuned)
        model = model or build_round(recipe, number, task.classes, task.network)
        fitted, head = _fitted(task, network, model, data, folder, device, callbacks, until)
        if head is None:
            measured = measure(model, data.train, data.test, outputs, network.own_targets)
        else:
            seen, (train, test) = head.on_features()
            measured = measure(seen, train, test, outputs)
        save_model(model, folder / "model.keras")
    if tuned:
        best = {"epoch": fitted.epochs, **measured["test"]}
    elif fitted.best_epoch is None:
        best = _best_epoch(read_history(folder / "history.csv"))
    else:
        best = {"epoch": fitted.best_epoch, **measured["test"]}
    return {
        "round": number,
        "epochs": fitted.epochs,
        "rescaling": data.rescaling and list(data.rescaling),
        **measured,
        **({} if head is None or fitted.epochs > 1 else head.facts),
        "best_epoch": best,
        "engine": fitted.engine,
        "seconds": round(fitted.seconds, 2),
    }


def _fitted(
    task: Round,
    network: Architecture,
    model: keras.Model,
    data: Prepared,
    folder: Path,
    device: str,
    callbacks: Iterable[keras.callbacks.Callback],
    until: int | None = None,
) -> tuple[Fitted, LinearHead | None]:
    """Fit a built network; of features' networks, return the head that was solved for, too."""
    rescale(model, data.rescaling)
    head = None
    if network.linear:
        kind = GradesHead if len(network.learned()) > 1 else LinearHead
        head = kind(model, task.recipe, task.number, network, data, folder)
    given = device, task.machine, task.own, callbacks, head, until
    fitted = fit(model, task.recipe, task.number, network, data, folder, *given)
    return fitted, head


def _epochs_that_help(
    task: Round, network: Architecture, device: str, callbacks: Iterable[keras.callbacks.Callback]
) -> int:
    """Fine-tune without some images, and return how many epochs to train on all.

    These are all epochs, or as many as were best where patience ended the training. One epoch,
    which is the linear score, where fine-tuning does not lower the loss on those images. This
    training is kept in the folder `held-out`.
    """
    folder = task.folder / HELD_OUT
    folder.mkdir(exist_ok=True)
    data = prepare(task.recipe, task.number, *task.pairs, task.normalized_by)
    held = data.validation or data.test  # a recipe that fine-tunes a head sets images aside
    log.info(
        f"fine-tuning: first {len(data.train):,} pairs train, and {len(held):,} pairs of other "
        "images say whether it helps"
    )
    model = build_round(task.recipe, task.number, task.classes, task.network)
    tried = replace(data, test=held)
    with tested_as(callbacks, "held-out"):
        fitted, _ = _fitted(task, network, model, tried, folder, device, callbacks)
    rows = read_history(folder / "history.csv")
    last = (fitted.best_epoch or 1) if len(rows) < task.recipe.fit.epochs else len(rows)
    before, after = rows[0], rows[last - 1]
    helps = after["validation_loss"] < before["validation_loss"]  # errors of few pairs say less
    said = [
        f"loss {row['validation_loss']:.3f}, error "
        f"{100 * (1 - row['validation_comparison_accuracy']):.1f} %"
        for row in (before, after)
    ]
    log.info(
        f"fine-tuning: on those pairs {said[0]} before, {said[1]} after it; "
        + (f"all {len(task.pairs[0]):,} pairs train now" if helps else "the linear score is kept")
    )
    return last if helps else 1


def _best_epoch(history: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the epoch with the least test error."""
    evaluated = [row for row in history if not math.isnan(row["test_comparison_accuracy"])]
    best = max(evaluated, key=lambda row: row["test_comparison_accuracy"])
    error = round(100 * (1 - best["test_comparison_accuracy"]), 4)
    return {"epoch": int(best["epoch"]), "comparison_error_pct": error}
