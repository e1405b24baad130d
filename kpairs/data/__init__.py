"""Where images come from, how pairs are drawn from them, and how they are augmented.

The public names load on first use: what is known of pixels (`settings`) needs no NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kpairs.data.augment import augment_pairs
    from kpairs.data.pairs import PairSet, draw_pairs
    from kpairs.data.sources import load_digits
    from kpairs.data.splits import Digits

_HOMES = {
    "Digits": "splits",
    "PairSet": "pairs",
    "augment_pairs": "augment",
    "draw_pairs": "pairs",
    "load_digits": "sources",
}
__all__ = ["Digits", "PairSet", "augment_pairs", "draw_pairs", "load_digits"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kpairs.data' has no attribute {name!r}")
    return getattr(import_module(f"kpairs.data.{_HOMES[name]}"), name)
