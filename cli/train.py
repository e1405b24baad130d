"""`kpairs train`: from a recipe to a run folder."""

import errno
import sys

import click
from click.core import ParameterSource

from kpairs.cli import options as shared
from kpairs.cli import say
from kpairs.data.settings import parse_classes, parse_size
from kpairs.errors import KpairsError
from kpairs.recipes import FIELDS, LINEAR, format_loss_weights, parse_argument
from kpairs.training.records import ENGINES

_MANY = 1_000  # pairs, from which networks that learn all weights may beat features
_AUGMENT = {True: "shifts_and_swap", False: "none"}
# Fields of several values, and how they are read.
_LISTS = {"image_size": parse_size, "classes": parse_classes}
_SHARED = ("columns", "words", "images", "skip_missing")  # options of other commands too
# Arguments that many architectures take.
_ARGUMENTS = {
    "widths": "Sizes of the layers: 32,32,64,256.",
    "dropout": "Rate of the dropout layers.",
    "activation": "Activation of the hidden layers: relu, sigmoid, tanh or selu.",
}
# The ten options that `--help` shows; `--help-all` shows the others too, by the recipe's groups.
_FIRST = {
    "What is trained": ("data", "pairs", "loss_weights"),
    "How": ("epochs", "learning_rate", "rounds", "seed", "jobs"),
    "Where": ("out", "resumed"),
}
_MORE = {
    "Network": ("arch", "best", "base", *_ARGUMENTS, "arch_options"),
    "Images and pairs": (*_SHARED, "data_dir"),
    "Variation of images": (),
    "Optimizer": (),
    "Training": ("engine", "device", "threads", "keep_checkpoints", "tensorboard", "cluster"),
}
_OF_GROUP = dict(zip(("network", "data", "variation", "optimizer", "fit"), _MORE, strict=True))
for _name, _field in FIELDS.items():
    if _title := _OF_GROUP.get(_field.group):
        _MORE[_title] = (*_MORE[_title], _name)
_MORE["Optimizer"] += ("optimizer_options",)


