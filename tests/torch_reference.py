"""The reports' networks in plain torch, transcribed from their specification.

An oracle for numeric parity: written from the reports' specification without sight of
the Keras code. Two things were made to follow Keras: the biased running variance, and the image
on which a shared tower runs first.
Images are (batch, 1, 14, 14), already normalised as the recipe wants. Submodules are defined in
the order per-image tower (left before right), digit heads, comparison head: `copy_weights`
relies on it.
"""

import re
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from kpairs.models.pair import layers_of


class BatchNorm(nn.Module):
    """Batch normalisation of maps (N, C, H, W) or features (N, C).

    As torch's own, but the running variance takes the biased batch variance, as Keras does.
    """

    def __init__(self, channels, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x):
        mean, var = self.running_mean, self.running_var
        if self.training:
            axes = [0, *range(2, x.ndim)]
            mean, var = x.mean(axes), x.var(axes, unbiased=False)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var, self.momentum)
        scale = self.weight / torch.sqrt(var + self.eps)
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return (x - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)


def flatten(maps):
    """(N, C, H, W) to (N, H*W*C): the order of a channels-last framework."""
    return maps.permute(0, 2, 3, 1).flatten(1)


def stack(left, right):
    """Both images as one two-channel map (N, 2, 14, 14)."""
    return torch.cat([left, right], dim=1)


def mlp(*sizes, activation=nn.ReLU):
    """Linear layers with the activation between them, none after the last."""
    layers = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*layers[:-1])


def named(comparison, digits):
    """The outputs by name; digits is empty or the pair (left, right)."""
    if not digits:
        return {"comparison": comparison}
    left_digit, right_digit = digits
    return {"comparison": comparison, "left_digit": left_digit, "right_digit": right_digit}


# Report 000


def c1l2():
    return nn.Sequential(
        nn.Conv2d(1, 72, 3),  # 72x12x12
        nn.MaxPool2d(3),  # 72x4x4
        nn.ReLU(),
    )


def c2l2():
    return nn.Sequential(
        nn.Conv2d(1, 22, 3),  # 22x12x12
        nn.MaxPool2d(2),  # 22x6x6
        nn.ReLU(),
        nn.Conv2d(22, 110, 3),  # 110x4x4
        nn.MaxPool2d(2),  # 110x2x2
        nn.ReLU(),
    )


def c2l3():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),  # 32x12x12
        nn.MaxPool2d(2),  # 32x6x6
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),  # 64x4x4
        nn.MaxPool2d(2),  # 64x2x2
        nn.ReLU(),
    )


def c3l2():
    return nn.Sequential(
        nn.Conv2d(1, 12, 3),  # 12x12x12
        nn.ReLU(),
        nn.Conv2d(12, 24, 3),  # 24x10x10
        nn.ReLU(),
        nn.Conv2d(24, 48, 3),  # 48x8x8
        nn.MaxPool2d(2),  # 48x4x4
        nn.ReLU(),
    )


def c4l2():
    return nn.Sequential(
        nn.Conv2d(1, 9, 3),  # 9x12x12
        nn.ReLU(),
        nn.Conv2d(9, 18, 3),  # 18x10x10
        nn.MaxPool2d(2),  # 18x5x5
        nn.ReLU(),
        nn.Conv2d(18, 36, 2),  # 36x4x4
        nn.ReLU(),
        nn.Conv2d(36, 72, 2),  # 72x3x3
        nn.ReLU(),
    )


class Probabilistic(nn.Module):
    """Report 000, C1L2 to C4L2, baseline or weight sharing: every output is a softmax.

    The digit heads hang on the flattened convolutional features; the classifier, C4L2-WS's
    included, takes both images' features concatenated.
    """

    def __init__(self, tower, features, hidden, shared):
        super().__init__()
        copies = 1 if shared else 2
        self.towers = nn.ModuleList(tower() for _ in range(copies))
        self.digits = nn.ModuleList(nn.Linear(features, 10) for _ in range(copies))
        self.comparison = mlp(2 * features, *hidden, 2)

    def forward(self, left, right):
        left, right = flatten(self.towers[0](left)), flatten(self.towers[-1](right))
        digits = self.digits[0](left), self.digits[-1](right)
        comparison = self.comparison(torch.cat([left, right], dim=1))
        return named(comparison.softmax(dim=1), [digit.softmax(dim=1) for digit in digits])


