"""Loss weights: a name-to-weight mapping, checked before Keras sees it."""

from collections.abc import Collection, Mapping, Sequence

from kpairs.errors import UsageError, unknown

_LARGEST = 1e6


def check_loss_weights(weights: Mapping[str, float], outputs: Collection[str], arch: str) -> None:
    """Refuse loss weights whose names are not exactly the outputs, or that are not weights.

    Keras matches a list, or a dict with a mistyped key, by position in sorted order and says
    nothing, so a wrong name trains the wrong output.

    Args:
        weights: of each output's loss, by name.
        outputs: the architecture's output names.
        arch: its name, for messages.

    Raises:
        UsageError: missing or unknown names, negative or non-finite weights, or all zero.
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

    Without names, the first number weighs the comparison loss and the second each digit loss:
    total = w_comparison * L_comparison + w_digit * (L_left + L_right).

    Args:
        text: the weights as the command line takes them.
        outputs: the architecture's output names in order.
        arch: its name, for messages.
        also: names of outputs by other names that they have, such as of grades.

    Raises:
        UsageError: not numbers, a wrong count, or names that are not the outputs.
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
