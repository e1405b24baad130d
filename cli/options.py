"""Options that several commands share."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kpairs.cli import say
from kpairs.data.columns import parse_columns, parse_words
from kpairs.data.settings import parse_classes
from kpairs.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

Command = Callable[..., Any]
Option = Callable[[Command], Command]


def _known_device(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Refuse a mistyped device before Keras is imported."""
    if not re.fullmatch(r"auto|cpu|gpu|cuda(:\d+)?", value):
        raise click.BadParameter(f"expected auto, cpu, gpu, cuda or cuda:N, received {value!r}")
    return value


# An option whose help shows its default, where it has one.
option = partial(click.option, show_default=True)


def count(*flags: str, least: int = 1, most: int | None = None, **how: Any) -> Option:
    """Return an option for a whole number from `least` to `most`."""
    return option(*flags, type=click.IntRange(least, most), **how)


def choice(flag: str, *values: str, **how: Any) -> Option:
    """Return an option for one of some words."""
    return option(flag, type=click.Choice(values), **how)


def file(flag: str, **how: Any) -> Option:
    """Return an option for a file, which need not exist yet."""
    return option(flag, type=click.Path(dir_okay=False), **how)


def folder(flag: str, **how: Any) -> Option:
    """Return an option for a folder, which need not exist yet."""
    return option(flag, type=click.Path(file_okay=False), **how)


def finished(default: str) -> Option:
    """Return the option `--out` of commands that go on where they were stopped."""
    text = "Folder of the finished trainings; what it holds is not trained again."
    return folder("--out", default=default, help=text)


data_dir = folder(
    "--data-dir",
    help="Folder of the digit images.  [default: $KPAIRS_DATA or the user's cache folder]",
)


def _parsed(parse: Callable[[str], Any]) -> Callable[..., Any]:
    """Return a callback that reads an option's text."""
    return lambda context, parameter, text: None if text is None else parse(text)


classes = click.option(
    "--classes",
    callback=_parsed(parse_classes),
    metavar="LOWEST,...,HIGHEST",
    help="Grades of one's own images, lowest first, if they are no numbers.",
)
columns = click.option(
    "--columns",
    callback=_parsed(parse_columns),
    metavar="NAME=HEADER,...",
    help="A table's own headers: left=image_0,right=image_1,left_wins=label_0.",
)
words = click.option(
    "--words",
    callback=_parsed(parse_words),
    metavar="SIDE=WORD,...",
    help="A table's own words for winners: left=model_a,right=model_b,tie=equal.",
)
white = count(
    "--white",
    most=65535,
    default=65535,
    help="Level of 16-bit grey that is white: 4095 for 12 bits.",
)
images = click.option(
    "--images",
    type=click.Path(),
    metavar="FOLDER|FEATURES",
    help="Folder of a table's images; or their features: .npz with names and features, or .csv.",
)
skip_missing = click.option(
    "--skip-missing",
    is_flag=True,
    default=None,
    help="Leave out rows whose images are missing, and say how many.",
)


def table(command: Command) -> Command:
    """Add the options that say how a table of one's own is read."""
    return columns(words(images(skip_missing(command))))


device = option(
    "--device",
    metavar="auto|cpu|gpu|cuda|cuda:N",
    callback=_known_device,
    default="auto",
    help="Where to compute; auto takes a GPU if there is one.",
)
threads = count(
    "--threads", default=1, most=1024, help="CPU threads; one is best for small networks."
)
jobs = count("--jobs", default=1, most=1024, help="Processes that train side by side.")
seed = count("--seed", default=0, least=0, help="Seed of every random draw.")
scheduler = click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Train on the workers of this dask scheduler, such as tcp://host:8786.",
)
imports = click.option(
    "--import",
    "imports",
    multiple=True,
    metavar="MODULE",
    help="File or module with your own architectures; runs its code; may be repeated.",
)
group = click.option(
    "--group",
    metavar="folder|REGEX",
    help="Images that belong together, such as a burst: those of a folder, or a regular expression "
    "whose match (its first parentheses) names the group.  [default: the column group]",
)
top = count("--top", help="Only so many, the highest.")
by_group = choice(
    "--by",
    "group",
    help="Rank within each group, so that --top 1 picks the best of each; see --group.",
)
sheet = file("--sheet", help="Draw them, the highest first, to this PNG, JPEG or WebP.")


Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _completed(names: Callable[[], Iterable[str]]) -> Complete:
    """Return what completes one of these names in a shell."""
    return lambda context, parameter, text: [name for name in names() if name.startswith(text)]


@_completed
def architecture_names() -> Iterable[str]:
    """Complete the name of an architecture."""
    from kpairs.reports import RECIPES

    return [name for name, recipe in RECIPES.items() if recipe.network.arch == name]


