"""Report 004, Altunina, Pfister and Zenhaeusern (2019): four networks whose sizes are searched.

`widths` are the report's arguments: the channels of the convolutions, then the hidden units of the
classifiers. Dropout comes before every linear layer, the first included. All outputs are logits.
"""

from collections.abc import Sequence
from functools import partial

from keras import KerasTensor, Layer, layers

from kpairs.models.pair import Outputs, Pair, by_side, chain, joined
from kpairs.models.registry import DIGIT_SHAPE, arch, outputs
from kpairs.reports.altunina.recipes import DROPOUT, WIDTHS

Widths = tuple[int, int, int, int]

_arch = partial(arch, report="altunina", input_shape=DIGIT_SHAPE)
_COMPARISON = outputs("logits")
_WITH_DIGITS = outputs("logits", digits="logits")


def _features3(c1: int, c2: int, c3: int) -> list[Layer]:
    """Three convolutions, each pooled: c3 features."""
    return [
        layers.Conv2D(c1, 3, activation="relu"),  # 12x12
        layers.MaxPooling2D(2),  # 6x6
        layers.Conv2D(c2, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(2),  # 3x3
        layers.ZeroPadding2D(1),  # 5x5: torch's padding=1 of a kernel of 2, which "same" is not
        layers.Conv2D(c3, 2, activation="relu"),  # 4x4
        layers.MaxPooling2D(3),  # 1x1, the last row and column are left out
        layers.Flatten(),
    ]


def _features2(c1: int, c2: int) -> list[Layer]:
    """Two convolutions: c2 features."""
    return [
        layers.Conv2D(c1, 3, activation="relu"),  # 12x12
        layers.MaxPooling2D(2),  # 6x6
        layers.Conv2D(c2, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(6),  # 1x1
        layers.Flatten(),
    ]


def _classifier(hidden: Sequence[int], units: int, dropout: float) -> list[Layer]:
    stack: list[Layer] = []
    for n in hidden:
        stack += [layers.Dropout(dropout), layers.Dense(n, activation="relu")]
    return [*stack, layers.Dropout(dropout), layers.Dense(units)]


@_arch(source="section II and Figure 1, BasicNet1", outputs=_COMPARISON)
def basicnet1(
    pair: Pair,
    *,
    classes: int = 10,
    widths: Widths = WIDTHS["basicnet1"],
    dropout: float = DROPOUT,
) -> Outputs:
    """Both images as two channels. 71,506 parameters with the default widths."""
    *channels, hidden = widths
    stack = _features3(*channels) + _classifier([hidden], 2, dropout)
    return {"comparison": chain(stack, pair.stacked())}


@_arch(source="section II and Figure 1, AuxNet1", outputs=_WITH_DIGITS)
def auxnet1(
    pair: Pair,
    *,
    classes: int = 10,
    widths: Widths = WIDTHS["auxnet1"],
    dropout: float = DROPOUT,
) -> Outputs:
    """Comparison from the digits' logits. 72,460 parameters with the default widths."""
    *channels, hidden = widths
    tower = _features3(*channels) + _classifier([hidden], classes, dropout)
    digits = pair.shared(tower)
    comparison = chain(_classifier([hidden], 2, dropout), joined(digits))
    return {"comparison": comparison, **by_side(digits)}


@_arch(source="section II and Figure 1, AuxNet2", outputs=_WITH_DIGITS)
def auxnet2(
    pair: Pair,
    *,
    classes: int = 10,
    widths: Widths = WIDTHS["auxnet2"],
    dropout: float = DROPOUT,
) -> Outputs:
    """Comparison from the features. 70,572 parameters with the default widths."""
    *channels, hidden = widths
    features = pair.shared(_features3(*channels))
    return _two_classifiers(features, [hidden], classes, dropout)


@_arch(source="section II and Figure 1, AuxNet3", outputs=_WITH_DIGITS)
def auxnet3(
    pair: Pair,
    *,
    classes: int = 10,
    widths: Widths = WIDTHS["auxnet3"],
    dropout: float = DROPOUT,
) -> Outputs:
    """Two convolutions and three linear layers. 68,844 parameters with the default widths."""
    c1, c2, *hidden = widths
    features = pair.shared(_features2(c1, c2))
    return _two_classifiers(features, hidden, classes, dropout)


def _two_classifiers(
    features: KerasTensor, hidden: Sequence[int], classes: int, dropout: float
) -> Outputs:
    digits = by_side(chain(_classifier(hidden, classes, dropout), features))
    comparison = chain(_classifier(hidden, 2, dropout), joined(features))
    return {"comparison": comparison, **digits}
