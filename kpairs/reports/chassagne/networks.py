"""Report 002, Chassagne, Peeters and Guerraoui (2021): basic, complex with four switches, ResNet.

The complex network (W.S.+A.L.) has one shared tower whose softmaxed digit scores are its auxiliary
outputs. In aux method 2, the reported one, the comparison reads those 20 probabilities; in method 1
it reads the 2 x 256 features of the convolutions. `_b` adds batch normalisation, `_d` dropout, and
`_m1` is method 1. The report prints 76,846 parameters for `wsal_bd`, which no reading of its layers
gives; they have 77,020.
"""

from functools import partial

from keras import KerasTensor, Layer, layers

from kpairs.errors import UsageError
from kpairs.models.pair import Outputs, Pair, by_side, chain, joined
from kpairs.models.registry import DIGIT_SHAPE, arch, outputs
from kpairs.reports.chassagne.recipes import DROPOUT

_arch = partial(arch, report="chassagne", input_shape=DIGIT_SHAPE)
_BASIC = outputs("logits")
_COMPLEX = outputs("logits", digits="probabilities")


def _norm() -> Layer:
    """Batch normalisation with torch's constants: momentum 0.1 there is 0.9 here."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)


def _stage(filters: int, batchnorm: bool, dropout: float) -> list[Layer]:
    """Convolution 3x3, pooling, ReLU, then what is switched on."""
    stage = [layers.Conv2D(filters, 3), layers.MaxPooling2D(2), layers.Activation("relu")]
    stage += [_norm()] if batchnorm else []
    return stage + ([layers.Dropout(dropout)] if dropout else [])


def _complex(
    pair: Pair, classes: int, *, batchnorm: bool = False, dropout: float = 0.0, method: int = 2
) -> Outputs:
    """Build the network with its switches; the second dropout rate is twice the first."""
    if dropout >= 0.5:
        raise UsageError(
            f"dropout: expected less than 0.5, because the second rate is twice the first; "
            f"received {dropout}"
        )
    convolutions = _stage(32, batchnorm, dropout) + _stage(64, batchnorm, 2 * dropout)  # 6x6, 2x2
    features = pair.shared([*convolutions, layers.Flatten()])  # 256 per image
    scores = [layers.Dense(200, activation="relu"), layers.Dense(classes, activation="softmax")]
    digits = chain(scores, features)
    if method == 2:
        head = [layers.Dense(200, activation="relu"), layers.Dense(2)]
        comparison = chain(head, joined(digits))
    else:
        head = [layers.Dense(200, activation="relu"), *([_norm()] if batchnorm else [])]
        comparison = chain([*head, layers.Dense(2)], joined(features))
    return {"comparison": comparison, **by_side(digits)}


@_arch(source="section 1.1.1, Basic model", outputs=_BASIC)
def basic(pair: Pair, *, classes: int = 10) -> Outputs:
    """Both images as two channels, two convolutions. 31,146 parameters."""
    stages = _stage(16, False, 0) + _stage(32, False, 0)
    head = [layers.Flatten(), layers.Dense(200, activation="relu"), layers.Dense(2)]
    return {"comparison": chain(stages + head, pair.stacked())}


@_arch(source="section 1.2, W.S.+A.L.", outputs=_COMPLEX)
def wsal(pair: Pair, *, classes: int = 10) -> Outputs:
    """Weight sharing and auxiliary losses. 76,828 parameters."""
    return _complex(pair, classes)


@_arch(source="section 1.2, W.S.+A.L.+D.", outputs=_COMPLEX)
def wsal_d(pair: Pair, *, classes: int = 10, dropout: float = DROPOUT) -> Outputs:
    """`wsal` with dropout. 76,828 parameters."""
    return _complex(pair, classes, dropout=dropout)


@_arch(source="section 1.2, W.S.+A.L.+B.", outputs=_COMPLEX)
def wsal_b(pair: Pair, *, classes: int = 10) -> Outputs:
    """`wsal` with batch normalisation. 77,020 parameters."""
    return _complex(pair, classes, batchnorm=True)


@_arch(source="section 1.2, W.S.+A.L.+B.+D.", outputs=_COMPLEX)
def wsal_bd(pair: Pair, *, classes: int = 10, dropout: float = DROPOUT) -> Outputs:
    """`wsal` with batch normalisation and dropout, the final model. 77,020 parameters."""
    return _complex(pair, classes, batchnorm=True, dropout=dropout)


@_arch(source="section 1.1.2, first auxiliary loss", outputs=_COMPLEX)
def wsal_m1(pair: Pair, *, classes: int = 10) -> Outputs:
    """`wsal` by method 1: the comparison reads the features. 175,228 parameters."""
    return _complex(pair, classes, method=1)


@_arch(source="section 1.1.2, first auxiliary loss", outputs=_COMPLEX)
def wsal_d_m1(pair: Pair, *, classes: int = 10, dropout: float = DROPOUT) -> Outputs:
    """`wsal_d` by method 1. 175,228 parameters."""
    return _complex(pair, classes, dropout=dropout, method=1)


@_arch(source="section 1.1.2, first auxiliary loss", outputs=_COMPLEX)
def wsal_b_m1(pair: Pair, *, classes: int = 10) -> Outputs:
    """`wsal_b` by method 1. 175,820 parameters."""
    return _complex(pair, classes, batchnorm=True, method=1)


@_arch(source="section 1.1.2, first auxiliary loss", outputs=_COMPLEX)
def wsal_bd_m1(pair: Pair, *, classes: int = 10, dropout: float = DROPOUT) -> Outputs:
    """`wsal_bd` by method 1. 175,820 parameters."""
    return _complex(pair, classes, batchnorm=True, dropout=dropout, method=1)


def _residual(x: KerasTensor) -> KerasTensor:
    """Add two 3x3 convolutions of 32 channels, each normalised, to x; ReLU between and after."""
    y = x
    for activate in (True, False):
        y = chain([layers.Conv2D(32, 3, padding="same"), _norm()], y)
        y = layers.Activation("relu")(y) if activate else y
    return layers.Activation("relu")(layers.Add()([y, x]))


@_arch(source="section 1.1.3, ResNet", outputs=_BASIC)
def resnet(pair: Pair, *, classes: int = 10) -> Outputs:
    """Ten residual blocks of 32 channels on both images as channels. 186,978 parameters."""
    first = [layers.Conv2D(32, 3, padding="same"), _norm(), layers.Activation("relu")]
    x = chain(first, pair.stacked())
    for _ in range(10):
        x = _residual(x)
    return {"comparison": chain([layers.GlobalAveragePooling2D(), layers.Dense(2)], x)}
