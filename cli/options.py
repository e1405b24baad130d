"""Options that several commands share."""

import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path

import click

from kpairs.errors import printable


def _known_device(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Refuse a mistyped device before Keras is imported."""
    if not re.fullmatch(r"auto|cpu|gpu|cuda(:\d+)?", value):
        raise click.BadParameter(f"expected auto, cpu, gpu, cuda or cuda:N, received {value!r}")
    return value


data_dir = click.option(
    "--data-dir",
    type=click.Path(file_okay=False),
    help="Cache folder of the digit images.  [default: $KPAIRS_DATA or the user's cache folder]",
)
device = click.option(
    "--device",
    metavar="auto|cpu|gpu|cuda|cuda:N",
    callback=_known_device,
    default="auto",
    show_default=True,
    help="Where to compute; auto takes a GPU if there is one, cuda:1 the second one.",
)
threads = click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="CPU threads; more than one rarely pays for networks this small.",
)
jobs = click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Processes that train side by side.",
)
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
    help="Python file or module with architectures of your own; runs its code; may be repeated.",
)
force = click.option(
    "--force",
    is_flag=True,
    help="Replace a file that exists already; inputs and tables with answers are never replaced.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def _parsed_columns(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> dict[str, str] | None:
    from kpairs.data.columns import parse_columns

    return None if value is None else parse_columns(value)


columns = click.option(
    "--columns",
    metavar="NAME=HEADER,...",
    callback=_parsed_columns,
    help="Headers of CSV files whose columns are named otherwise, such as "
    "left=image_0,right=image_1; other names that 'kpairs train' takes are passed over.",
)


def import_own(modules: Iterable[str]) -> None:
    """Import the modules that `--import` names."""
    if modules:
        from kpairs.networks import import_modules

        import_modules(modules)


def as_argument(path: str | Path) -> str:
    """A path as a command that is proposed takes it: never as an option, and with its spaces."""
    text = str(path)
    return shlex.quote(f".{os.sep}{text}" if text.startswith("-") else text)


def print_json(value: object) -> None:
    """Print a value as JSON on standard output."""
    import json

    click.echo(json.dumps(value, indent=2))


def print_csv(rows: Iterable[Mapping[str, object]], names: Sequence[str]) -> None:
    """Print rows as CSV on standard output: as they are, unless that is a terminal.

    Args:
        rows: values by name.
        names: those of the columns.
    """
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
