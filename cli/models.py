"""The models that arguments of `rank`, `predict` and `demo` name: exported files, or runs."""

import logging
from pathlib import Path

import click

log = logging.getLogger("kpairs")  # which says nothing twice
_RECIPE = "recipe.json"  # by which a run folder is known


def is_model(name):
    """Return whether an argument names an exported model or a run folder."""
    return str(name).lower().endswith(".onnx") or (Path(name) / _RECIPE).is_file()


def latest_run():
    """Return the folder of the run in runs/ that finished last, and name it on standard error."""
    from kpairs.training.run import Run

    path = Run.latest().path
    click.echo(f"the latest run: {path}", err=True)
    return path


def solved_run(name):
    """Return the first round of a linear run, which ranks without an export; None for others."""
    if not Path(name).is_dir():
        return None
    from kpairs.exports.solved import SolvedRun

    return SolvedRun.of(*_first_round(name))


def model_file(name):
    """Return a model's file; a run's first round is exported first, where it is not there yet."""
    if not Path(name).is_dir():
        return Path(name)
    run, number = _first_round(name)
    file = run.path / f"{run.recipe.network.arch}.onnx"
    told = run.model_file(number), run.folder(number) / "calibration.json"  # by 'kpairs evaluate'
    latest = max(place.stat().st_mtime for place in told if place.is_file())
    if not file.is_file() or file.stat().st_mtime < latest:
        from kpairs import export

        click.echo(f"exporting {name}", err=True)
        file = export(run, number=number)[0].path
    return file


def _first_round(name):
    """Open a run; return it with the number of its first round, and say so where it has others."""
    from kpairs.training.run import Run

    run = Run.open(name)
    number = run.rounds[0] if run.rounds else 1
    if len(run.rounds) > 1:
        log.info("%s: round %d of %d is used", run.path, number, len(run.rounds))
    return run, number
