"""Run every command of README and guides, in small, and compare what it prints.

python tests/docs_script.py [--in FOLDER] [PAGE...]

Commands run in the order of the pages, as a reader would type them. Trainings have few pairs and
epochs, so that numbers differ from the page: of each printed line, the words must come out again.
Prints each command with its seconds, and exits with 1 where one failed. With --in, pages that run
one by one find what earlier pages made. tests/test_docs.py runs the Python of most pages.
"""

import argparse
import csv
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
KPAIRS = (sys.executable, "-m", "kpairs.cli")
AUXWS = "runs/2026-11-21-auxws"
# Appended to a command; the last one of an option counts.
SMALL = {
    "train": "--pairs 200 --test-pairs 200 --epochs 2",
    "search": "--pairs 100 --folds 2 --try epochs=1",
    "study haidinger-figure-2": "--quick",
}
SERVERS = ("label", "demo")
# Part of a command, and why it does not run here.
LEFT_OUT = {
    "make test-reliability": "half an hour of its own",
    ". .venv": "of the shell",
    "caddy ": "another program",
    "dask ": "another machine",
    "--scheduler": "another machine",
    "--host 192.168": "the address of another machine",
    "g++ ": "needs onnxruntime's C++ library",
    "./compare": "needs onnxruntime's C++ library",
    "--backbone-weights imagenet": "a download",
}
# In the order in which pages find what earlier ones made.
PAGES = ("own-data", "explain", "trust", "tables", "graded", "judging", "weight-sharing")
PAGES += ("networks", "recipes", "exports", "languages", "studies", "experiments", "engine")
PAGES += ("reliability", "label", "README", "index")
# Pages with a folder of their own: there `photos` is the reader's, or not yet there.
FOLDERS = {name: f"of-{name}" for name in ("explain", "label", "README", "index")}
PYTHON = ("explain", "trust")  # not run by tests/test_docs.py


def steps(page):
    """Yield the commands of each block of a page, with the lines that the block prints."""
    text = page.read_text(encoding="utf-8")
    for block, shown in re.findall(
        r"```(?:sh|bash)\n(.*?)```(?:\n\n```\n(.*?)```)?", text, re.DOTALL
    ):
        lines = [line.split("  #")[0].strip() for line in block.replace("\\\n", " ").splitlines()]
        yield [part for line in lines for part in made(line)], shown


