"""How a report's or a user's recipes are written down: a base, and what differs from it."""

from dataclasses import replace


def weights(comparison, digit=None):
    """Loss weights by output: of the comparison, and of both digits where there are digit heads."""
    sides = {} if digit is None else {"left_digit": digit, "right_digit": digit}
    return {"comparison": comparison, **sides}


def register(recipes, base, names, **changes):
    """Put a base with changes into `recipes` for each architecture of a list by spaces."""
    for name in names.split():
        recipes[name] = replace(base, arch=name, **changes)
