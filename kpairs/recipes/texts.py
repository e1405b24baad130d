"""Arguments of architectures and loss weights: checked, and as texts of the command line.

Any keyword of an architecture's function is a hyperparameter; its default, or the value in a
recipe, tells what it may be. Loss weights have names, which are checked before Keras sees them.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kpairs.errors import UsageError, unknown

_LARGEST = 1e6  # loss weight
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a name"}
_LOGICAL = {"true": True, "false": False}


def check_arguments(
    arch: str,
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    lengths: Mapping[str, int] | None = None,
) -> None:
    """Refuse arguments that an architecture does not take, or of another kind than its own.

    Its own values are each of the kind that is wanted, None for any; `lengths` says how many values
    an argument takes, where that is fixed.
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
    """Read an argument, or a field of a recipe, from text such as "3", "0.5", "true" or "32,64".

    `like` is a value of the kind that is wanted; None for what the text looks like. Raises
    UsageError for text of another kind.
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


def check_loss_weights(weights: Mapping[str, float], outputs: Collection[str], arch: str) -> None:
    """Refuse loss weights whose names are not exactly the outputs, or that are not weights.

    Keras matches a list, or a dict with a mistyped key, by position in sorted order and says
    nothing, so a wrong name trains the wrong output.
    """
    for name in weights:
        if name not in outputs:
            raise unknown(f"output of {arch} in loss weights", name, outputs)
    missing = [name for name in outputs if name not in weights]
    if missing:
        raise UsageError(
            f"loss weights: expected one for each output of {arch}; "
            f"received none for {', '.join(missing)}"
        )
    for name, weight in weights.items():
        number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not number or not 0 <= weight <= _LARGEST:
            raise UsageError(
                f"loss weight of {name}: expected a number from 0 to {_LARGEST:g}, "
                f"received {weight!r}"
            )
    if not any(weights.values()):
        raise UsageError("loss weights: expected at least one above 0, received only zeros")


def parse_loss_weights(
    text: str,
    outputs: Sequence[str],
    arch: str,
    also: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """Turn "0.5,1" or "comparison=0.5,left_digit=1,right_digit=1" into a name-to-weight dict.

    Without names, the first number weighs the comparison loss and the second each digit loss: total
    = w_comparison * L_comparison + w_digit * (L_left + L_right). `also` names outputs by other
    names that they have, such as of grades. Raises UsageError for anything else.
    """
    parts = [part.strip() for part in text.split(",")]
    named = [part.partition("=") for part in parts]
    has_names = [bool(equals) for _, equals, _ in named]
    try:
        if all(has_names):
            weights = {
                (also or {}).get(name.strip(), name.strip()): float(value)
                for name, _, value in named
            }
            if len(weights) != len(named):
                raise UsageError(f"loss weights: an output is named twice in {text!r}")
        elif any(has_names):
            raise UsageError(f"loss weights: expected all with names or none, received {text!r}")
        else:
            weights = _by_position([float(part) for part in parts], outputs, arch)
    except ValueError as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"loss weights: expected numbers such as 0.5,1, received {text!r}"
        ) from error
    check_loss_weights(weights, outputs, arch)
    return {name: weights[name] for name in outputs}


def _by_position(values: list[float], outputs: Sequence[str], arch: str) -> dict[str, float]:
    expected = min(len(outputs), 2)
    if len(values) != expected:
        meaning = "comparison,each digit" if expected == 2 else "comparison"
        raise UsageError(
            f"loss weights: {arch} expects {expected} ({meaning}), received {len(values)}; "
            f"its outputs are {', '.join(outputs)}"
        )
    return {name: values[min(i, 1)] for i, name in enumerate(outputs)}


def format_loss_weights(weights: Mapping[str, float]) -> str:
    """Return the weights as the command line takes them: "comparison=0.5,left_digit=1"."""
    return ",".join(f"{name}={weight:g}" for name, weight in weights.items())
