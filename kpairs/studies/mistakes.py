"""The pairs that a trained model still gets wrong, with their images: for our own architecture."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs import seeds
from kpairs.data import PairSet
from kpairs.data.splits import Compared
from kpairs.models.outputs import probabilities
from kpairs.networks import ARCHS
from kpairs.recipes import Recipe
from kpairs.training.all_pairs import all_pairs
from kpairs.training.batches import evaluation_batch
from kpairs.training.evaluate import known_images
from kpairs.training.network import load_weights
from kpairs.training.round import Round


def are_kept(recipe: Recipe) -> bool:
    """Return whether studies keep the wrong pairs of a recipe: for our networks, on digits."""
    architecture = ARCHS[recipe.network.arch]
    outputs = architecture.called(recipe.data.word).outputs
    return architecture.report == "kpairs" and "left_digit" in outputs


def wrong_pairs(job: Round, rescaling: tuple[float, float] | None) -> list[dict[str, Any]]:
    """Return the test pairs that a finished `Round` orders wrongly, the surest first, as dicts.

    They have `pair` (its number), `left_digit`, `right_digit` (true), `left_seen`, `right_seen`
    (most probable), `probability` (of the wrong order), `left`, `right` (see `to_text`).
    """
    recipe, pairs = job.recipe, job.pairs[1]
    model = load_weights(recipe, job.classes, rescaling, job.folder / "model.keras")
    images = pairs.inputs()
    values = model.predict(images, batch_size=evaluation_batch(pairs), verbose=0)
    kinds = ARCHS[recipe.network.arch].learned
    found = {name: probabilities(values[name], kind) for name, kind in kinds.items()}
    comparison = found["comparison"]
    told = pairs.comparison != 0.5  # no order of a tie is wrong
    wrong = np.flatnonzero(told & (comparison.argmax(-1) != (pairs.comparison > 0.5)))
    rows = [
        {
            "pair": int(i),
            "left_digit": int(pairs.left_digit[i]),
            "right_digit": int(pairs.right_digit[i]),
            "left_seen": int(found["left_digit"][i].argmax()),
            "right_seen": int(found["right_digit"][i].argmax()),
            "probability": round(float(comparison[i].max()), 4),
            "left": to_text(images["left"][i]),
            "right": to_text(images["right"][i]),
        }
        for i in wrong
    ]
    return sorted(rows, key=lambda row: -row["probability"])


def errors_of_all_pairs(job: Round, rescaling: tuple[float, float] | None) -> dict[str, Any]:
    """Measure a finished `Round`'s model on all ordered pairs of its test images.

    `all_pairs` has `error_pct` of comparisons and `digit_error_pct` (or of grades) of images; with
    shifts also `unshifted`. Nothing where classes are not known, or errors not exact.
    """
    recipe, file = job.recipe, job.folder / "model.keras"
    if isinstance(job.test_images, Compared) or (job.pairs[1].left_digit < 0).any():
        return {}
    if job.test_images is None:
        both = PairSet.concat(job.pairs[1], job.pairs[1].swapped())
        images, labels = both.left, both.left_digit
    else:
        images, labels = known_images(job.test_images)
    variants = {"all_pairs": recipe}
    if recipe.network.test_shifts != 1:
        variants["unshifted"] = recipe.replace(test_shifts=1)
    found = {}
    for name, variant in variants.items():
        model = load_weights(variant, job.classes, rescaling, file)
        rng = seeds.generator(recipe.fit.seed, job.number, "all pairs")
        outputs = ARCHS[recipe.network.arch].called(recipe.data.word).outputs
        ties = recipe.data.ties == "half"
        errors = all_pairs(model, images, labels, job.classes, outputs, rng, ties=ties, sampled=1)
        if errors["exact"]:
            found[name] = {
                n.removeprefix("comparison_"): e
                for n, e in errors.items()
                if n.endswith("error_pct")
            }
    return found


def to_text(image: NDArray[np.float32]) -> str:
    """Return a (14, 14, 1) image of 0..1 as hexadecimal text."""
    return np.rint(255 * image).astype(np.uint8).tobytes().hex()


def to_image(text: str) -> NDArray[np.float64]:
    """Return the square image of 0..1 of such a text, one byte a pixel."""
    levels = np.frombuffer(bytes.fromhex(text), np.uint8)
    side = math.isqrt(len(levels))
    return levels.reshape(side, side) / 255