# Report 001


class Simple(nn.Module):
    """Report 001, table 1, Simple."""

    def __init__(self, dropout=0.15):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 32, 5), nn.Conv2d(32, 64, 3)
        self.fc1, self.fc2, self.fc3 = nn.Linear(64, 230), nn.Linear(230, 100), nn.Linear(100, 2)
        self.drop = nn.Dropout(dropout)

    def forward(self, left, right):
        x = stack(left, right)
        x = torch.selu(F.max_pool2d(self.conv1(x), 2))  # 32x5x5
        x = flatten(torch.selu(F.max_pool2d(self.conv2(x), 3)))  # 64
        x = self.drop(torch.selu(self.fc1(x)))
        x = self.drop(torch.selu(self.fc2(x)))
        return named(self.fc3(x), [])


class AuxWS(nn.Module):
    """Report 001, table 1, weight sharing with auxiliary loss; without it the same network.

    The digit outputs too pass SELU and dropout (the authors' code, not the table).
    """

    def __init__(self, dropout, digits):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 5), nn.Conv2d(32, 64, 3)
        self.shared1, self.shared2 = nn.Linear(64, 120), nn.Linear(120, 10)
        self.fc1, self.fc2, self.fc3 = nn.Linear(20, 230), nn.Linear(230, 100), nn.Linear(100, 2)
        self.drop, self.digits = nn.Dropout(dropout), digits

    def image(self, x):
        x = torch.selu(F.max_pool2d(self.conv1(x), 2))  # 32x5x5
        x = flatten(torch.selu(F.max_pool2d(self.conv2(x), 3)))  # 64
        x = self.drop(torch.selu(self.shared1(x)))
        return self.drop(torch.selu(self.shared2(x)))

    def forward(self, left, right):
        digits = self.image(left), self.image(right)
        x = torch.cat(digits, dim=1)
        x = self.drop(torch.selu(self.fc1(x)))
        x = self.drop(torch.selu(self.fc2(x)))
        return named(self.fc3(x), digits if self.digits else [])


# Report 002


class Basic(nn.Module):
    """Report 002, the basic network."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 16, 3), nn.Conv2d(16, 32, 3)
        self.fc1, self.fc2 = nn.Linear(128, 200), nn.Linear(200, 2)

    def forward(self, left, right):
        x = stack(left, right)
        x = torch.relu(F.max_pool2d(self.conv1(x), 2))  # 16x6x6
        x = flatten(torch.relu(F.max_pool2d(self.conv2(x), 2)))  # 32x2x2 = 128
        return named(self.fc2(torch.relu(self.fc1(x))), [])


class Complex(nn.Module):
    """Report 002, weight sharing and auxiliary losses, with or without dropout and batch norm.

    Method 2 compares the two softmaxed digit outputs, method 1 the two flattened maps; only
    method 1's comparison head has a batch norm.
    """

    def __init__(self, method, batch_norm=False, dropout=None):
        super().__init__()
        self.method = method
        self.tower = nn.Sequential()
        for channels_in, channels, rate in [(1, 32, 1), (32, 64, 2)]:
            # 32x6x6, then 64x2x2
            self.tower.extend([nn.Conv2d(channels_in, channels, 3), nn.MaxPool2d(2), nn.ReLU()])
            if batch_norm:
                self.tower.append(BatchNorm(channels))
            if dropout is not None:
                self.tower.append(nn.Dropout(rate * dropout))
        self.digit = mlp(256, 200, 10)
        self.comparison = nn.Sequential(nn.Linear({1: 512, 2: 20}[method], 200), nn.ReLU())
        if method == 1 and batch_norm:
            self.comparison.append(BatchNorm(200))
        self.comparison.append(nn.Linear(200, 2))

    def forward(self, left, right):
        # Keras runs a layer that is used twice on the right image first. Nothing depends on it but
        # the order of the two updates of the running statistics.
        right = flatten(self.tower(right))
        features = flatten(self.tower(left)), right
        digits = [self.digit(x).softmax(dim=1) for x in features]
        merged = torch.cat(features if self.method == 1 else digits, dim=1)
        return named(self.comparison(merged), digits)


class Residual(nn.Module):
    """Report 002, one block of the ResNet."""

    def __init__(self, channels):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, channels, 3, padding=1), BatchNorm(channels)
        self.conv2, self.norm2 = nn.Conv2d(channels, channels, 3, padding=1), BatchNorm(channels)

    def forward(self, x):
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + x)


class ResNet(nn.Module):
    """Report 002, ResNet of ten blocks and 32 channels."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 32, 3, padding=1), BatchNorm(32)
        self.blocks = nn.Sequential(*[Residual(32) for _ in range(10)])
        self.fc = nn.Linear(32, 2)

    def forward(self, left, right):
        x = torch.relu(self.norm(self.conv(stack(left, right))))
        x = self.blocks(x)  # 32x14x14
        return named(self.fc(x.mean(dim=(2, 3))), [])


