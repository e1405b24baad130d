"""Tables of images and pairs: rankings, judges, predictions. They import rich."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from kpairs.cli.options import console
from kpairs.cli.tables import Row, new_table
from kpairs.errors import UsageError, printable
from kpairs.numbers import decimals, plus_minus


def ranking_table(rows: Iterable[Row], title: str) -> Table:
    """Make the table of ranked images, highest first."""
    rows = list(rows)
    placed = any("percentile" in row for row in rows)
    than = any("higher" in row for row in rows)
    numbers = ["score", *["above training\nimages (%)"] * placed, *["P(higher)"] * than]
    table = new_table(("rank", "file"), numbers, title=title, whole=True)
    table.columns[0].justify, table.columns[1].overflow = "right", "fold"
    deviations = [row["deviation"] for row in rows if "deviation" in row]
    digits = decimals(deviations) if deviations else _digits([row["score"] for row in rows])
    for row in rows:
        deviation = row.get("deviation")
        far = "\nunlike the training images" if row.get("far") else ""
        cells = [f"{row['percentile']:.1f}"] if placed else []
        cells += [f"{row['higher']:.1%}"] if than else []
        name = printable(row["file"]) + far
        score = plus_minus(row["score"], deviation, digits=digits)
        table.add_row(str(row["rank"]), name, score, *cells)
    return table


def _digits(scores: Sequence[float]) -> int:
    """Return decimal places that tell scores without standard errors apart."""
    return decimals([statistics.pstdev(scores)]) + 2 if scores else 0


def score_table(rows: Iterable[Row], facts: Row) -> Table:
    """Make the table of `kpairs score`, highest first."""
    title = f"expected Kendall's tau with the true order {facts['expected_tau']:.2f}"
    numbers = "score", "95 % interval", "ranks", "judgements"
    table = new_table(("rank", "file"), numbers, title=title, whole=True)
    for row in rows:
        interval = f"{row['low']:.2f} to {row['high']:.2f}"
        ranks = f"{row['best']} to {row['worst']}"
        cells = f"{row['score']:.2f}", interval, ranks, str(row["judgements"])
        table.add_row(str(row["rank"]), printable(row["file"]), *cells)
    return table


def judge_table(rows: Sequence[Row], alpha: float | None) -> Table:
    """Make the table of judges; slope, pull and if scores use them, only where they are known."""
    among = any(row["agreement"] is not None for row in rows)  # else of repeats by one judge only
    title = "" if alpha is None or not among else f"judges: Krippendorff's alpha {alpha:.2f}"
    fitted = any(row["slope"] is not None for row in rows)
    traits = ("slope", "pull", "fitted") if fitted else ()
    shown = "judgements", "agrees with others", "with themselves", "right-hand image"
    table = new_table(["judge"], (*shown, *traits), title=title)
    for row in rows:
        shares = (row[name] for name in ("agreement", "consistency", "right_side"))
        told = (f"{s[0]:.0%} ({s[1]:.0%} to {s[2]:.0%})" if s else "-" for s in shares)
        values = ("-" if row[name] is None else f"{row[name]:.2f}" for name in traits[:2])
        counted = ("yes" if row["counts"] else "no",) if fitted else ()
        table.add_row(printable(row["judge"]), str(row["judgements"]), *told, *values, *counted)
    return table


def prediction_table(rows: Sequence[Row]) -> Table:
    """Make the table of predictions of many pairs."""
    word = "digit" if "left_digit" in rows[0] else "grade"
    sides = [side for side in ("left", "right") if f"{side}_{word}" in rows[0]]
    table = Table()
    for side in ("left", "right"):
        table.add_column(side, overflow="fold")
        if side in sides:
            table.add_column("seen as", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("sure", justify="right", no_wrap=True)
    for row in rows:
        cells = []
        for side in ("left", "right"):
            inverted = " (inverted)" if row[f"{side}_inverted"] else ""
            cells.append(printable(row[side]) + inverted)
            if side in sides:
                name = f"{side}_{word}"
                cells.append(f"{row[name]} ({row[f'{name}_probability']:.1%})")
        holds = row["probability"]
        relation, sure = ("<=", holds) if row["left_not_higher"] else (">", 1 - holds)
        relation = "=" if row["same"] else relation
        table.add_row(*cells, f"left {relation} right", f"{sure:.1%}")
    return table


def proposals_table(rows: Iterable[Row]) -> Table:
    """Make the table of proposed pairs."""
    table = new_table(("left", "right"), ["P(left <= right)"], ["reason"], whole=True)
    for row in rows:
        chance = f"{row['probability']:.1%}"
        table.add_row(printable(row["left"]), printable(row["right"]), chance, row["reason"])
    return table


def ranked_groups(
    rows: Iterable[Row], files: Sequence[Any], group: Sequence[str] | None, top: int | None
) -> Sequence[Row]:
    """Return ranked images group by group; UsageError where nothing says the groups."""
    from kpairs.data.groups import best_of_groups

    if group is None:
        raise UsageError("--by group: add --group folder, or --group with a regular expression")
    return best_of_groups(rows, dict(zip(map(str, files), group, strict=True)), top)


def write_sheet(rows: Sequence[Row], path: str, white: int, explained_by: Any = None) -> None:
    """Draw ranked images with rank and score to a picture file.

    `rows` are the images, with file, rank and score; the maps of `explained_by`, a `PairModel`,
    stand beside them.
    """
    from kpairs.exports.runtime.sheet import MOST, draw_ranked_sheet

    rows = rows[:MOST]
    captions = [f"{r['rank']}  {r['score']:#.3g}{' !' * bool(r.get('far'))}" for r in rows]
    files = [Path(row["file"]) for row in rows]
    maps, footer = (), "! unlike the training images" * any(row.get("far") for row in rows)
    if explained_by is not None:
        from kpairs.bars import counting
        from kpairs.exports.runtime.heat import maps_beside

        with counting(console(stderr=True), "maps") as count:
            maps, told = maps_beside(explained_by, files, count)
        footer = "; ".join(filter(None, (told, footer)))
    draw_ranked_sheet(files, captions, Path(path), maps=maps, footer=footer, white=white)
    click.echo(f"wrote {path}", err=True)
