"""Our own: a shared convolutional tower that says which digit, and an exact comparison.

Nothing about the order of digits is learned: P(left <= right) follows from the two posteriors (see
`kpairs.models.heads.PosteriorComparison`), so every pair trains the tower alone.
"""

from keras import layers

from kpairs.models.heads import PosteriorComparison
from kpairs.models.pair import Outputs, Pair, by_side
from kpairs.models.registry import arch, outputs
from kpairs.ours.recipes import DROPOUT, WIDTHS

Widths = tuple[int, int, int, int, int]

_OUTPUTS = outputs("logits", digits="logits")


def _stage(filters, size=3, padding="valid", dropout=None):
    """Convolution, pooling where a dropout rate is given, batch normalisation, ReLU, dropout.

    Normalising after the pooling costs a quarter of the time. The convolution has no bias: batch
    normalisation has one.
    """
    pooled = dropout is not None
    return [
        layers.Conv2D(filters, size, padding=padding, use_bias=False),
        *([layers.MaxPooling2D(2)] if pooled else []),
        layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
        layers.Activation("relu"),
        *([layers.Dropout(dropout)] if pooled else []),
    ]


def _posterior(pair, classes, widths, dropout):
    """Five convolutions (14 -> 12 -> 6 -> 4 -> 2 -> 1), one dense layer, the exact comparison."""
    first, second, third, fourth, last = widths
    tower = [
        *_stage(first),
        *_stage(second, padding="same", dropout=dropout),
        *_stage(third),
        *_stage(fourth, padding="same", dropout=dropout),
        *_stage(last, 2),
        layers.Flatten(),
        layers.Dropout(2 * dropout),
        layers.Dense(classes),
    ]
    digits = by_side(pair.shared(tower, joint_statistics=True))
    return {"comparison": PosteriorComparison()(list(digits.values())), **digits}


@arch(report="kpairs", source="docs/posterior.md", outputs=_OUTPUTS)
def posterior(
    pair: Pair,
    *,
    classes: int = 10,
    widths: Widths = WIDTHS["posterior"],
    dropout: float = DROPOUT["posterior"],
) -> Outputs:
    """A digit network of five convolutions and the exact comparison. 78,874 parameters."""
    return _posterior(pair, classes, widths, dropout)


@arch(report="kpairs", source="docs/posterior.md", outputs=_OUTPUTS)
def posterior_s(
    pair: Pair,
    *,
    classes: int = 10,
    widths: Widths = WIDTHS["posterior_s"],
    dropout: float = DROPOUT["posterior_s"],
) -> Outputs:
    """`posterior` at about half the widths. 19,590 parameters."""
    return _posterior(pair, classes, widths, dropout)