# Report 003: the comparison is one sigmoid unit, (batch, 1)


class FullyConnected(nn.Module):
    """Report 003, table I, FC_1 to FC_3: 392 inputs, hidden layers of the given sizes."""

    def __init__(self, hidden, activation):
        super().__init__()
        activations = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}
        self.layers = mlp(392, *hidden, 1, activation=activations[activation])

    def forward(self, left, right):
        return named(torch.sigmoid(self.layers(flatten(stack(left, right)))), [])


def conv_1(first=10, second=20):
    return nn.Sequential(
        nn.Conv2d(2, first, 5),  # 10x10
        nn.ReLU(),
        BatchNorm(first),
        nn.MaxPool2d(2),  # 5x5
        nn.Conv2d(first, second, 3),  # 3x3
        nn.ReLU(),
        BatchNorm(second),
        nn.Conv2d(second, 1, 3),  # 1x1x1
    )


def conv_2():
    return conv_1(50, 100)


def conv_3():
    return nn.Sequential(
        nn.Conv2d(2, 10, 3),  # 10x12x12
        nn.ReLU(),
        nn.MaxPool2d(2),  # 10x6x6
        nn.Conv2d(10, 20, 3),  # 20x4x4
        nn.ReLU(),
        nn.Conv2d(20, 40, 3),  # 40x2x2
        nn.ReLU(),
        nn.Conv2d(40, 1, 2),  # 1x1x1
    )


