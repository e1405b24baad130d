"""The `kpairs` command. Each command lives in its own file: parse, one call, print.

A command's file is imported when it is asked for, and none imports keras, torch or matplotlib
before it runs: `kpairs --help` and `kpairs predict` must answer at once.
"""

import atexit
import errno
import gc
import logging
import os
import re
import shutil
import sys
import traceback
import warnings
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec

import click

import kpairs
from kpairs.errors import KpairsError, UsageError, first_line, printable
from kpairs.files import FULL

# What `kpairs --help` says of each command, in its order and so that it imports none of them.
_SECTIONS = {
    "Networks": {
        "train": "Train an architecture by its recipe, on digits or images.",
        "evaluate": "Evaluate a run on pairs drawn again, or on other data.",
        "export": "Export a run to ONNX and other formats, and check it.",
        "predict": "Compare images by a run or an exported model.",
        "demo": "Open a page to compare two images on.",
        "archs": "List the architectures, or show one: layers, recipe, results.",
        "data": "Look at images: where they are, what they are like.",
    },
    "Your images": {
        "label": "Open a page to compare images on, and rank them.",
        "rank": "Rank images by a run or an exported model.",
        "explain": "Draw which places of an image decide its score.",
        "score": "Rank images by judgements of pairs, without training.",
        "next-pairs": "Propose pairs that are worth asking a person about.",
    },
    "Experiments": {
        "compare": "Put runs side by side: recipes, errors, differences.",
        "search": "Find hyperparameters by cross-validation.",
        "bench": "Measure how fast this machine trains and runs models.",
        "study": "Run a report's experiment again.",
        "report": "Write the pages of the reports from studies' rows.",
        "mini": "Train report 002's framework, made from tensors alone.",
    },
}
_COMMANDS = sorted(name for names in _SECTIONS.values() for name in names)
_FIRST = """\
kpairs learns from pairs which of two images ranks higher, and ranks images by that.

Type first:
  kpairs label photos                    compare the images of your folder photos in the browser
  kpairs train --data photos/pairs.csv   learn a score from your answers
  kpairs rank photos                     rank a folder by the latest run

  kpairs demo                            draw two digits, and see a network compare them
  kpairs train auxws                     train a network on 1,000 pairs of digits

All commands: kpairs --help. Options of a command: kpairs train --help."""
_INTERRUPTED = 130


def shown(message):
    """Return a message in one line, with paths in the working folder as they were typed."""
    here = os.path.join(os.getcwd(), "")
    text = message if here == os.sep else message.replace(here, "")
    return printable(" ".join(text.splitlines()))


def shortest(file):
    """Return a path from the working folder, or from the root where that is shorter."""
    return min(os.path.relpath(file), os.path.abspath(file), key=len)


def say(text, err=False):
    """Print a text; on a terminal narrower than it, each clause stands in a line of its own."""
    stream = sys.stderr if err else sys.stdout
    if stream.isatty() and len(text) > shutil.get_terminal_size().columns:
        text = text.replace("; ", "\n  ")
    click.echo(text, err=err)


class _Failure(click.ClickException):
    def __init__(self, message, exit_code):
        super().__init__(printable(" ".join(message.splitlines())))
        self.exit_code = exit_code


def _settings_refused(error):
    """Return the fault in the user's settings of Keras, if that is why it could not be imported."""
    error = error.__cause__ or error
    places = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    if places and places[-1].endswith(os.path.join("keras", "src", "backend", "config.py")):
        home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
        return f"{os.path.join(home, 'keras.json')}: {first_line(error)}"
    from kpairs.training.records import BACKENDS

    backend = os.environ["KERAS_BACKEND"]
    if backend not in BACKENDS:
        return f"KERAS_BACKEND: expected one of {', '.join(BACKENDS)}, received {backend!r}"
    if find_spec(backend) is None:
        return f"KERAS_BACKEND={backend}: {backend} is not installed; expected torch, or install it"
    return None


class _Messages(logging.Handler):
    """Prints what is logged on standard error, each text once."""

    def __init__(self):
        super().__init__()
        self.said = set()

    def emit(self, record):
        text = shown(self.format(record))
        if text not in self.said:
            self.said.add(text)
            say(text, err=True)  # looks where standard error is now: under a live bar too


