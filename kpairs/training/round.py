"""One round: the training of one network, from its last checkpoint if there is one."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from kpairs.data import PairSet
from kpairs.data.splits import Split
from kpairs.files import refuse_links
from kpairs.models.own import OwnNetwork
from kpairs.networks import import_modules, imported_modules
from kpairs.recipes import Recipe
from kpairs.training.compile import Own
from kpairs.training.device import compute
from kpairs.training.evaluate import measure
from kpairs.training.fit import Machine, fit
from kpairs.training.graded import GradesHead
from kpairs.training.linear import LinearHead
from kpairs.training.lock import locked
from kpairs.training.network import architecture_of, build_round, rescale, save_model
from kpairs.training.prepare import prepare
from kpairs.training.records import read_history


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
    recipe, number, folder, machine = task.recipe, task.number, task.folder, task.machine
    network = task.network.architecture if task.network else architecture_of(recipe)
    outputs = network.named(recipe.data.word)
    refuse_links(folder)
    folder.mkdir(exist_ok=True)
    with locked(folder), compute(machine.device, machine.threads) as device:
        data = prepare(recipe, number, *task.pairs, task.normalized_by)
        model = model or build_round(recipe, number, task.classes, task.network)
        rescale(model, data.rescaling)
        head = None
        if network.linear:
            kind = GradesHead if len(network.learned()) > 1 else LinearHead
            head = kind(model, recipe, number, network, data, folder)
        fitted = fit(
            *(model, recipe, number, network, data, folder, device, machine, task.own, callbacks),
            solve=None if head is None else head.solve,
        )
        if head is None:
            measured = measure(model, data.train, data.test, outputs, network.own_targets)
        else:
            seen, (train, test) = head.on_features()
            measured = measure(seen, train, test, outputs)
        save_model(model, folder / "model.keras")
    if fitted.best_epoch is None:
        best = _best_epoch(read_history(folder / "history.csv"))
    else:
        best = {"epoch": fitted.best_epoch, **measured["test"]}
    return {
        "round": number,
        "epochs": fitted.epochs,
        "rescaling": data.rescaling and list(data.rescaling),
        **measured,
        **({} if head is None else head.facts),
        "best_epoch": best,
        "engine": fitted.engine,
        "seconds": round(fitted.seconds, 2),
    }


def _best_epoch(history: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the epoch with the least test error."""
    evaluated = [row for row in history if not math.isnan(row["test_comparison_accuracy"])]
    best = max(evaluated, key=lambda row: row["test_comparison_accuracy"])
    error = round(100 * (1 - best["test_comparison_accuracy"]), 4)
    return {"epoch": int(best["epoch"]), "comparison_error_pct": error}