class FullyConvolutional(nn.Module):
    """Report 003, table I, Conv_1 to Conv_3."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, left, right):
        return named(torch.sigmoid(flatten(self.layers(stack(left, right)))), [])


def conv_block(channels):
    """Report 003, the three-layer block: (channels, 14, 14) to (128, 1, 1)."""
    layers = []
    for fan_in, fan_out in [(channels, 32), (32, 64), (64, 128)]:
        # 32x7x7, then 64x3x3, then 128x1x1
        layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1), nn.ReLU()]
        layers += [BatchNorm(fan_out), nn.MaxPool2d(2)]
    return nn.Sequential(*layers)


class CnnBase(nn.Module):
    """Report 003, table II, CNN_base."""

    def __init__(self):
        super().__init__()
        self.block = conv_block(2)
        self.comparison = mlp(128, 64, 64, 1)

    def forward(self, left, right):
        x = flatten(self.block(stack(left, right)))
        return named(torch.sigmoid(self.comparison(x)), [])


class TwoBranches(nn.Module):
    """Report 003, tables II and III: one block per image, shared or not.

    The digit head, where there is one, is always shared. Dropout follows the last pooling, so
    both heads see it.
    """

    def __init__(self, shared, digits, dropout=None):
        super().__init__()
        self.blocks = nn.ModuleList(conv_block(1) for _ in range(1 if shared else 2))
        if dropout is not None:
            for block in self.blocks:
                block.append(nn.Dropout2d(dropout))
        self.digit = mlp(128, 64, 64, 10) if digits else None
        self.comparison = mlp(256, 128, 128, 1)

    def forward(self, left, right):
        right = flatten(self.blocks[-1](right))  # first, as in Complex
        features = flatten(self.blocks[0](left)), right
        digits = [self.digit(x) for x in features] if self.digit is not None else []
        return named(torch.sigmoid(self.comparison(torch.cat(features, dim=1))), digits)


# Report 004


def three_convolutions(channels, c1, c2, c3):
    """Report 004, the feature block of three convolutions: c3 features."""
    return nn.Sequential(
        nn.Conv2d(channels, c1, 3),  # c1x12x12
        nn.ReLU(),
        nn.MaxPool2d(2),  # c1x6x6
        nn.Conv2d(c1, c2, 3, padding=1),  # c2x6x6
        nn.ReLU(),
        nn.MaxPool2d(2),  # c2x3x3
        nn.Conv2d(c2, c3, 2, padding=1),  # c3x4x4
        nn.ReLU(),
        nn.MaxPool2d(3),  # c3x1x1
        nn.Flatten(),
    )


def two_convolutions(c1, c2):
    """Report 004, the feature block of two convolutions: c2 features."""
    return nn.Sequential(
        nn.Conv2d(1, c1, 3),  # c1x12x12
        nn.ReLU(),
        nn.MaxPool2d(2),  # c1x6x6
        nn.Conv2d(c1, c2, 3, padding=1),  # c2x6x6
        nn.ReLU(),
        nn.MaxPool2d(6),  # c2x1x1
        nn.Flatten(),
    )


def classifier(dropout, *sizes):
    """Report 004: dropout before every linear layer, the first included; ReLU between them."""
    layers = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Dropout(dropout), nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class BasicNet1(nn.Module):
    """Report 004, BasicNet1."""

    def __init__(self, widths=(32, 128, 64, 16), dropout=0.5):
        super().__init__()
        c1, c2, c3, hidden = widths
        self.tower = three_convolutions(2, c1, c2, c3)
        self.comparison = classifier(dropout, c3, hidden, 2)

    def forward(self, left, right):
        return named(self.comparison(self.tower(stack(left, right))), [])


class AuxNet1(nn.Module):
    """Report 004, AuxNet1: compares the digit logits."""

    def __init__(self, widths=(32, 64, 128, 128), dropout=0.5):
        super().__init__()
        c1, c2, c3, hidden = widths
        self.tower = three_convolutions(1, c1, c2, c3)
        self.digit = classifier(dropout, c3, hidden, 10)
        self.comparison = classifier(dropout, 20, hidden, 2)

    def forward(self, left, right):
        digits = self.digit(self.tower(left)), self.digit(self.tower(right))
        return named(self.comparison(torch.cat(digits, dim=1)), digits)


class AuxNet2(nn.Module):
    """Report 004, AuxNet2: compares the features."""

    def __init__(self, widths=(32, 32, 64, 256), dropout=0.5):
        super().__init__()
        c1, c2, c3, hidden = widths
        self.tower = three_convolutions(1, c1, c2, c3)
        self.digit = classifier(dropout, c3, hidden, 10)
        self.comparison = classifier(dropout, 2 * c3, hidden, 2)

    def forward(self, left, right):
        features = self.tower(left), self.tower(right)
        digits = [self.digit(x) for x in features]
        return named(self.comparison(torch.cat(features, dim=1)), digits)


class AuxNet3(nn.Module):
    """Report 004, AuxNet3: AuxNet2 of two convolutions and two hidden layers."""

    def __init__(self, widths=(16, 64, 128, 128), dropout=0.5):
        super().__init__()
        c1, c2, h1, h2 = widths
        self.tower = two_convolutions(c1, c2)
        self.digit = classifier(dropout, c2, h1, h2, 10)
        self.comparison = classifier(dropout, 2 * c2, h1, h2, 2)

    def forward(self, left, right):
        features = self.tower(left), self.tower(right)
        digits = [self.digit(x) for x in features]
        return named(self.comparison(torch.cat(features, dim=1)), digits)


# Our own


def five_convolutions(widths, dropout):
    """docs/posterior.md: from 14x14 to the last width."""
    first, second, third, fourth, last = widths
    return nn.Sequential(
        nn.Conv2d(1, first, 3, bias=False),  # 12x12
        BatchNorm(first),
        nn.ReLU(),
        nn.Conv2d(first, second, 3, padding=1, bias=False),
        nn.MaxPool2d(2),  # 6x6
        BatchNorm(second),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Conv2d(second, third, 3, bias=False),  # 4x4
        BatchNorm(third),
        nn.ReLU(),
        nn.Conv2d(third, fourth, 3, padding=1, bias=False),
        nn.MaxPool2d(2),  # 2x2
        BatchNorm(fourth),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Conv2d(fourth, last, 2, bias=False),  # 1x1
        BatchNorm(last),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(2 * dropout),
    )


def features_of_both(tower, left, right):
    """(batch, 2, n), by one pass: joint statistics of both images' batches."""
    return tower(torch.stack([left, right], 1).flatten(0, 1)).unflatten(0, (-1, 2))