@contextmanager
def _one_line():
    """Turn the errors that a user can cause into one line and the right exit code."""
    try:
        yield
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        if isinstance(error, KpairsError):
            raise _Failure(str(error), error.exit_code) from error
        if refused := _settings_refused(error):
            raise _Failure(refused, UsageError.exit_code) from error
        raise
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader of our output went away; click handles it
            raise
        unnamed = error.errno in FULL and error.filename is None
        where = ": standard output, or a temporary file" if unnamed else ""
        raise _Failure(f"{error}{where}", KpairsError.exit_code) from error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):  # torch's
            raise
        text = "not enough memory: expected fewer or smaller images, or fewer programs beside this"
        raise _Failure(text, KpairsError.exit_code) from error
    except KeyboardInterrupt as error:
        raise _Failure(str(error) or "interrupted", _INTERRUPTED) from error


class _Group(click.Group):
    """Commands that are imported when they are asked for."""

    def list_commands(self, ctx):
        return _COMMANDS

    def format_commands(self, ctx, formatter):
        for title, commands in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))

    def get_command(self, ctx, name):
        if name not in _COMMANDS:
            return None
        name = name.replace("-", "_")
        return getattr(import_module(f"kpairs.cli.{name}"), name)

    def resolve_command(self, ctx, args):
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            near = get_close_matches(args[0].lower(), _COMMANDS, n=2, cutoff=0.7)
            hint = f"did you mean {' or '.join(near)}?" if near else "'kpairs --help' lists them"
            raise click.UsageError(f"unknown command {args[0]!r}: {hint}", ctx)
        return super().resolve_command(ctx, args)

    def make_context(self, *args, **options):
        with _one_line():  # of --help, which is printed here
            return super().make_context(*args, **options)

    def invoke(self, ctx):
        if sys.stdout is None:  # as `>&-` leaves it; nothing could be told
            text = "standard output is closed: expected a place for the result, such as /dev/null"
            raise _Failure(text, KpairsError.exit_code)
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # a terminal that lacks a letter shows "?" for it
                stream.reconfigure(errors="replace")
        columns = os.environ.get("COLUMNS", "1")
        if not re.fullmatch("0*[1-9][0-9]{0,3}", columns):  # rich believes it
            del os.environ["COLUMNS"]
        with _one_line():
            try:
                return super().invoke(ctx)
            except click.NoSuchOption as error:
                raise click.UsageError(_nearest_option(error), error.ctx) from error


def _nearest_option(error):
    """Return the refusal of an option, with the nearest ones; by initials too, such as --lr."""
    known = [name for option in error.ctx.command.get_params(error.ctx) for name in option.opts]
    known = [name for name in known if name.startswith("--")]
    asked = error.option_name.lower().replace("_", "-")
    initials = {name: "--" + "".join(w[0] for w in name[2:].split("-")) for name in known}
    near = [name for name in known if initials[name] == asked and name.count("-") > 2]
    near += [name for name in known if asked != "--" and name.startswith(asked)]
    near = near or get_close_matches(asked, known, cutoff=0.7)
    hint = f"did you mean {' or '.join(near[:3])}?" if near else "--help lists them"
    return f"unknown option {error.option_name!r}: {hint}"


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.version_option(kpairs.__version__, prog_name="kpairs")
@click.pass_context
def main(context):
    """Train networks that say which of two images ranks higher, and export them to ONNX.

    Exit codes: 0 ok, 1 failure, 2 usage, 3 an export disagrees with its model, 4 bad or corrupt
    input, 130 interrupted.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of files that are read or refused anyway
    logging.basicConfig(format="%(message)s", handlers=[_Messages()])
    logging.getLogger("kpairs").setLevel(logging.INFO)
    if context.invoked_subcommand is None:
        click.echo(_FIRST)


def run():
    """Run `main` as a program.

    Torch and Keras make a million objects that live as long as it does. To look through them for
    garbage again and again, and to free them one by one at the end, would take a quarter of the
    time of a short training.
    """
    gc.set_threshold(100_000)
    code = 1  # of an exception that nothing expects

    def leave():
        logging.shutdown()
        status = code
        for stream in filter(None, (sys.stdout, sys.stderr)):
            try:
                stream.flush()
            except (OSError, ValueError):  # a full disk, a closed stream
                status = status or KpairsError.exit_code
        os._exit(status)

    atexit.register(leave)  # first, so that it comes after what others register
    try:
        main(prog_name="kpairs")
    except SystemExit as end:
        code = end.code or 0
        raise
