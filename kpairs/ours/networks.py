"""Our own: a shared convolutional tower, and a comparison that has nothing to learn.

`posterior` says which digit each image is, and P(left <= right) follows from the two posteriors
(see `kpairs.layers.PosteriorComparison`). `ranker` gives each image a score, for pairs of
which nothing else is known than which ranks higher. Every pair trains the tower alone. `linear`
scores images by the features of a network that others trained; `linear_grades` grades them by
those.
"""

from keras import KerasTensor, Layer, layers, ops

from kpairs.data.settings import FEATURES
from kpairs.errors import UsageError
from kpairs.layers import (
    PLACES,
    ExpectedGrade,
    HalfPixelShifts,
    MeanPosterior,
    OrdinalGrades,
    PosteriorComparison,
)
from kpairs.models.backbone import (
    NO_WEIGHTS,
    SCORE,
    STATISTICS,
    THRESHOLDS,
    application,
    feature_network,
    is_file,
)
from kpairs.models.pair import Layers, Outputs, Pair, by_side
from kpairs.models.registry import arch, outputs
from kpairs.ours.recipes import DROPOUT, WIDTHS

Widths = tuple[int, int, int, int, int]

_OUTPUTS = outputs("logits", digits="logits")
_HALVED, _LEAST = 28, 10  # pixels a side: from where images are halved, and what a tower needs


def _stage(
    filters: int, size: int | list[int] = 3, padding: str = "valid", dropout: float | None = None
) -> list[Layer]:
    """Apply convolution, pooling (only with a dropout rate), batch norm, ReLU, dropout.

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


def _tower(pair: Pair, widths: Widths, dropout: float) -> list[Layer]:
    """Return an image's features: 14 -> 12 -> 6 -> 4 -> 2 -> 1.

    Larger images are first halved, by stages of the first two widths, until the longer side is
    below 28, or the shorter could not be halved again; the last convolution takes in what the
    others leave, of a square 1 to 5 pixels a side.
    """
    height, width = pair.left.shape[1:3]
    if min(height, width) < _LEAST:
        raise UsageError(
            f"this network takes images of at least {_LEAST}x{_LEAST} pixels, "
            f"received {width}x{height} (width x height)"
        )
    first, second, third, fourth, last = widths
    tower: list[Layer] = []
    while max(height, width) >= _HALVED and min(height, width) >= 2 * _LEAST:
        tower += _stage(first, padding="same")
        tower += _stage(second, padding="same", dropout=dropout)
        height, width = height // 2, width // 2
    left_over = [((side - 2) // 2 - 2) // 2 for side in (height, width)]
    return [
        *tower,
        *_stage(first),
        *_stage(second, padding="same", dropout=dropout),
        *_stage(third),
        *_stage(fourth, padding="same", dropout=dropout),
        *_stage(last, left_over),
        layers.Flatten(),
        layers.Dropout(2 * dropout),
    ]


def _features(pair: Pair, widths: Widths, dropout: float, backbone: str | None) -> Layers:
    """Return an image's features, by `_tower` or by somebody else's network."""
    if backbone is None:
        return _tower(pair, widths, dropout)
    height, width, channels = pair.left.shape[1:]
    return [*application(backbone, height, width, channels), layers.Dropout(2 * dropout)]


@arch(report="kpairs", source="docs/posterior.md", outputs=_OUTPUTS)
def posterior(
    pair: Pair,
    *,
    classes: int = 10,
    widths: Widths = WIDTHS["posterior"],
    dropout: float = DROPOUT["posterior"],
    backbone: str | None = None,
    test_shifts: int = 1,
    ordinal: bool = False,
) -> Outputs:
    """Five convolutions to a digit, and the exact comparison. 78,874 parameters at 14x14."""
    head = [layers.Dense(1), OrdinalGrades(classes)] if ordinal else [layers.Dense(classes)]
    tower = [*_features(pair, widths, dropout, backbone), *head]
    if test_shifts != PLACES[0]:
        tower = [HalfPixelShifts(), *tower, MeanPosterior()]
    digits = by_side(pair.shared(tower, joint_statistics=True))
    return {"comparison": PosteriorComparison()(list(digits.values())), **digits}


@arch(report="kpairs", source="docs/posterior.md", outputs=_OUTPUTS)
def posterior_s(
    pair: Pair,
    *,
    classes: int = 10,
    widths: Widths = WIDTHS["posterior_s"],
    dropout: float = DROPOUT["posterior_s"],
    backbone: str | None = None,
    test_shifts: int = 1,
    ordinal: bool = False,
) -> Outputs:
    """`posterior` at about half the widths. 19,590 parameters."""
    seen = {"backbone": backbone, "test_shifts": test_shifts, "ordinal": ordinal}
    return posterior(pair, classes=classes, widths=widths, dropout=dropout, **seen)


def _ranked(features: KerasTensor) -> Outputs:
    """Return one score of each image's features, (batch, 2, n), and their comparison.

    By Bradley and Terry (1952) the odds that right ranks higher are exp(right - left): the scores
    are the comparison's logits. Equal scores give exactly 1/2, and swapping the images swaps the
    answer. A bias would add the same to both scores.
    """
    scores = layers.Dense(1, use_bias=False)(features)
    return {"comparison": ops.reshape(scores, (-1, 2)), **by_side(scores, "score")}


@arch(report="kpairs", source="docs/own-data.md", outputs=outputs("logits", scores=True))
def ranker(
    pair: Pair,
    *,
    classes: int = 10,
    widths: Widths = WIDTHS["ranker"],
    dropout: float = DROPOUT["ranker"],
    backbone: str | None = None,
) -> Outputs:
    """`posterior`'s tower to one score, and the comparison of two scores. 77,856 parameters."""
    tower = _features(pair, widths, dropout, backbone)
    features = pair.shared(tower, joint_statistics=True)
    return _ranked(features)


