"""`kpairs evaluate`: a run's models on pairs drawn again, or on other data."""

import click

from kpairs.cli.options import (
    as_json,
    columns,
    count,
    data_dir,
    device,
    group,
    import_own,
    imports,
    print_json,
    threads,
    words,
)


@click.command()
@click.argument("run", required=False)
@count("--test-pairs", help="Draw this many test pairs.  [default: the run's own]")
@click.option(
    "--data",
    help="Evaluate on this instead: a source as 'kpairs train' takes it, of whose pairs all are "
    "taken unless the file says the split.",
)
@columns
@words
@group
@click.option(
    "--all-pairs",
    is_flag=True,
    help="Measure on all ordered pairs of the test images too: exactly where the comparison "
    "follows from what the network says of each image, else on --sampled of them.",
)
@count(
    "--sampled",
    default=100_000,
    help="Pairs to draw of all, for networks that look at both images at once.",
)
@data_dir
@device
@threads
@imports
@as_json
def evaluate(
    run,
    test_pairs,
    data,
    columns,
    words,
    group,
    all_pairs,
    sampled,
    data_dir,
    device,
    threads,
    imports,
    as_json,
):
    """Evaluate every finished round of RUN, by default the latest in runs/.

    Training and test pairs are drawn again from the run's seed. Beside the errors: pairs in the
    right order with a 95 % interval, AUC, correlations with known grades or scores, agreement with
    each judge, calibration, and coverage of standard errors. Fewer than 100 test pairs of a linear
    head are cross-validated instead. The fitted temperature is kept, and goes into exports. A
    reliability plot and, of grades, their confusion are drawn into the run folder.
    """
    import_own(imports)
    if data is None and (columns or words or group):
        raise click.UsageError("--columns, --words and --group describe --data; expected --data")
    from kpairs import Run

    run = Run.latest() if run is None else Run.open(run)
    from kpairs.cli.tables import (
        agreement_table,
        all_pairs_line,
        console,
        error_table,
        measures_table,
    )

    with console(stderr=True).status(f"evaluating {run.path}"):
        from kpairs import evaluate as evaluate_run  # it takes seconds
        from kpairs.training.run import summarize

        rows = evaluate_run(
            run,
            device=device,
            threads=threads,
            data_root=data_dir,
            test_pairs=test_pairs,
            data=data,
            columns=columns,
            words=words,
            group=group,
            every_pair=all_pairs,
            sampled=sampled,
        )
    files = _draw(run, rows, data or run.recipe.data.source)
    summary = summarize(rows)
    if as_json:
        print_json({"run": str(run.path), "rounds": rows, "summary": summary, "written": files})
        return
    screen = console()
    folds = run.cross_validated and "train" in rows[0]
    found = [row["measures"] for row in rows]
    tested = f"{found[0]['pairs']} test pairs"
    if found[0].get("cross_validated"):
        tested = f"{found[0]['pairs']} pairs of left-out images"
    # Of few test pairs errors are those, and the other measures are cross-validated.
    few = found[0].get("cross_validated") and not folds
    title = f"{run.path}, {'few test pairs' if few else tested}"
    screen.print(error_table(rows, summary, title, cross_validated=folds))
    if all_pairs:
        screen.print(all_pairs_line(rows))
    screen.print(measures_table(rows, f"{data or run.recipe.data.source}, {tested}"))
    if (judges := agreement_table(rows)) is not None:
        screen.print(judges)
    for file in files:
        screen.print(f"wrote {file}", soft_wrap=True)


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
