"""Which loss or head ranks better: test errors by task, method and number of training images.

    nice -n 19 python docs/experiments/losses.py photographs

Every method learns from the same features, those of EfficientNet-Lite0 (`kpairs[pretrained]`).
Three sets of training images for each size; of 100 and 300 images they share none. The error is the
share of wrong comparisons among all pairs of test images of different value. Rows go to
docs/rows/losses.csv, where a row that is there is not measured again. Arguments limit tasks.

Tasks: `photographs` (five grades of degradation), `digits` (MNIST), `blur` (photographs' crops with
a continuous score, the logarithm of their blur with noise of a rater).

Methods: `ordinal` and `posterior`, heads for grades; `pairs`, Bradley-Terry on three drawn pairs an
image; `regression`, ridge regression on the grades or scores of these images; `logistic`,
`hinge` and `soft_zero_one`, losses of a linear network trained by Keras on as many pairs, of 100
and 300 photographs.
"""

import csv
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import keras
import numpy as np
from PIL import Image, ImageFilter

import kpairs
from kpairs.data.examples import write_digits, write_photographs
from kpairs.files import write_rows
from kpairs.judging.graded import HEADS, fit_graded
from kpairs.judging.linear import fit_linear
from kpairs.judging.valued import fit_values
from kpairs.losses import PairCrossentropy, PairwiseLoss
from kpairs.models.backbone import feature_network
from kpairs.training.features import image_features

ROWS = Path(__file__).parent.parent / "rows" / "losses.csv"
SIZES, SETS, EPOCHS = (100, 300, 1000), 3, 60
LOSSES = ("logistic", "hinge", "soft_zero_one")


def photographs(folder):
    """Return files and values of both splits."""
    write_photographs(folder / "photographs")
    return _graded(folder / "photographs")


def digits(folder):
    """Return files and values of both splits."""
    source = kpairs.open_source("mnist")
    splits = {part: source.split(part) for part in ("train", "test")}
    write_digits(splits, folder / "digits", 2000)
    return _graded(folder / "digits")


def blur(folder):
    """Return files and scores of both splits; test scores are without noise."""
    write_photographs(folder / "sharp", 5000, 2500)
    rng, found = np.random.default_rng(0), []
    for part in ("train", "test"):
        place = folder / "blur" / part
        place.mkdir(parents=True)
        files = sorted((folder / "sharp" / part / "0").glob("*.png"))  # as they were
        amounts = rng.uniform(0, 4, len(files))
        for file, amount in zip(files, amounts, strict=True):
            Image.open(file).filter(ImageFilter.GaussianBlur(float(amount))).save(place / file.name)
        scores = np.log1p(amounts) + (rng.normal(0, 0.2, len(files)) if part == "train" else 0)
        found += [[str(place / file.name) for file in files], scores]
    return found


def _graded(folder):
    found = []
    for part in ("train", "test"):
        files = sorted((folder / part).glob("*/*.png"))
        found += [[str(f) for f in files], np.array([int(f.parent.name) for f in files])]
    return found


def _features(files):
    """Return the features of images of one size, by EfficientNet-Lite0."""
    pixels = np.stack([np.asarray(Image.open(file), np.float32) / 255 for file in files])
    pixels = pixels.reshape(*pixels.shape[:3], -1)
    network = feature_network("lite0", *pixels.shape[1:], mirrored=True)
    return image_features(network, pixels, keep=False)


def _wrong(lead, value):
    """Return the share of pairs that a matrix of leads, `[i, j]` of j over i, orders wrongly."""
    gap = np.sign(value[None, :] - value[:, None])
    return float(np.where(lead == 0, 0.5, np.sign(lead) != gap)[gap != 0].mean())


def _by_score(score, value):
    return _wrong(score[None, :] - score[:, None], value)


def _by_grades(logs, value):
    share = np.exp(logs)
    higher = share @ (share[:, ::-1].cumsum(axis=1)[:, ::-1] - share).T
    return _wrong(higher - higher.T, value)


def _pairs(value, rng):
    left, right = rng.integers(0, len(value), (2, 3 * len(value)))
    different = left != right
    left, right = left[different], right[different]
    return left, right, (1 + np.sign(value[right] - value[left])) / 2


def _trained(features, value, test, seed, kind):
    """Return scores by a linear network that Keras trains on pairs with one of the losses."""
    keras.utils.set_random_seed(seed)
    left, right, answer = _pairs(value, np.random.default_rng(seed))
    centre, spread = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
    rows, others = ((x - centre) / spread for x in (features, test))
    sides = [keras.Input((rows.shape[1],), name=side) for side in ("left", "right")]
    score = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Model(sides, keras.layers.Concatenate()([score(side) for side in sides]))
    loss = PairCrossentropy(from_logits=True) if kind == "logistic" else PairwiseLoss(kind)
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=0.1), loss)
    model.fit([rows[left], rows[right]], answer, batch_size=32, epochs=EPOCHS, verbose=0)
    return others @ np.asarray(score.get_weights()[0])[:, 0]


def _graded_by(head, features, value, test, held, seed):
    found = fit_graded(features, value, int(value.max()) + 1, [head], seed)
    return _by_grades(found.log_probabilities(test), held)


def _paired(features, value, test, held, seed):
    left, right, answer = _pairs(value, np.random.default_rng(seed))
    return _by_score(fit_linear(features, left, right, answer).score(test), held)


def _regressed(features, value, test, held, seed):
    left, right, answer = _pairs(value, np.random.default_rng(seed))
    values = np.stack([value[left], value[right]], axis=1)
    return _by_score(fit_values(features, left, right, answer, values).score(test), held)


def _stepped(kind, features, value, test, held, seed):
    return _by_score(_trained(features, value, test, seed, kind), held)


def _methods(task, count):
    """Return the functions to measure on so many images of a task, by method."""
    found = {"pairs": _paired, "regression": _regressed}
    if task != "blur":
        found = {head: partial(_graded_by, head) for head in HEADS} | found
    if task == "photographs" and count <= 300:  # steps of Keras take their time
        found |= {kind: partial(_stepped, kind) for kind in LOSSES}
    return found


def _chosen(images, count, number):
    """Return the images of one training set: of the first sets, none in two."""
    disjoint = SETS * count <= images
    order = np.random.default_rng(0 if disjoint else number).permutation(images)
    start = number * count if disjoint else 0
    return order[start : start + count]


def main(wanted):
    """Measure what is missing among the rows."""
    rows = []
    if ROWS.exists():
        with open(ROWS, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    done = {(r["task"], r["method"], r["images"], r["set"]) for r in rows}
    for task in (photographs, digits, blur):
        if wanted and task.__name__ not in wanted:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            files, value, test_files, held = task(Path(temporary))
            features, test = _features(files), _features(test_files)
        for count in SIZES:
            for number in range(SETS):
                chosen = _chosen(len(value), count, number)
                some, known = features[chosen].astype(np.float64), value[chosen]
                for method, measured in _methods(task.__name__, count).items():
                    if (task.__name__, method, str(count), str(number)) in done:
                        continue
                    start = time.process_time()
                    error = measured(some, known, test, held, number)
                    row = {
                        "task": task.__name__,
                        "method": method,
                        "images": count,
                        "set": number,
                        "error_pct": round(100 * error, 4),
                        "cpu_seconds": round(time.process_time() - start, 2),
                    }
                    rows.append(row)
                    write_rows(ROWS, rows)
                    print(row, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
