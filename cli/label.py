"""`kpairs label`: a page on which people compare images, from an empty folder to a ranking."""

import click

from kpairs.cli.options import as_argument, count, file, grouped, option, white
from kpairs.errors import KpairsError


def _names(context, parameter, text):
    return [name for name in text.split(",") if name.strip()] if text else []


@click.command(
    cls=grouped({"Options": ("question", "out", "judge", "judges", "no_ties", "no_browser")})
)
@click.argument("folder", type=click.Path(file_okay=False))
@option("--question", default="Which ranks higher?", help="Asked about each pair.")
@file(
    "--out",
    help="CSV file of the answers; one that exists is continued.  [default: FOLDER/pairs.csv]",
)
@click.option("--judge", help="Name of who compares.  [default: the login name]")
@click.option(
    "--judges", callback=_names, metavar="NAME,...", help="Several people, each with a link."
)
@click.option("--no-ties", is_flag=True, help="Two images are never equal.")
@click.option(
    "--group",
    metavar="folder|EXPRESSION",
    help="Pairs of one group only, such as a patient's: one folder, or one match of this regular "
    "expression in the names.",
)
@click.option(
    "--repeat",
    type=click.FloatRange(0, 0.5),
    help="Share of pairs that each judge gets twice.  [default: 0.05 with --judges, else 0]",
)
@white
@count(
    "--port",
    least=0,
    most=65535,
    help="Port of the page.  [default: the last one of this table, or a free one]",
)
@option(
    "--host",
    default="127.0.0.1",
    help="Address of this machine in a local network, for --judges; not encrypted.",
)
@click.option("--url", help="Address that browsers use, where a proxy with TLS stands before.")
@click.option("--no-browser", is_flag=True, help="Only say where the page is.")
def label(folder, no_ties, no_browser, host, url, **options):
    """Open a page to compare the images of FOLDER on, two at a time, and rank them by the answers.

    Arrow keys choose, z takes back, ? shows all keys. Each answer is in the CSV file before the
    page goes on. Ctrl-C ends it; the same command goes on later.

    \b
    kpairs label photos --question "Which is sharper?"
    kpairs label scans --judges anna,ben --out severity.csv
    """
    import webbrowser

    from kpairs.data.settings import WHITE
    from kpairs.exports.web.label.sitting import Sitting

    sitting = Sitting(folder, ties=not no_ties, host=host, url=url, **options)
    with sitting:
        session = sitting.session
        table = session.answers.path
        known = sum(bool(answer.label) for answer in session.answers.rows)
        for note in session.notes:
            click.echo(note, err=True)
        click.echo(f"{folder}: {len(session.images.files):,} images; {known:,} answers in {table}")
        several = len(sitting.links) > 1
        for name, link in sitting.links.items():
            click.echo(f"{name or ('you' if several else 'compare')}: {link}")
        if host != "127.0.0.1":
            click.echo(
                "not encrypted: whoever listens on this network sees images and links; "
                "docs/label.md tells how to put TLS before it",
                err=True,
            )
        click.echo("Ctrl-C ends it")
        if not no_browser:
            webbrowser.open(sitting.links[""])
        sitting.run()
        told = session.progress()
    if not table.is_file():
        raise KpairsError(f"{table}: the table with {told['answers']:,} answers is gone")
    click.echo(f"{told['answers']:,} answers in {table}")
    if told["answers"]:
        name, level = as_argument(table), session.images.white
        told_white = f" --white {level}" * (level != WHITE)
        click.echo(f"a ranking:  kpairs score {name} {as_argument(folder)}{told_white}")
        click.echo(f"a network:  kpairs train --data {name}{told_white}")
