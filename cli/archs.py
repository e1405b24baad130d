"""`kpairs archs`: the table of architectures."""

import click

from kpairs.cli.options import as_json, print_json


@click.command()
@as_json
def archs(as_json):
    """List the architectures: report, outputs and trainable parameters."""
    from kpairs.archs import ARCHS, build
    from kpairs.registry import trainable_parameters
    from kpairs.reports import REPORTS

    rows = [
        {
            "name": name,
            "report": a.report,
            "source": a.source,
            "outputs": list(a.outputs),
            "parameters": trainable_parameters(build(name)),
        }
        for name, a in ARCHS.items()
    ]
    if as_json:
        print_json(rows)
        return
    from rich.table import Table

    from kpairs.cli.tables import console

    table = Table("name", "report", "source", "outputs")
    table.add_column("parameters", justify="right")
    for row in rows:
        report = f"{REPORTS[row['report']].number} {row['report']}"
        outputs = ", ".join(row["outputs"])
        table.add_row(row["name"], report, row["source"], outputs, f"{row['parameters']:,}")
    console().print(table)
