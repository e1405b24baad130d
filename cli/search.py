"""`kpairs search`: hyperparameters by cross-validation on the training pairs."""

import math
import re
from itertools import product

import click

from kpairs.cli import options as shared
from kpairs.errors import KpairsError, UsageError, unknown
from kpairs.recipes import FIELDS, parse_argument, parse_loss_weights
from kpairs.recipes.searched import SEARCHED, Between
from kpairs.reports.resolve import recipe_of

_SHOWN = 20
# A value of the kind that a field of each type holds.
_LIKE = {bool: False, int: 0, float: 0.0, str: ""}


@click.command()
@click.option(
    "--arch",
    "archs",
    multiple=True,
    required=True,
    shell_complete=shared.architecture_names,
    help="Architecture; several are compared.",
)
@click.option(
    "--try",
    "tried",
    multiple=True,
    metavar='NAME="VALUES"',
    help="Values of one field of the recipe or argument of the architecture, such as "
    'dropout="0 0.2 0.5"; may be repeated. '
    "Names and values as 'kpairs train' takes them, low..high for --sampler tpe.",
)
@click.option("--sizes", metavar="16,32,64", help="Try every choice of widths among these.")
@click.option(
    "--parameters",
    metavar="LEAST:MOST",
    help="Only networks of so many trainable parameters, such as :80000 or 65000:75000.",
)
@click.option("--data", help="mnist, fashionmnist, kmnist, qmnist, a folder or a CSV of images.")
@click.option("--classes", help="Grades of one's own images, lowest first, if they are no numbers.")
@shared.table
@shared.count("--pairs", least=2, most=10**9, help="Training pairs drawn.")
@shared.count(
    "--test-pairs",
    most=10**9,
    help="Test pairs of the recipe that is written; the search draws none.",
)
@shared.count("--seed", least=0, help="Seed of every random draw.")
@shared.count(
    "--folds",
    default=5,
    least=2,
    most=1000,
    help="Parts of the training pairs, each of which validates once.",
)
@click.option(
    "--sampler",
    type=click.Choice(["grid", "tpe"]),
    default="grid",
    show_default=True,
    help="grid tries every combination; tpe, of optuna, proposes by what did well.",
)
@shared.count(
    "--trials",
    default=20,
    most=10**6,
    help="Combinations that tpe proposes, those of earlier runs among them.",
)
@shared.jobs
@shared.finished("search")
@shared.scheduler
@shared.data_dir
@shared.imports
@shared.as_json
def search(
    archs, tried, sizes, parameters, sampler, trials, out, data_dir, as_json, imports, **options
):
    """Find hyperparameters by cross-validation on the training pairs; test pairs play no part.

    Fields that are not tried keep the value of the architecture's recipe. A search can be stopped
    at any moment; the same command goes on. More values or proposals reuse what is there.

    \b
    kpairs search --arch auxws --try learning_rate="1e-3 3e-3" --try loss_weights="0.5,1 1,1"
    kpairs search --arch auxnet2 --sizes 16,32,64,128 --parameters 65000:75000 --jobs 2
    kpairs search --arch final_model --arch wsal_bd --data photos --pairs 500
    kpairs search --arch final_model --try dropout=0..0.7 --sampler tpe --trials 30
    """
    shared.import_own(imports)
    fields = ("data", "classes", "columns", "words", "images", "skip_missing")
    fields += ("pairs", "test_pairs", "seed")
    common = {name: options.pop(name) for name in fields}
    common = {name: value for name, value in common.items() if value is not None}
    recipes = tuple(recipe_of(arch).replace(**common) for arch in archs)
    space = dict(_tried(text, recipes) for text in tried)
    if len(space) < len(tried):
        raise UsageError("--try: expected each name once")
    budget = _budget(parameters)
    if sizes is not None:
        space["widths"] = _widths(sizes, recipes, space)

    from kpairs.cli.tables import console, search_table
    from kpairs.studies.search import Search, rank

    what = Search(recipes, space, options.pop("folds"), budget)
    options = {**options, "data_root": data_dir}
    options["processes"] = options.pop("jobs")
    run = _run_grid if sampler == "grid" else _run_tpe
    candidates = run(what, out, trials, options)
    ranked = rank(what, out, candidates)
    if not ranked:
        raise KpairsError("nothing to rank: in every combination the loss became NaN or infinite")
    if as_json:
        shared.print_json(_as_json(ranked, out))
        return
    screen = console()
    screen.print(search_table(ranked[:_SHOWN], what.folds, len(ranked)))
    screen.print(f"all in {out}/search.csv; next: kpairs train --recipe {out}/best.json")


