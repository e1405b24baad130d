"""Checks of a linear head's scores: coverage of intervals, calibration, agreement with judges.

    python docs/experiments/trust.py photographs

Rows go to docs/rows/trust.csv, where a row that is there is not trained again. Arguments limit the
tasks: `photographs` (`kpairs data DIR --example photographs`: grades are the true values),
`grouped` (the same, and columns name the photograph that each image is a part of), `judges` (crops
degraded by amounts that three simulated judges see with 4, 15 and 25 % errors; a fifth of the pairs
is judged by two of them) and `one` (the same crops and one judge, whose answers follow Bradley and
Terry's model: the true scores are known in logits). Each number of judgements is trained on twice.

`coverage_pct` holds true values against scores on the scores' scale, as `kpairs evaluate` does;
`left_out_coverage_pct` does the same with crops of training images that no judgement trained on.
`shared_pct` and `left_out_shared_pct` are the shares of the scores' variance within a grade that
images of one photograph have in common. Of `one` it says also how often the interval holds the true
logits, and their `slope`: by how much true logits differ where scores differ by 1.
"""

import csv
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.special import expit

import kpairs
from kpairs.data.examples import degraded_photographs, write_photographs
from kpairs.files import write_rows
from kpairs.models.backbone import backbone_of
from kpairs.training.certainty import coverage_pct
from kpairs.training.features import image_features
from kpairs.training.linear import head_of_round

ROWS = Path(__file__).parent.parent / "rows" / "trust.csv"
SETS = 2
SIZES = {
    "photographs": (300, 1000),
    "grouped": (300, 1000),
    "judges": (150, 600, 1500),
    "one": (150, 600, 1500),
}
SEEN, UNSEEN, TESTED = 400, 250, 1000  # images that are judged, others, and judgements of those
SLOPES = {"ann": 10.0, "bo": 2.2, "cy": 1.15}  # logits per deviation of the truth
ONE = {"dee": 3.0}
MEASURES = (
    *("accuracy_pct", "accuracy_low_pct", "accuracy_high_pct", "auc"),
    *("calibration_error", "calibrated_error", "temperature", "standard_error"),
)
CHECKS = (
    *("coverage_pct", "logit_coverage_pct", "slope"),
    *("left_out_coverage_pct", "shared_pct", "left_out_shared_pct"),
)


def photographs(folder, number):
    """Return training and test rows, and the true value of each image by its name."""
    if not (folder / "photographs").exists():
        write_photographs(folder / "photographs")
    with open(folder / "photographs" / "pairs.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    named = [
        {"left": f"photographs/{r['left']}", "right": f"photographs/{r['right']}", **_rest(r)}
        for r in rows
    ]
    truth = {r[s]: float(Path(r[s]).parent.name) for r in named for s in ("left", "right")}
    train, test = ([r for r in named if r["split"] == s] for s in ("train", "test"))
    order = np.random.default_rng(number).permutation(len(train))
    return [train[i] for i in order], test, truth


def grouped(folder, number):
    """Return the same, with the photograph of each image."""
    train, test, truth = photographs(folder, number)
    for row in (*train, *test):
        row |= {f"{side}_group": _photograph(Path(row[side])) for side in ("left", "right")}
    return train, test, truth


PHOTOGRAPHS = (photographs, grouped)


def _rest(row):
    return {"label": row["label"], "split": row["split"], "judge": ""}


def judges(folder, number, slopes=SLOPES):
    """Return the same of simulated judges."""
    images, amounts = degraded_photographs(SEEN + UNSEEN, seed=1)
    names = [f"judged/{i}.png" for i in range(len(images))]
    if not (folder / "judged").exists():
        (folder / "judged").mkdir()
        for name, image in zip(names, images, strict=True):
            Image.fromarray(image).save(folder / name)
    rng, scale = np.random.default_rng(number), (amounts - amounts.mean()) / amounts.std()

    def judged(first, count, rows, split):
        found = []
        while len(found) < rows:
            left = int(rng.integers(count))
            right = (left + int(rng.integers(1, count))) % count
            left, right = left + first, right + first
            for judge in rng.permutation(list(slopes))[: 1 + (rng.random() < 0.2)]:
                wins = rng.random() < expit(slopes[judge] * (scale[right] - scale[left]))
                row = {"left": names[left], "right": names[right], "split": split, "judge": judge}
                found.append({**row, "label": "right" if wins else "left"})
        return found[:rows]

    train = judged(0, SEEN, max(SIZES["judges"]), "train")
    test = judged(SEEN, UNSEEN, TESTED, "test")
    return train, test, dict(zip(names, scale.tolist(), strict=True))


