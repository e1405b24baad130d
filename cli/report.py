"""`kpairs report`: pages that show studies beside the reports."""

import click

from kpairs.cli.options import console, folder, import_own, imports, option, report_names


@click.command()
@click.argument("name", required=False, shell_complete=report_names)
@option(
    "--rows",
    type=click.Path(exists=True, file_okay=False),
    default="studies",
    help="Folder of the CSVs that 'kpairs study' leaves.",
)
@folder("--out", default="pages", help="Folder of the pages.")
@imports
def report(name, rows, out, imports):
    """Write a page per report, as Markdown and as one HTML file, from studies' rows.

    NAME is a report's number or key, such as 001 or haidinger; without it all five, one across
    them, one of the method and one of kpairs' own network. results.csv has every reported number
    beside ours.

    \b
    kpairs report
    kpairs report 001 --out pages
    """
    import_own(imports)
    from kpairs.errors import unknown
    from kpairs.reports import REPORTS, report_key

    name = name and report_key(name)
    if name is not None and name not in REPORTS:
        raise unknown("report", name, REPORTS)
    from kpairs.studies.pages import write_pages

    files = write_pages(rows, out, None if name is None else [name])
    screen = console()
    for file in files:
        if file.suffix != ".svg":
            screen.print(str(file))