def made(line):
    """Return the commands of a line: those of the Makefile for `make train`."""
    if line != "make train":
        return [line]
    rule = re.search(r"^train: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return re.findall(r"kpairs .*", rule[1])


def small(line):
    """Return the arguments of a command, in small."""
    words = shlex.split(line.removeprefix("kpairs "))
    for beginning, more in SMALL.items():
        solved = "--data" in words and words[1] in ("--data", "linear")
        if line.startswith(f"kpairs {beginning}") and "--resume" not in words and not solved:
            words += more.split()
    if "--rounds" in words:
        words += ["--rounds", "3"]
    return words


def run(words):
    """Run kpairs; a server is interrupted once it has said where it is."""
    if words[0] not in SERVERS:
        return subprocess.run([*KPAIRS, *words], capture_output=True, text=True)
    command = [*KPAIRS, *words, "--no-browser"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    said = ""
    while (line := process.stdout.readline()) and "Ctrl-C" not in line:
        said += line
    process.send_signal(signal.SIGINT)
    try:
        said += line + process.communicate(timeout=60)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        said += "\nCtrl-C did not end it"
    failed = process.returncode not in (0, 130) or "://" not in said
    return subprocess.CompletedProcess(command, int(failed), said, "")


def words_of(text):
    """Return the words of a text: what is left without numbers, paths and lines of tables."""
    return re.findall(r"[A-Za-z]{3,}", re.sub(r"\S*[/\d]\S*", " ", text))


def missing(shown, printed):
    """Return a shown line whose words stand in no printed line in that order, or None."""
    found = [words_of(line) for line in printed.splitlines()]
    for line in shown.splitlines():
        words = words_of(line)
        if not any(all(word in rest for word in words) for rest in map(iter, found)):
            return line
    return None


def fill(table):
    """Fill in every empty label of proposed pairs."""
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    with open(table, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row | {"label": "left"} for row in rows)


def answers(table, images, count):
    """Fill a table of judgements in: the first image of a pair ranks higher by its name."""
    with open(table, newline="") as file:
        header = next(csv.reader(file))
    with open(table, "a", newline="") as file:
        writer = csv.DictWriter(file, header)
        for i in range(count):
            left, right = (images[(i * step) % len(images)].name for step in (7, 11))
            if left != right:
                label = "left" if left > right else "right"
                writer.writerow({"left": left, "right": right, "label": label, "judge": "anna"})


def prepare(page):
    """Put what a page takes for granted into the working folder."""
    crops = sorted(Path("photos/train").rglob("*.png"))[:300:5]
    own = Path(FOLDERS.get(page, ""))
    own.mkdir(exist_ok=True)
    if page in ("label", "README") and not (own / "photos").exists():
        for place in (own / "photos", own / "new-photos"):
            place.mkdir(parents=True)
            for file in crops:
                shutil.copy(file, place)
    if page in PYTHON:
        for side, file in zip("ab", crops[::30], strict=True):
            shutil.copy(file, own / f"{side}.png")
    if page == "trust":
        shutil.copytree("runs/linear", "runs/sharp", dirs_exist_ok=True)
        shutil.copy(crops[0], "reference.png")
    if page == "tables":
        names = [f"wine {i}" for i in range(60)]
        features = np.random.default_rng(0).normal(size=(60, 3)).astype("float32")
        np.savez("features.npz", names=names, features=features)
        rows = [
            f"{a},{b},{'left' if x[0] > y[0] else 'right'}"
            for (a, x), (b, y) in pairwise(zip(names, features, strict=True))
        ]
        Path("pairs.csv").write_text("\n".join(["left,right,label", *rows]))
    if page == "graded":
        Path("pairs.png").unlink(missing_ok=True)
    if page == "judging":
        rows = Path("photos/pairs.csv").read_text().splitlines(keepends=True)
        images = [f"photos/{name}" for row in rows[1:40] for name in row.split(",")[:2]]
        Path("ask.csv").write_text("left,right,label\n")
        with open("ask.csv", "a") as file:
            file.writelines(f"{a},{b},left\n" for a, b in pairwise(images[::2]) if a != b)
        shutil.copytree("photos/test", "bursts", dirs_exist_ok=True)
    if page == "recipes":
        run(small(f"kpairs train auxws --out {AUXWS}"))
    if page == "exports":
        shutil.rmtree("samples", ignore_errors=True)
        run(["data", "--samples", "samples"])
        run(["export", AUXWS, "--out", "auxws.onnx"])
        for name in ("simple", "auxws"):
            run(["export", f"runs/{name}", "--out", f"runs/{name}/{name}.onnx"])
        for place in ("folder", "old", "new"):
            shutil.copytree("samples", place, dirs_exist_ok=True)
        Path("pairs.csv").write_text("left,right\nsamples/1.png,samples/2.png\n")
    if page == "networks":
        text = (ROOT / "CONTRIBUTING.md").read_text()
        Path("mynets.py").write_text(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1])


def check(page, what, done, shown=""):
    """Print how something that was run went, and return whether it failed."""
    lost = missing(shown, done.stdout + done.stderr)
    wrong = bool(done.returncode) or lost is not None
    print(f"{page}: {'FAILED' if wrong else 'ok'}: {what}")
    if wrong:
        print(f"not printed: {lost}\n{(done.stdout + done.stderr)[-2000:]}")
    sys.stdout.flush()
    return wrong


def run_page(page):
    """Run the commands of a page, then its Python; return the number of failures."""
    place = ROOT / "README.md" if page == "README" else ROOT / "docs" / f"{page}.md"
    failures = 0
    for lines, shown in steps(place):
        printed = ""  # by the commands of the block up to here
        for line in lines:
            if reason := next((why for part, why in LEFT_OUT.items() if part in line), None):
                print(f"{page}: left out ({reason}): {line}")
                continue
            words, begun = small(line.replace("RUN", AUXWS)), time.monotonic()
            done = run(words)
            printed += done.stdout + done.stderr
            done.stdout, done.stderr = printed, ""
            what = f"{time.monotonic() - begun:.0f} s: {line}"
            failures += check(page, what, done, shown if line is lines[-1] else "")
            if words[0] == "next-pairs":
                fill(words[words.index("--out") + 1])
            table = Path("photos/pairs.csv")
            if words[0] == "label" and table.stat().st_size < 200:
                answers(table, sorted(Path("photos").glob("*.png")), 200)
    if page in PYTHON:
        code = "\n".join(re.findall(r"```python\n(.*?)```", place.read_text(), re.DOTALL))
        code = f"import kpairs\nfiles = ['a.png', 'b.png']\n{code}"
        command = [sys.executable, "-c", code]
        failures += check(
            page, "its Python", subprocess.run(command, capture_output=True, text=True)
        )
    return failures


def main(pages, folder):
    """Run the pages in a folder of their own; return the number of failures."""
    failures = 0
    for page in pages:
        os.chdir(folder)
        prepare(page)
        os.chdir(FOLDERS.get(page, folder))
        failures += run_page(page)
    os.chdir(ROOT)
    return failures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--in", dest="folder", help="where to work; kept")
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    asked = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    with tempfile.TemporaryDirectory() as scratch:
        failed = main(asked.pages or PAGES, Path(asked.folder or scratch).resolve())
    sys.exit(bool(failed))
