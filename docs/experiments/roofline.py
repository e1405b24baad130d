"""The limits of a training step and of a ranking on this machine, and where their time goes.

    python docs/experiments/roofline.py [c4l2_ws auxws wsal_bd ranker rank]

An operation's limit is its FLOP at the speed of a product of matrices, or its bytes (tensors read
and written, once each) at that of a copy of as many, whichever takes longer. Times are processor
times of one thread, of the fastest of many steps. The call of an operation from Python is part of
its time; the rest is Python between operations, and memory given back.
"""

import sys
import tempfile
import time
from collections import defaultdict
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from kpairs.bench import training
from kpairs.data.pixels import prepare
from kpairs.data.source import open_source
from kpairs.exports.runtime import PairModel
from kpairs.exports.runtime.ranking import one_by_one
from kpairs.exports.writing import benchmark_ranking
from kpairs.training.device import compute

CASES = {"c4l2_ws": "c4l2_ws", "auxws": "auxws", "wsal_bd": "wsal_bd", "ranker": "ranker, 64x64"}
SECONDS = 15.0  # of the steps of a case


def least(function, seconds=2.0):
    """Return the least processor time of a function's calls, in seconds."""
    found, end = [], time.perf_counter() + seconds
    while len(found) < 5 or time.perf_counter() < end:
        begun = time.thread_time()
        function()
        found.append(time.thread_time() - begun)
    return min(found)


def measured_limit():
    """Measure this machine; return a function of FLOP and bytes to the least seconds they take."""
    a, b = torch.rand(2, 768, 768)
    peak, copies = 2 * 768**3 / least(lambda: a @ b, 5), {}
    for size in (2**17, 2**20, 2**24, 2**28):  # of what is read and written together
        source, target = torch.ones(2, size // 8)
        copies[size] = size / least(lambda s=source, t=target: t.copy_(s), 3)
    print(
        f"GFLOP/s {peak / 1e9:.0f}, GB/s by MiB", {n / 2**20: s // 1e9 for n, s in copies.items()}
    )

    def limit(flop, count):
        near = min(copies, key=lambda size: abs(np.log((count + 1) / size)))
        return max(flop / peak, count / copies[near])

    return limit


class Watch(TorchDispatchMode):
    """Notes each operation of torch but views: its name, FLOP, bytes and seconds."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        begun = time.thread_time()
        out = function(*args, **(kwargs or {}))
        seconds = time.thread_time() - begun
        kind = function.overloadpacket
        flop = flop_registry[kind](*args, out_val=out) if kind in flop_registry else 0
        count = sum(x.nbytes for x in tree_leaves([args, out]) if isinstance(x, torch.Tensor))
        if not function.is_view:
            self.seen.append((kind.__name__, flop, count, seconds))
        return out


def show_step(case, limit, splits):
    """Print the operations of a training step, the longest first."""
    x = torch.rand(10)
    with Watch() as watch:
        for _ in range(1000):
            x.abs()
    watching = min(seconds for *_, seconds in watch.seen) - least(x.abs)
    recipe = training._recipe(CASES[case], quick=True)
    epoch = training._runner("engine", recipe, training._pairs(recipe, splits), "cpu")
    train = epoch.func.__self__.train_function
    # Each batch in turn: trained on one alone, ELU of auxws took four times as long.
    batches = cycle([[batch] for batch in epoch.args[0]])
    step, steps = least(lambda: train(next(batches)), SECONDS), []

    def watched():
        with Watch() as watch:
            train(next(batches))
        steps.append(watch.seen)

    least(watched, SECONDS)
    fastest = min(steps, key=lambda seen: sum(seconds for *_, seconds in seen))
    total = defaultdict(lambda: np.zeros(5))
    for name, flop, count, seconds in fastest:
        row = 1, flop, count, limit(flop, count), seconds - watching
        total[name] += np.multiply(row, (1, 1e-6, 1e-6, 1e6, 1e6))
    total["all"] = whole = sum(total.values())
    print(f"\n{case}, batch {recipe.fit.batch_size}: a step takes {1e6 * step:,.0f} us")
    print(f"{'operation':32}  calls   MFLOP      MB  limit us  took us")
    for name, row in sorted(total.items(), key=lambda item: -item[1][4])[:14]:
        print("{:32}{:7.0f}{:8.1f}{:8.2f}{:10.1f}{:9.1f}".format(name, *row))
    shares = np.array([whole[3], whole[4] - whole[3], 1e6 * step - whole[4]]) / step / 1e4
    print(
        "of the step: limit {:.0f} %, operations' further time {:.0f} %, rest {:.0f} %".format(
            *shares
        )
    )


def show_ranking(folder):
    """Print microseconds an image of the parts of a ranking."""
    files = benchmark_ranking._write(Path(folder, "images"), 256, 256, 200, False)
    model = PairModel.load(benchmark_ranking._export("ranker", Path(folder, "ranker")))

    def decoded(file, draft=None):
        with Image.open(file) as image:
            image.draft("RGB", draft)
            image.load()
            return image

    def by_hand(file):
        small = decoded(file, (128, 128)).resize((64, 64), Image.Resampling.BOX)
        return np.asarray(small, np.float32) / 255

    def prepared(picture):
        return prepare(picture, model.pixels).pixels

    each = {
        "by hand: decode at half size, resize, divide": (by_hand, files),
        "kpairs: decode": (decoded, files),
        "kpairs: that, means of areas": (prepared, files),
        "means of areas of an array": (prepared, [np.asarray(decoded(file)) for file in files]),
        "network": (lambda x: one_by_one(model, "score", x), [prepared(files)]),
    }
    print("\nmicroseconds an image, from 256x256 JPEG to ranker's score at 64x64")
    for name, (function, items) in each.items():
        took = least(lambda f=function, i=items: [*map(f, i)], 4)
        print(f"{name:46}{1e6 * took / len(files):8.0f}")


if __name__ == "__main__":
    asked, source = sys.argv[1:] or [*CASES, "rank"], open_source("mnist")
    with compute("cpu"), tempfile.TemporaryDirectory() as folder:
        limit = measured_limit()
        for case in [case for case in asked if case in CASES]:
            show_step(case, limit, [source.split("train"), source.split("test")])
        if "rank" in asked:
            show_ranking(folder)