def _hyperparameters(command):
    """Add one option per hyperparameter; its help and choices stand in `Recipe`."""
    for name, field in reversed(FIELDS.items()):
        text = field.info.description
        if not text or name in (*_SHARED, "arch_options"):
            continue
        flag, kind = "--" + name.replace("_", "-"), field.kind
        if name == "augmentation":
            flag, kind = "--augment/--no-augment", bool
        elif kind is bool:
            flag = f"{flag}/--no-{flag[2:]}"
        elif field.choices and isinstance(field.choices[0], str):
            kind = click.Choice(field.choices)
        elif field.choices:
            kind = int
        elif name in _LISTS:
            kind = str
        word = text.split()[0].strip(",:")  # a value of the option keeps its letters
        is_value = word in ("mnist", *map(str, field.choices or ())) or not word.isalpha()
        begun = text if is_value else text[0].upper() + text[1:]
        command = click.option(flag, name, type=kind, default=None, help=f"{begun}.")(command)
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
            help="Another argument of ARCH, such as depth=3; may be repeated.",
        )
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command(cls=shared.grouped(_FIRST, _MORE))
@click.argument("name", metavar="[ARCH]", required=False, shell_complete=shared.architecture_names)
@click.option("--arch", shell_complete=shared.architecture_names, help="The same as ARCH.")
@click.option(
    "--best",
    is_flag=True,
    help="Train linear, its fine-tuned form and ranker, and keep the best. "
    "Options of the optimizer are for ranker.",
)
@click.option("--recipe", "base", help="Take the recipe of another architecture or of a run.")
@click.option(
    "--loss-weights",
    help="Weights of the comparison and the digit (grade) losses: 0.5,1, or "
    "comparison=0.5,left_digit=1,right_digit=1.",
)
@_hyperparameters
@shared.table
@_arguments
@click.option(
    "--optimizer-option",
    "optimizer_options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Another number of it, such as epsilon=1e-7; may be repeated.",
)
@click.option("--out", type=click.Path(), help="Run folder.  [default: runs/<date>-<arch>]")
@click.option(
    "--resume",
    "resumed",
    metavar="RUN",
    help="Go on with this run; --rounds adds rounds, --data says where its images are.",
)
@shared.jobs
@click.option("--keep-checkpoints", is_flag=True, help="Keep the state after every epoch.")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard's files too.")
@shared.choice(
    "--engine",
    *ENGINES,
    default="auto",
    help="auto records training steps as a graph where it can; keras runs Keras' own.",
)
@click.option(
    "--cluster", metavar="ADDRESS", help="dask scheduler whose workers take features of new images."
)
@shared.data_dir
@shared.device
@shared.threads
@shared.imports
@shared.as_json
@click.pass_context
def train(
    context, name, arch, best, base, out, resumed, imports, jobs, data_dir, as_json, **options
):
    """Train a network on pairs of images: MNIST digits by default, or your own.

    ARCH comes with its report's recipe; options override its numbers. --data alone trains a score
    on a pretrained network's features. 'kpairs archs' lists the networks.

    \b
    kpairs train auxws
    kpairs train auxws --loss-weights 0.5,1 --epochs 10 --rounds 3
    kpairs train --data photos/pairs.csv
    kpairs train posterior --data photos --classes mild,moderate,severe
    kpairs train --resume runs/2026-11-21-auxws
    """
    shared.import_own(imports)
    if name and arch:
        raise click.UsageError("expected ARCH or --arch ARCH, received both")
    if best and (name or arch or base):
        raise click.UsageError("--best chooses the network; expected no ARCH and no --recipe")
    names = ("device", "threads", "engine", "keep_checkpoints", "tensorboard", "cluster")
    how = {option: options.pop(option) for option in names}
    idle = False
    if resumed is not None:
        _refuse_other_options(context)
        run, idle = _resumed(resumed, options["rounds"], options["data"], jobs, data_dir)
    else:
        from kpairs.training.run import check_free

        if out is not None:
            check_free(out)
        if best:
            options["held_out"] = options["held_out"] or "images"
        recipe, source, typed = _resolve(arch or name, base, options, data_dir)
        if not best:
            recipe.refuse_steps(typed)
            _announce(recipe, source.word)
        run = _trained(recipe, source, out, how, jobs, typed if best else None)
    try:
        _show(run, idle, imports, as_json)
        if not best and resumed is None and not as_json:
            _propose_best(run.recipe)
        sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader went away
            raise
        sys.stdout = None  # nor is anything to be written at the end
        raise KpairsError(
            f"the results cannot be printed ({error.strerror}); all is saved in {run.path}"
        ) from error


def _announce(recipe, word="digit"):
    """Say what is trained, before anything takes time; outputs are called by the source's word."""
    weights, data = format_loss_weights(recipe.fit.loss_weights), recipe.data.source
    weights = weights.replace("_digit=", f"_{word}=")
    shared.console(stderr=True).print(f"{recipe.network.arch}, loss weights {weights}, data {data}")


def _resumed(name, rounds, data, jobs, data_dir):
    """Go on with a run; return it, and whether there was nothing to do."""
    from kpairs.training.run import Run

    run = Run.open(name)
    idle = len(run.rounds) >= (rounds or run.recipe.fit.rounds)
    _announce(run.recipe)
    from kpairs import resume

    how = {"rounds": rounds, "data": data, "jobs": jobs, "data_root": data_dir}
    return resume(name, **how, verbose=shared.console(stderr=True)), idle


def _trained(recipe, source, out, how, jobs, given):
    """Train a new run, or the best of several by the fields that are given for them all.

    An interrupt before a folder exists says that nothing is saved.
    """
    try:
        from kpairs.training.round import Machine  # after the first word: it takes seconds
        from kpairs.training.train import train_source

        common = {"machine": Machine(**how), "console": shared.console(stderr=True)}
        if given is None:
            return train_source(recipe, source, out, jobs=jobs, **common)
        from kpairs.training.best import train_best

        return train_best(recipe, source, out, given=given, **common)
    except KeyboardInterrupt as error:
        said = str(error) or "interrupted before training began; to begin again, repeat the command"
        raise KeyboardInterrupt(said) from error


