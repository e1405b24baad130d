"""What was tried to make `posterior` better, in plain PyTorch.

    python docs/experiments/posterior_tried.py "640 epochs" 3

Each round trains on 2,000 images of MNIST's training split, drawn from the round's number, and is
measured on all ordered pairs of 10,000 others of that split; no test image is seen. A line of JSON
a round: the error as trained and with five shifts, in percent. The first argument is a
key of `TRIED`, the second how many rounds.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kpairs.data.source import open_source
from kpairs.data.vary import affine, elastic, sample
from kpairs.training.all_pairs import wrong_by_class
from kpairs.training.evaluate import known_images


@dataclass(frozen=True)
class Way:
    """One way to train: the first is the recipe's own, by 320 epochs."""

    epochs: int = 320
    widths: tuple[int, ...] = (16, 16, 64, 64, 112)
    deeper: bool = False  # one more 3x3 convolution before the first pooling
    blurred: bool = False  # maxima at every pixel, then blurred, then every second (Zhang, 2019)
    first: int = 3  # side of the first kernel; one of 5 sees a black edge of one pixel
    residual: bool = False  # what the second and fourth convolution say is added to what they see
    separable: bool = False  # these two by channel first, then across channels
    per_step: float = 0.0  # decay of an average over steps; 0.9 an epoch would be 0.995 a step
    distortion: float = 1.0  # of rotation, scales, shear and shift
    displacement: float = 0.5  # of the elastic field, in pixels
    all_pairs: bool = False  # a comparison loss on all ordered pairs of a batch's images
    sharpness: float = 0.0  # radius of sharpness-aware steps (Foret et al., 2021)
    teachers: int = 0  # networks of this kind, of other seeds, whose posteriors are learned
    share: float = 0.0  # of the digit loss that is the teachers'


TRIED = {
    "320 epochs": Way(),
    "640 epochs": Way(epochs=640),
    "affine distortion 1.3 times as wide": Way(distortion=1.3),
    "elastic displacement 0.8": Way(displacement=0.8),
    "weights averaged by 0.998 a step": Way(per_step=0.998),
    "a sixth convolution": Way(deeper=True),
    "anti-aliased pooling": Way(blurred=True),
    "32-32-56-56-88": Way(widths=(32, 32, 56, 56, 88)),
    "a first kernel of 5x5": Way(first=5),
    "second and fourth residual": Way(residual=True),
    "24-24-96-96-112, second and fourth separable": Way(
        widths=(24, 24, 96, 96, 112), separable=True
    ),
    "a loss on all pairs of a batch": Way(all_pairs=True),
    "sharpness-aware steps": Way(sharpness=0.05),
    "four teachers, half of the loss": Way(teachers=4, share=0.5),
    "four teachers, nine tenths": Way(teachers=4, share=0.9),
}
BATCH, RATE, DECAY, DROPOUT, AVERAGING = 100, 6e-3, 0.01, 0.08, 0.9


