"""The report's experiment: is a point of the unit square inside the disc?

The disc lies in the middle and covers half of the square, so that always giving one answer is
wrong on half of the points. Chassagne et al., report 002, 2.1 to 2.3; numbers that the text leaves
open are the authors' code's.
"""

import math
import time
from dataclasses import dataclass
from itertools import pairwise

import torch

from kpairs.errors import UsageError, unknown
from kpairs.mini.activations import ReLU, Tanh
from kpairs.mini.linear import Linear
from kpairs.mini.losses import LossMSE
from kpairs.mini.module import Module
from kpairs.mini.sequential import Sequential
from kpairs.reports.chassagne.disc.draws import generator, one_thread

RADIUS = 1 / math.sqrt(2 * math.pi)  # pi RADIUS² = 1/2
ACTIVATIONS = {"tanh": Tanh, "relu": ReLU}


def draw_points(count: int, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw `(n, 2)` float32 points of the unit square, and their classes, 1 in the disc."""
    points = torch.empty(count, 2).uniform_(generator=draws)
    distance = ((points - 0.5) ** 2).sum(1)  # squared, (n,)
    return points, (distance <= RADIUS**2).long()


def one_hot(classes: torch.Tensor) -> torch.Tensor:
    """Return (n,) of 0 and 1 as (n, 2) float32: a 1 in the class' column, [outside, inside]."""
    return torch.stack([classes == 0, classes == 1], 1).float()


def disc_network(activation: str, draws: torch.Generator, init: str = "normal") -> Sequential:
    """Build 2-25-25-25-2 with an activation after every layer, also the last: 1,427 parameters."""
    sizes = (2, 25, 25, 25, 2)
    layers: list[Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [Linear(inputs, outputs, init, generator=draws), ACTIVATIONS[activation]()]
    return Sequential(LossMSE(), *layers)


@dataclass(frozen=True)
class DiscRun:
    """A trained network with what it was trained and tested on."""

    net: Sequential
    # Of all coordinates of the training points, by which the network's inputs are standardised.
    mean: float
    std: float
    # Of the test, (n, 2) in the unit square and (n,).
    points: torch.Tensor
    classes: torch.Tensor
    # A dict per epoch: `epoch`, `train_loss` (sum of the batches'), `train_error_pct` (counted
    # while it learns) and `test_error_pct` (after the epoch).
    history: list[dict[str, float]]
    seconds: float  # of training

    def outputs(self, points: torch.Tensor) -> torch.Tensor:
        """Return the outputs for points of the unit square, (n, 2) -> (n, 2): [outside, inside]."""
        return self.net.predict((points - self.mean) / self.std)

    def predictions(self) -> torch.Tensor:
        """Return the class of each test point, (n,)."""
        return self.outputs(self.points).argmax(1)

    def margins(self, side: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return x, y and "inside" minus "outside" over the square, each (side, side).

        x grows along the columns, y along the rows; a difference of 0 is the decision boundary.
        """
        steps = torch.linspace(0, 1, side)
        x, y = torch.meshgrid(steps, steps, indexing="xy")
        outputs = self.outputs(torch.stack([x.flatten(), y.flatten()], 1))
        return x, y, (outputs[:, 1] - outputs[:, 0]).view(side, side)


@one_thread()
def train_disc(
    activation: str = "tanh",
    learning_rate: float = 0.1,
    number: int = 1,
    seed: int = 0,
    epochs: int = 100,
    batch_size: int = 100,
    init: str = "normal",
    count: int = 1000,
    points: int | None = None,
) -> DiscRun:
    """Train the report's network on the disc by plain gradient descent.

    Batches come in the same order in every epoch, and the targets are 0 and 1 although tanh never
    reaches 1: both as in the report. Round `number` draws its points and weights from (seed,
    number) alone; `points` is the round whose points to take instead. `count` is that of training
    points, and of test points. Raises UsageError for an unknown activation or a learning rate below
    0.
    """
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    if not 0 <= learning_rate < math.inf:
        raise UsageError(f"learning_rate: expected at least 0 and finite, received {learning_rate}")
    began = time.perf_counter()
    draws = generator(seed, points or number, "points")
    train_points, train_classes = draw_points(count, draws)
    test_points, classes = draw_points(count, draws)
    mean, std = train_points.mean().item(), train_points.std().item()
    x, test_x = (train_points - mean) / std, (test_points - mean) / std
    target = one_hot(train_classes)
    net = disc_network(activation, generator(seed, number, "initialization"), init)
    batches = [part.split(batch_size) for part in (x, target, train_classes)]
    history: list[dict[str, float]] = []
    for epoch in range(1, epochs + 1):
        loss, wrong = 0.0, 0
        for batch_x, batch_target, batch_classes in zip(*batches, strict=True):
            batch_loss, output = net.forward(batch_x, batch_target)
            net.backward(output, batch_target, learning_rate)
            loss += batch_loss.item()
            wrong += (output.argmax(1) != batch_classes).sum().item()
        test_wrong = (net.predict(test_x).argmax(1) != classes).sum().item()
        wrongs = {"train_error_pct": wrong, "test_error_pct": test_wrong}
        errors = {name: 100 * number / count for name, number in wrongs.items()}
        history.append({"epoch": epoch, "train_loss": loss, **errors})
    seconds = time.perf_counter() - began
    return DiscRun(net, mean, std, test_points, classes, history, seconds)
