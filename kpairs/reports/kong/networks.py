"""Report 003, Kong, Wu and Phan (2019): linear and convolutional baselines to a shared aux network.

Every network ends in one sigmoid unit, the probability of left <= right; digit outputs are logits.
Convolutions are followed by ReLU, batch normalisation and pooling, in that order. The report's
tables and code disagree in places; the parameter counts of Table I decide: `conv_1` has a first
kernel of 5 (code), `conv_2` has 50 and 100 channels with a first kernel of 5, `conv_3` has no batch
normalisation. `fc_1` of the authors' code has sigmoid hidden units while the report says ReLU
everywhere: `activation` chooses.
"""

from functools import partial

from keras import KerasTensor, Layer, layers

from kpairs.models.pair import Outputs, Pair, by_side, chain, joined
from kpairs.models.registry import DIGIT_SHAPE, arch, outputs
from kpairs.reports.kong.recipes import ACTIVATION, DROPOUT

_arch = partial(arch, report="kong", input_shape=DIGIT_SHAPE)
_COMPARISON = outputs("sigmoid")
_WITH_DIGITS = outputs("sigmoid", digits="logits")


def _norm() -> Layer:
    """Batch normalisation with torch's constants: momentum 0.1 there is 0.9 here."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)


def _dense(*units: int, activation: str = "relu") -> list[Layer]:
    return [layers.Dense(n, activation=activation) for n in units]


def _answer() -> Layer:
    return layers.Dense(1, activation="sigmoid")


def _linear(pair: Pair, units: tuple[int, ...], activation: str) -> Outputs:
    """Fully connected layers on the 392 pixels of both images."""
    stack = [layers.Flatten(), *_dense(*units, activation=activation), _answer()]
    return {"comparison": chain(stack, pair.stacked())}


@_arch(source="Table I, fc_1", outputs=_COMPARISON)
def fc_1(pair: Pair, *, classes: int = 10, activation: str = ACTIVATION) -> Outputs:
    """392-196-98-1. 96,433 parameters."""
    return _linear(pair, (196, 98), activation)


@_arch(source="Table I, fc_2", outputs=_COMPARISON)
def fc_2(pair: Pair, *, classes: int = 10, activation: str = ACTIVATION) -> Outputs:
    """392-196-196-98-98-1. 144,747 parameters."""
    return _linear(pair, (196, 196, 98, 98), activation)


@_arch(source="Table I, fc_3", outputs=_COMPARISON)
def fc_3(pair: Pair, *, classes: int = 10, activation: str = ACTIVATION) -> Outputs:
    """392-784-784-1. 924,337 parameters."""
    return _linear(pair, (784, 784), activation)


def _conv_norm(filters: int, size: int, padding: str = "valid") -> list[Layer]:
    return [layers.Conv2D(filters, size, padding=padding, activation="relu"), _norm()]


def _two_stage(pair: Pair, first: int, second: int) -> Outputs:
    """5x5 and 3x3 convolutions, then a 3x3 one to a single unit."""
    stack = [*_conv_norm(first, 5), layers.MaxPooling2D(2), *_conv_norm(second, 3)]  # 10 -> 5, 3
    last = [layers.Conv2D(1, 3, activation="sigmoid"), layers.Flatten()]  # 1x1
    return {"comparison": chain(stack + last, pair.stacked())}


@_arch(source="Table I, conv_1", outputs=_COMPARISON)
def conv_1(pair: Pair, *, classes: int = 10) -> Outputs:
    """10 and 20 channels. 2,571 parameters."""
    return _two_stage(pair, 10, 20)


@_arch(source="Table I, conv_2", outputs=_COMPARISON)
def conv_2(pair: Pair, *, classes: int = 10) -> Outputs:
    """50 and 100 channels. 48,851 parameters."""
    return _two_stage(pair, 50, 100)


@_arch(source="Table I, conv_3", outputs=_COMPARISON)
def conv_3(pair: Pair, *, classes: int = 10) -> Outputs:
    """Four convolutions and no batch normalisation. 9,411 parameters."""
    stack = [layers.Conv2D(10, 3, activation="relu"), layers.MaxPooling2D(2)]  # 12x12 -> 6x6
    stack += [layers.Conv2D(n, 3, activation="relu") for n in (20, 40)]  # 4x4, 2x2
    last = [layers.Conv2D(1, 2, activation="sigmoid"), layers.Flatten()]  # 1x1
    return {"comparison": chain(stack + last, pair.stacked())}


def _block(dropout: float = 0.0) -> list[Layer]:
    """Three padded convolutions, each halving the image: 7x7, 3x3, 1x1; 128 features."""
    block: list[Layer] = []
    for filters in (32, 64, 128):
        block += [*_conv_norm(filters, 3, padding="same"), layers.MaxPooling2D(2)]
    # The report drops whole channels, which is the same here: the maps are 1x1.
    return [*block, layers.Flatten(), *([layers.Dropout(dropout)] if dropout else [])]


def _digits(features: KerasTensor, classes: int) -> Outputs:
    """One head for both images, also where the blocks are separate."""
    return by_side(chain([*_dense(64, 64), layers.Dense(classes)], features))


def _comparison(features: KerasTensor) -> KerasTensor:
    return chain([*_dense(128, 128), _answer()], joined(features))


@_arch(source="Tables I and III, cnn_base", outputs=_COMPARISON)
def cnn_base(pair: Pair, *, classes: int = 10) -> Outputs:
    """Both images as two channels of one block. 105,889 parameters."""
    stack = [*_block(), *_dense(64, 64), _answer()]
    return {"comparison": chain(stack, pair.stacked())}


@_arch(source="Table III, no_w_net", outputs=_COMPARISON)
def no_w_net(pair: Pair, *, classes: int = 10) -> Outputs:
    """One block for each image. 235,777 parameters."""
    return {"comparison": _comparison(pair.separate(_block(), _block()))}


@_arch(source="Table III, w_net", outputs=_COMPARISON)
def w_net(pair: Pair, *, classes: int = 10) -> Outputs:
    """One shared block. 142,657 parameters (the report prints 142,658)."""
    return {"comparison": _comparison(pair.shared(_block()))}


@_arch(source="Table III, a_net", outputs=_WITH_DIGITS)
def a_net(pair: Pair, *, classes: int = 10) -> Outputs:
    """`no_w_net` with a digit head, which is shared. 248,843 parameters."""
    features = pair.separate(_block(), _block())
    digits = _digits(features, classes)
    return {"comparison": _comparison(features), **digits}


@_arch(source="Tables II and III, a_w_net", outputs=_WITH_DIGITS)
def a_w_net(pair: Pair, *, classes: int = 10) -> Outputs:
    """`w_net` with a digit head. 155,723 parameters (the report's 155,275 leave out batch norm)."""
    return _shared_with_digits(pair, classes)


@_arch(source="Table III, final_model", outputs=_WITH_DIGITS)
def final_model(pair: Pair, *, classes: int = 10, dropout: float = DROPOUT) -> Outputs:
    """`a_w_net` with dropout on the features that both heads read. 155,723 parameters."""
    return _shared_with_digits(pair, classes, dropout)


def _shared_with_digits(pair: Pair, classes: int, dropout: float = 0.0) -> Outputs:
    features = pair.shared(_block(dropout))
    digits = _digits(features, classes)
    return {"comparison": _comparison(features), **digits}
