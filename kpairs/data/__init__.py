"""Where digit images come from, how pairs are drawn from them, and how they are augmented."""

from kpairs.data.augment import augment_pairs
from kpairs.data.pairs import PairSet, draw_pairs
from kpairs.data.sources import load_digits
from kpairs.data.splits import Digits

__all__ = ["Digits", "PairSet", "augment_pairs", "draw_pairs", "load_digits"]
