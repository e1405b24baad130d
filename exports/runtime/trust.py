"""Sentences about answers that mean little: strange pictures, and models that learned nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs.data.pixels import contradiction, faintness
from kpairs.data.settings import PixelSettings
from kpairs.errors import printable

log = logging.getLogger(__name__)


def warn_of_pictures(
    name: Callable[[int], object],
    settings: PixelSettings,
    metadata: Mapping[str, Any],
    *,
    doubtful: NDArray[np.bool_],
    faint: NDArray[np.bool_],
    far: NDArray[np.bool_] | None,
) -> None:
    """Log which of n pictures, `(n,)` bools, are not as those that a model learned from.

    `name` returns a picture's name by its number; `settings` prepared it. Pictures are `doubtful`
    (another ink), `faint` (16 bits of which few are used) or `far` from the training images.
    """

    def warn(odd: NDArray[np.bool_] | None, said: Callable[..., str], about: object) -> None:
        if odd is not None and odd.any():
            first = str(name(int(odd.argmax())))
            log.warning("%s", said(int(odd.sum()), len(odd), first, about))

    warn(doubtful, contradiction, settings)
    warn(faint, faintness, settings)
    warn(far, strangers, metadata)


def strangers(count: int, of: int, first: str, metadata: Mapping[str, Any]) -> str:
    """Say how many of how many pictures are far from the training images, and the first one."""
    data = (metadata.get("training") or {}).get("data")
    trained = f" ({printable(data)})" if data else ""
    return (
        f"{count:,} of {of:,} pictures {'is' if count == 1 else 'are'} unlike the images that "
        f"{metadata['arch']} was trained on{trained}, {'' if count == 1 else 'the first is '}"
        f"{printable(first)}; answers on such pictures mean little"
    )


def no_better_than_chance(metadata: Mapping[str, Any]) -> str | None:
    """Say that a model's test error is that of chance; None where it is not, or nobody knows."""
    if metadata.get("beats_chance", True):
        return None
    error, pairs = metadata["test_error_pct"]["comparison"], metadata["test_pairs"]
    solved = metadata["arch"].startswith("linear")  # there is no longer training
    return (
        f"{metadata['arch']} is no better than chance on its test pairs, or than one answer to "
        f"all ({error:.1f} % of {pairs:,} wrong): its order means nothing; train on more pairs, "
        f"or {'with another --backbone' if solved else 'longer'}"
    )
