"""Images and the pairs drawn from them.

The public names load on first use: `settings` needs no NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kpairs.data.augment import augment_pairs
    from kpairs.data.pairs import PairSet
    from kpairs.data.source import open_source
    from kpairs.data.splits import Digits, draw_pairs

_HOMES = {
    "Digits": "splits",
    "PairSet": "pairs",
    "augment_pairs": "augment",
    "draw_pairs": "splits",
    "open_source": "source",
}
__all__ = ["Digits", "PairSet", "augment_pairs", "draw_pairs", "open_source"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kpairs.data' has no attribute {name!r}")
    return getattr(import_module(f"kpairs.data.{_HOMES[name]}"), name)
