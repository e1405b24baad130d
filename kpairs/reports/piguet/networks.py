"""Report 000, Piguet, Bossy and Forte (2021): five sizes, with separate and with shared towers.

In a name such as C2L3, C counts convolutions and L the linear layers of the comparison. Layers as
in section 2, checked against Table 1's parameter counts. Every variant has one digit head per image
on the flattened features of the last convolution, trained or not; `_ws` shares towers and head
between the images. All outputs are softmax probabilities, which the report's recipe then feeds to a
cross-entropy that takes logits (see `Recipe.probabilities_as_logits`). Both images' features are
concatenated, in C4L2-WS too: Table 1's 34,146 for it is of a version that could not have run.
"""

from collections.abc import Callable
from functools import partial

from keras import KerasTensor, Layer, layers

from kpairs.models.pair import Outputs, Pair, by_side, chain, joined
from kpairs.models.registry import DIGIT_SHAPE, arch, outputs

_arch = partial(arch, report="piguet", input_shape=DIGIT_SHAPE)
_OUTPUTS = outputs("probabilities", digits="probabilities")


def _conv(filters: int, size: int) -> Layer:
    return layers.Conv2D(filters, size, activation="relu")


def _conv_pool(filters: int, pool: int) -> list[Layer]:
    """Make a convolution of size 3 whose ReLU follows the pooling."""
    return [layers.Conv2D(filters, 3), layers.MaxPooling2D(pool), layers.Activation("relu")]


def _c1() -> list[Layer]:
    return [*_conv_pool(72, 3), layers.Flatten()]  # 12x12 -> 4x4, 1152 features


def _c2(first: int, second: int) -> list[Layer]:
    return [*_conv_pool(first, 2), *_conv_pool(second, 2), layers.Flatten()]  # 6x6, 2x2


def _c3() -> list[Layer]:
    return [_conv(12, 3), _conv(24, 3), *_conv_pool(48, 2), layers.Flatten()]  # 12, 10, 8 -> 4


def _c4() -> list[Layer]:
    stack = [_conv(9, 3), *_conv_pool(18, 2)]  # 12x12, 10x10 -> 5x5
    return [*stack, _conv(36, 2), _conv(72, 2), layers.Flatten()]  # 4x4, 3x3, 648 features


def _digit_head(classes: int) -> list[Layer]:
    return [layers.Dense(classes, activation="softmax")]


def _comparison(features: KerasTensor, hidden: tuple[int, ...]) -> KerasTensor:
    head = [layers.Dense(units, activation="relu") for units in hidden]
    return chain([*head, layers.Dense(2, activation="softmax")], joined(features))


def _baseline(
    pair: Pair, stack: Callable[[], list[Layer]], hidden: tuple[int, ...], classes: int
) -> Outputs:
    """Two towers and two digit heads; `stack` makes one tower's layers."""
    features = pair.separate(stack(), stack())
    digits = {
        "left_digit": chain(_digit_head(classes), features[:, 0]),
        "right_digit": chain(_digit_head(classes), features[:, 1]),
    }
    return {"comparison": _comparison(features, hidden), **digits}


def _weight_sharing(
    pair: Pair, stack: Callable[[], list[Layer]], hidden: tuple[int, ...], classes: int
) -> Outputs:
    """One tower and one digit head, used on both images."""
    features = pair.shared(stack())
    digits = chain(_digit_head(classes), features)
    return {"comparison": _comparison(features, hidden), **by_side(digits)}


@_arch(source="Tables 1 and 2, C1L2", outputs=_OUTPUTS)
def c1l2(pair: Pair, *, classes: int = 10) -> Outputs:
    """One convolution. 70,642 parameters."""
    return _baseline(pair, _c1, (20,), classes)


@_arch(source="Tables 1 and 2, C1L2 weight sharing", outputs=_OUTPUTS)
def c1l2_ws(pair: Pair, *, classes: int = 10) -> Outputs:
    """`c1l2` with shared weights. 58,392 parameters."""
    return _weight_sharing(pair, _c1, (20,), classes)


@_arch(source="Tables 1 and 2, C2L2", outputs=_OUTPUTS)
def c2l2(pair: Pair, *, classes: int = 10) -> Outputs:
    """Two convolutions. 70,702 parameters."""
    return _baseline(pair, lambda: _c2(22, 110), (20,), classes)


@_arch(source="Tables 1 and 2, C2L2 weight sharing", outputs=_OUTPUTS)
def c2l2_ws(pair: Pair, *, classes: int = 10) -> Outputs:
    """`c2l2` with shared weights. 44,182 parameters."""
    return _weight_sharing(pair, lambda: _c2(22, 110), (20,), classes)


@_arch(source="Tables 1 and 2, C2L3", outputs=_OUTPUTS)
def c2l3(pair: Pair, *, classes: int = 10) -> Outputs:
    """Two convolutions and one more linear layer. 74,814 parameters."""
    return _baseline(pair, lambda: _c2(32, 64), (60, 20), classes)


@_arch(source="Tables 1 and 2, C2L3 weight sharing", outputs=_OUTPUTS)
def c2l3_ws(pair: Pair, *, classes: int = 10) -> Outputs:
    """`c2l3` with shared weights. 53,428 parameters."""
    return _weight_sharing(pair, lambda: _c2(32, 64), (60, 20), classes)


@_arch(source="Tables 1 and 2, C3L2", outputs=_OUTPUTS)
def c3l2(pair: Pair, *, classes: int = 10) -> Outputs:
    """Three convolutions, pooled once. 72,466 parameters."""
    return _baseline(pair, _c3, (20,), classes)


@_arch(source="Tables 1 and 2, C3L2 weight sharing", outputs=_OUTPUTS)
def c3l2_ws(pair: Pair, *, classes: int = 10) -> Outputs:
    """`c3l2` with shared weights. 51,624 parameters."""
    return _weight_sharing(pair, _c3, (20,), classes)


@_arch(source="Tables 1 and 2, C4L2", outputs=_OUTPUTS)
def c4l2(pair: Pair, *, classes: int = 10) -> Outputs:
    """Four convolutions, the last two of size 2. 68,230 parameters."""
    return _baseline(pair, _c4, (20,), classes)


@_arch(source="Tables 1 and 2, C4L2 weight sharing", outputs=_OUTPUTS)
def c4l2_ws(pair: Pair, *, classes: int = 10) -> Outputs:
    """`c4l2` with shared weights. 47,106 parameters (Table 1's 34,146 is stale)."""
    return _weight_sharing(pair, _c4, (20,), classes)
