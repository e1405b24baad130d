"""Search: hyperparameters compared by cross-validation of the training pairs alone."""

from kpairs.studies.search.combinations import grid, run_grid
from kpairs.studies.search.proposals import run_tpe
from kpairs.studies.search.ranking import Ranked, behind, rank
from kpairs.studies.search.space import SEARCHED, Between, Search

__all__ = [
    "SEARCHED",
    "Between",
    "Ranked",
    "Search",
    "behind",
    "grid",
    "rank",
    "run_grid",
    "run_tpe",
]
