"""Commands that are killed, or for which the disk is full, at every moment: what is left of them?

Each check takes how much of it to do (1.0 is the whole) and a seed, and returns how many times it
struck and what went wrong, as texts.
"""

import hashlib
import random
import shutil
import tempfile
from functools import partial
from pathlib import Path

from faults import command, fill_disk, kill
from resume_script import RECIPE, digest
from tqdm import tqdm

ROWS = Path(__file__).parents[1] / "docs" / "rows"
SMALL = (  # what is struck at many moments takes a second
    *("--arch", "conv_1", "--pairs", "100", "--test-pairs", "50", "--no-augment"),
    *("--epochs", "3", "--batch-size", "30", "--rounds", "2", "--device", "cpu"),
)
FORMATS = (("--torchscript",), ("--onnx", "--torchscript"))
LIMITS = (0, 1, 100, 5000, 100_000)  # bytes that fit into a file of a full disk
OTHERS = (
    ("report", "haidinger", "--rows", ROWS, "--out", "{}/pages"),
    ("data", "--sheet", "{}/sheet.png", "--force", "--samples", "{}/samples"),
    ("data", "{}/photos", "--example", "photographs"),  # a thousand writes
    (
        *("search", "--arch", "conv_1", "--try", "epochs=1 2", "--pairs", "40", "--folds", "2"),
        *("--out", "{}/search"),
    ),
)