@arch(
    report="kpairs",
    source="docs/own-data.md",
    outputs=outputs("logits", digits="logits", scores=True),
)
def auxranker(
    pair: Pair,
    *,
    classes: int = 10,
    widths: Widths = WIDTHS["auxranker"],
    dropout: float = DROPOUT["auxranker"],
    backbone: str | None = None,
    ordinal: bool = False,
) -> Outputs:
    """`ranker` with the grade of each image, from the same features, as an auxiliary output."""
    tower = _features(pair, widths, dropout, backbone)
    features = pair.shared(tower, joint_statistics=True)
    found = _ranked(features)
    if ordinal:  # the grades are thresholds of the score
        grades = OrdinalGrades(classes)
        return {
            **found,
            **{f"{side}_digit": grades(found[f"{side}_score"]) for side in ("left", "right")},
        }
    return {**found, **by_side(layers.Dense(classes)(features))}


@arch(
    report="kpairs",
    source="docs/own-data.md",
    outputs=outputs("logits", scores=True),
    linear=True,
    longest_side=128,
)
def linear(
    pair: Pair,
    *,
    classes: int = 10,
    backbone: str = STATISTICS,
    size: int = 128,
    mirrored: bool = True,
) -> Outputs:
    """Score images linearly in a frozen network's features; solved for in about a second."""
    tower = [*_frozen(pair, backbone, size, mirrored), layers.Dense(1, name=SCORE)]
    scores = pair.shared(tower, joint_statistics=True)
    return {"comparison": ops.reshape(scores, (-1, 2)), **by_side(scores, "score")}


def _frozen(pair: Pair, backbone: str, size: int, mirrored: bool) -> Layers:
    """Return a frozen network as the first layers of a tower."""
    shape = pair.left.shape[1:]
    if backbone in (FEATURES, STATISTICS):
        return [feature_network(backbone, *shape)]
    if is_file(backbone):
        return [feature_network(backbone, *shape, mirrored=mirrored)]
    return [feature_network(backbone, *shape, size=size, weights=NO_WEIGHTS, mirrored=mirrored)]


@arch(
    report="kpairs",
    source="docs/losses.md",
    outputs=outputs("logits", digits="logits", scores=True),
    linear=True,
    longest_side=128,
)
def linear_grades(
    pair: Pair,
    *,
    classes: int = 10,
    backbone: str = STATISTICS,
    size: int = 128,
    mirrored: bool = True,
    ordinal: bool = False,
) -> Outputs:
    """Grade images by a frozen network's features, and compare them exactly; solved for at once."""
    head = layers.Dense(1 if ordinal else classes, name=SCORE)
    found = pair.shared([*_frozen(pair, backbone, size, mirrored), head], joint_statistics=True)
    if ordinal:
        scores, grades = found, OrdinalGrades(classes, name=THRESHOLDS)(found)
    else:
        scores, grades = ExpectedGrade()(found), found
    digits = by_side(grades)
    comparison = PosteriorComparison(ties="half")(list(digits.values()))
    return {"comparison": comparison, **by_side(scores, "score"), **digits}
