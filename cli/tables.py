"""Tables on the terminal. Imports rich, so commands import this inside their bodies."""

import os
import sys

from rich.console import Console
from rich.table import Table

_SPLITS = ("train", "test")
_METRICS = {"comparison_error_pct": "comparison", "digit_error_pct": "digit"}


def console(stderr=False):
    """A console that keeps tables whole where the output is a file or a pipe."""
    width = None if (sys.stderr if stderr else sys.stdout).isatty() else 120
    return Console(stderr=stderr, width=int(os.environ.get("COLUMNS", 0)) or width)


def error_table(rows, summary, title):
    """The errors of each round and their mean and standard deviation."""
    columns = [(s, m) for s in _SPLITS for m in _METRICS if m in rows[0][s]]
    table = Table(title=title, title_justify="left")
    table.add_column("round", justify="right")
    for split, metric in columns:
        table.add_column(f"{split} {_METRICS[metric]}\nerror (%)", justify="right")
    for row in rows:
        values = [f"{row[s][m]:.2f}" for s, m in columns]
        table.add_row(str(row["round"]), *values)
    if len(rows) > 1:
        table.add_section()
        cells = [summary[s][m] for s, m in columns]
        table.add_row("mean ± std", *(f"{c['mean']:.2f} ± {c['std']:.2f}" for c in cells))
    return table