def killed_trainings(share, seed):
    """Chains of three kills, each of which must end as a training that was never stopped."""
    rng, wrong, late = random.Random(seed), [], 0
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        whole = _done("train", *RECIPE, "--out", folder / "whole")
        by_two = _done("train", *RECIPE, "--out", folder / "by-two", "--jobs", 2)
        expected = digest(folder / "whole")
        if digest(folder / "by-two") != expected:
            wrong.append("--jobs 2 ends elsewhere")
        chains = range(max(2, round(20 * share)))
        for number in tqdm(chains, "trainings killed", leave=False, disable=None):
            run = folder / f"chain-{number}"
            jobs, like = ((), whole) if number % 4 else (("--jobs", 2), by_two)
            arguments = ("train", *RECIPE, "--out", run, *jobs)
            for _ in range(3):
                if number % 2:  # at a change of a file; those of workers are not seen
                    moment = {"strike": kill, "at_change": rng.randrange(1, like.changes // 3)}
                else:
                    moment = {"after": rng.uniform(0.2, 0.6) * like.seconds}
                late += command(*arguments, **moment).code == 0
                if (run / "recipe.json").exists():
                    arguments = ("train", "--resume", run, *jobs)
                else:  # killed before there was a run
                    shutil.rmtree(run, ignore_errors=True)
            done = command(*arguments)
            if done.code or digest(run) != expected:
                wrong.append(f"chain {number}: exit {done.code}, {done.last:.200}")
            wrong += [f"chain {number} left {f.name}" for f in _leftovers(run)]
            shutil.rmtree(run)
    if late > len(chains):
        wrong.append(f"{late} of {3 * len(chains)} kills came too late")
    return len(chains), wrong


def killed_exports(share, seed):
    """Kills in exports over an older one: a model never stands beside another's description."""
    rng, wrong = random.Random(seed), []
    count = max(2, round(50 * share))
    with tempfile.TemporaryDirectory() as top:
        run = Path(top) / "run"
        _done("train", *SMALL, "--out", run)
        exports = [("export", run, *formats, "--round") for formats in FORMATS]
        likes = [_done(*export, 2) for export in exports]
        for number in tqdm(range(count), "exports killed", leave=False, disable=None):
            export, like = exports[number % 2], likes[number % 2]
            if number % 4 < 2:
                moment = {"after": rng.uniform(0.05, 1) * like.seconds}
            else:
                moment = {"strike": kill, "at_change": rng.randrange(1, like.changes + 1)}
            command(*export, rng.choice((1, 2)), **moment)
            wrong += [f"kill {number}: {said}" for said in inconsistent(run)]
        _done(*exports[-1], 1)
        wrong += [*inconsistent(run), *(f"{f.name} is left" for f in _leftovers(run))]
    return count, wrong


def full_trainings(share, seed):
    """The disk full from each write of a training on: one line, and resume ends as ever."""
    rng, wrong = random.Random(seed), []
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        whole = _done("train", *SMALL, "--out", folder / "whole")
        expected, moments = digest(folder / "whole"), _moments(whole, share, rng)
        for at in tqdm(moments, "full disks, trainings", leave=False, disable=None):
            run, limit = folder / f"run-{at}", rng.choice(LIMITS)
            arguments = ("train", *SMALL, "--out", run)
            done = command(*arguments, strike=partial(fill_disk, limit), at_write=at)
            where = f"write {at}, {limit} bytes"
            wrong += [f"{where}: {said}" for said in _unclear(done, run)]
            wrong += [f"{where}: {f.name} is left" for f in _leftovers(run)]
            if (run / "recipe.json").is_file():
                arguments = ("train", "--resume", run)
            again = command(*arguments)
            if again.code or digest(run) != expected:
                wrong.append(f"{where}: resume ended with {again.code}, {again.last:.200}")
            shutil.rmtree(run, ignore_errors=True)
    return len(moments), wrong


def full_exports(share, seed):
    """The disk full from each write of an export over an older one on."""
    rng, wrong = random.Random(seed), []
    with tempfile.TemporaryDirectory() as top:
        run = Path(top) / "run"
        _done("train", *SMALL, "--out", run)
        export = ("export", run, "--onnx", "--torchscript", "--round")
        whole = _done(*export, 1)
        before, moments = _contents(run), _moments(whole, share, rng)
        for at in tqdm(moments, "full disks, exports", leave=False, disable=None):
            limit = rng.choice(LIMITS)
            done = command(*export, 2, strike=partial(fill_disk, limit), at_write=at)
            where = f"write {at}, {limit} bytes"
            wrong += [f"{where}: {said}" for said in (*_unclear(done, run), *inconsistent(run))]
            if done.code and _contents(run) != before:
                wrong.append(f"{where}: the older files are not as they were")
            if _contents(run) != before:
                _done(*export, 1)
                before = _contents(run)
    return len(moments), wrong


def full_elsewhere(share, seed):
    """The disk full from some writes of other commands on: the same command then does it all."""
    rng, wrong, tried = random.Random(seed), [], 0
    for words in OTHERS:
        with tempfile.TemporaryDirectory() as top:
            whole = _done(*_within(Path(top, "whole"), words))
            names = {*_contents(Path(top, "whole"))}
            moments = _moments(whole, share, rng, 16)
            for moment in tqdm(moments, f"full disks, {words[0]}", leave=False, disable=None):
                folder, limit = Path(top, f"at-{moment}"), rng.choice(LIMITS)
                strike = partial(fill_disk, limit)
                done = command(*_within(folder, words), strike=strike, at_write=moment)
                again = command(*_within(folder, words))
                said = [*_unclear(done, folder), *(f"{f} is left" for f in _leftovers(folder))]
                if again.code or {*_contents(folder)} != names:
                    said.append(f"again ended with {again.code}, {again.last:.200}")
                where = f"{words[0]}, write {moment}, {limit} bytes"
                wrong += [f"{where}: {each}" for each in said]
                shutil.rmtree(folder, ignore_errors=True)
            tried += len(moments)
    return tried, wrong


def _done(*arguments):
    """A command that nothing strikes."""
    done = command(*arguments)
    if done.code:
        raise SystemExit(f"kpairs {arguments[0]} ended with {done.code}: {done.error}")
    return done


def _within(folder, words):
    """A command's words that write into a folder, which is made."""
    folder.mkdir(exist_ok=True)
    return [str(word).format(folder) for word in words]


def _moments(whole, share, rng, most=None):
    """Every write of a command, or `most` of them; of these a share."""
    count = max(2, round(share * min(most or whole.writes, whole.writes)))
    return sorted(rng.sample(range(1, whole.writes + 1), min(count, whole.writes)))


def _unclear(done, folder):
    """What is wrong with how a command ended for which the disk was full, or full enough."""
    if done.code not in (0, 1):
        yield f"exit {done.code}, {done.last:.200}"
    places = (str(folder), "No usable temporary directory found in ")
    if done.code == 1 and not (
        done.last.startswith("Error: ") and any(place in done.last for place in places)
    ):
        yield f"no line that names a file: {done.last:.200}"
    if "Traceback" in done.error:
        yield f"a traceback: {done.last:.200}"


def _leftovers(folder):
    return [f for f in folder.rglob(".*") if f.name not in (".lock", ".holder.json")]


def _contents(folder):
    """The SHA-256 of every file but locks, by name."""
    files = [f for f in folder.rglob("*") if f.is_file() and f.name != ".lock"]
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def inconsistent(folder):
    """What of a folder's exports does not belong together."""
    for beside in (*folder.glob("*.onnx.*"), *folder.glob("*.pt.*")):
        file = beside.with_suffix("")
        found = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "nothing"
        if not beside.name.startswith(".") and found not in beside.read_text():
            yield f"{beside.name} describes another file"