class Blur(nn.Module):
    """Every second pixel of each channel, after a binomial filter of 3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([0.25, 0.5, 0.25])
        kernel = torch.outer(line, line).expand(channels, 1, 3, 3).contiguous()
        self.register_buffer("kernel", kernel)

    def forward(self, images: Tensor) -> Tensor:
        """Halve the sides of `(n, c, h, w)`; edges are repeated."""
        edged = F.pad(images, (1, 1, 1, 1), mode="replicate")
        return F.conv2d(edged, self.kernel, stride=2, groups=len(self.kernel))


class Residual(nn.Module):
    """What a module says of an image, added to the image."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        """Return `(n, c, h, w)` of the same."""
        return images + self.module(images)


def tower(way: Way) -> nn.Sequential:
    """`kpairs.ours.networks.posterior`'s tower, by its initialisation."""
    first, second, third, fourth, last = way.widths

    def stage(before: int, after: int, size: int = 3, pooled: bool = False) -> list[nn.Module]:
        padding = 1 if pooled else size // 2 - 1
        convolution: nn.Module = nn.Conv2d(before, after, size, padding=padding, bias=False)
        if pooled and way.separable:
            by_channel = nn.Conv2d(before, before, size, padding=1, groups=before, bias=False)
            convolution = nn.Sequential(by_channel, nn.Conv2d(before, after, 1, bias=False))
        if pooled and way.residual:
            convolution = Residual(convolution)
        pool = [nn.MaxPool2d(2, 1), Blur(after)] if way.blurred else [nn.MaxPool2d(2)]
        pooling, dropout = (pool, [nn.Dropout(DROPOUT)]) if pooled else ([], [])
        return [convolution, *pooling, nn.BatchNorm2d(after), nn.ReLU(), *dropout]

    def further(width: int) -> list[nn.Module]:
        convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)
        return [convolution, nn.BatchNorm2d(width), nn.ReLU()]

    network = nn.Sequential(
        *stage(1, first, way.first),
        *(further(first) if way.deeper else []),
        *stage(first, second, pooled=True),
        *stage(second, third),
        *stage(third, fourth, pooled=True),
        *stage(fourth, last, 2),
        nn.Flatten(),
        nn.Dropout(2 * DROPOUT),
        nn.Linear(last, 10),
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:  # a channel sees itself alone
            bound = (6 / (2 * module.weight[0].numel())) ** 0.5
            nn.init.uniform_(module.weight, -bound, bound)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)
    nn.init.zeros_(network[-1].bias)
    return network.to(memory_format=torch.channels_last)


def distorted(images: np.ndarray, way: Way, rng: np.random.Generator) -> Tensor:
    """One distortion of each image, channels first."""
    count, height, width, _ = images.shape
    by = {"rotation": 6.0, "scale": 0.12, "shear": 0.2, "shift": 1.5}
    wide = {name: way.distortion * value for name, value in by.items()}
    places = affine(count, height, width, rng, **wide)
    places = places + elastic(count, height, width, rng, displacement=way.displacement)
    return sample(images, places).permute(0, 3, 1, 2)


