"""What attackers, full disks and bad luck find: tried so many times, and how often it went wrong.

python tests/reliability_script.py [--scale 1.0] [--seed 0] [--only WORD]...

Prints a table and exits with 1 where anything was violated. At scale 1: 2,000 damaged files of each
format that kpairs reads, 1,000 command lines of odd options, 20 chains of 3 kills in trainings, 50
kills in exports, a disk that is full from each write of a training and of an export on, and from 16
writes of each of four other commands.
"""

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import struck
from tqdm import tqdm

LONGEST_S = 30  # of reading one file
MOST_MEMORY_GIB = 2  # that reading damaged files may add
MOST_OF_MODELS_GIB = 10  # the same of models that run: `bounds.MAX_TOTAL` floats


class Hang(BaseException):
    """A case that took too long; no `except Exception` sees it."""


@contextmanager
def limited(seconds):
    """Raise `Hang` in a block after so many seconds."""

    def late(number, frame):
        raise Hang

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def damaged_files(name, count, seed):
    """Read damaged files of one format; what went wrong, as texts."""
    import damage
    from file_formats import FORMATS

    form, wrong = FORMATS[name], []
    with tempfile.TemporaryDirectory() as top:
        place = Path(top) / "place"
        place.mkdir()
        file = form.make(place)
        good = file.read_bytes()
        form.read(file)
        kept = {f: f.read_bytes() for f in place.rglob("*") if f.is_file()}
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        cases = damage.cases(good, form.change, count, f"{seed} {name}")
        for number, data in enumerate(tqdm(cases, name, count, leave=False, disable=None)):
            file.write_bytes(data)
            if said := _refusal(form.read, file):
                wrong.append(f"{name}, case {number}: {said}")
            for other in set(place.rglob("*")) - set(kept):  # what reading left, if anything
                other.unlink() if other.is_file() else None
            for other, content in kept.items():
                if other != file and other.read_bytes() != content:
                    wrong.append(f"{name}, case {number}: {other.name} was changed")
                    other.write_bytes(content)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 2**20
        if grown > (MOST_OF_MODELS_GIB if form.exported else MOST_MEMORY_GIB):
            wrong.append(f"{name}: {grown:.1f} GiB of memory")
    return wrong


def _refusal(read, file):
    """What is wrong with how a file is read; None where it is read, or refused in one line."""
    from kpairs.errors import KpairsError

    try:
        with limited(LONGEST_S), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(file)
    except KpairsError as error:
        return None if str(error).isprintable() else f"no plain line: {error!r:.200}"
    except Hang:
        return f"more than {LONGEST_S} s"
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.200}"
    return None


ODD = ("", "-1", "nan", "1e999", "²", "\x1b[2J", "x" * 5000, "--", "../..", "1,,2", "9" * 400)


def odd_options(count, seed):
    """Command lines with an odd value of some option that takes a number or one of some words."""
    import click
    from click.testing import CliRunner

    from kpairs.cli import main

    rng, wrong, commands = random.Random(seed), [], []
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        parts = command.commands.items() if isinstance(command, click.Group) else [("", command)]
        commands += [((name, part) if part else (name,), each) for part, each in parts]
    with tempfile.TemporaryDirectory() as top:
        before = os.getcwd()
        os.chdir(top)
        try:
            for number in range(count):
                words, command = rng.choice(commands)
                line = [*words, *_odd_line(command, rng)]
                result = CliRunner().invoke(main, line, prog_name="kpairs")
                crash = result.exception
                if not (crash is None or isinstance(crash, SystemExit)) or result.exit_code > 4:
                    wrong.append(f"line {number}, {' '.join(line)!r:.200}: {crash!r:.200}")
            wrong += [f"{f} was written" for f in os.listdir(top)]
        finally:
            os.chdir(before)
    return wrong


def _odd_line(command, rng):
    """Arguments that cannot be right: an option of a number, a word or a folder that is odd."""
    import click

    closed = (click.Choice, click.IntRange, click.FloatRange)
    refusing = [
        o
        for o in command.params
        if isinstance(o, click.Option) and not o.is_flag and isinstance(o.type, closed)
    ]
    others = [o for o in command.params if isinstance(o, click.Option) and o not in refusing]
    line = []
    for option in rng.sample(others, min(len(others), rng.randrange(3))):
        line += [option.opts[0]] if option.is_flag else [option.opts[0], rng.choice(ODD)]
    if refusing:
        line += [rng.choice(refusing).opts[0], rng.choice([o for o in ODD if o != "9" * 400])]
    else:
        line += ["--no-such-option", rng.choice(ODD)]
    return [*line, *(["--", rng.choice(ODD)] if rng.random() < 0.2 else [])]


def rows(scale, seed, only):
    """The rows of the table: what, how many times it was tried, what went wrong."""
    from faults import call
    from file_formats import FORMATS

    def in_a_process(function, count, *arguments):
        """In one of its own, so that a crash is seen as one."""
        count = max(1, round(scale * count))
        found = call(function, *arguments, count, seed)
        return count, [found] if isinstance(found, str) else found

    checks = [(f"damaged {name}", in_a_process, (damaged_files, 2000, name)) for name in FORMATS]
    checks.append(("command lines of odd options", in_a_process, (odd_options, 1000)))
    checks += [
        ("trainings killed three times, and resumed", struck.killed_trainings, (scale, seed)),
        ("exports killed", struck.killed_exports, (scale, seed)),
        ("full disks in trainings, resumed", struck.full_trainings, (scale, seed)),
        ("full disks in exports", struck.full_exports, (scale, seed)),
        ("full disks in other commands", struck.full_elsewhere, (scale, seed)),
    ]
    for title, check, arguments in checks:
        if not only or any(word in title for word in only):
            yield title, *check(*arguments)


def main():
    """Print the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="share of the cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="rows that this word is in")
    options = parser.parse_args()
    # What killed processes leave is said by the one that clears it.
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    total, started = 0, time.perf_counter()
    print(f"seed {options.seed}, scale {options.scale:g}\n")
    print("| what | tried | violated | seconds |\n| --- | ---: | ---: | ---: |", flush=True)
    for title, tried, wrong in rows(options.scale, options.seed, options.only):
        seconds, started = time.perf_counter() - started, time.perf_counter()
        print(f"| {title} | {tried:,} | {len(wrong):,} | {seconds:,.0f} |", flush=True)
        for text in wrong[:20]:
            print(f"  {text}", file=sys.stderr, flush=True)
        total += len(wrong)
    print(f"\n{total:,} violated", flush=True)
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main())
