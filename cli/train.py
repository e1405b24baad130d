"""`kpairs train`: from a recipe to a run folder."""

import errno
import sys
from dataclasses import fields

import click
from click.core import ParameterSource

from kpairs.cli.options import (
    as_argument,
    as_json,
    data_dir,
    device,
    import_own,
    imports,
    print_json,
    threads,
)
from kpairs.data.columns import parse_columns
from kpairs.data.settings import parse_classes, parse_size
from kpairs.errors import KpairsError
from kpairs.recipes import Recipe, format_loss_weights, parse_argument
from kpairs.reports.resolve import resolve
from kpairs.training.records import ENGINES
from kpairs.training.run import Run, check_free

_AUGMENT = {True: "shifts_and_swap", False: "none"}
# Fields of several values, and how they are read.
_LISTS = {"columns": parse_columns, "image_size": parse_size, "classes": parse_classes}
# Arguments that many architectures take.
_ARGUMENTS = {
    "widths": "Sizes of the architecture's layers: 32,32,64,256.",
    "dropout": "Rate of the architecture's dropout layers.",
    "activation": "Activation of the hidden layers, such as relu, sigmoid, tanh or selu.",
}


def _hyperparameters(command):
    """Add one option per hyperparameter; its help, choices and checks stand in `Recipe`."""
    for field in reversed([f for f in fields(Recipe) if "help" in f.metadata]):
        flag, kind = "--" + field.name.replace("_", "-"), field.type
        if field.name == "augmentation":
            flag, kind = "--augment/--no-augment", bool
        elif kind is bool:
            flag = f"{flag}/--no-{flag[2:]}"
        elif field.metadata["choices"]:
            kind = click.Choice(field.metadata["choices"])
        elif field.name in _LISTS or kind == str | None:
            kind = str
        elif kind == int | None:
            kind = int
        text = field.metadata["help"]
        command = click.option(flag, field.name, type=kind, default=None, help=text)(command)
    return command


def _arguments(command):
    """Add the options for arguments of the architecture, those that many take by their names."""
    options = [click.option(f"--{name}", help=text) for name, text in _ARGUMENTS.items()]
    options += [
        click.option(
            "--arch-option",
            "arch_options",
            multiple=True,
            metavar="NAME=VALUE",
            help="Any argument of the architecture, such as depth=3; may be repeated.",
        )
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.option("--arch", help="Architecture; see 'kpairs archs'.")
@click.option(
    "--recipe", "base", help="Another architecture's recipe, or a run whose recipe to take."
)
@click.option(
    "--loss-weights",
    help="Weights of the comparison loss and of each digit (or grade) loss, as 0.5,1 or by output "
    "name as comparison=0.5,left_digit=1,right_digit=1.",
)
@_hyperparameters
@_arguments
@click.option(
    "--optimizer-option",
    "optimizer_options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Another hyperparameter of the optimizer, such as epsilon=1e-7; may be repeated.",
)
@click.option("--out", type=click.Path(), help="Run folder.  [default: runs/<date>-<arch>]")
@click.option(
    "--resume",
    "resumed",
    metavar="RUN",
    help="Go on with this run where it stopped; takes --rounds to train more of them.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Processes that train rounds side by side.",
)
@click.option("--keep-checkpoints", is_flag=True, help="Keep the state after every epoch.")
@click.option(
    "--tensorboard", is_flag=True, help="Write TensorBoard's event files into each round's folder."
)
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="auto",
    show_default=True,
    help="auto lowers training steps to a torch graph where it can; keras runs Keras' own.",
)
@data_dir
@device
@threads
@imports
@as_json
@click.pass_context
def train(context, arch, base, out, resumed, imports, jobs, data_dir, as_json, **options):
    """Train an architecture by its report's recipe, every number of which can be overridden.

    \b
    kpairs train --arch auxws --loss-weights 0.5,1
    kpairs train --arch ws --rounds 3 --epochs 10 --no-augment
    kpairs train --recipe runs/2026-11-21-auxws/recipe.json
    kpairs train --arch auxws --rounds 20 --jobs 2
    kpairs train --arch posterior --data photos --classes mild,moderate,severe
    kpairs train --resume runs/2026-11-21-auxws
    """
    import_own(imports)
    names = ("device", "threads", "engine", "keep_checkpoints", "tensorboard")
    how = {name: options.pop(name) for name in names}
    rounds = options["rounds"]
    if resumed is None:
        chosen = {name for name, value in options.items() if value is not None}
        recipe = _resolve(arch, base, options)
        # A recipe of one's own is meant as it is; a report's may be fitted to one's own images.
        how["given"] = None if base else chosen
        from kpairs.data.sources import source_key

        source_key(recipe.data.source)  # refused before Keras is imported
        if out is not None:
            check_free(out)
    else:
        _refuse_other_options(context)
        recipe = Run.open(resumed).recipe
    from kpairs.cli.tables import console, error_table

    progress = console(stderr=True)
    weights = format_loss_weights(recipe.fit.loss_weights)
    progress.print(f"{recipe.network.arch}, loss weights {weights}, data {recipe.data.source}")
    from kpairs import resume, train  # after the first word: it takes seconds

    common = {"jobs": jobs, "data_root": data_dir, "progress": progress}
    idle = False
    if resumed is None:
        run = train(recipe, out, **how, **common)
    else:
        idle = len(Run.open(resumed).rounds) >= (rounds or recipe.fit.rounds)
        run = resume(resumed, rounds=rounds, **common)
    try:
        _show(run, idle, imports, as_json, console, error_table)
        sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader went away
            raise
        sys.stdout = None  # nor is anything to be written at the end
        raise KpairsError(
            f"the results cannot be printed ({error.strerror}); all is saved in {run.path}"
        ) from error


