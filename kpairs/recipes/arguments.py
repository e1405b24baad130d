"""Arguments of architectures: any keyword of an architecture's function is a hyperparameter.

What an argument may be is told by the value that it has: its default, or the one in a recipe.
"""

import re
from collections.abc import Mapping
from typing import Any

from kpairs.errors import UsageError

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a name"}
_LOGICAL = {"true": True, "false": False}


def check_arguments(
    arch: str,
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    lengths: Mapping[str, int] | None = None,
) -> None:
    """Refuse arguments that an architecture does not take, or of another kind than its own.

    Args:
        arch: its name, for messages.
        given: values by name.
        defaults: its own values by name, each of the kind that is wanted; None for any.
        lengths: how many values an argument takes that takes several, where that is fixed.

    Raises:
        UsageError: an unknown name, a value of another kind than the default, or too many or few.
    """
    if excess := set(given) - set(defaults):
        taken = ", ".join(sorted(defaults)) or "no arguments"
        raise UsageError(f"{arch} takes {taken}; received {', '.join(sorted(excess))}")
    for name, value in given.items():
        if not _is_like(value, defaults[name]):
            wanted = _kind_of(defaults[name])
            raise UsageError(f"{name} of {arch}: expected {wanted}, received {value!r}")
    for name, count in (lengths or {}).items():
        if name in given and len(given[name]) != count:
            raise UsageError(
                f"{name}: {arch} expects {count} such as {format_argument(defaults[name])}, "
                f"received {format_argument(given[name])}"
            )


def _is_like(value: Any, default: Any) -> bool:
    if default is None:
        return True
    if isinstance(default, tuple):
        element = default[0] if default else None
        return isinstance(value, tuple) and all(_is_like(part, element) for part in value)
    if isinstance(default, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is type(default)


def _kind_of(default: Any) -> str:
    if isinstance(default, tuple):
        return f"several such as {format_argument(default)}"
    return _KINDS[type(default)]


def parse_argument(name: str, text: str, like: Any) -> Any:
    """Read an argument, or a field of a recipe, from the command line.

    Args:
        name: what messages call it.
        text: such as "3", "0.5", "true", "relu" or "32,64".
        like: a value of the kind that is wanted; None for what the text looks like.

    Raises:
        UsageError: text of another kind.
    """
    if isinstance(like, tuple):
        element = like[0] if like else None
        parts = [part.strip() for part in text.split(",")]
        if isinstance(element, int) and not all(map(_is_whole, parts)):
            raise UsageError(
                f"{name}: expected {name} such as {format_argument(like)}, received {text!r}"
            )
        return tuple(parse_argument(name, part, element) for part in parts)
    kinds = (bool, int, float, str) if like is None else (type(like),)
    for kind in kinds:
        try:
            return _LOGICAL[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError):
            continue
    raise UsageError(f"{name}: expected {_KINDS[kinds[0]]}, received {text!r}")


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+", text) is not None


def format_argument(value: Any) -> str:
    """Return an argument as `parse_argument` reads it: "32,64", "0.5"."""
    if isinstance(value, tuple):
        return ",".join(map(format_argument, value))
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
