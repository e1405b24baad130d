"""Towers that see each image at several places in inference."""

from kpairs.layers import PLACES, HalfPixelShifts, MeanPosterior
from kpairs.models.pair import Layers


def shifted(tower: Layers, count: int) -> Layers:
    """Let a tower, from an image to logits, see each image at so many places in inference.

    Args:
        tower: the layers.
        count: one of `PLACES`.
    """
    return tower if count == PLACES[0] else [HalfPixelShifts(), *tower, MeanPosterior()]
