"""Networks and their training loop as one would write them in PyTorch.

What kpairs' training engine is measured against: plain modules, torch's own losses and optimizers.
`PLAIN` is the loop of a tutorial, `TUNED` that of a good user of PyTorch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from kpairs.data.pairs import PairSet
from kpairs.models.lite0_weights import STAGES, STEM
from kpairs.recipes import Recipe

Tensors = tuple[torch.Tensor, ...]


class PairNetwork(nn.Module):
    """A tower that both images go through, and a head that compares what it says of them."""

    tower: nn.Module
    head: nn.Module
    fold = False  # the tower is called once, on both images' batches as one

    def towers(self, left: torch.Tensor, right: torch.Tensor) -> Sequence[torch.Tensor]:
        if self.fold:
            return self.tower(torch.cat([left, right])).chunk(2)
        return self.tower(left), self.tower(right)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> Tensors:
        left, right = self.towers(left, right)
        return self.head(torch.cat([left, right], 1)), left, right


class _Scored(PairNetwork):
    """A tower that scores images: the scores are the comparison's logits."""

    fold = True

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> Tensors:
        return (torch.cat(list(self.towers(left, right)), 1),)


class C4L2WS(PairNetwork):
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
        left, right = self.towers(left, right)
        return self.head(torch.cat([left, right], 1)), self.digit(left), self.digit(right)


class AuxWS(PairNetwork):
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


class WsalBD(PairNetwork):
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


