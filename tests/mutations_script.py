"""Mistakes made on purpose: does a test catch each of them?

python tests/mutations_script.py [part of a mistake's name]

Each mistake is one that somebody makes who writes such code: a lost activation, swapped images, an
epsilon in another place. It is made in a copy of the source, and the tests that should see it run
on that copy; without the mistake they pass there. Ends with 1 if a mistake is missed, or if the
source has moved on and it can no longer be made.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

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
        '"order", epoch)',
        '"order", 0)',
        ["tests/training/test_training.py", "-k", "order_of_batches"],
    ),
    "an epoch's means that forget the size of the last batch": (
        "kpairs/training/engine/step.py",
        "self.means.loss.update_state(loss, sample_weight=len(next(iter(x.values()))))",
        "self.means.loss.update_state(loss)",
        [ENGINE, "-k", "trainings_are_stock_keras"],
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


def fails(folder, tests):
    """Whether tests that there are fail on the copy."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-x", *tests],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, 1):
        sys.exit(f"the tests do not run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 1


def main(wanted=""):
    """Make each mistake in turn."""
    missed, sound = 0, set()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        copy(folder)
        for name, (file, old, new, tests) in {**ARCHITECTURES, **TRAINING}.items():
            if wanted not in name:
                continue
            path = folder / file
            text = path.read_text()
            if text.count(old) != 1:
                sys.exit(f"{name}: expected once in {file}, received {text.count(old)}: {old}")
            if tuple(tests) not in sound and fails(folder, tests):
                sys.exit(f"{name}: its tests fail without it")
            sound.add(tuple(tests))
            path.write_text(text.replace(old, new))
            caught = fails(folder, tests)
            path.write_text(text)
            print(f"{'caught' if caught else 'MISSED':6}  {name}", flush=True)
            missed += not caught
    print(f"{missed} missed")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
