"""`kpairs compare`: runs side by side."""

import click

from kpairs.cli.options import as_json, show


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@as_json
def compare(runs, as_json):
    """Put runs side by side: what differs in their recipes, their test errors, and by how much.

    Differences are from the first RUN, with their 95 % interval: round by round where both drew the
    same pairs, which tells small ones apart.

    \b
    kpairs compare runs/plain runs/with-grades
    """
    from kpairs.cli.tables import comparison_table
    from kpairs.training.run import Run
    from kpairs.training.side_by_side import compare_runs

    rows = compare_runs([Run.open(run) for run in runs])
    show(rows, as_json, lambda rows: [comparison_table(rows)])
