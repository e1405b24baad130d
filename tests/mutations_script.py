"""Mistakes made on purpose: does a test catch each of them?

python tests/mutations_script.py [part of a mistake's name]

Each mistake is one that somebody makes who writes such code: a lost activation, swapped images, an
epsilon in another place. It is made in a copy of the source, and the tests that should see it run
on that copy; without the mistake they pass there. Ends with 1 if a mistake is missed, or if the
source has moved on and it can no longer be made.
"""

import compileall
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

# What nearly all tests import, once for all of them: each run is a fork of this process.
import keras  # noqa: F401
import onnxruntime  # noqa: F401
import onnxscript  # noqa: F401
import pandas  # noqa: F401
import pytest
import sklearn.linear_model  # noqa: F401

SOURCE = Path(__file__).parents[1]
NETWORKS, ENGINE = "tests/models/test_networks.py", "tests/training/test_engine.py"
REPORTS = "kpairs/reports/{}/networks.py"

# Name: file, what stands there, what the mistake writes, and the tests as pytest takes them.
ARCHITECTURES = {
    "001: tanh for the first SELU": (
        REPORTS.format("haidinger"),
        'layers.MaxPooling2D(2),  # 5x5\n        layers.Activation("selu")',
        'layers.MaxPooling2D(2),  # 5x5\n        layers.Activation("tanh")',
        [NETWORKS, "-k", "auxws"],
    ),
    "001: no SELU on the ten units": (
        REPORTS.format("haidinger"),
        "*_hidden(classes, dropout)]",
        "layers.Dense(classes), layers.Dropout(dropout)]",
        [NETWORKS, "-k", "auxws"],
    ),
    "001: no dropout before the last layer": (
        REPORTS.format("haidinger"),
        "*_hidden(100, dropout), layers",
        "*_hidden(100, dropout)[:1], layers",
        [NETWORKS, "-k", "dropout"],
    ),
    "002: batch normalisation before ReLU": (
        REPORTS.format("chassagne"),
        'layers.MaxPooling2D(2), layers.Activation("relu")]\n    stage += [_norm()]',
        'layers.MaxPooling2D(2), layers.Activation("relu")]\n    stage[2:2] = [_norm()]',
        [NETWORKS, "-k", "wsal_b"],
    ),
    "002: batch normalisation with Keras' momentum": (
        REPORTS.format("chassagne"),
        "BatchNormalization(momentum=0.9, ",
        "BatchNormalization(",
        [NETWORKS, "-k", "wsal_b"],
    ),
    "002: batch normalisation with Keras' epsilon": (
        REPORTS.format("chassagne"),
        "BatchNormalization(momentum=0.9, epsilon=1e-5)",
        "BatchNormalization(momentum=0.9)",
        [NETWORKS, "-k", "wsal_b"],
    ),
    "002: the second dropout rate not doubled": (
        REPORTS.format("chassagne"),
        "2 * dropout)  # 6x6",
        "dropout)  # 6x6",
        [NETWORKS, "-k", "dropout"],
    ),
    "002: logits where digits are probabilities": (
        REPORTS.format("chassagne"),
        'layers.Dense(classes, activation="softmax")]',
        "layers.Dense(classes)]",
        [NETWORKS, "-k", "wsal"],
    ),
    "002: a residual block ends before ReLU": (
        REPORTS.format("chassagne"),
        'layers.Activation("relu")(layers.Add()([y, x]))',
        "layers.Add()([y, x])",
        [NETWORKS, "-k", "resnet"],
    ),
    "003: no ReLU in the digit head": (
        REPORTS.format("kong"),
        "chain([*_dense(64, 64), layers.Dense(classes)]",
        "chain([*_dense(64, 64, activation=None), layers.Dense(classes)]",
        [NETWORKS, "-k", "a_net or a_w_net"],
    ),
    "003: batch normalisation after the pooling": (
        REPORTS.format("kong"),
        '*_conv_norm(filters, 3, padding="same"), layers.MaxPooling2D(2)]',
        '*_conv_norm(filters, 3, padding="same")[:1], layers.MaxPooling2D(2), _norm()]',
        [NETWORKS, "-k", "w_net"],
    ),
    "004: dropout after the hidden layer instead of before": (
        REPORTS.format("altunina"),
        'stack += [layers.Dropout(dropout), layers.Dense(n, activation="relu")]',
        'stack += [layers.Dense(n, activation="relu"), layers.Dropout(dropout)]',
        [NETWORKS, "-k", "dropout"],
    ),
    "000: both digits by the right image's head": (
        REPORTS.format("piguet"),
        '"left_digit": chain(_digit_head(classes), features[:, 0])',
        '"left_digit": chain(_digit_head(classes), features[:, 1])',
        [NETWORKS, "-k", "c1l2"],
    ),
    "000: two towers where one is shared": (
        REPORTS.format("piguet"),
        "features = pair.shared(stack())",
        "features = pair.separate(stack(), stack())",
        [NETWORKS, "-k", "c1l2_ws"],
    ),
    "a pair's channels right first": (
        "kpairs/models/pair.py",
        "ops.concatenate([self.left, self.right], axis=-1)",
        "ops.concatenate([self.right, self.left], axis=-1)",
        [NETWORKS, "-k", "basic"],
    ),
    "digits of the other side": (
        "kpairs/models/pair.py",
        'f"left_{word}": features[:, 0], f"right_{word}": features[:, 1]',
        'f"left_{word}": features[:, 1], f"right_{word}": features[:, 0]',
        [NETWORKS, "-k", "auxws"],
    ),
    "posterior: equal digits counted as greater": (
        "kpairs/layers.py",
        "np.triu(np.ones(products.shape[1:], bool))",
        "np.triu(np.ones(products.shape[1:], bool), 1)",
        ["tests/ours/test_posterior.py"],
    ),
}
TRAINING = {
    "Adam's epsilon where Keras has it": (
        "kpairs/optimizers.py",
        "self.epsilon * root)",
        "self.epsilon)",
        ["tests/test_optimizers.py"],
    ),
    "Adam without the second bias correction": (
        "kpairs/optimizers.py",
        "move = rate * root / first_correction",
        "move = rate / first_correction",
        ["tests/test_optimizers.py"],
    ),
    "half the gradient of L2": (
        "kpairs/training/engine/step.py",
        "gradient + 2 * penalty",
        "gradient + penalty",
        [ENGINE, "-k", "trainings_are_stock_keras or layers_of_every_kind"],
    ),
    "moving statistics with the momentum's complement": (
        "kpairs/training/engine/kernels.py",
        "torch.lerp(batch, moving.value, layer.momentum)",
        "torch.lerp(moving.value, batch, layer.momentum)",
        [ENGINE, "-k", "trainings_are_stock_keras or layers_of_every_kind"],
    ),
    "batch normalisation's gradient without the variance's share": (
        "kpairs/training/engine/kernels.py",
        "torch.addcmul(x_gradient, centred, gamma_gradient * inverse * scale * -share)",
        "x_gradient",
        [ENGINE, "-k", "trainings_are_stock_keras or layers_of_every_kind"],
    ),
    "softmax once where the reports have it twice": (
        "kpairs/losses.py",
        "ClassCrossentropy(as_logits,",
        "ClassCrossentropy(False,",
        [NETWORKS, "-k", "training_steps and (c1l2 or wsal)"],
    ),
    "a cycle of the learning rate that begins too high": (
        "kpairs/optimizers.py",
        "self.highest / 25, self.highest / 25e4",
        "self.highest / 20, self.highest / 25e4",
        ["tests/ours/test_posterior.py", "-k", "one_cycle"],
    ),
    "weights begin twice as large": (
        "kpairs/models/initialization.py",
        "kernel_limit = bias_limit = 1 / np.sqrt(fan_in)",
        "kernel_limit = bias_limit = 2 / np.sqrt(fan_in)",
        [NETWORKS, "-k", "initialization"],
    ),
    "the same order of pairs in every epoch": (
        "kpairs/training/batches.py",
        'draw("order")',
        'draw("order", epoch=0)',
        ["tests/training/test_training.py", "-k", "order_of_batches"],
    ),
    "an epoch's means that forget the size of the last batch": (
        "kpairs/training/engine/step.py",
        "self.means.loss.update_state(loss, sample_weight=len(next(iter(x.values()))))",
        "self.means.loss.update_state(loss)",
        [ENGINE, "-k", "trainings_are_stock_keras"],
    ),
}