def _show(run, idle, imports, as_json, console, error_table):
    """Print a finished run's errors, and what can be done with it."""
    recipe = run.recipe
    if as_json:
        print_json({"run": str(run.path), **run.metrics})
        return
    screen = console()
    rows, summary = run.metrics["rounds"], run.metrics["summary"]
    title = f"{recipe.network.arch}, error after epoch {recipe.fit.epochs}"
    screen.print(error_table(rows, summary, title, recipe.reported_epoch == "best"))
    given = "".join(f" --import {module}" for module in imports)
    said = (
        f"nothing to do: all rounds of {run.path} are finished" if idle else f"saved in {run.path}"
    )
    screen.print(f"{said}; next: kpairs export --onnx {as_argument(run.path)}{given}")


def _refuse_other_options(context):
    """A resumed run's recipe and settings are its own."""
    given = [
        option.opts[0]
        for option in context.command.params
        if context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    ]
    kept = {"--resume", "--rounds", "--jobs", "--import", "--data-dir", "--json"}
    if others := set(given) - kept:
        raise click.UsageError(
            f"--resume goes on by the run's own recipe; expected no {', '.join(sorted(others))}"
        )


def _resolve(arch, base, options):
    """The recipe that the command line describes."""
    if not arch and not base:
        raise click.UsageError("expected --arch NAME or --recipe FILE; 'kpairs archs' lists names")
    given = {name: options.pop(name) for name in _ARGUMENTS}
    arch_options = {name: text for name, text in given.items() if text is not None}
    arch_options |= dict(map(_assignment, options.pop("arch_options")))
    optimizer_options = {
        name: parse_argument(name, text, 0.0)
        for name, text in map(_assignment, options.pop("optimizer_options"))
    }
    changes = {name: value for name, value in options.items() if value is not None}
    for name, parse in _LISTS.items():
        if name in changes:
            changes[name] = parse(changes[name])
    if "augmentation" in changes:
        changes["augmentation"] = _AUGMENT[changes["augmentation"]]
    return resolve(
        arch, base, arch_options=arch_options, optimizer_options=optimizer_options, **changes
    )


def _assignment(text):
    name, equals, value = text.partition("=")
    if not (name.strip() and equals and value.strip()):
        raise click.BadParameter(f"expected NAME=VALUE, received {text!r}")
    return name.strip().replace("-", "_"), value.strip()