def one(folder, number):
    """Return the same of one judge; the true values are logits."""
    train, test, truth = judges(folder, number, ONE)
    return train, test, {name: ONE["dee"] * value for name, value in truth.items()}


def coverage(run, folder, truth, logits, others):
    """Return how often intervals hold the true score, in percent, and other checks by row name."""
    parts = []
    for name in ("train", "test"):
        part = run.source().split(name, run.recipe.pixels)
        used = np.unique(np.concatenate([part.listed.left, part.listed.right]))
        files = [Path(part.listed.files[i]).relative_to(folder).as_posix() for i in used]
        parts.append((part.images[used], files))
    (_, trained), (images, tested) = parts
    head, network = head_of_round(run, 1), backbone_of(run.model(1))

    def checked(images, files):
        features, values = image_features(network, images), np.array([truth[f] for f in files])
        return head.score(features), head.deviation(features), values

    score, deviation, values = checked(images, tested)
    found = {"coverage_pct": round(coverage_pct(score, deviation, values), 2)}
    if logits:
        away = values - np.mean([truth[file] for file in trained])
        held = np.abs(score - away) <= 1.96 * deviation
        found["logit_coverage_pct"] = round(100 * float(held.mean()), 2)
        found["slope"] = round(float(np.polyfit(score, away, 1)[0]), 3)
    if others:
        pixels = [np.asarray(Image.open(folder / file), np.float32) / 255 for file in others]
        seen = checked(np.reshape(pixels, (-1, *run.recipe.pixels.shape)), others)
        found["left_out_coverage_pct"] = round(coverage_pct(*seen), 2)
        found["shared_pct"] = round(_shared(score, tested), 2)
        found["left_out_shared_pct"] = round(_shared(seen[0], others), 2)
    return found


def _shared(score, files):
    """Return how much of the variance within grades images of one photograph have in common."""
    grades, origins = ([part(Path(file)) for file in files] for part in (_grade, _photograph))
    away = score - _means(score, grades)
    return 100 * float(_means(away, origins).var() / away.var())


def _means(values, names):
    _, place, count = np.unique(names, return_inverse=True, return_counts=True)
    return (np.bincount(place, values) / count)[place]


def _grade(file):
    return file.parent.name


def _photograph(file):
    return file.name.split("-")[1]


def row_of(run, task, pairs, number, folder, truth, others):
    """Measure one run; `others` are photographs' files that did not train."""
    found = kpairs.evaluate(run)[0]["measures"]
    row = {"task": task, "pairs": pairs, "set": number}
    row |= {name: round(found[name], 4) for name in MEASURES}
    row |= dict.fromkeys(CHECKS, "") | coverage(run, folder, truth, task == "one", others)
    for name in SLOPES:
        known = {j["judge"]: j for j in found.get("judges", ())}.get(name, {})
        for who in ("network", "others"):
            row[f"{name}_{who}_pct"] = round(known[who]["share_pct"], 2) if who in known else ""
    return row


def _files(rows):
    return {row[side] for row in rows for side in ("left", "right")}


def main(wanted):
    """Train what is missing among the rows."""
    rows = []
    if ROWS.exists():
        with open(ROWS, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    done = {(r["task"], r["pairs"], r["set"]) for r in rows}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        for task in (photographs, grouped, one, judges):
            if wanted and task.__name__ not in wanted:
                continue
            for number in range(SETS):
                train, test, truth = task(folder, number)
                for pairs in SIZES[task.__name__]:
                    if (task.__name__, str(pairs), str(number)) in done:
                        continue
                    table = folder / "pairs.csv"
                    write_rows(table, [*train[:pairs], *test])
                    out = folder / "runs" / f"{task.__name__}-{pairs}-{number}"
                    run = kpairs.train("linear", out, data=table, backbone="lite0", verbose=0)
                    others = _files(train) - _files(train[:pairs]) if task in PHOTOGRAPHS else set()
                    found = run, task.__name__, pairs, number, folder, truth, sorted(others)
                    rows.append(row_of(*found))
                    write_rows(ROWS, rows)
                    print(rows[-1], flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
