"""From names and overrides to a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpairs.errors import InputError, UsageError, unknown
from kpairs.files import MAX_JSON_BYTES, read_bytes
from kpairs.recipes import (
    LINEAR,
    LINEAR_GRADES,
    READ_BY,
    Recipe,
    check_arguments,
    format_loss_weights,
    parse_argument,
    parse_loss_weights,
)
from kpairs.reports import RECIPES

if TYPE_CHECKING:
    from kpairs.data.source import Source

# Pairs that are drawn of rated images, so that every rating is learned from, and how many at most.
_PAIRS_AN_IMAGE, _MOST_DRAWN = {LINEAR: 3, LINEAR_GRADES: 1}, 10_000


def recipe_of(arch: str) -> Recipe:
    """Return the recipe of an architecture's report, or another recipe by its own name."""
    return _recipe("architecture", arch)


def recipe_for(source: Source) -> Recipe:
    """Return the recipe that images of one's own begin with: by features, for grades or pairs."""
    return recipe_of(LINEAR_GRADES if source.classes and not source.judged else LINEAR)


def open_images(
    recipe: Recipe,
    changes: Mapping[str, Any],
    root: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Source:
    """Open the images that a recipe with some changes (fields by their flat names) is for.

    How a recipe reads its own images tells nothing of others, but for their groups and white.
    `root` and `progress` are as `kpairs.open_source` takes them.
    """
    from kpairs.data.source import open_source

    data = changes.get("data", recipe.data.source)
    known = recipe.data.read_by
    own = str(data) == recipe.data.source
    how = {name: value for name, value in known.items() if own or name in ("group", "white")}
    how |= {name: changes[name] for name in READ_BY if changes.get(name) is not None}
    return open_source(data, **how, root=root, progress=progress)


def suited(recipe: Recipe, source: Source, changes: Mapping[str, Any]) -> tuple[Recipe, Source]:
    """Return a recipe that suits images which it was not written for, and these as it divides them.

    `changes`, fields by their flat names, count whatever would suit.
    """
    if recipe.network.arch == LINEAR:
        source = recipe.replace(**changes).divided(source)
    suits: dict[str, Any] = dict.fromkeys(("classes", "ink"))
    if source.judged:  # all pairs that people compared
        suits |= {"pairs": source.most_pairs("train"), "test_pairs": source.most_pairs("test")}
    elif source.word == "grade" and (each := _PAIRS_AN_IMAGE.get(recipe.network.arch)):
        counts = source.counts("train")
        wanted = min(each * counts.get("ratings", counts["images"]), _MOST_DRAWN)
        suits["pairs"] = max(recipe.data.pairs, wanted)
    if source.are_photographs:  # mirrored and not distorted, as drawings are
        suits |= {"distortion": "none", "flip": "horizontal"}
    return recipe.replace(**{**suits, **changes}), source


def _recipe(kind: str, arch: str) -> Recipe:
    if arch not in RECIPES and entry_points(group="kpairs.architectures"):
        import_module("kpairs.networks")  # with it come those of installed packages
    if arch not in RECIPES and Path(arch).exists():
        raise UsageError(f"{arch} is a path; expected an {kind}, or --data {arch}")
    if arch not in RECIPES:
        raise unknown(kind, arch, RECIPES)
    return RECIPES[arch]


def load_recipe(name: str) -> Recipe:
    """Return the recipe of an architecture by its name, or the one in a JSON file or run folder.

    Raises UsageError for neither of these, InputError for a file that is not a recipe.
    """
    path = Path(name)
    path = path / "recipe.json" if path.is_dir() else path
    if name in RECIPES or not path.exists():
        return _recipe("recipe (an architecture's name, a run or its recipe.json)", name)
    return read_recipe(path)


def read_recipe(path: Path) -> Recipe:
    """Read the recipe in a JSON file; InputError or UsageError tells what is wrong with it."""
    data = read_bytes(path, "recipe", MAX_JSON_BYTES)
    try:
        return Recipe.from_json(data.decode("utf-8"), path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot read the recipe: {error}") from error


def changes_of(
    base: Recipe,
    arch: str | None = None,
    *,
    loss_weights: str | None = None,
    arch_options: Mapping[str, str] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Return the changes of a recipe that names and texts describe, for `Recipe.replace`.

    They are another architecture, `loss_weights` as `kpairs.recipes.parse_loss_weights` takes them,
    the architecture's arguments by name, as text, and fields by their flat names. Raises UsageError
    for an unknown name, or text of another kind.
    """
    changes: dict[str, Any] = {}
    network, weights = base.network, base.fit.loss_weights
    if loss_weights is not None:
        # The given weights, not the recipe's, must fit the architecture, in its own names.
        name = arch or network.arch
        own = recipe_of(name).fit.loss_weights if name in RECIPES or arch else weights
        named = dict(zip((*own, *weights), (*own, *own), strict=False))
        named = {n.replace("_digit", "_grade"): called for n, called in named.items()} | named
        weights = parse_loss_weights(loss_weights, tuple(own), name, also=named)
        changes["loss_weights"] = weights
    options: Mapping[str, Any] = network.options
    if arch is not None and arch != network.arch:
        moved = for_arch(base, arch, weights)
        changes |= moved
        options = moved["arch_options"]
    name = arch or network.arch
    if fields.get("data", base.data.source) != base.data.source:  # what its own images decided
        changes |= dict.fromkeys(("classes", "columns", "words", "images", "ink"))
        changes["skip_missing"] = False
    known = {**(RECIPES[name].network.options if name in RECIPES else {}), **options}
    given = arch_options or {}
    check_arguments(name, dict.fromkeys(given), dict.fromkeys(known))
    parsed = {key: parse_argument(key, text, known[key]) for key, text in given.items()}
    if parsed:
        changes["arch_options"] = {**options, **parsed}
    return {**changes, **fields}


def for_arch(
    recipe: Recipe, arch: str, weights: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Return the changes that make a recipe one for another architecture: the training is the same.

    Loss weights, by default the recipe's, of outputs that the architecture lacks are dropped, and
    so are arguments that it does not take. Arguments of several values, such as widths, are always
    its own. Raises UsageError for an unknown architecture, or one with outputs that the loss
    weights do not name.
    """
    own = recipe_of(arch)
    weights = recipe.fit.loss_weights if weights is None else weights
    missing = [name for name in own.fit.loss_weights if name not in weights]
    if missing:
        raise UsageError(
            f"the recipe gives no loss weight for {', '.join(missing)} of {arch}: "
            f"expected loss weights such as {format_loss_weights(own.fit.loss_weights)}"
        )
    return {
        "arch": arch,
        "origin": f"{recipe.origin}; for {arch}",
        "word": "digit",
        "loss_weights": {name: weights[name] for name in own.fit.loss_weights},
        "arch_options": {
            name: value if isinstance(value, tuple) else recipe.network.options.get(name, value)
            for name, value in own.network.options.items()
        },
    }
