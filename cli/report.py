"""`kpairs report`: pages that show studies beside the reports."""

import click

from kpairs.cli.options import folder, import_own, imports


@click.command()
@click.argument("name", required=False)
@click.option(
    "--rows",
    type=click.Path(exists=True, file_okay=False),
    default="studies",
    show_default=True,
    help="Folder of the CSVs that 'kpairs study' leaves.",
)
@folder("--out", default="pages", help="Folder of the pages.")
@imports
def report(name, rows, out, imports):
    """Write a page per report, as Markdown and as one HTML file, from studies' rows.

    NAME is a report's key, such as haidinger; without it all five, one across them and one of
    kpairs' own architecture. With chassagne comes the page of the mini framework. results.csv has
    every reported number beside ours.

    \b
    kpairs report
    kpairs report haidinger --out pages
    """
    import_own(imports)
    from kpairs.errors import unknown
    from kpairs.reports import REPORTS

    if name is not None and name not in REPORTS:
        raise unknown("report", name, REPORTS)
    from kpairs.cli.tables import console
    from kpairs.studies.pages import write_pages

    files = write_pages(rows, out, None if name is None else [name])
    screen = console()
    for file in files:
        if file.suffix != ".svg":
            screen.print(str(file))
