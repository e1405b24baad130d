"""Every registered network: of the reports and our own, of installed packages, of users' modules.

Importing this fills `ARCHS` from the folders of `kpairs.reports.FOLDERS`, then from the modules
that installed packages name in the entry-point group `kpairs.architectures`. What else a user
names is imported by `import_modules`.
"""

import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from functools import cache, partial
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from kpairs.errors import InputError, KpairsError
from kpairs.models.registry import ARCHS, build, trainable_parameters
from kpairs.recipes import Recipe, default_recipe
from kpairs.reports import FOLDERS, RECIPES, add_folder, part

__all__ = [
    "ARCHS",
    "build",
    "build_options",
    "import_modules",
    "import_of",
    "imported_modules",
    "parameters_of",
]

GROUP = "kpairs.architectures"
_IMPORTED: list[str] = []  # as `imported_modules` gives them
_ORIGINS: dict[str, str] = {}  # architecture -> which of them brought it
log = logging.getLogger(__name__)


def import_modules(names: Iterable[str]) -> None:
    """Import modules that register architectures of one's own; one that was imported stays.

    They are Python files, folders with an `__init__.py`, or dotted names; this runs their code. An
    architecture without a recipe gets `kpairs.recipes.default_recipe`; a module states others in a
    dict `RECIPES` by architecture. A package may have the form of a report's folder: `networks`,
    `recipes` and `studies` are imported with it. Raises InputError for no such module, or code that
    raises.
    """
    for name in names:
        is_file = name.endswith(".py") or os.sep in name
        name = str(Path(name).resolve()) if is_file else name
        if name not in _IMPORTED:
            known = set(ARCHS)
            _adopt(name, partial(_load_file if is_file else _load_dotted, name))
            _IMPORTED.append(name)
            _ORIGINS.update(dict.fromkeys(set(ARCHS) - known, name))


def imported_modules() -> tuple[str, ...]:
    """Return what `import_modules` imported, files by their whole path: for another process."""
    return tuple(_IMPORTED)


def import_of(arch: str) -> str | None:
    """Return which of `imported_modules` brought an architecture; None for all others."""
    return _ORIGINS.get(arch)


def build_options(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe's keywords of `build`: the network's arguments, and what is unusual."""
    network, data = recipe.network, recipe.data
    options: dict[str, Any] = dict(network.options)
    if network.head != "own":
        options["head"] = network.head
    if network.backbone is not None:
        options["backbone"] = network.backbone
    if network.test_shifts != 1:
        options["test_shifts"] = network.test_shifts
    if data.image_size is not None:
        options["input_shape"] = (*data.image_size[::-1], data.channels or 1)
    if data.word != "digit":
        options["word"] = data.word
    return options


def parameters_of(recipe: Recipe, classes: int = 10) -> int:
    """Count the trainable parameters of the network that a recipe trains."""
    return _count(recipe.network.arch, classes, tuple(sorted(build_options(recipe).items())))


@cache
def _count(arch: str, classes: int, options: tuple[tuple[str, Any], ...]) -> int:
    return trainable_parameters(build(arch, classes, **dict(options)))


def _adopt(name: str, load: Callable[[], ModuleType]) -> None:
    """Import a module with its parts, and see that each of its architectures has a recipe."""
    known = set(ARCHS)
    try:
        folder = load().__name__
        part(folder, "networks")
        add_folder(folder)
        for arch in set(ARCHS) - known - set(RECIPES):
            architecture = ARCHS[arch]
            RECIPES[arch] = default_recipe(arch, tuple(architecture.learned), architecture.options)
    except Exception as error:  # whatever a user's code raises
        for arch in set(ARCHS) - known:
            del ARCHS[arch]
        text = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise InputError(f"{name}: cannot be imported: {_place(error)}{text}") from error


def _place(error: Exception) -> str:
    """Name the place in the user's code that an exception came from, as far as it is known."""
    inner = (str(Path(__file__).parent), str(Path(importlib.util.__file__).parent), "<")
    for frame in traceback.extract_tb(error.__traceback__):
        if not frame.filename.startswith(inner):
            return f"{Path(frame.filename).name}, line {frame.lineno}: "
    return ""


def _load_file(path: str) -> ModuleType:
    """Import a file or folder under its own name; what stands beside it can be imported too."""
    file = Path(path)
    places = None
    if file.is_dir():
        file, places = file / "__init__.py", [path]
    if not file.is_file():
        raise FileNotFoundError(f"expected a Python file, received none at {file}")
    name = Path(path).stem
    if (module := sys.modules.get(name)) is not None:
        if getattr(module, "__file__", None) == str(file):
            return module
        name = f"kpairs_import_{len(_IMPORTED)}_{name}"  # that one has nothing to do with it
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=places)
    if spec is None or spec.loader is None:  # another ending than .py
        raise ImportError(f"expected a Python file, received {file}")
    module = importlib.util.module_from_spec(spec)
    sys.path.append(str(Path(path).parent))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _load_dotted(name: str) -> ModuleType:
    if os.getcwd() not in sys.path:  # the `kpairs` script's path begins elsewhere
        sys.path.append(os.getcwd())
    return import_module(name)


for _folder in FOLDERS:
    part(_folder, "networks")
for _point in entry_points(group=GROUP):
    try:
        _adopt(_point.value, partial(import_module, _point.module))
    except KpairsError as _error:  # of somebody else's package: kpairs works without it
        log.warning("%s", _error)
