"""How often one training does what once would do, on 30 images of one's own, and the way it takes.

python tests/journey_script.py

Prints how often a source is opened, a recipe validated, a network built and an image decoded. Then,
of a recipe and of an image on their way to saved weights: how many files ("rooms") they enter, how
many stays they make there, and how many of these are returns. A stay is a run of calls into one
file by which a traveller, or what became of it, is passed on; a second call from the same place is
no new stay, and neither is what happens while modules are imported.
"""

import inspect
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from kpairs.cli import main
from kpairs.data.decode import load
from kpairs.data.source import open_source
from kpairs.networks import build
from kpairs.recipes.recipe import _validated

STEPS = {
    open_source.__code__: "sources opened",
    _validated.__code__: "recipe validations",
    build.__code__: "network builds",
    load.__code__: "image decodes",
}
# Classes of what travels.
PAIRS = {"Digits", "Scored", "Compared", "PairSet"}
TRAVELLERS = {
    "recipe": {"Recipe", "Source", "Prepared", "Model", "Architecture", "Round", "Run", *PAIRS},
    "image": {"ImageFiles", "Picture", "Prepared", "Stored", *PAIRS},
}
ROOT = Path(__file__).parents[1]
END = "save_model"


def train(folder, note, images=30):
    """Train once by the command line on images that are written into a folder, under a profiler."""
    rng = np.random.default_rng(0)
    for number in range(images):
        place = folder / "images" / str(number % 3)
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 80, (20, 20), np.uint8) + np.uint8(60 * (number % 3))
        Image.fromarray(pixels).save(place / f"{number}.png")
    some = ["--pairs", "40", "--test-pairs", "10", "--epochs", "1", "--out", str(folder / "run")]
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        main(["train", "ranker", "--data", str(folder / "images"), *some], standalone_mode=False)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def counts(folder):
    """Return the four counts of a training."""
    seen = []

    def note(frame, event, _):
        if event == "call" and frame.f_code in STEPS:
            seen.append(STEPS[frame.f_code])

    train(folder, note)
    return dict(Counter(seen))


def journeys(folder):
    """Return the files that each traveller stays in, in the order of its stays."""
    stays, doors = {name: [] for name in TRAVELLERS}, set()

    def note(frame, event, _):
        code, caller = frame.f_code, frame.f_back
        if event != "call" or not _is_ours(code) or _is_imported(frame):
            return
        while caller and not _is_ours(caller.f_code):
            caller = caller.f_back
        given = inspect.getargvalues(frame)
        values = [given.locals.get(name) for name in given.args]
        kinds = {base.__name__ for value in values for base in type(value).__mro__}
        for name, rooms in stays.items():
            door = name, code, caller and caller.f_code
            if kinds & TRAVELLERS[name] and door not in doors and END not in rooms:
                doors.add(door)
                room = str(Path(code.co_filename).relative_to(ROOT))
                if rooms[-1:] != [room]:
                    rooms.append(room)
                if code.co_name == END:
                    rooms.append(END)

    train(folder, note)
    return {name: [room for room in rooms if room != END] for name, rooms in stays.items()}


def _is_ours(code):
    inside = code.co_filename.startswith((f"{ROOT}/kpairs", f"{ROOT}/cli", f"{ROOT}/exports"))
    return inside and not code.co_name.startswith(("__", "<"))


def _is_imported(frame):
    while frame := frame.f_back:
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename != __file__:
            return True
    return False


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as top:
        found = counts(Path(top) / "once")
        ways = journeys(Path(top) / "way")
    for name, count in sorted(found.items()):
        print(f"{count:3}  {name}")
    for name, rooms in ways.items():
        entered = len(set(rooms))
        print(f"{name}: {len(rooms)} stays in {entered} rooms, {len(rooms) - entered} returns")