def _as_json(ranked, out):
    rows = [
        {
            "candidate": r.label,
            "parameters": r.parameters,
            "validation_error_pct": {"mean": r.mean, "std": r.std, "folds": list(r.errors)},
            "behind_best_95": r.behind and list(r.behind),
        }
        for r in ranked
    ]
    return {"best_recipe": f"{out}/best.json", "candidates": rows}


def _run_grid(what, out, trials, options):
    from kpairs.cli.progress import follow
    from kpairs.cli.tables import console
    from kpairs.studies.run import load_result
    from kpairs.studies.search import grid, run_grid

    with console(stderr=True).status("choosing the combinations"):
        candidates = grid(what)
    jobs = [job for recipe in candidates for job in what.jobs(recipe)]
    done = sum(load_result(out, job) is not None for job in jobs)
    names = (
        f"{what.label(job.recipe)} fold {job.number}"
        for job in run_grid(what, out, candidates, **options)
    )
    follow(names, len(jobs), out, done=done)
    return candidates


def _run_tpe(what, out, trials, options):
    from kpairs.cli.progress import follow
    from kpairs.studies.search import run_tpe

    candidates = []

    def names():
        for recipe in run_tpe(what, out, trials, **options):
            candidates.append(recipe)
            yield what.label(recipe)

    follow(names(), trials, out, unit="combinations")
    return candidates


def _tried(text, recipes):
    """One --try as the field's name and its values."""
    name, equals, values = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or not values.strip():
        raise UsageError(
            f'--try: expected NAME="VALUES" such as dropout="0 0.5", received {text!r}'
        )
    options = recipes[0].network.options
    if name not in (*SEARCHED, *options):
        raise unknown("field in --try", name, [*SEARCHED, *options])
    if name == "loss_weights":
        return name, [_weights(part, recipes) for part in values.split()]
    like = (
        options[name]
        if name in options
        else _LIKE[FIELDS[name].kind if FIELDS[name].kind in _LIKE else str]
    )
    if ".." in values:
        return name, _range(name, like, values)
    separator = r"\s+" if isinstance(like, tuple) else r"[,\s]+"
    return name, [parse_argument(name, part, like) for part in re.split(separator, values.strip())]


def _weights(text, recipes):
    """Return the same weights by name for every architecture; their outputs must be the same."""
    outputs = tuple(recipes[0].fit.loss_weights)
    return parse_loss_weights(text, outputs, recipes[0].network.arch)


def _range(name, like, text):
    if type(like) not in (int, float):
        raise UsageError(f"{name}: expected values, received the range {text!r}")
    low, _, high = text.strip().partition("..")
    return Between(*(parse_argument(name, part, like) for part in (low, high)))


def _budget(text):
    if text is None:
        return 0, math.inf
    least, colon, most = text.replace("_", "").partition(":")
    if not colon:
        raise UsageError(f"--parameters: expected LEAST:MOST such as :80000, received {text!r}")
    least, most = (
        parse_argument("--parameters", part, 0) if part else unbounded
        for part, unbounded in ((least, 0), (most, math.inf))
    )
    if least > most:
        raise UsageError(f"--parameters: expected LEAST up to MOST, received {text!r}")
    return least, most


def _widths(text, recipes, space):
    """Every choice of widths among the sizes, for one architecture that takes widths."""
    if "widths" in space:
        raise UsageError("expected --sizes or --try widths=..., received both")
    widths = recipes[0].network.options.get("widths")
    if len(recipes) > 1 or widths is None:
        names = ", ".join(recipe.network.arch for recipe in recipes)
        raise UsageError(f"--sizes: expected one architecture that takes widths, received {names}")
    sizes = [parse_argument("--sizes", part, 0) for part in text.split(",")]
    return list(product(sizes, repeat=len(widths)))
