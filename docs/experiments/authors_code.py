"""Numbers that differ: what the authors' own code gives on the pairs of our rounds.

    python docs/experiments/authors_code.py altunina ee559-dl-projects/Proj1/src 10
    python docs/experiments/authors_code.py piguet DL_miniproj/Project1/final 150 "c1l2 aux_1"
    python docs/experiments/authors_code.py piguet DL_miniproj/Project1/final 12 "c1l2 aux_1" same

Trains every setting of a report of which a number differs (those of cross-validations apart), or
the one that is named, by its authors' networks and training loop, in the folder of a clone of their
repository, on the pairs of that many of our rounds. Leaves a row per training in
`docs/rows/STUDY-authors.csv`, named as studies' rows are, and trains none twice. Nothing of their
code is copied into kpairs, nor changed but for an index that PyTorch no longer takes (report 003),
and with `same` for the order; where they draw pairs they get ours.

With `same`, of networks of report 000 that share no weights, also the first weights are those of
our round, and the order of its pairs in every epoch: `docs/rows/STUDY-same-start.csv`. Rounds in
which our training collapsed are taken too.

    piguet    gbossy/DL_miniproj (41c327e), Project1/final and Project1
    kong      JiahuaWU/EE-559-Deep-Learning (04e6fe1), project1_submission
    altunina  zenhaeus/ee559-dl-projects (3168ae0), Proj1/src
"""

import contextlib
import importlib
import io
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from kpairs import seeds
from kpairs.data import PairSet, open_source
from kpairs.models.initialization import initialize
from kpairs.models.pair import layers_of
from kpairs.networks import build
from kpairs.recipes import Recipe
from kpairs.studies.catalogue import STUDIES
from kpairs.studies.compare import DIFFERS
from kpairs.studies.results import Results
from kpairs.studies.rows import name_of, rows_of, study_rows, write_rows
from kpairs.training.device import compute, describe
from kpairs.training.prepare import augmented, draw_round

ROWS = Path(__file__).parents[1] / "rows"
_CARRIED: dict[str, nn.Module] = {}  # networks of report 003, from round to round


