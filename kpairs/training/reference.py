"""A round's training images as its export remembers them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kpairs.data.pairs import PairSet
from kpairs.data.rows import Matrix
from kpairs.data.stored import Featured, Stored
from kpairs.judging.linear import Linear
from kpairs.judging.reference import MOST, Reference, make_reference, thumbnails
from kpairs.models.backbone import backbone_of
from kpairs.training.batches import predict
from kpairs.training.features import image_features
from kpairs.training.linear import head_of
from kpairs.training.measures import image_scores

_AT_ONCE = 64  # images


def reference_of(
    model: keras.Model,
    outputs: Mapping[str, str],
    pairs: PairSet,
    head: Linear | None = None,
    *,
    linear: bool = False,
    keep: bool = True,
) -> Reference:
    """Describe a network's training images, at most 2,000 of them, drawn at random.

    Args:
        model: the network, in inference mode.
        outputs: kind of each output by name.
        pairs: its training pairs.
        head: the linear head that was solved for on these features, or None.
        linear: scores are linear in a frozen network's features; else images are described by
            thumbnails.
        keep: features are kept on disk.
    """
    images = _images(pairs)
    features: Matrix
    if linear:
        features = image_features(backbone_of(model), images, keep=keep)
        seen: Any = Featured(features, np.arange(len(features)))
        model = head_of(model)
    else:
        seen, starts = images, range(0, len(images), _AT_ONCE)
        small = [thumbnails(np.asarray(images[i : i + _AT_ONCE])) for i in starts]
        features = np.concatenate(small)
    nobody = np.full(len(seen), -1)
    scores = image_scores(predict(model, PairSet(seen, seen, nobody, nobody)), outputs)
    known = () if head is None else (head.covariance, head.residual)
    return make_reference(features, scores, *known)


def _images(pairs: PairSet) -> Any:
    """Return the images of pairs, each once where they are stored."""
    left, right, rng = pairs.left, pairs.right, np.random.default_rng(0)
    if isinstance(left, Stored) and isinstance(right, Stored):
        both = Stored.joined(left, right)
        both.rows = np.unique(both.rows)
        return both[np.sort(rng.permutation(len(both.rows))[:MOST])]
    each = np.sort(rng.permutation(2 * len(pairs))[:MOST])
    sides = each[each < len(pairs)], each[each >= len(pairs)] - len(pairs)
    return np.concatenate(
        [np.asarray(part[rows]) for part, rows in zip((left, right), sides, strict=True)]
    )
