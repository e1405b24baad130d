"""Where digit images come from, how pairs are drawn from them, and how they are augmented."""

from kpairs.data.augment import augment_pairs
from kpairs.data.pairs import PairSet, draw_pairs
from kpairs.data.sources import Digits, load_digits

__all__ = ["Digits", "PairSet", "augment_pairs", "draw_pairs", "load_digits"]