def as_theirs(pairs: PairSet) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs as the course hands them out: images (n, 2, 14, 14) of 0 to 255, targets, digits."""
    images = torch.cat([torch.tensor(255 * side[:]) for side in (pairs.left, pairs.right)], 3)
    digits = torch.tensor(np.stack([pairs.left_digit, pairs.right_digit], 1))
    return images.permute(0, 3, 1, 2).contiguous(), torch.tensor(pairs.comparison), digits


def module(folder: Path, name: str, *changes: tuple[str, str]) -> ModuleType:
    """Load a module of theirs, with texts of its source changed."""
    source = (folder / f"{name}.py").read_text()
    for old, new in changes:
        if old not in source:
            raise SystemExit(f"{name}.py: expected {old!r}, received a file without it")
        source = source.replace(old, new)
    made = ModuleType(name)
    sys.modules[name] = made
    exec(compile(source, folder / f"{name}.py", "exec"), vars(made))
    return made


def begin_as_ours(network: nn.Module, recipe: Recipe, number: int) -> None:
    """Copy the first weights of a round into a network of report 000 that shares none."""
    model = build(recipe.network.arch)
    rng = seeds.generator(recipe.fit.seed, number, "initialization")
    initialize(model, recipe.network.initialization, rng)
    convolutions, dense = (
        sorted(
            (layer for layer in layers_of(model) if type(layer).__name__ == kind),
            key=lambda layer: (len(layer.name), layer.name),  # as they were made
        )
        for kind in ("Conv2D", "Dense")
    )
    half = len(convolutions) // 2
    weights = {}
    for place, towers in enumerate(zip(convolutions[:half], convolutions[half:], strict=True), 1):
        kernels, biases = zip(*(layer.get_weights() for layer in towers), strict=True)
        weights[f"conv{place}.weight"] = np.concatenate(kernels, 3).transpose(3, 2, 0, 1)
        weights[f"conv{place}.bias"] = np.concatenate(biases)
    names = ["aux_linear1", "aux_linear2", *(f"fc{n}" for n in range(1, len(dense) - 1))]
    for name, layer in zip(names, dense, strict=True):
        kernel, weights[f"{name}.bias"] = layer.get_weights()
        if name in (*names[:2], "fc1"):  # they read flat maps, in which channels come last here
            channels = convolutions[-1].filters
            side = round((dense[0].input.shape[1] / channels) ** 0.5)
            maps = kernel.reshape(-1, side, side, channels, layer.units)
            kernel = maps.transpose(0, 3, 1, 2, 4).reshape(kernel.shape)
        weights[f"{name}.weight"] = kernel.T
    network.load_state_dict({k: torch.tensor(v.copy()) for k, v in weights.items()})


def piguet(
    folder: Path, recipe: Recipe, pairs: tuple[Any, ...], number: int, same: bool = False
) -> dict[str, float]:
    """Report 000: errors after the last epoch."""
    order = ("torch.randperm(train_input.size()[0])", "next(orders)")
    theirs = module(folder, "various_data_functions", *[order] * same)
    name = recipe.network.arch.upper().replace("_", "")
    network = getattr(module(folder, "models"), name)()
    theirs.MNIST = lambda **_: None  # it would be downloaded, and is not used
    theirs.prologue.generate_pair_sets = lambda count: pairs  # type: ignore[attr-defined]
    drawn = theirs.data(1000, True, False, nn.CrossEntropyLoss, shuffle=not same)
    train_input, train_target, train_classes, test_input, test_target, _ = drawn
    if same:
        begin_as_ours(network, recipe, number)
        draws = (
            seeds.generator(recipe.fit.seed, number, "order", epoch)
            for epoch in range(recipe.fit.epochs)
        )
        theirs.orders = (torch.tensor(draw.permutation(len(train_input))) for draw in draws)
    theirs.train_model(
        network,
        train_input,
        train_target,
        train_classes,
        recipe.fit.batch_size,
        eta=recipe.optimizer.learning_rate,
        nb_epochs=recipe.fit.epochs,
        aux_factor=recipe.fit.loss_weights.get("left_digit", 0),
    )
    with torch.no_grad():
        errors = theirs.compute_nb_errors(network, test_input, test_target)
        answers = network(test_input)[0].argmax(1)
    return {"test_error_pct": errors / 10, "collapsed": len(answers.unique()) == 1}


def kong(folder: Path, recipe: Recipe, pairs: tuple[Any, ...], number: int) -> dict[str, float]:
    """Report 003: errors after the last epoch.

    As in their loop one network is trained in all rounds, of which only convolutions and linear
    layers begin anew, so that what its batch normalisations learned is carried on.
    """
    theirs = module(folder, "helpers", ("[[ind]]", "[torch.stack(ind)]"))
    if number == 1:
        name = {"a_net": "no_w_a_net"}.get(recipe.network.arch, recipe.network.arch)
        _CARRIED[recipe.network.arch] = getattr(module(folder, "nets"), name)()
    elif recipe.network.arch not in _CARRIED:
        raise SystemExit(
            f"{recipe.network.arch}: remove its rows, what round {number} carries on is lost"
        )
    network = _CARRIED[recipe.network.arch]
    theirs.prologue.generate_pair_sets = lambda count: pairs
    train_input, train_target, train_classes, test_input, test_target, _ = theirs.generate_data()
    digits = "left_digit" in recipe.fit.loss_weights
    parameters = {
        "aux_loss": digits,
        "adjust_lr": False,
        "n_epochs": recipe.fit.epochs,
        "loss_ratio": recipe.fit.loss_weights["comparison"],
        "batch_size": recipe.fit.batch_size,
        "criterion": nn.BCELoss(),
        "aux_criterion": nn.CrossEntropyLoss(),
        "flatten_input": False,
    }
    theirs.train(network, parameters, train_input, train_target, train_classes)
    accuracy, _ = theirs.test(network, test_input, test_target, parameters)
    with torch.no_grad():
        said = network(test_input)
        answers = (said[0] if digits else said).round()
    return {
        "test_error_pct": round(100 * (1 - accuracy), 4),
        "collapsed": len(answers.unique()) == 1,
    }


def altunina(folder: Path, recipe: Recipe, pairs: tuple[Any, ...], _: int) -> dict[str, float]:
    """Report 004: errors after the last epoch, and the least after any."""
    theirs = module(folder, "model")
    name = recipe.network.arch.replace("basicnet", "BasicNet").replace("auxnet", "AuxNet")
    network = getattr(theirs, name)(*recipe.network.options["widths"])
    network.lr, network.batch_size = recipe.optimizer.learning_rate, recipe.fit.batch_size
    theirs.generate_pair_sets = lambda count: pairs  # type: ignore[attr-defined]
    _, test, train, _, _ = network.train_model(0)
    network.batch_size = len(network.test_input)
    with torch.no_grad():
        answers = network.get_main_out(0, network.test_input).argmax(1)
    return {
        "test_error_pct": round(100 - test[-1], 4),
        "best_epoch_error_pct": round(100 - max(test), 4),
        "least_train_error_pct": round(100 - max(train), 4),
        "collapsed": len(answers.unique()) == 1,
    }


TRAIN: dict[str, Callable[..., dict[str, float]]]
TRAIN = {"piguet": piguet, "kong": kong, "altunina": altunina}


def main(
    report: str, folder: Path, rounds: int, only: str | None = None, same: str | None = None
) -> None:
    """Train what is missing, round by round."""
    numbers = Results(ROWS, [report]).judged
    differing = numbers[numbers["verdict"] == DIFFERS]
    wanted = set(zip(differing["arch"], differing["setting"], strict=True))
    settings = [
        (study, setting)
        for study in STUDIES.values()
        for setting in study.settings
        if study.report == report and not setting.folds
        if (
            setting.name == only
            if only
            else (setting.recipe.network.arch, setting.setting) in wanted
        )
    ]
    if not settings:
        raise SystemExit(f"expected a setting of {report} as {only!r} to train, received none")
    sys.path[:0] = [str(folder), str(folder.parent)]  # 000's `prologue` lies one folder up
    sys.argv[1:] = []  # which their code reads as it is imported
    importlib.import_module("dlc_practical_prologue")  # it sets torch's seed
    torch.set_num_threads(1)
    with compute("cpu") as device:
        machine = describe(device, 1)
    kind, options = ("same-start", {"same": True}) if same else ("authors", {})
    trials = [(n, study, setting) for n in range(1, rounds + 1) for study, setting in settings]
    for study, setting in settings if same else ():
        rows = study_rows(ROWS, study)
        rows = rows[(name_of(rows) == setting.name) & (rows["collapsed"] == 1)]
        trials += [(n, study, setting) for n in rows["round"] if n > rounds]
    mnist = open_source("mnist")
    for number, study, setting in trials:
        recipe = setting.recipe
        trial = {"arch": recipe.network.arch, "setting": setting.setting, "round": number}
        if (rows_of(ROWS, study, kind)[list(trial)] == list(trial.values())).all(axis=1).any():
            continue
        train, test = draw_round(recipe, number, *(mnist.split(part) for part in ("train", "test")))
        drawn = augmented(recipe, number, train), test
        torch.manual_seed(seeds.integer(recipe.fit.seed, number, "initialization"))
        begin = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            pairs = [part for side in drawn for part in as_theirs(side)]
            measured = TRAIN[report](folder, recipe, tuple(pairs), number, **options)
        ran = {
            "seconds": round(time.perf_counter() - begin, 2),
            "backend": f"torch {torch.__version__.split('+')[0]}",
            "python": platform.python_version(),
            "hardware": f"{machine['device_name']}, {machine['cores']} cores",
        }
        row = {**trial, **measured, "collapsed": int(measured["collapsed"]), **ran}
        print(row, flush=True)
        path = ROWS / f"{study.name}-{kind}.csv"
        rows = pd.read_csv(path, keep_default_na=False) if path.exists() else pd.DataFrame()
        write_rows(path, pd.concat([rows, pd.DataFrame([row])]))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
