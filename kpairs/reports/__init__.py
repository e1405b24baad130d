"""The reports that kpairs reproduces: each is a folder of this package, found and not listed.

A folder's `__init__` states NUMBER, AUTHORS, YEAR and TITLE and imports nothing. Beside it stand
`networks.py`, `recipes.py`, `studies.py` and `reported.csv`. Nothing here imports Keras.
"""

import pkgutil
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from kpairs.errors import UsageError
from kpairs.recipes import Recipe


@dataclass(frozen=True)
class Report:
    """One report; its key in `REPORTS` is its folder's name, that of its first author."""

    number: str  # as the course counts it
    authors: str
    year: int
    title: str
    folder: str  # its package


REPORTS: dict[str, Report] = {}
# Where networks, recipes and studies stand: in each report, in our own folder, in users' packages.
FOLDERS: list[str] = []
RECIPES: dict[str, Recipe] = {}


def part(folder: str, name: str) -> ModuleType | None:
    """Return a folder's module "networks", "recipes" or "studies"; None where it has none.

    A folder may also be a module that holds all parts itself.
    """
    module = import_module(folder)
    if not hasattr(module, "__path__"):
        return module
    return import_module(f"{folder}.{name}") if find_spec(f"{folder}.{name}") else None


def add_folder(folder: str) -> None:
    """Take in a package or module: the report that it states, and its recipes.

    Raises UsageError for a report or recipe of a name that there is.
    """
    module, key = import_module(folder), folder.rpartition(".")[2]
    recipes = getattr(part(folder, "recipes"), "RECIPES", {})
    is_report = hasattr(module, "TITLE")
    twice = [name for name, recipe in recipes.items() if RECIPES.get(name, recipe) is not recipe]
    if twice or (is_report and key in REPORTS):
        raise UsageError(f"{folder}: {', '.join(twice) or key} is stated twice")
    if is_report:
        facts = module.NUMBER, module.AUTHORS, module.YEAR, module.TITLE
        REPORTS[key] = Report(*facts, folder)
    RECIPES.update(recipes)
    FOLDERS.append(folder)


def report_key(name: str) -> str:
    """Return the key of the report of this number, such as 001; any other name as it is."""
    return next((key for key, report in REPORTS.items() if report.number == name), name)


def _number(folder: str) -> str:
    return str(import_module(folder).NUMBER)


_OWN = [f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__) if module.ispkg]
for _folder in (*sorted(_OWN, key=_number), "kpairs.ours"):
    add_folder(_folder)
