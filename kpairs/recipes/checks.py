"""What the fields of a recipe may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field
from typing import TYPE_CHECKING, Any

from kpairs.errors import UsageError, unknown

if TYPE_CHECKING:
    from kpairs.recipes.recipe import Recipe

LARGEST = 1e30  # what float32 computes with; a larger number is a slip
MOST = 10**9
_WIDEST = 65536


def _is_number(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) <= LARGEST  # type: ignore[arg-type]  # NaN is not


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_plain(value: object) -> bool:
    """Whether a value is what JSON gives back as it is, but for tuples."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, str)) or _is_number(value)


# What a field of each type holds, and how to tell.
_KINDS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    str: ("a name", lambda value: isinstance(value, str)),
    int: ("a whole number", _is_whole),
    str | None: ("a name or none", lambda value: value is None or isinstance(value, str)),
    tuple[str, ...] | None: (
        "names or none",
        lambda v: (
            v is None or (isinstance(v, tuple) and bool(v) and all(isinstance(n, str) for n in v))
        ),
    ),
    tuple[int, int] | None: (
        "a width and a height or none",
        lambda v: v is None or (isinstance(v, tuple) and len(v) == 2 and all(map(_is_whole, v))),
    ),
    int | None: ("a whole number or none", lambda v: v is None or _is_whole(v)),
    float: ("a finite number", _is_number),
    Mapping[str, float]: (
        "a mapping of names to finite numbers",
        lambda v: isinstance(v, Mapping) and all(map(_is_number, v.values())),
    ),
    Mapping[str, str] | None: (
        "names by name or none",
        lambda v: (
            v is None or (isinstance(v, Mapping) and all(isinstance(n, str) for n in v.values()))
        ),
    ),
    Mapping[str, Any]: ("a mapping of names", lambda v: isinstance(v, Mapping)),
}


def check_field(f: Field[Any], value: Any) -> None:
    """Refuse a value of another kind than a field's, or out of its range.

    Args:
        f: the field, with what `Recipe` says of it.
        value: what it is to hold.

    Raises:
        UsageError: it cannot hold that.
    """
    wanted, is_kind = _KINDS[f.type]
    if not is_kind(value):
        raise UsageError(f"{f.name}: expected {wanted}, received {value!r}")
    if value is None:
        return
    rules = f.metadata
    choices = rules.get("choices")
    if choices and value not in choices:
        raise unknown(f.name, value, choices)
    low, high = rules.get("min"), rules.get("max")
    least, most = (min(value), max(value)) if isinstance(value, tuple) else (value, value)
    if (low is not None and least < low) or (high is not None and most > high):
        unbounded = high is None or (high == MOST and least < low)
        wanted = f"at least {low:g}" if unbounded else f"{low:g} to {high:g}"
        raise UsageError(f"{f.name}: expected {wanted}, received {value!r}")


def check_argument(name: object, value: Any) -> None:
    """Refuse an argument of an architecture that no architecture could take.

    Raises:
        UsageError: it is one.
    """
    if not (isinstance(name, str) and name.isidentifier()):
        raise UsageError(f"arch_options: expected arguments by name, received {name!r}")
    wanted, fits = "a finite number, a name, true, false, none or a list of them", _is_plain(value)
    if name == "dropout":
        wanted, fits = "0 to 0.999", _is_number(value) and 0 <= value <= 0.999
    elif name == "widths":
        wanted = f"whole numbers from 1 to {_WIDEST}"
        fits = isinstance(value, tuple) and bool(value) and all(map(_is_width, value))
    if not fits:
        raise UsageError(f"{name}: expected {wanted}, received {value!r}")


def check_backbone(recipe: Recipe) -> None:
    """Refuse weights without a backbone, and fine-tuning of what is trained anyway.

    Raises:
        UsageError: they do not go together.
    """
    loaded = recipe.backbone is not None and recipe.backbone_weights != "none"
    if recipe.backbone is None and recipe.backbone_weights != "none":
        raise UsageError(
            f"backbone_weights: expected a backbone for them, received {recipe.backbone_weights}"
        )
    if recipe.fine_tune > (recipe.epochs if loaded else 0):
        wanted = f"at most the {recipe.epochs} epochs" if loaded else "a backbone's loaded weights"
        raise UsageError(f"fine_tune: expected {wanted}, received {recipe.fine_tune}")


def _is_width(value: Any) -> bool:
    return _is_whole(value) and 0 < value <= _WIDEST
