"""`kpairs mini`: the framework of report 002 that is written from nothing but tensors."""

import click

from kpairs.cli import options as shared
from kpairs.cli.options import as_json, count, data_dir, finished, force, jobs, seed


@click.group()
def mini():
    """Train the deep-learning framework of report 002, which is made from tensors alone."""


@mini.command()
@shared.choice(
    "--activation", "tanh", "relu", default="tanh", help="After every layer, the last included."
)
@shared.option("--learning-rate", type=float, default=0.1, help="Of plain gradient descent.")
@count("--epochs", default=100, help="Passes over the data.")
@count("--batch-size", default=100, help="Points per step.")
@shared.choice(
    "--init", "normal", "uniform", default="normal", help="Distribution of the first weights."
)
@count(
    "--round",
    "number",
    default=1,
    help="Round of the study, which decides the points and the first weights.",
)
@seed
@shared.file(
    "--picture",
    default="disc.png",
    help="Where to draw predictions, boundary, error and loss: .png, .svg or .pdf.",
)
@force
@as_json
def train(picture, as_json, force, **options):
    """Train 2-25-25-25-2 to tell the inside of a disc from its outside, and draw what it learned.

    \b
    kpairs mini train
    kpairs mini train --activation relu --learning-rate 0.5 --picture relu.png
    """
    import math

    from kpairs.errors import KpairsError
    from kpairs.files import check_output
    from kpairs.plots import save_figure
    from kpairs.reports.chassagne.disc.disc import train_disc
    from kpairs.reports.chassagne.disc.figures import draw_run

    check_output(picture, force=force)

    run = train_disc(**options)
    last = run.history[-1]
    if not math.isfinite(last["train_loss"]):
        raise KpairsError(
            f"the loss is {last['train_loss']} after {options['epochs']} epochs; expected a "
            f"smaller --learning-rate, received {options['learning_rate']:g}"
        )
    title = f"{options['activation']}, learning rate {options['learning_rate']:g}"
    save_figure(draw_run(run, title), picture)
    lines = (
        str(run.net),
        f"{title}, {options['epochs']} epochs in {run.seconds:.1f} s",
        f"error: train {last['train_error_pct']:g} %, test {last['test_error_pct']:g} %",
        f"picture in {picture}",
    )
    told = {"picture": picture, "seconds": run.seconds, "history": run.history}
    shared.show(told, as_json, lambda _: lines)


@mini.command()
@count("--rounds", default=50, most=10**6, help="Rounds of each activation and learning rate.")
@click.option(
    "--shared-points",
    is_flag=True,
    help="Also train 5 networks with tanh on each of 10 draws of points, 200 trainings.",
)
@jobs
@finished("studies")
@as_json
def study(rounds, shared_points, jobs, out, as_json):
    """Train the disc at four learning rates with tanh and ReLU, and compare with the report.

    It can be stopped at any moment; the same command goes on, and trains nothing twice.

    \b
    kpairs mini study --jobs 2
    kpairs report chassagne --rows studies --out pages
    """
    from kpairs.cli.tables import compared_table
    from kpairs.reports.chassagne.disc import trainings as studies
    from kpairs.reports.chassagne.disc.page import compare_rows
    from kpairs.studies.rows import records

    settings = studies.disc_settings(rounds)
    _train(studies.disc_row, settings, out, studies.DISC, jobs)
    if shared_points:
        _train(studies.disc_row, studies.draw_settings(), out, studies.DRAWS, jobs)
    studies.write_shown(out)
    rows = studies.finished(settings, out, studies.DISC)

    def tables(_):
        compared = compare_rows(rows)
        place = compared["table"].str.split().str[-1] + " " + compared["setting"].str.split().str[0]
        yield compared_table(compared.assign(setting=place), "the disc, after 100 epochs")
        yield f"rows in {out}/{studies.DISC}.csv; next: kpairs report chassagne --rows {out}"

    shared.show(records(rows), as_json, tables)


@mini.command()
@count(
    "--rounds", default=1, most=10**6, help="Trainings, each with its own pairs and first weights."
)
@count("--epochs", default=40, help="Passes over the pairs.")
@jobs
@finished("studies")
@data_dir
@as_json
def digits(rounds, epochs, jobs, out, data_dir, as_json):
    """Train `simple` of report 001 in the mini framework, on 1,000 pairs of real digits.

    The layers, recipe and pairs are those of 'kpairs train --arch simple --no-augment'.

    \b
    kpairs mini digits --epochs 5
    """
    from functools import partial

    from kpairs.numbers import summary
    from kpairs.reports.chassagne.disc.trainings import DIGITS, digit_row, digit_settings, finished
    from kpairs.studies.rows import records

    settings = digit_settings(rounds, epochs)
    _train(partial(digit_row, data_root=data_dir), settings, out, DIGITS, jobs)
    rows = finished(settings, out, DIGITS)
    errors = [f"{s} error (%): {summary(rows[f'{s}_error_pct'])}" for s in ("train", "test")]
    shared.show(records(rows), as_json, lambda _: [*errors, f"rows in {out}/{DIGITS}.csv"])


def _train(train, settings, out, name, jobs):
    """Train what has no row yet, with a bar over all of it."""
    from kpairs.cli.progress import follow
    from kpairs.reports.chassagne.disc.trainings import finished, train_missing

    done = len(finished(settings, out, name))
    names = (f"round {r['round']}" for r in train_missing(train, settings, out, name, jobs))
    follow(names, len(settings), out, done=done)
