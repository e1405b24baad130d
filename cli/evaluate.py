"""`kpairs evaluate`: a run's models on pairs drawn again, or on other data."""

import click

from kpairs.cli import options as shared
from kpairs.cli import shortest, shown


@click.command()
@click.argument("run", required=False)
@shared.count("--test-pairs", help="Draw this many test pairs.  [default: the run's own]")
@click.option(
    "--data",
    help="Evaluate on this instead: a source as 'kpairs train' takes it, of whose pairs all are "
    "taken unless the file says the split.",
)
@shared.columns
@shared.words
@shared.group
@shared.skip_missing
@click.option(
    "--all-pairs",
    is_flag=True,
    help="Measure on all ordered pairs of the test images too: exactly where the comparison "
    "follows from what the network says of each image, else on --sampled of them.",
)
@shared.count(
    "--sampled",
    default=100_000,
    help="Pairs to draw of all, for networks that look at both images at once.",
)
@shared.data_dir
@shared.device
@shared.threads
@shared.imports
@shared.as_json
def evaluate(run, data, data_dir, all_pairs, imports, as_json, **how):
    """Evaluate every finished round of RUN, by default the latest in runs/.

    Training and test pairs are drawn again from the run's seed. Beside the errors: pairs in the
    right order with a 95 % interval, AUC, correlations with known grades or scores, agreement with
    each judge, calibration, and coverage of standard errors. Fewer than 100 test pairs of a linear
    head are cross-validated instead. The fitted temperature is kept, and goes into exports. A
    reliability plot and, of grades, their confusion are drawn into the run folder.
    """
    shared.import_own(imports)
    if data is None and any(how[name] for name in ("columns", "words", "group", "skip_missing")):
        raise click.UsageError(
            "--columns, --words, --group and --skip-missing describe --data; expected --data"
        )
    from kpairs import Run

    run = Run.latest() if run is None else Run.open(run)

    with shared.console(stderr=True).status(f"evaluating {run.path}"):
        from kpairs import evaluate as evaluate_run  # it takes seconds

        rows = evaluate_run(run, data=data, data_root=data_dir, every_pair=all_pairs, **how)
    data = data or run.recipe.data.source
    from kpairs.training.run import summarize

    told = {"run": str(run.path), "rounds": rows, "summary": summarize(rows)}
    told["written"] = _draw(run, rows, data)
    shared.show(told, as_json, lambda told: _tables(told, run, data))


def _tables(told, run, data):
    """Yield the tables of what was measured."""
    from kpairs.cli.tables import agreement_table, all_pairs_line, error_table, measures_table

    rows = told["rounds"]
    first = rows[0]["measures"]
    few, folds = first.get("cross_validated"), run.cross_validated and "train" in rows[0]
    tested = f"{first['pairs']} {'pairs of left-out images' if few else 'test pairs'}"
    # Of few test pairs errors are those, and the other measures are cross-validated.
    title = shown(f"{run.path}, {'few test pairs' if few and not folds else tested}")
    yield error_table(rows, told["summary"], title, cross_validated=folds)
    if "all_pairs" in first:
        yield all_pairs_line(rows)
    yield measures_table(rows, shown(f"{shortest(data)}, {tested}"))
    if (judges := agreement_table(rows)) is not None:
        yield judges
    yield from (shown(f"wrote {file}") for file in told["written"])


def _draw(run, rows, data):
    """Draw pictures of what was measured into the run folder; returns their paths."""
    from pathlib import Path

    from kpairs.plots import draw_confusion, draw_reliability

    found = [row["measures"] for row in rows]
    files, title = [run.path / "reliability.png"], f"{run.recipe.network.arch}, {Path(data).name}"
    draw_reliability([f["reliability"] for f in found], files[0], title)
    tables = [f["confusion"] for f in found if "confusion" in f]
    if tables:
        counts = [[sum(cells) for cells in zip(*r, strict=True)] for r in zip(*tables, strict=True)]
        files.append(run.path / "confusion.png")
        names = run.recipe.data.classes or [str(i) for i in range(len(counts))]
        draw_confusion(counts, names, files[1], title)
    return list(map(str, files))
