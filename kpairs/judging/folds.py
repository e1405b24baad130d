"""Images that are left out together where an error is cross-validated."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs.data.rows import Rows
from kpairs.judging.judgements import Numbers

Features = NDArray[Any] | Rows


def fold_units(features: Features, images: Numbers, group: NDArray[Any] | None = None) -> Numbers:
    """Return the unit of each image: copies, and images of one group, are a unit.

    Args:
        features: `(n, d)` of n images; images of equal features are copies.
        images: numbers of images, of any shape.
        group: names or numbers of their groups, of that shape; groups that share an image, or a
            copy, are one. Default: every image is a group.

    Returns:
        Numbers from 0, of that shape.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    different, number = np.unique(images, return_inverse=True)
    first: dict[bytes, int] = {}
    copy_of = [
        first.setdefault(blake2b(features[image].tobytes(), digest_size=16).digest(), place)
        for place, image in enumerate(different.tolist())
    ]
    unit: Numbers = np.unique(np.array(copy_of)[number.ravel()], return_inverse=True)[1].ravel()
    if group is not None:
        of = np.unique(group, return_inverse=True)[1].ravel()
        size = int(max(unit.max(), of.max())) + 1
        joined = coo_array((np.ones(len(unit)), (unit, size + of)), shape=(2 * size, 2 * size))
        number = connected_components(joined, directed=False)[1][unit]
        unit = np.unique(number, return_inverse=True)[1].ravel()
    return unit.reshape(images.shape)
