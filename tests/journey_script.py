"""How often one training does what once would do, on 30 images of one's own.

python tests/journey_script.py

Prints how often a source is opened, a recipe validated, a network built and an image decoded.
"""

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


def counts(folder, images=30):
    """Train once by the command line on images that are written into a folder; the four counts."""
    rng = np.random.default_rng(0)
    for number in range(images):
        place = folder / "images" / str(number % 3)
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 80, (20, 20), np.uint8) + np.uint8(60 * (number % 3))
        Image.fromarray(pixels).save(place / f"{number}.png")
    seen = []

    def note(frame, event, _):
        if event == "call" and frame.f_code in STEPS:
            seen.append(STEPS[frame.f_code])

    some = ["--pairs", "40", "--test-pairs", "10", "--epochs", "1", "--out", str(folder / "run")]
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        main(["train", "ranker", "--data", str(folder / "images"), *some], standalone_mode=False)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return dict(Counter(seen))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as top:
        for name, count in sorted(counts(Path(top)).items()):
            print(f"{count:3}  {name}")
