"""How many judgements a ranking needs: test errors by method, task and number of training pairs.

    python docs/experiments/few_pairs.py photographs "linear, lite0"

Each task has three disjoint sets of 100, 300 and 1,000 training pairs, and photographs one of
5,000; the test pairs are the same for all. Rows go to docs/rows/few-pairs.csv, where a row that is
there is not trained again. Arguments limit tasks and methods.

Tasks: `photographs` (which is more degraded: `kpairs data DIR --example photographs`), `digits`
(which MNIST digit is larger, as bare pairs of 28x28 images) and `coins` (which crop of a photograph
shows more coins: content decides, not texture; test crops lie in a part of the photograph that no
training crop touches).
"""

import csv
import itertools
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import data as pictures
from skimage.filters import threshold_otsu

import kpairs
from kpairs.data.examples import write_digits, write_photographs
from kpairs.files import write_rows

ROWS = Path(__file__).parent.parent / "rows" / "few-pairs.csv"
SIZES = {100: 3, 300: 3, 1000: 3, 5000: 1}
METHODS = {
    "linear, lite0": {"recipe": "linear", "backbone": "lite0"},
    "linear, lite0 without mirror": {
        "recipe": "linear",
        "backbone": "lite0",
        "arch_options": {"mirrored": False},
    },
    "linear, statistics": {"recipe": "linear", "backbone": "statistics"},
    "fine-tuned lite0": {"recipe": "linear", "backbone": "lite0", "fine_tune": 3},
    "ranker": {"recipe": "ranker", "epochs": 40},
}


def photographs(folder):
    """Return `(training pairs, test pairs)` as rows, images written below the folder."""
    write_photographs(folder / "photographs")
    rows = _read(folder / "photographs" / "pairs.csv")
    named = [{**r, **{s: f"photographs/{r[s]}" for s in ("left", "right")}} for r in rows]
    return tuple([r for r in named if r["split"] == split] for split in ("train", "test"))


def digits(folder):
    """Return pairs of digits; each image is in one pair, as in the reports."""
    source = kpairs.open_source("mnist")
    splits = {part: source.split(part) for part in ("train", "test")}
    write_digits(splits, folder / "digits", 6600)
    found = []
    for part, count in (("train", 3000), ("test", 1000)):
        files = sorted((folder / "digits" / part).glob("*/*.png"))
        order = np.random.default_rng(0).permutation(len(files))[: 2 * count].reshape(-1, 2)
        found.append([_row(folder, *(files[i] for i in pair), _digit) for pair in order])
    return tuple(found)


def coins(folder):
    """Return pairs of crops of one photograph of coins, turned and shaded."""
    photograph = pictures.coins()
    labels, _ = ndimage.label(
        ndimage.binary_opening(photograph > threshold_otsu(photograph), iterations=3)
    )
    sizes = np.bincount(labels.ravel())
    centres = np.array(
        [ndimage.center_of_mass(labels == i) for i in np.flatnonzero(sizes[1:] > 300) + 1]
    )
    rng, found, side = np.random.default_rng(0), [], 128
    border = 230  # of columns: test crops lie right of it
    for part, images, count in (("train", 1000, 3000), ("test", 300, 1000)):
        low, high = (0, border) if part == "train" else (border - 60, photograph.shape[1])
        files = []
        for number in range(images):
            size = int(rng.integers(80, 150))
            left = int(rng.integers(low, max(low + 1, high - size)))
            top = int(rng.integers(0, photograph.shape[0] - size))
            inside = (centres >= [top, left]) & (centres < [top + size, left + size])
            many = int(inside.all(axis=1).sum())
            crop = np.rot90(photograph[top : top + size, left : left + size], rng.integers(4))
            crop = crop[:, :: rng.choice([-1, 1])] * rng.uniform(0.7, 1.1)
            image = Image.fromarray(np.clip(crop, 0, 255).astype(np.uint8)).resize((side, side))
            place = folder / "coins" / part / str(many)
            place.mkdir(parents=True, exist_ok=True)
            files.append(place / f"{number}.png")
            image.save(files[-1])
        drawn = rng.integers(0, images, (2 * count, 2))
        drawn = drawn[drawn[:, 0] != drawn[:, 1]][:count]
        found.append([_row(folder, *(files[i] for i in pair), _digit) for pair in drawn])
    return tuple(found)


def _read(table):
    with open(table, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _digit(file):
    return int(file.parent.name)


def _row(folder, left, right, value):
    a, b = value(left), value(right)
    label = "tie" if a == b else "left" if a > b else "right"
    names = (file.relative_to(folder).as_posix() for file in (left, right))
    return {**dict(zip(("left", "right"), names, strict=True)), "label": label}


def main(wanted):
    """Train what is missing among the rows."""
    rows = _read(ROWS) if ROWS.exists() else []
    done = {(r["task"], r["method"], r["pairs"], r["set"]) for r in rows}
    for task in (photographs, digits, coins):
        if wanted and task.__name__ not in wanted and set(wanted) - set(METHODS):
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            train, test = task(folder)
            test = [row for row in test if row["label"] != "tie"]
            order = np.random.default_rng(0).permutation(len(train))
            for (pairs, sets), (method, options) in itertools.product(
                SIZES.items(), METHODS.items()
            ):
                if pairs > len(train) or (set(wanted) & set(METHODS) and method not in wanted):
                    continue
                for number in range(min(sets, len(train) // pairs)):
                    if (task.__name__, method, str(pairs), str(number)) in done:
                        continue
                    chosen = [train[i] for i in order[number * pairs : (number + 1) * pairs]]
                    table = folder / "pairs.csv"
                    named = [(chosen, "train"), (test, "test")]
                    keys = ("left", "right", "label")
                    write_rows(
                        table,
                        [
                            {**{k: r[k] for k in keys}, "split": s}
                            for part, s in named
                            for r in part
                        ],
                    )
                    given = dict(options)
                    start = time.process_time()
                    run = kpairs.train(
                        given.pop("recipe"),
                        folder / "run" / f"{method} {pairs} {number}",
                        data=table,
                        seed=number,
                        verbose=0,
                        **given,
                    )
                    seconds = time.process_time() - start
                    error = run.metrics["rounds"][0]["test"]["comparison_error_pct"]
                    row = {
                        "task": task.__name__,
                        "method": method,
                        "pairs": pairs,
                        "set": number,
                        "test_pairs": len(test),
                        "error_pct": error,
                        "cpu_seconds": round(seconds, 1),
                    }
                    rows.append(row)
                    write_rows(ROWS, rows)
                    print(row, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
