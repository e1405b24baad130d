"""`simple` of report 001 in this framework, trained on pairs of real digits.

The same layers, recipe and pairs as `kpairs train --arch simple --no-augment`. Only the draws of
the first weights and of dropout are others.
"""

import time
from functools import partial
from pathlib import Path

import torch

from kpairs import seeds
from kpairs.data import PairSet, draw_pairs
from kpairs.data.source import open_source
from kpairs.mini.activations import SELU
from kpairs.mini.convolution import Conv2d, Flatten, MaxPool2d
from kpairs.mini.dropout import Dropout
from kpairs.mini.linear import Linear
from kpairs.mini.losses import LossCrossEntropy
from kpairs.mini.module import Weighted
from kpairs.mini.optimizers import Adam
from kpairs.mini.sequential import Sequential
from kpairs.reports import RECIPES
from kpairs.reports.chassagne.disc.draws import generator, one_thread


def simple_network(
    draws: torch.Generator | None = None,
    dropout_draws: torch.Generator | None = None,
    dropout: float = 0.15,
) -> Sequential:
    """Build (n, 2, 14, 14) -> 2 logits: right ranks lower, or does not. 58,380 parameters."""
    convolution = partial(Conv2d, init="uniform", generator=draws)
    linear = partial(Linear, init="uniform", generator=draws)
    net = Sequential(
        LossCrossEntropy(),
        convolution(2, 32, 5),  # 10x10
        MaxPool2d(2),  # 5x5
        SELU(),
        convolution(32, 64, 3),  # 3x3
        MaxPool2d(3),  # 1x1
        SELU(),
        Flatten(),
        linear(64, 230),
        SELU(),
        Dropout(dropout, dropout_draws),
        linear(230, 100),
        SELU(),
        Dropout(dropout, dropout_draws),
        linear(100, 2),
    )
    for layer in net.layers:
        if isinstance(layer, Weighted):  # report 001 draws biases as its weights
            limit = layer.w[0].numel() ** -0.5
            layer.b.uniform_(-limit, limit, generator=draws)
    return net


def as_tensors(pairs: PairSet) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a `PairSet` as images (n, 2, 14, 14) float32 in [0, 1] and targets (n,) int64."""
    left, right = (torch.from_numpy(images[..., 0]) for images in (pairs.left, pairs.right))
    return torch.stack([left, right], 1), torch.from_numpy(pairs.comparison)


@one_thread()
def train_digits(
    number: int = 1,
    seed: int = 0,
    epochs: int | None = None,
    data_root: str | Path | None = None,
) -> list[dict[str, float]]:
    """Train `simple` on 1,000 pairs of MNIST digits and test it on 1,000 others.

    The pairs of a round and their order are those of `kpairs train`. Returns each epoch's `epoch`,
    `train_loss` (mean of the batches'), `test_error_pct` and `seconds` so far; the last one also
    has the `train_error_pct` of the trained network.
    """
    recipe = RECIPES["simple"]
    draws = seeds.generator(seed, number, "pairs")
    sets = []
    for split, count in (("train", recipe.data.pairs), ("test", recipe.data.test_pairs)):
        digits = open_source(recipe.data.source, root=data_root).split(split)
        sets.append(as_tensors(draw_pairs(digits, count, draws)))
    (x, target), test = sets
    net = simple_network(
        generator(seed, number, "initialization"),
        generator(seed, number, "fit"),
        recipe.network.options["dropout"],
    )
    options = recipe.optimizer.options
    betas = options["beta_1"], options["beta_2"]
    adam = Adam(net, recipe.optimizer.learning_rate, betas, options["epsilon"], recipe.optimizer.l2)
    history: list[dict[str, float]] = []
    began = time.perf_counter()
    for epoch in range(epochs or recipe.fit.epochs):
        order = seeds.generator(seed, number, "order", epoch).permutation(len(x))
        losses = []
        for rows in torch.from_numpy(order).split(recipe.fit.batch_size):
            loss, output = net.forward(x[rows], target[rows])
            net.backward(output, target[rows])
            adam.step()
            losses.append(loss.item())
        seconds = time.perf_counter() - began
        row = {"epoch": epoch + 1, "train_loss": sum(losses) / len(losses)}
        history.append({**row, "test_error_pct": error_pct(net, *test), "seconds": seconds})
    history[-1]["train_error_pct"] = error_pct(net, x, target)
    return history


def error_pct(net: Sequential, x: torch.Tensor, target: torch.Tensor) -> float:
    """Return a network's wrong answers in percent: inputs (n, ...), classes (n,)."""
    wrong = net.predict(x).argmax(1) != target
    return 100 * wrong.sum().item() / len(target)
