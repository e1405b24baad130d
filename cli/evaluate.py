"""`kpairs evaluate`: a run's models on pairs drawn again."""

import click

from kpairs.cli.options import as_json, data_dir, device, import_own, imports, print_json, threads


@click.command()
@click.argument("run", required=False)
@click.option(
    "--test-pairs",
    type=click.IntRange(min=1),
    help="Draw this many test pairs.  [default: the run's own]",
)
@data_dir
@device
@threads
@imports
@as_json
def evaluate(run, test_pairs, data_dir, device, threads, as_json, imports):
    """Evaluate every finished round of RUN, by default the latest in runs/.

    Training and test pairs are drawn again from the run's seed.
    """
    import_own(imports)
    from kpairs import Run
    from kpairs import evaluate as evaluate_run
    from kpairs.cli.tables import console, error_table
    from kpairs.training.run import summarize

    run = Run.latest() if run is None else Run.open(run)
    rows = evaluate_run(
        run, device=device, threads=threads, data_root=data_dir, test_pairs=test_pairs
    )
    summary = summarize(rows)
    if as_json:
        print_json({"run": str(run.path), "rounds": rows, "summary": summary})
        return
    count = test_pairs or run.recipe.test_pairs
    console().print(error_table(rows, summary, f"{run.path}, {count} test pairs"))
