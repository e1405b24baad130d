"""`kpairs bench`: how fast this machine trains."""

import click

from kpairs.cli.options import as_json, data_dir, device, print_json


@click.group()
def bench():
    """Measure kpairs on this machine."""


@bench.command()
@click.option("--quick", is_flag=True, help="Fewer repeats: less than a minute, less certain.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    default=2,
    show_default=True,
    help="Processes for the rounds.",
)
@data_dir
@device
@as_json
def train(quick, jobs, data_dir, device, as_json):
    """Training: kpairs' engine beside stock Keras and beside a loop written in PyTorch.

    \b
    kpairs bench train --quick
    kpairs bench train --json > bench.json
    """
    from kpairs.bench.training import bench_training
    from kpairs.cli.tables import bench_tables, console

    with console(stderr=True).status("") as status:
        result = bench_training(
            quick=quick,
            jobs=jobs,
            device=device,
            data_root=data_dir,
            say=lambda text: status.update(f"measuring {text}"),
        )
    if as_json:
        print_json(result)
        return
    screen = console()
    for table in bench_tables(result):
        screen.print(table)
