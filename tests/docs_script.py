"""Run every command of README and guides, in small, and compare what it prints.

python tests/docs_script.py [PAGE...]

Commands run in the order of the pages, as a reader would type them. Trainings have few pairs and
epochs, so that numbers differ from the page: of each printed line, the words must come out again.
Prints each command with its seconds, and exits with 1 where one failed.
"""

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
# Commands of other programs, of other machines, and those that need a download.
LEFT_OUT = ("make ", ". ", "caddy ", "dask ", "g++ ", "./", "eval ", "pip ")
LEFT_OUT += ("--host 192.168", "--scheduler", "--backbone-weights imagenet")


def steps(page):
    """Yield each command of a page, with the lines that its last command of a block prints."""
    text = page.read_text(encoding="utf-8")
    for block, shown in re.findall(
        r"```(?:sh|bash)\n(.*?)```(?:\n\n```\n(.*?)```)?", text, re.DOTALL
    ):
        lines = block.replace("\\\n", " ").strip().splitlines()
        for line in lines:
            yield line.split("  #")[0].strip(), shown if line is lines[-1] else ""


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
    said += line + process.communicate(timeout=60)[0]
    return subprocess.CompletedProcess(command, 0 if "http://" in said else 1, said, "")


def words_of(text):
    """Return the words of a text: what is left without numbers, paths and lines of tables."""
    return re.findall(r"[A-Za-z]{3,}", re.sub(r"\S*[/\d]\S*", " ", text))


def missing(shown, printed):
    """Return a shown line whose words are not printed in that order, or None."""
    found = words_of(printed)
    for line in shown.splitlines():
        rest = iter(found)
        if "..." not in line and not all(word in rest for word in words_of(line)):
            return line
    return None


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
    if page in ("label.md", "README.md") and not Path("sitting").exists():
        for place in ("sitting/photos", "sitting/new-photos"):
            Path(place).mkdir(parents=True)
            for file in crops:
                shutil.copy(file, place)
    if page == "judging.md":
        rows = Path("photos/pairs.csv").read_text().splitlines(keepends=True)
        images = [f"photos/{name}" for row in rows[1:40] for name in row.split(",")[:2]]
        Path("ask.csv").write_text("left,right,label\n")
        with open("ask.csv", "a") as file:
            file.writelines(f"{a},{b},left\n" for a, b in pairwise(images[::2]) if a != b)
        shutil.copytree("photos/test", "bursts", dirs_exist_ok=True)
    if page == "recipes.md":
        run(small(f"kpairs train auxws --out {AUXWS}"))
    if page == "exports.md":
        run(["data", "--samples", "samples"])
        run(["export", AUXWS, "--out", "auxws.onnx"])
        for name in ("simple", "auxws"):
            run(["export", f"runs/{name}", "--out", f"runs/{name}/{name}.onnx"])
        for place in ("folder", "old", "new"):
            shutil.copytree("samples", place)
        Path("pairs.csv").write_text("left,right\nsamples/1.png,samples/2.png\n")
    if page == "networks.md":
        text = (ROOT / "CONTRIBUTING.md").read_text()
        Path("mynets.py").write_text(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1])


PAGES = ("own-data.md", "graded.md", "judging.md", "weight-sharing.md", "networks.md", "recipes.md")
PAGES += (
    "exports.md",
    "studies.md",
    "experiments.md",
    "engine.md",
    "label.md",
    "README.md",
    "index.md",
)


def main(pages):
    """Run the pages in a folder of their own; return the number of failures."""
    failures = 0
    with tempfile.TemporaryDirectory() as top:
        os.chdir(top)
        for page in pages:
            os.chdir(top)
            prepare(page)
            if page in ("label.md", "README.md"):
                os.chdir("sitting")
            place = ROOT / page if page == "README.md" else ROOT / "docs" / page
            for line, shown in steps(place):
                if not line.startswith("kpairs ") or any(part in line for part in LEFT_OUT):
                    print(f"{page}: left out: {line}")
                    continue
                begun = time.monotonic()
                done = run(small(line.replace("RUN", AUXWS)))
                printed = done.stdout + done.stderr
                lost = missing(shown, printed)
                wrong = done.returncode or lost is not None
                failures += bool(wrong)
                state = "FAILED" if wrong else "ok"
                print(f"{page}: {state} {time.monotonic() - begun:.0f} s: {line}", flush=True)
                if wrong:
                    print(f"not printed: {lost}\n{printed[-2000:]}", flush=True)
                table = Path("photos/pairs.csv")
                if line.startswith("kpairs label") and table.stat().st_size < 200:
                    answers(table, sorted(Path("photos").glob("*.png")), 200)
    return failures


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:] or PAGES)))