class Posterior(nn.Module):
    """docs/posterior.md: five convolutions, and the comparison from the digits' probabilities."""

    def __init__(self, widths, dropout):
        super().__init__()
        self.tower = five_convolutions(widths, dropout)
        self.digit = nn.Linear(widths[-1], 10)

    def forward(self, left, right):
        both = self.digit(features_of_both(self.tower, left, right))
        p, q = both.softmax(-1).unbind(1)
        ordered = (p * q.flip(-1).cumsum(-1).flip(-1)).sum(-1)  # sum over i of p_i * Q(j >= i)
        reverse = (p[:, 1:] * q.cumsum(-1)[:, :-1]).sum(-1)
        return named(torch.stack([reverse, ordered], -1).log(), both.unbind(1))


class Ranker(nn.Module):
    """docs/own-data.md: the odds that right ranks higher are exp(right score - left score)."""

    def __init__(self, digits, widths=(16, 16, 64, 64, 112), dropout=0.08):
        super().__init__()
        self.tower = five_convolutions(widths, dropout)
        self.score = nn.Linear(widths[-1], 1, bias=False)
        self.digit = nn.Linear(widths[-1], 10) if digits else None

    def forward(self, left, right):
        features = features_of_both(self.tower, left, right)
        left, right = self.score(features).unbind(1)
        outputs = {"comparison": torch.cat([left, right], 1)}
        if self.digit is not None:
            outputs |= dict(
                zip(("left_digit", "right_digit"), self.digit(features).unbind(1), strict=True)
            )
        return dict(sorted({**outputs, "left_score": left, "right_score": right}.items()))