LINEAR, GRADED = "tests/judging/test_linear.py", "tests/judging/test_graded.py"
REFERENCE, EXPLAIN = "tests/judging/test_reference.py", "tests/exports/test_explain.py"
JUDGING = {
    "a linear head on features of any scale": (
        "kpairs/judging/linear.py",
        "scale = np.where(constant, 0, 1 / np.where(constant, 1, spread))",
        "scale = np.where(constant, 0, 1.0)",
        [LINEAR],
    ),
    "a prior that forgets the number of features": (
        "kpairs/judging/linear.py",
        "max(int(np.count_nonzero(pairs.scale)), 1) / variance",
        "1 / variance",
        [LINEAR],
    ),
    "Laplace's covariance of standardised features": (
        "kpairs/judging/linear.py",
        "covariance *= scale[:, None]",
        "pass",
        [LINEAR],
    ),
    "the prior is chosen by pairs that were learned from": (
        "kpairs/judging/linear.py",
        "return margin - variance * pairs.weight * (pairs.answer - held), variance",
        "return margin, variance",
        [LINEAR],
    ),
    "folds that learn from one image of a left-out pair": (
        "kpairs/judging/linear.py",
        "train = np.flatnonzero(~(out | there))",
        "train = np.flatnonzero(~(out & there))",
        [LINEAR],
    ),
    "copies of an image in different folds": (
        "kpairs/judging/folds.py",
        "first.setdefault(blake2b(features[image].tobytes(), digest_size=16).digest(), place)",
        "place",
        [LINEAR],
    ),
    "folds that divide groups": (
        "kpairs/judging/linear.py",
        "images, None if group is None else group.T)",
        "images)",
        [LINEAR],
    ),
    "ties are wrong answers": (
        "kpairs/judging/linear.py",
        "counted = ~np.isnan(margin) & (self.answer != 0.5)",
        "counted = ~np.isnan(margin)",
        [LINEAR],
    ),
    "graded: features are not centred": (
        "kpairs/judging/graded.py",
        "(np.zeros(1) if ordinal else free) - centre @ weights",
        "np.zeros(1) if ordinal else free",
        [GRADED],
    ),
    "graded: the head that compares worse": (
        "kpairs/judging/graded.py",
        "head = min(errors,",
        "head = max(errors,",
        [GRADED],
    ),
    "graded: a threshold's sign": (
        "kpairs/layers.py",
        "lower, upper = -ops.softplus(-away), -ops.softplus(away)",
        "lower, upper = -ops.softplus(away), -ops.softplus(-away)",
        ["tests/test_layers.py"],
    ),
    "a percentile of as many images as there are quantiles": (
        "kpairs/judging/reference.py",
        "50 * (low + high) / len(self.scores)",
        "50 * (low + high) / self.images",
        [REFERENCE],
    ),
    "strangers in directions that no training image takes": (
        "kpairs/judging/reference.py",
        "np.stack([near, beyond / rest], axis=1)",
        "np.stack([near, near], axis=1)",
        [REFERENCE],
    ),
    "standard errors along the first axes alone": (
        "kpairs/judging/reference.py",
        "axis=1) + self.unexplained * beyond",
        "axis=1)",
        [REFERENCE],
    ),
    "a chance as sure as if its scores were known": (
        "kpairs/judging/reference.py",
        "np.sqrt(1 + np.pi / 8 * np.asarray(variance, np.float64))",
        "np.sqrt(1 + 0 * np.asarray(variance, np.float64))",
        [REFERENCE],
    ),
    "logits times the temperature": (
        "kpairs/judging/reference.py",
        "/ flattened(variance) / temperature",
        "/ flattened(variance) * temperature",
        [REFERENCE],
    ),
    "contributions without the constant": (
        "kpairs/exports/runtime/explain.py",
        "np.full((1, height, width), offset / (height * width))",
        "np.zeros((1, height, width))",
        [EXPLAIN, "-k", "linear_in_means"],
    ),
    "a mirror image's map is not turned back": (
        "kpairs/exports/runtime/explain.py",
        "cells[1::2, :, ::-1]",
        "cells[1::2]",
        [EXPLAIN, "-k", "linear_in_means"],
    ),
    "features of the file that once had this name": (
        "kpairs/exports/runtime/kept.py",
        "{os.path.abspath(file)}\\0{stamp(file)}",
        "{os.path.abspath(file)}\\0",
        ["tests/exports/test_features.py", "-k", "anew"],
    ),
    "features of images that were prepared otherwise": (
        "kpairs/exports/runtime/kept.py",
        "[_VERSION, settings.to_dict()]",
        "[_VERSION]",
        ["tests/exports/test_features.py", "-k", "anew"],
    ),
    "a network's digest without its weights": (
        "kpairs/frozen.py",
        "found.update(np.ascontiguousarray(array).tobytes())",
        "pass",
        ["tests/exports/test_features.py", "-k", "another_networks"],
    ),
    "a pair's loss on the other side": (
        "kpairs/losses.py",
        "y_pred[:, 1:] - y_pred[:, :1]",
        "y_pred[:, :1] - y_pred[:, 1:]",
        ["tests/test_losses.py"],
    ),
    "a kept judgement loses its weight": (
        "kpairs/data/source.py",
        'row["weight"] = float(pairs.weight[i])',
        'row["weight"] = 1.0',
        ["tests/data/test_kept.py", "-k", "same_splits"],
    ),
    "a kept judgement is certain": (
        "kpairs/data/source.py",
        '"right_wins": float(pairs.probability[i])',
        '"right_wins": float(pairs.probability[i] > 0.5)',
        ["tests/data/test_kept.py", "-k", "same_splits"],
    ),
}


