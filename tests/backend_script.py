"""Run under one backend by test_backends.py: outputs from given weights, and short trainings.

python backend_script.py WEIGHTS_FOLDER OUTPUTS.npz RUNS_FOLDER
"""

import csv
import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers
from PIL import Image

import kpairs
from kpairs.models.backbone import LITE0, STATISTICS, feature_network
from kpairs.training.compile import compile_model


def outputs_and_losses(name, model, inputs):
    """What is compared between backends: every output, and every loss in training's terms."""
    results = {}
    for key, value in model.predict(inputs, verbose=0).items():
        results[f"{name}/{key}"] = value
    compile_model(model, kpairs.RECIPES[name], kpairs.ARCHS[name])
    digits = {"left_digit": np.array([3, 1, 4, 1, 5]), "right_digit": np.array([9, 2, 6, 1, 3])}
    targets = {**digits, "comparison": np.array([1, 1, 1, 1, 0])}
    scores = np.zeros(5, "float32")  # nothing learns from them; Keras asks for all outputs
    wanted = {key: targets.get(key, scores) for key in kpairs.ARCHS[name].outputs}
    for key, value in model.evaluate(inputs, wanted, verbose=0, return_dict=True).items():
        results[f"{name}/evaluate/{key}"] = np.array(value)
    return results


def judged_values():
    """What is compared too: losses and metrics of ties and unknown classes, by compiled code."""
    target = {"comparison": np.array([1, 0, 0.5, 0.3], "float32"), "left_digit": [0, -1, 2, 1]}
    target["left_digit"] = np.array(target["left_digit"])
    inputs = keras.Input((3,))
    outputs = {"comparison": inputs[:, :2], "left_digit": inputs}
    model = keras.Model(inputs, outputs)
    model.compile(
        loss={
            "comparison": kpairs.losses.PairCrossentropy(from_logits=True),
            "left_digit": kpairs.losses.ClassCrossentropy(True, 0.1, ignore_class=-1),
        },
        metrics={
            "comparison": [kpairs.metrics.PairAccuracy()],
            "left_digit": [kpairs.metrics.ClassAccuracy()],
        },
    )
    x = np.random.default_rng(5).normal(size=(4, 3)).astype("float32")
    values = model.evaluate(x, target, verbose=0, return_dict=True)
    return {f"judged/{key}": np.array(value) for key, value in values.items()}


def features():
    """What is compared too: features of trained networks, which need no pairs."""
    images = np.random.default_rng(7).random((2, 40, 56, 3), np.float32)
    networks = {n: feature_network(n, 40, 56, 3, mirrored=True) for n in (LITE0, STATISTICS)}
    return {f"features/{n}": m.predict(images, verbose=0) for n, m in networks.items()}


def write_stripes(folder):
    """Write images of more and less contrast, comparisons and grades of them, and a network."""
    rng = np.random.default_rng(0)
    contrast = rng.permutation(40)
    for number, amount in enumerate(contrast.tolist()):
        pixels = 128 + (rng.random((32, 32, 3)) - 0.5) * (20 + 5 * amount)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    pairs = [rng.choice(40, 2, replace=False) for _ in range(120)]
    rows = [
        (f"{a}.png", f"{b}.png", "right" if contrast[b] > contrast[a] else "left") for a, b in pairs
    ]
    graded = [(f"{number}.png", amount // 14) for number, amount in enumerate(contrast)]
    for name, lines in (
        ("pairs", [("left", "right", "label"), *rows]),
        ("grades", [("image", "grade"), *graded]),
    ):
        with open(folder / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows(lines)
    network = [keras.Input((32, 32, 3)), layers.Conv2D(4, 3), layers.BatchNormalization()]
    keras.Sequential(network).save(folder / "own.keras")


def heads(images, runs):
    """Train what is solved for on features, and what goes on from there, by each data's kind."""
    pairs, grades = (str(images / f"{name}.csv") for name in ("pairs", "grades"))
    own = {"backbone": str(images / "own.keras"), "fine_tune": 1, "validation": 0.4}
    for name, given in {
        "head-linear": {"data": pairs, "backbone": LITE0},
        "head-posterior": {"data": grades, "backbone": STATISTICS, "head": "posterior"},
        "head-tuned": {"data": pairs, "held_out": "images", **own},
        "head-tuned-ordinal": {"data": grades, "head": "ordinal", **own},
    }.items():
        run = kpairs.train(out=Path(runs) / name, **given)
        again = kpairs.evaluate(run)[0]["test"]
        assert again == run.metrics["rounds"][0]["test"], name


def main(weights, outputs, runs):
    inputs = dict(np.load(Path(weights) / "inputs.npz"))
    results = {**judged_values(), **features()}
    for name in kpairs.ARCHS:
        model = kpairs.build(name, rescaling=(2.0, -0.5))
        model.load_weights(Path(weights) / f"{name}.weights.h5")
        results |= outputs_and_losses(name, model, inputs)
    np.savez(outputs, **results)
    for name, recipe in kpairs.RECIPES.items():
        small = {"pairs": 20, "test_pairs": 20, "epochs": 1, "batch_size": 10}
        kpairs.train(recipe.replace(augmentation="none", **small), Path(runs) / name)
    heads(Path(weights) / "images", runs)


if __name__ == "__main__":
    main(*sys.argv[1:])
