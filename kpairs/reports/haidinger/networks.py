"""Report 001, Haidinger, Olsen and Spahr (2019): one network, with less and more help.

Layers as in Table 1, which leaves out one thing: in the authors' code the 10 units of the shared
part have a SELU and a dropout too, so the digit "logits" are never below -1.758 and are dropped
out in training. The code made the reported numbers and is followed. Dropout follows every hidden
SELU.
"""

from functools import partial

from keras import Layer, layers

from kpairs.models.pair import Outputs, Pair, by_side, chain, joined
from kpairs.models.registry import DIGIT_SHAPE, arch, outputs
from kpairs.reports.haidinger.recipes import DROPOUT

_arch = partial(arch, report="haidinger", input_shape=DIGIT_SHAPE)
_COMPARISON = outputs("logits")
_WITH_DIGITS = outputs("logits", digits="logits")


def _convolutions() -> list[Layer]:
    """14x14xC -> 64 features."""
    return [
        layers.Conv2D(32, 5),  # 10x10
        layers.MaxPooling2D(2),  # 5x5
        layers.Activation("selu"),
        layers.Conv2D(64, 3),  # 3x3
        layers.MaxPooling2D(3),  # 1x1
        layers.Activation("selu"),
        layers.Flatten(),
    ]


def _hidden(units: int, dropout: float) -> list[Layer]:
    return [layers.Dense(units, activation="selu"), layers.Dropout(dropout)]


def _comparator(dropout: float) -> list[Layer]:
    """Make the last three linear layers, from any number of features to two logits."""
    return [*_hidden(230, dropout), *_hidden(100, dropout), layers.Dense(2)]


@_arch(source="Table 1, Simple CNN", outputs=_COMPARISON)
def simple(pair: Pair, *, classes: int = 10, dropout: float = DROPOUT) -> Outputs:
    """Both images as two channels of one convolutional network. 58,380 parameters."""
    features = chain(_convolutions(), pair.stacked())
    return {"comparison": chain(_comparator(dropout), features)}


@_arch(source="Table 1, Weight Sharing", outputs=_COMPARISON)
def ws(pair: Pair, *, classes: int = 10, dropout: float = DROPOUT) -> Outputs:
    """One shared network per image to 10 units, compared by a second one. 56,470 parameters."""
    return {"comparison": auxws(pair, classes=classes, dropout=dropout)["comparison"]}


@_arch(source="Table 1, Auxiliary Loss & Weight Sharing", outputs=_WITH_DIGITS)
def auxws(pair: Pair, *, classes: int = 10, dropout: float = DROPOUT) -> Outputs:
    """`ws` whose 10 units per image are trained as that image's digit. 56,470 parameters."""
    tower = [*_convolutions(), *_hidden(120, dropout), *_hidden(classes, dropout)]
    digits = pair.shared(tower)
    return {"comparison": chain(_comparator(dropout), joined(digits)), **by_side(digits)}