@_completed
def report_names() -> Iterable[str]:
    """Complete the key or the number of a report."""
    from kpairs.reports import REPORTS

    return [*REPORTS, *(report.number for report in REPORTS.values())]


@_completed
def study_names() -> Iterable[str]:
    """Complete the name of a study or a report."""
    from kpairs.reports import REPORTS
    from kpairs.studies.catalogue import names

    return [*names(), *(report.number for report in REPORTS.values())]


force = click.option(
    "--force",
    is_flag=True,
    help="Replace a file that exists already; inputs and tables with answers are never replaced.",
)


def _printed_as(form: str) -> Option:
    """Return a flag for another form of output than a table."""

    def only(context: click.Context, parameter: click.Parameter, value: bool) -> bool:
        if value and any(context.params.get(other) for other in ("as_json", "as_csv")):
            raise click.UsageError("expected --json or --csv, received both")
        return value

    text = f"Print {form} instead of a table."
    name = form.lower()
    return click.option(f"--{name}", f"as_{name}", is_flag=True, callback=only, help=text)


as_csv, as_json = _printed_as("CSV"), _printed_as("JSON")


def grouped(
    first: Mapping[str, Sequence[str]], more: Mapping[str, Sequence[str]] | None = None
) -> type[click.Command]:
    """Return a class of commands whose `--help` shows some options, and `--help-all` every one.

    Names of options stand by the title of their section: `first` those that everybody uses, then
    `more`. Options without a section come last.
    """

    class Grouped(click.Command):
        def get_params(self, ctx: click.Context) -> list[click.Parameter]:
            every = click.Option(
                ["--help-all"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_show_all,
                help="Show every option and exit.",
            )
            return [*super().get_params(ctx), every]

        def sections(self, ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
            """Return all options by the title of their section, as `--help-all` shows them."""
            records = {
                str(parameter.name): record
                for parameter in self.get_params(ctx)
                if isinstance(parameter, click.Option)
                and (record := parameter.get_help_record(ctx)) is not None
            }
            every = records.pop("help_all")
            found = {
                title: [records.pop(name) for name in names if name in records]
                for title, names in {**first, **(more or {})}.items()
            }
            return {**found, "Others": [*records.values(), every]}

        def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            sections = self.sections(ctx)
            if not ctx.meta.get("kpairs.help_all"):
                hidden = sum(len(sections[title]) for title in sections if title not in first)
                flag, _ = sections["Others"][-1]
                shown = {title: sections[title] for title in first}
                sections = {
                    **shown,
                    "Others": [(flag, f"Show {hidden - 1} more options and exit.")],
                }
            for title, records in sections.items():
                with formatter.section(title):
                    formatter.write_dl(records)

    return Grouped


def _show_all(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        context.meta["kpairs.help_all"] = True
        click.echo(context.get_help(), color=context.color)
        context.exit()


def import_own(modules: Iterable[str]) -> None:
    """Import the modules that `--import` names."""
    if modules:
        from kpairs.networks import import_modules

        import_modules(modules)


def as_argument(path: str | Path) -> str:
    """Return a path for a proposed command: quoted, and never an option."""
    text = str(path)
    return shlex.quote(f".{os.sep}{text}" if text.startswith("-") else text)


def console(stderr: bool = False) -> Console:
    """Make a console that keeps tables whole where the output is a file or a pipe."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    known = os.environ.get("COLUMNS", "").isdigit() or (stream is not None and stream.isatty())
    # Names of files and classes are shown as they are, brackets and all.
    return Console(stderr=stderr, width=None if known else 120, markup=False, highlight=False)


def show(value: Any, as_json: bool, tables: Callable[[Any], Iterable[Any]]) -> None:
    """Print a value as JSON, or else the tables and lines that are made of it."""
    if as_json:
        print_json(value)
        return
    for table in tables(value):
        if isinstance(table, str):  # rich is imported for tables alone
            say(table)
        else:
            console().print(table)


def print_json(value: object) -> None:
    """Print a value as JSON on standard output."""
    import json

    click.echo(json.dumps(value, indent=2))


def print_csv(rows: Iterable[Mapping[str, object]], names: Sequence[str]) -> None:
    """Print rows as CSV on standard output: as they are, unless that is a terminal."""
    import csv

    if sys.stdout.isatty():  # a file's name could move its cursor
        rows = [
            {k: printable(v) if isinstance(v, str) else v for k, v in row.items()} for row in rows
        ]
    elif isinstance(sys.stdout, TextIOWrapper):  # names that are no UTF-8 keep their bytes
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    writer: csv.DictWriter[str] = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
