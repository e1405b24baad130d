"""What attackers, full disks and bad luck find: tried so many times, and how often it went wrong.

python tests/reliability_script.py [--scale 1.0] [--seed 0] [--only WORD]...

Prints a table and exits with 1 where anything was violated. At scale 1: 2,000 damaged files of each
format that kpairs reads, 20 chains of 3 kills in trainings, 50 kills in exports, a full disk at 20
places, 1,000 command lines of odd options.
"""

import argparse
import json
import logging
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

LONGEST_S = 30  # of reading one file
MOST_MEMORY_KIB = 2**21  # that reading damaged files may add: 2 GiB


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
        for number, data in enumerate(damage.cases(good, form.change, count, f"{seed} {name}")):
            file.write_bytes(data)
            if said := _refusal(form.read, file):
                wrong.append(f"{name}, case {number}: {said}")
            for other in set(place.rglob("*")) - set(kept):  # what reading left, if anything
                other.unlink() if other.is_file() else None
            for other, content in kept.items():
                if other != file and other.read_bytes() != content:
                    wrong.append(f"{name}, case {number}: {other.name} was changed")
                    other.write_bytes(content)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        if grown > MOST_MEMORY_KIB:
            wrong.append(f"{name}: {grown / 2**20:.1f} GiB of memory")
    return wrong


def _refusal(read, file):
    """What is wrong with how a file is read; None where it is read, or refused in one line."""
    from kpairs.errors import KpairsError

    try:
        with limited(LONGEST_S), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(file)
    except KpairsError as error:
        return None if len(str(error).splitlines()) == 1 else f"several lines: {error!r:.200}"
    except Hang:
        return f"more than {LONGEST_S} s"
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.200}"
    return None


def in_a_process(name, count, seed):
    """As `damaged_files` in a process of its own, so that a crash is seen as one."""
    command = [sys.executable, __file__, "--format", name, str(count), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        end = done.stderr.strip().splitlines()[-1:] or [""]
        return [f"{name}: the process ended with {done.returncode}: {end[0]}"]
    return json.loads(done.stdout.splitlines()[-1])


def killed_trainings(count, seed):
    """Chains of three kills, each of which must end as a training that was never stopped."""
    from resume_script import chain, digest

    rng, wrong = random.Random(seed), []
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        started = time.perf_counter()
        chain(folder / "whole", 0, 0, rng)
        seconds = time.perf_counter() - started
        expected = digest(folder / "whole")
        for number in range(count):
            run = folder / f"chain-{number}"
            try:
                chain(run, 3, seconds, rng, ("--jobs", "2") if number % 2 else ())
            except SystemExit as error:
                wrong.append(f"chain {number}: {error}")
                continue
            if digest(run) != expected:
                wrong.append(f"chain {number} ended elsewhere")
            wrong += [f"chain {number} left {f.name}" for f in _leftovers(run)]
            shutil.rmtree(run)
    return wrong


def _leftovers(folder):
    return [f for f in folder.rglob(".*") if f.name not in (".lock", ".holder.json")]


def _kpairs(*arguments, before="", **options):
    """The standard error and exit code of a command, after some lines of Python."""
    script = f"import sys\n{before}\nfrom kpairs.cli import main\nmain(sys.argv[1:])"
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def _small_run(folder):
    from resume_script import RECIPE

    done = _kpairs("train", *RECIPE, "--rounds", "1", "--out", folder)
    if done.returncode:
        raise SystemExit(f"training failed: {done.stderr}")


def killed_exports(count, seed):
    """Kills in exports over an older one: a model never stands beside another's description."""
    rng, wrong = random.Random(seed), []
    with tempfile.TemporaryDirectory() as top:
        run = Path(top) / "run"
        _small_run(run)
        export = ("export", run, "--onnx", "--torchscript")
        started = time.perf_counter()
        _kpairs(*export)
        seconds = time.perf_counter() - started
        for number in range(count):
            script = "import sys; from kpairs.cli import main; main(sys.argv[1:])"
            command = [sys.executable, "-c", script, *map(str, export)]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
                time.sleep(rng.uniform(0.3, 1.05) * seconds)
                process.kill()
            wrong += [f"kill {number}: {said}" for said in _inconsistent(run)]
        if (done := _kpairs(*export)).returncode:
            wrong.append(f"the export after the kills failed: {done.stderr}")
        wrong += [f"{f.name} is left" for f in _leftovers(run)]
    return wrong


def _inconsistent(run):
    """What of a run folder's exports does not belong together."""
    import hashlib

    for file in (run / "auxws.onnx", run / "auxws.pt"):
        digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None
        beside, card = Path(f"{file}.json"), Path(f"{file}.md")
        if beside.is_file() and json.loads(beside.read_text())["sha256"] != digest:
            yield f"{beside.name} describes another file"
        if card.is_file() and (digest is None or digest not in card.read_text()):
            yield f"{card.name} describes another file"


def full_disks(count, seed):
    """No file may grow past a limit: one line that names the file, and resume ends as ever."""
    from resume_script import RECIPE, digest

    rng, wrong = random.Random(seed), []
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        done = _kpairs("train", *RECIPE, "--out", folder / "whole")
        if done.returncode:
            raise SystemExit(f"training failed: {done.stderr}")
        expected = digest(folder / "whole")
        sizes = sorted({f.stat().st_size for f in (folder / "whole").rglob("*") if f.is_file()})
        for number in range(count):
            limit = max(1, rng.choice(sizes) - rng.choice((1, 100)))
            full = (
                "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
                f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
            )
            run = folder / f"run-{number}"
            done = _kpairs("train", *RECIPE, "--out", run, before=full)
            last = (done.stderr.splitlines() or [""])[-1]
            if done.returncode != 1 or not last.startswith("Error: ") or "Trace" in done.stderr:
                wrong.append(f"at {limit} bytes: exit {done.returncode}, {last:.200}")
            if (run / "recipe.json").is_file():
                again = _kpairs("train", "--resume", run)
                if again.returncode or digest(run) != expected:
                    wrong.append(f"at {limit} bytes resume ended elsewhere: {again.stderr:.200}")
            wrong += [f"at {limit} bytes {f.name} is left" for f in _leftovers(run)]
            shutil.rmtree(run, ignore_errors=True)
    return wrong


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
    from file_formats import FORMATS

    checks = [(f"damaged {name}", 2000, in_a_process, name) for name in FORMATS]
    checks += [
        ("command lines of odd options", 1000, odd_options, None),
        ("trainings killed three times, and resumed", 20, killed_trainings, None),
        ("exports killed", 50, killed_exports, None),
        ("full disks, and resumed", 20, full_disks, None),
    ]
    for title, times, check, name in checks:
        if only and not any(word in title for word in only):
            continue
        count = max(1, round(scale * times))
        wrong = check(count, seed) if name is None else check(name, count, seed)
        yield title, count, wrong


def main():
    """Print the table; the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--format", nargs=3)
    options = parser.parse_args()
    if options.format:
        logging.disable()  # of curves that are left out, and the like
        name, count, seed = options.format
        print(json.dumps(damaged_files(name, int(count), int(seed))))
        return 0
    total = 0
    print(f"seed {options.seed}\n\n| what | tried | violated |\n| --- | ---: | ---: |", flush=True)
    for title, tried, wrong in rows(options.scale, options.seed, options.only):
        print(f"| {title} | {tried:,} | {len(wrong):,} |", flush=True)
        for text in wrong[:5]:
            print(f"  {text}", file=sys.stderr, flush=True)
        total += len(wrong)
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main())