def comparison_loss(logs: Tensor, digits: Tensor, way: Way) -> Tensor:
    """Of a batch's two halves as pairs, or of all ordered pairs of two of its images."""
    count = len(digits)
    posterior = logs.exp()
    least = 1 - F.pad(posterior.cumsum(1), (1, 0))[:, :-1]  # P(digit >= k)
    if way.all_pairs:
        ordered = (posterior @ least.T).clamp(1e-12, 1 - 1e-7)
        target = (digits[:, None] <= digits[None]).float()
        losses = F.binary_cross_entropy(ordered, target, reduction="none")
        return (losses.sum() - losses.diagonal().sum()) / (count * (count - 1))
    left, right = slice(count // 2), slice(count // 2, None)
    products = logs[left, :, None] + logs[right, None]
    upper = torch.ones(10, 10, dtype=torch.bool).triu()
    both = [products.masked_fill(hidden, -1e30).flatten(1) for hidden in (upper, ~upper)]
    logits = torch.stack([one.logsumexp(1) for one in both], 1)
    return F.nll_loss(logits, (digits[left] <= digits[right]).long())


def loss_of(
    network: nn.Module, images: Tensor, digits: Tensor, soft: Tensor | None, way: Way
) -> Tensor:
    """Digit losses of both sides, in part the teachers' if there are some, and the comparison's."""
    logs = network(images).log_softmax(1)
    loss = F.nll_loss(logs, digits)
    if soft is not None:
        loss = (1 - way.share) * loss - way.share * (soft * logs).sum(1).mean()
    return 2 * loss + 0.5 * comparison_loss(logs, digits, way)


@torch.no_grad()
def posteriors(network: nn.Module, images: Tensor, shifts: bool) -> Tensor:
    """Log-posteriors of images, (n, 10), at one place or averaged over five."""
    network.eval()
    parts = []
    for batch in images.split(500):
        moved = [batch]
        if shifts:
            edged, side = F.pad(batch, (1, 1, 1, 1)), batch.shape[-1]
            for row, column in ((0, 1), (2, 1), (1, 0), (1, 2)):
                other = edged[:, :, row : row + side, column : column + side]
                moved.append((batch + other) / 2)
        logs = sum(network(m).log_softmax(1) for m in moved) / len(moved)
        parts.append(logs.log_softmax(1))
    return torch.cat(parts)


class Average:
    """A moving average of a network's weights and statistics, without bias at its start."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.taken = decay, 0
        self.values = {name: value.clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def take(self, network: nn.Module) -> None:
        """Move towards the network as it is."""
        self.taken += 1
        share = (1 - self.decay) / (1 - self.decay**self.taken)
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.values[name].lerp_(value, share)


def train(
    images: np.ndarray, labels: np.ndarray, way: Way, number: int, seed: int = 1
) -> nn.Module:
    """Train one network of a round, and its teachers first if it has some."""
    count, alone = len(images), replace(way, teachers=0)
    teachers = [train(images, labels, alone, number, 100 + t) for t in range(way.teachers)]
    torch.manual_seed(1000 * seed + number)
    rng, digits = np.random.default_rng([seed, number]), torch.from_numpy(labels)
    network = tower(way)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, eps=1e-7, weight_decay=DECAY)
    average = Average(network, way.per_step or AVERAGING)
    steps = way.epochs * (count // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=steps, cycle_momentum=False
    )
    for _ in range(way.epochs):
        order = rng.permutation(count)
        epoch_images, epoch_digits = distorted(images[order], way, rng), digits[order]
        taught = [posteriors(teacher, epoch_images, False) for teacher in teachers]
        soft = (sum(taught) / len(taught)).softmax(1) if taught else None
        network.train()
        for start in range(0, count, BATCH):
            rows = slice(start, start + BATCH)
            loss = partial(
                loss_of,
                network,
                epoch_images[rows],
                epoch_digits[rows],
                None if soft is None else soft[rows],
                way,
            )
            optimizer.zero_grad()
            loss().backward()
            if way.sharpness:
                parameters = list(network.parameters())
                norm = torch.stack([p.grad.norm() for p in parameters]).norm()
                moves = [p.grad * (way.sharpness / norm) for p in parameters]
                with torch.no_grad():
                    torch._foreach_add_(parameters, moves)
                    optimizer.zero_grad()
                    with torch.enable_grad():
                        loss().backward()
                    torch._foreach_sub_(parameters, moves)
            optimizer.step()
            schedule.step()
            if way.per_step:
                average.take(network)
        if not way.per_step:
            average.take(network)
    network.load_state_dict(average.values)
    return network


def error(logs: Tensor, labels: np.ndarray) -> float:
    """Percent of all ordered pairs of two images that are judged wrongly."""
    posterior = logs.double().exp().numpy()
    signs = 2 * np.triu(np.ones((10, 10))) - 1  # P(left <= right) - P(left > right)
    wrong, pairs = wrong_by_class(posterior @ signs, posterior, labels, 10)
    return 100 * wrong.sum() / pairs


def main(name: str, rounds: int) -> None:
    """Train and measure rounds 1 to `rounds` of one way."""
    torch.set_num_threads(1)
    way = TRIED[name]
    images, labels = known_images(open_source("mnist").split("train"))
    for number in range(1, rounds + 1):
        order = np.random.default_rng([99, number]).permutation(len(images))
        mine, others = order[:2000], order[-10000:]
        started = time.process_time()
        network = train(images[mine], labels[mine], way, number)
        seconds = time.process_time() - started
        unseen = torch.from_numpy(images[others]).permute(0, 3, 1, 2)
        one, five = (
            error(posteriors(network, unseen, shifts), labels[others]) for shifts in (False, True)
        )
        row = {"setting": name, "round": number}
        row |= {"as_trained_error_pct": one, "five_shifts_error_pct": five}
        row |= {"parameters": sum(p.numel() for p in network.parameters()), "seconds": seconds}
        print(json.dumps(row | {"way": asdict(way)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
