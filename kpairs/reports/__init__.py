"""The reports that kpairs reproduces: each is a folder of this package, found and not listed.

A folder's `__init__` states NUMBER, AUTHORS, YEAR and TITLE and imports nothing. Beside it stand
`networks.py`, `recipes.py`, `studies.py` and `reported.csv`. Nothing here imports Keras.
"""

import pkgutil
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class Report:
    """One report; its key in `REPORTS` is its folder's name, that of its first author."""

    number: str
    authors: str
    year: int
    title: str


def _found():
    for module in pkgutil.iter_modules(__path__):
        if module.ispkg:
            folder = import_module(f"{__name__}.{module.name}")
            yield module.name, Report(folder.NUMBER, folder.AUTHORS, folder.YEAR, folder.TITLE)


REPORTS = dict(sorted(_found(), key=lambda item: item[1].number))
# Where networks, recipes and studies stand: in each report, and our own.
FOLDERS = (*(f"{__name__}.{key}" for key in REPORTS), "kpairs.ours")
RECIPES = {
    name: recipe
    for folder in FOLDERS
    for name, recipe in import_module(f"{folder}.recipes").RECIPES.items()
}
