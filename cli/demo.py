"""`kpairs demo`: draw two digits in the browser, and see what exported models say of them."""

import subprocess
import sys
from pathlib import Path

import click

from kpairs.cli.models import latest_run, model_file
from kpairs.cli.options import count, data_dir
from kpairs.errors import InputError, KpairsError

_OWN = "posterior_s"  # small, good, and trained in about a minute


@click.command()
@click.argument("models", metavar="[RUN|MODEL.onnx]...", nargs=-1)
@count(
    "--port", least=0, most=65535, default=0, show_default="a free one", help="Port on 127.0.0.1."
)
@click.option("--no-browser", is_flag=True, help="Only say where the page is.")
@data_dir
def demo(models, port, no_browser, data_dir):
    """Open a page to draw two digits on, or drop two images, and see what models say of them.

    Several models answer side by side. Without one the latest run in runs/ answers; where there is
    no run, posterior_s is trained once, in about a minute. Only this machine may ask; Ctrl-C ends
    it.

    \b
    kpairs demo
    kpairs demo runs/simple runs/auxws
    """
    import webbrowser

    from kpairs.exports.runtime import PairModel
    from kpairs.exports.web.demo import demo_routes, offered_digits
    from kpairs.exports.web.server import ADDRESS, LocalServer

    files = [model_file(name) for name in models] or [_latest() or _trained(data_dir)]
    loaded = dict(zip(_names(files), map(PairModel.load, files), strict=True))
    routes = demo_routes(loaded, offered_digits(list(loaded.values()), data_dir))
    try:
        server = LocalServer(routes, port)
    except OSError as error:
        raise KpairsError(f"{ADDRESS}:{port}: cannot listen here: {error.strerror}") from error
    with server:
        click.echo(f"{', '.join(loaded)}: {server.url} (Ctrl-C ends it)")
        if not no_browser:
            webbrowser.open(server.url)
        try:
            server.run()
        except KeyboardInterrupt:
            click.echo("ended")


def _names(files):
    """Return a name for each file, with its folder's where several share one."""
    stems = [file.stem for file in files]
    if len(set(stems)) == len(stems):
        return stems
    names = [f"{file.absolute().parent.name}/{file.stem}" for file in files]
    return names if len(set(names)) == len(names) else [str(file) for file in files]


def _latest():
    """Return the model of the run in runs/ that finished last, or None."""
    try:
        run = latest_run()
    except InputError:  # there is none
        return None
    return model_file(run)


def _trained(data_dir):
    """Train and export the demo's own model, in other processes: this one stays small."""
    from kpairs.data.source import cache_root

    run = Path(data_dir or cache_root()) / "demo" / _OWN
    file = run / f"{_OWN}.onnx"
    if not file.is_file():
        options = ["--data-dir", data_dir] if data_dir else []
        click.echo(f"no model here yet: training {_OWN}, once, in about a minute")
        run.parent.mkdir(parents=True, exist_ok=True)
        start = ["--resume", run] if (run / "recipe.json").is_file() else ["--arch", _OWN]
        out = [] if start[0] == "--resume" else ["--out", run]
        _kpairs("train", *start, *out, *options)
        _kpairs("export", "--onnx", run, *options)
    return file


def _kpairs(*arguments):
    done = subprocess.run([sys.executable, "-m", "kpairs.cli", *map(str, arguments)])
    if done.returncode:
        raise click.exceptions.Exit(done.returncode)