def _show(run, idle, imports, as_json):
    """Print a finished run's errors, and what can be done with it."""
    told = {"run": str(run.path), **run.metrics}
    shared.show(told, as_json, lambda told: _tables(told, run, idle, imports))


def _tables(told, run, idle, imports):
    from kpairs.cli.tables import cross_validated, error_table
    from kpairs.training.network import architecture_of_run

    recipe, rows = run.recipe, told["rounds"]
    title = f"{recipe.network.arch}, error after epoch {recipe.fit.epochs}"
    best = recipe.reported_epoch == "best"
    yield error_table(rows, told["summary"], title, best, run.cross_validated)
    yield from cross_validated(rows, run.cross_validated)
    given = "".join(f" --import {module}" for module in imports)
    said = (
        f"nothing to do: all rounds of {run.path} are finished" if idle else f"saved in {run.path}"
    )
    place = shared.as_argument(run.path)
    ranks = "left_score" in architecture_of_run(run).outputs
    things = shared.as_argument(recipe.data.images) if recipe.pixels.features else "IMAGES"
    follow = f"rank {place} {things}" if ranks else f"export --onnx {place}{given}"
    yield f"{said}; next: kpairs {follow}"


def _propose_best(recipe):
    """Say that from many pairs a trained network may be better than the linear score."""
    is_linear = recipe.network.arch == LINEAR and not recipe.fit.fine_tune
    if is_linear and recipe.data.pairs >= _MANY:
        say(
            f"with {_MANY:,} pairs or more, a trained network may err less; to compare both, in "
            "minutes: the same command with --best and another --out",
            err=True,
        )


def _refuse_other_options(context):
    """Refuse options beside --resume: a run's recipe and settings are its own."""
    given = [
        option.opts[0]
        for option in context.command.params
        if context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    ]
    kept = {"--resume", "--rounds", "--jobs", "--import", "--data", "--data-dir", "--json"}
    if others := set(given) - kept:
        raise click.UsageError(
            f"--resume goes on by the run's own recipe; expected no {', '.join(sorted(others))}"
        )


def _resolve(arch, base, options, data_dir):
    """Return the recipe that the command line describes, the images, and the typed fields."""
    from kpairs.bars import reading
    from kpairs.reports.resolve import (
        changes_of,
        load_recipe,
        open_images,
        recipe_for,
        recipe_of,
        suited,
    )

    if not arch and not base and options["data"] is None:
        raise click.UsageError(
            "expected ARCH, --recipe FILE or --data DATA; 'kpairs archs' lists names"
        )
    given = {name: options.pop(name) for name in _ARGUMENTS}
    arch_options = {name: text for name, text in given.items() if text is not None}
    arch_options |= dict(map(_assignment, options.pop("arch_options")))
    optimizer_options = {
        name: parse_argument(name, text, 0.0)
        for name, text in map(_assignment, options.pop("optimizer_options"))
    }
    typed = {name: value for name, value in options.items() if value is not None}
    for name, parse in _LISTS.items():
        if name in typed:
            typed[name] = parse(typed[name])
    if "augmentation" in typed:
        typed["augmentation"] = _AUGMENT[typed["augmentation"]]
    if optimizer_options:
        typed["optimizer_options"] = optimizer_options
    recipe = recipe_of(arch or LINEAR) if base is None else load_recipe(base)
    other = None if base is None else arch
    changes = changes_of(recipe, other, arch_options=arch_options, **typed)
    with reading(shared.console(stderr=True)) as read:
        source = open_images(recipe, changes, data_dir, read)
    if not arch and base is None and (own := recipe_for(source)) != recipe:  # of grades
        recipe, changes = own, changes_of(own, arch_options=arch_options, **typed)
    if base is None and source.word == "grade":
        # A report's recipe is fitted to images of one's own; one's own recipe is meant as it is.
        return *suited(recipe, source, changes), typed
    recipe = recipe.replace(**changes)
    return recipe, recipe.divided(source), typed


def _assignment(text):
    name, equals, value = text.partition("=")
    if not (name.strip() and equals and value.strip()):
        raise click.BadParameter(f"expected NAME=VALUE, received {text!r}")
    return name.strip().replace("-", "_"), value.strip()