class Ranker(_Scored):
    """Our own network for compared photographs in colour.

    Batches are normalised by the statistics of both images, so the tower is always folded. `side`
    is that of the square images, in pixels.
    """

    def __init__(self, side: int = 64) -> None:
        super().__init__()
        tower: list[nn.Module] = []
        channels = 3
        while side >= 28:
            tower += [*_normalized(channels, 16, 3, "same"), *_pooled(16, 16)]
            channels, side = 16, side // 2
        left_over = ((side - 2) // 2 - 2) // 2
        self.tower = nn.Sequential(
            *tower,
            *(*_normalized(16, 16, 3), *_pooled(16, 16)),
            *(*_normalized(16, 64, 3), *_pooled(64, 64)),
            *(*_normalized(64, 112, left_over), nn.Flatten(), nn.Dropout(0.16)),
            nn.Linear(112, 1, bias=False),
        )


class Lite0(nn.Module):
    """EfficientNet-Lite0's means of its stem and seven stages, normalisation folded, to a score."""

    def __init__(self) -> None:
        super().__init__()
        parts, channels = [_convolution(3, STEM, 3, 2)], STEM
        for repeats, kernel, stride, expansion, width in STAGES:
            blocks = [_Block(channels, width, kernel, stride, expansion)]
            blocks += [_Block(width, width, kernel, 1, expansion) for _ in range(repeats - 1)]
            parts, channels = [*parts, nn.Sequential(*blocks)], width
        self.parts = nn.ModuleList(parts)
        self.score = nn.Linear(STEM + sum(stage[-1] for stage in STAGES), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, means = 2 * x - 1, []
        for part in self.parts:
            x = part(x)
            means.append(x.mean((2, 3)))
        return self.score(torch.cat(means, 1))


class _Block(nn.Module):
    """An inverted residual block."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.layers = nn.Sequential(
            *([_convolution(channels, wide, 1)] if expansion != 1 else []),
            _convolution(wide, wide, kernel, stride, wide),
            nn.Conv2d(wide, width, 1),
        )
        self.adds = stride == 1 and channels == width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layers(x)
        return x + y if self.adds else y


def _convolution(
    channels: int, filters: int, size: int, stride: int = 1, groups: int = 1
) -> nn.Module:
    """Pad as Keras does, where a stride of 2 pads more on the right and below."""
    before, after = (size - stride) // 2, size - stride - (size - stride) // 2
    padding = [nn.ZeroPad2d((before, after) * 2)] if before != after else []
    inside = 0 if padding else before
    convolution = nn.Conv2d(channels, filters, size, stride, inside, groups=groups)
    return nn.Sequential(*padding, convolution, nn.ReLU6())


class FineTuned(_Scored):
    """`linear` on lite0, all of whose weights are trained."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = Lite0()


def _normalized(channels: int, filters: int, size: int, padding: str = "valid") -> list[nn.Module]:
    convolution = nn.Conv2d(channels, filters, size, padding=padding, bias=False)
    return [convolution, nn.BatchNorm2d(filters), nn.ReLU()]


def _pooled(channels: int, filters: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, filters, 3, padding="same", bias=False)
    normalization = nn.BatchNorm2d(filters)
    return [convolution, nn.MaxPool2d(2), normalization, nn.ReLU(), nn.Dropout(0.08)]


NETWORKS: dict[str, type[PairNetwork]] = {
    "c4l2_ws": C4L2WS,
    "auxws": AuxWS,
    "wsal_bd": WsalBD,
    "ranker": Ranker,
    "linear": FineTuned,
}


@dataclass(frozen=True)
class Tuning:
    """The changes that a good user of PyTorch makes to a plain loop."""

    # Keep an image's channels together in memory, where torch pools faster.
    channels_last: bool = False
    at_once: bool = False  # step all parameters at once: a fused Adam, Adadelta by lists of tensors
    # Call the tower once, on both images. Not where it normalises batches: those of left and right
    # images would be normalised together.
    fold: bool = False
    # Order the pairs once an epoch, so that a batch is a view of them, and read the loss out once
    # an epoch, not in every step.
    few_reads: bool = False


PLAIN = Tuning()
TUNED = Tuning(channels_last=True, at_once=True, few_reads=True)  # folded where that is faster
NEVER_FOLDED = ("wsal_bd", "ranker", "linear")  # as their networks are, or are not
_OPTIMIZERS = {
    "torch_adam": (torch.optim.Adam, "fused"),
    "adamw": (torch.optim.AdamW, "fused"),
    "adadelta": (torch.optim.Adadelta, "foreach"),
}


class Training:
    """A network and its data, ready to train by one of `NETWORKS`' recipes, epoch by epoch."""

    def __init__(
        self, recipe: Recipe, pairs: PairSet, device: str = "cpu", tuning: Tuning = PLAIN
    ) -> None:
        self.tuning = tuning
        layout = torch.channels_last if tuning.channels_last else torch.contiguous_format
        name = recipe.network.arch
        network = Ranker(pairs.left.shape[1]) if name == "ranker" else NETWORKS[name]()
        self.model = network.to(device).to(memory_format=layout)
        self.model.fold = self.model.fold or tuning.fold
        optimizer, at_once = _OPTIMIZERS[recipe.optimizer.name]
        self.optimizer = optimizer(
            self.model.parameters(),
            lr=recipe.optimizer.learning_rate,
            weight_decay=recipe.optimizer.options.get("weight_decay", recipe.optimizer.l2),
            **{at_once: tuning.at_once},
        )
        self.criterion = nn.CrossEntropyLoss()
        weights = recipe.fit.loss_weights
        self.weights = weights["comparison"], *[weights.get("left_digit", 0.0)] * 2
        self.batch_size = recipe.fit.batch_size
        self.inputs, self.targets = _tensors(pairs, device, tuning.channels_last)

    def epoch(self) -> float:
        """Train on all pairs once, in a new order; return the mean loss."""
        self.model.train()
        return self._epoch_of_few_reads() if self.tuning.few_reads else self._plain_epoch()

    def _plain_epoch(self) -> float:
        total = 0.0
        order = self._order()
        for rows in order.split(self.batch_size):
            loss = self._step([t[rows] for t in self.inputs], [t[rows] for t in self.targets])
            total += loss.item() * len(rows)
        return total / len(order)

    def _epoch_of_few_reads(self) -> float:
        order = self._order()
        total = torch.zeros((), dtype=torch.float64, device=order.device)
        parts = [
            [t[order].split(self.batch_size) for t in part] for part in (self.inputs, self.targets)
        ]
        for inputs, targets in zip(*(zip(*part, strict=True) for part in parts), strict=True):
            total += self._step(inputs, targets).detach() * len(targets[0])
        return total.item() / len(order)

    def _order(self) -> torch.Tensor:
        return torch.randperm(len(self.inputs[0]), device=self.inputs[0].device)

    def _step(
        self, inputs: Sequence[torch.Tensor], targets: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        if self.tuning.channels_last:
            inputs = [images.permute(0, 3, 1, 2) for images in inputs]
        outputs = self.model(*inputs)
        losses = map(self.criterion, outputs, targets)
        loss = sum(w * part for w, part in zip(self.weights, losses, strict=False))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    @torch.no_grad()
    def error(self, pairs: PairSet) -> float:
        """Compute the share of wrong comparisons on other pairs, in percent."""
        self.model.eval()
        inputs, (comparison, *_) = _tensors(pairs, self.inputs[0].device)
        return 100 * (self.model(*inputs)[0].argmax(1) != comparison).float().mean().item()


def _tensors(
    pairs: PairSet, device: torch.device | str, channels_last: bool = False
) -> tuple[list[torch.Tensor], ...]:
    """Return images as (n, c, h, w), or as (n, h, w, c) for `channels_last`."""
    images = [torch.from_numpy(array) for array in (pairs.left, pairs.right)]
    if not channels_last:
        images = [image.permute(0, 3, 1, 2).contiguous() for image in images]
    labels = [pairs.comparison, pairs.left_digit, pairs.right_digit]
    inputs = [image.to(device) for image in images]
    return inputs, [torch.from_numpy(label).long().to(device) for label in labels]
