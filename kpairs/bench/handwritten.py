"""Three of the reports' networks and their training loop as one would write them in PyTorch.

What kpairs' training engine is measured against: plain modules, one call per image, torch's own
losses and optimizers, batches by indexing.
"""

from collections.abc import Sequence

import torch
from torch import nn

from kpairs.data import PairSet
from kpairs.recipes import Recipe

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class C4L2WS(nn.Module):
    """Report 000's C4L2 with weight sharing and auxiliary outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(
            *(nn.Conv2d(1, 9, 3), nn.ReLU()),
            *(nn.Conv2d(9, 18, 3), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(18, 36, 2), nn.ReLU()),
            *(nn.Conv2d(36, 72, 2), nn.ReLU(), nn.Flatten()),
        )
        self.digit = nn.Sequential(nn.Linear(648, 10), nn.Softmax(1))
        self.head = nn.Sequential(nn.Linear(1296, 20), nn.ReLU(), nn.Linear(20, 2), nn.Softmax(1))

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> Tensors:
        left, right = self.tower(left), self.tower(right)
        return self.head(torch.cat([left, right], 1)), self.digit(left), self.digit(right)


class AuxWS(nn.Module):
    """Report 001's network with weight sharing and auxiliary losses."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(
            *(nn.Conv2d(1, 32, 5), nn.MaxPool2d(2), nn.SELU()),
            *(nn.Conv2d(32, 64, 3), nn.MaxPool2d(3), nn.SELU(), nn.Flatten()),
            *(nn.Linear(64, 120), nn.SELU(), nn.Dropout(0.15)),
            *(nn.Linear(120, 10), nn.SELU(), nn.Dropout(0.15)),
        )
        self.head = nn.Sequential(
            *(nn.Linear(20, 230), nn.SELU(), nn.Dropout(0.15)),
            *(nn.Linear(230, 100), nn.SELU(), nn.Dropout(0.15)),
            nn.Linear(100, 2),
        )

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> Tensors:
        left, right = self.tower(left), self.tower(right)
        return self.head(torch.cat([left, right], 1)), left, right


class WsalBD(nn.Module):
    """Report 002's final network: batch normalisation and dropout, softmax digit outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(
            *(nn.Conv2d(1, 32, 3), nn.MaxPool2d(2), nn.ReLU(), nn.BatchNorm2d(32)),
            nn.Dropout(0.1),
            *(nn.Conv2d(32, 64, 3), nn.MaxPool2d(2), nn.ReLU(), nn.BatchNorm2d(64)),
            *(nn.Dropout(0.2), nn.Flatten()),
            *(nn.Linear(256, 200), nn.ReLU(), nn.Linear(200, 10), nn.Softmax(1)),
        )
        self.head = nn.Sequential(nn.Linear(20, 200), nn.ReLU(), nn.Linear(200, 2))

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> Tensors:
        left, right = self.tower(left), self.tower(right)
        return self.head(torch.cat([left, right], 1)), left, right


NETWORKS: dict[str, type[nn.Module]] = {"c4l2_ws": C4L2WS, "auxws": AuxWS, "wsal_bd": WsalBD}


class Training:
    """A network and its data, ready to train epoch by epoch.

    Args:
        recipe: of one of `NETWORKS`; optimizer, rates, loss weights and batch size are taken
            from it.
        pairs: what it trains on.
        device: a torch device.
    """

    def __init__(self, recipe: Recipe, pairs: PairSet, device: str = "cpu") -> None:
        self.model = NETWORKS[recipe.arch]().to(device)
        parameters, rate = self.model.parameters(), recipe.learning_rate
        kind = {"torch_adam": torch.optim.Adam, "adadelta": torch.optim.Adadelta}[recipe.optimizer]
        self.optimizer = kind(parameters, lr=rate, weight_decay=recipe.l2)
        self.criterion = nn.CrossEntropyLoss()
        self.weights = recipe.loss_weights["comparison"], recipe.loss_weights["left_digit"]
        self.batch_size = recipe.batch_size
        self.inputs, self.targets = _tensors(pairs, device)

    def epoch(self) -> float:
        """Train on all pairs once, in a new order; return the mean loss."""
        self.model.train()
        total = 0.0
        order = torch.randperm(len(self.inputs[0]), device=self.inputs[0].device)
        for rows in order.split(self.batch_size):
            loss = self._loss([t[rows] for t in self.inputs], [t[rows] for t in self.targets])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(rows)
        return total / len(order)

    @torch.no_grad()
    def error(self, pairs: PairSet) -> float:
        """Compute the share of wrong comparisons on other pairs, in percent."""
        self.model.eval()
        inputs, (comparison, *_) = _tensors(pairs, self.inputs[0].device)
        return 100 * (self.model(*inputs)[0].argmax(1) != comparison).float().mean().item()

    def _loss(
        self, inputs: Sequence[torch.Tensor], targets: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        comparison, left, right = map(self.criterion, self.model(*inputs), targets)
        weight, digit_weight = self.weights
        return weight * comparison + digit_weight * (left + right)


def _tensors(pairs: PairSet, device: torch.device | str) -> tuple[list[torch.Tensor], ...]:
    images = [torch.from_numpy(a).permute(0, 3, 1, 2) for a in (pairs.left, pairs.right)]
    labels = [pairs.comparison, pairs.left_digit, pairs.right_digit]
    inputs = [image.contiguous().to(device) for image in images]
    return inputs, [torch.from_numpy(label).long().to(device) for label in labels]