def copy(folder):
    """The packages as an installation has them, and the tests."""
    for source, target in (
        ("kpairs", "kpairs"),
        ("cli", "kpairs/cli"),
        ("exports", "kpairs/exports"),
        ("tests", "tests"),
    ):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(SOURCE / source, folder / target, ignore=ignore, dirs_exist_ok=True)
    shutil.copy(SOURCE / "pyproject.toml", folder)
    compileall.compile_dir(folder / "kpairs", quiet=1)


def fails(folder, tests):
    """Whether tests that there are fail on the copy."""
    output = folder / "output.txt"
    child = os.fork()
    if child == 0:
        code = 99
        try:
            with open(output, "wb") as file:
                for stream in (1, 2):
                    os.dup2(file.fileno(), stream)
            sys.dont_write_bytecode = True  # of a mistake
            sys.path.insert(0, str(folder))
            os.environ["PYTHONPATH"] = str(folder)
            os.chdir(folder)
            code = pytest.main(["-n", "0", "-x", *tests])
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, 1):
        sys.exit(f"the tests do not run: {output.read_text()[-2000:]}")
    return code == 1


def main(wanted=""):
    """Make each mistake in turn."""
    missed, sound = 0, set()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        copy(folder)
        for name, (file, old, new, tests) in {**ARCHITECTURES, **TRAINING, **JUDGING}.items():
            if wanted not in name:
                continue
            path = folder / file
            text, about = path.read_text(), path.stat()
            if text.count(old) != 1:
                sys.exit(f"{name}: expected once in {file}, received {text.count(old)}: {old}")
            if tuple(tests) not in sound and fails(folder, tests):
                sys.exit(f"{name}: its tests fail without it")
            sound.add(tuple(tests))
            path.write_text(text.replace(old, new))
            caught = fails(folder, tests)
            path.write_text(text)
            os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
            print(f"{'caught' if caught else 'MISSED':6}  {name}", flush=True)
            missed += not caught
    print(f"{missed} missed")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