REFERENCES = {
    # Report 000
    "c1l2": lambda: Probabilistic(c1l2, 1152, [20], shared=False),
    "c2l2": lambda: Probabilistic(c2l2, 440, [20], shared=False),
    "c2l3": lambda: Probabilistic(c2l3, 256, [60, 20], shared=False),
    "c3l2": lambda: Probabilistic(c3l2, 768, [20], shared=False),
    "c4l2": lambda: Probabilistic(c4l2, 648, [20], shared=False),
    "c1l2_ws": lambda: Probabilistic(c1l2, 1152, [20], shared=True),
    "c2l2_ws": lambda: Probabilistic(c2l2, 440, [20], shared=True),
    "c2l3_ws": lambda: Probabilistic(c2l3, 256, [60, 20], shared=True),
    "c3l2_ws": lambda: Probabilistic(c3l2, 768, [20], shared=True),
    "c4l2_ws": lambda: Probabilistic(c4l2, 648, [20], shared=True),
    # Report 001
    "simple": Simple,
    "ws": lambda dropout=0.15: AuxWS(dropout, digits=False),
    "auxws": lambda dropout=0.15: AuxWS(dropout, digits=True),
    # Report 002
    "basic": Basic,
    "wsal": lambda: Complex(2),
    "wsal_d": lambda dropout=0.1: Complex(2, dropout=dropout),
    "wsal_b": lambda: Complex(2, batch_norm=True),
    "wsal_bd": lambda dropout=0.1: Complex(2, batch_norm=True, dropout=dropout),
    "wsal_m1": lambda: Complex(1),
    "wsal_d_m1": lambda dropout=0.1: Complex(1, dropout=dropout),
    "wsal_b_m1": lambda: Complex(1, batch_norm=True),
    "wsal_bd_m1": lambda dropout=0.1: Complex(1, batch_norm=True, dropout=dropout),
    "resnet": ResNet,
    # Report 003
    "fc_1": lambda activation="relu": FullyConnected([196, 98], activation),
    "fc_2": lambda activation="relu": FullyConnected([196, 196, 98, 98], activation),
    "fc_3": lambda activation="relu": FullyConnected([784, 784], activation),
    "conv_1": lambda: FullyConvolutional(conv_1()),
    "conv_2": lambda: FullyConvolutional(conv_2()),
    "conv_3": lambda: FullyConvolutional(conv_3()),
    "cnn_base": CnnBase,
    "no_w_net": lambda: TwoBranches(shared=False, digits=False),
    "w_net": lambda: TwoBranches(shared=True, digits=False),
    "a_net": lambda: TwoBranches(shared=False, digits=True),
    "a_w_net": lambda: TwoBranches(shared=True, digits=True),
    "final_model": lambda dropout=0.4: TwoBranches(shared=True, digits=True, dropout=dropout),
    # Report 004
    "basicnet1": BasicNet1,
    "auxnet1": AuxNet1,
    "auxnet2": AuxNet2,
    "auxnet3": AuxNet3,
    # Our own
    "posterior": lambda widths=(16, 16, 64, 64, 112), dropout=0.08: Posterior(widths, dropout),
    "posterior_s": lambda widths=(12, 12, 28, 28, 64), dropout=0.03: Posterior(widths, dropout),
    "ranker": lambda **options: Ranker(False, **options),
    "auxranker": lambda **options: Ranker(True, **options),
}


KINDS = {
    "Conv2D": ("conv2d", nn.Conv2d),
    "Dense": ("dense", nn.Linear),
    "BatchNormalization": ("batch_normalization", BatchNorm),
}


def creation_number(layer, prefix):
    """The number in a Keras layer's automatic name, 0 where it has none."""
    match = re.fullmatch(rf"{prefix}(?:_(\d+))?", layer.name)
    assert match, f"{layer.name} is not an automatic name, so it does not tell the order"
    return int(match[1] or 0)


def copy_weights(model, reference):
    """Copy a Keras model's weights into the reference, each kind of layer in creation order."""
    for kind, (prefix, module) in KINDS.items():
        sources = [layer for layer in layers_of(model) if type(layer).__name__ == kind]
        sources.sort(key=lambda layer, prefix=prefix: creation_number(layer, prefix))
        targets = [m for m in reference.modules() if isinstance(m, module)]
        assert len(sources) == len(targets), (kind, len(sources), len(targets))
        for source, target in zip(sources, targets, strict=True):
            # From here on both are kernel (or gamma), bias (or beta), mean, variance.
            arrays = [torch.tensor(array) for array in source.get_weights()]
            tensors = [target.weight, target.bias, *target.buffers()]
            tensors = [tensor for tensor in tensors if tensor is not None]
            if kind == "Conv2D":
                arrays[0] = arrays[0].permute(3, 2, 0, 1)
            if kind == "Dense":
                arrays[0] = arrays[0].T
            for tensor, array in zip(tensors, arrays, strict=True):
                assert tensor.shape == array.shape, (source.name, tensor.shape, array.shape)
                with torch.no_grad():
                    tensor.copy_(array)


def as_nchw(images):
    return torch.as_tensor(images).permute(0, 3, 1, 2)
