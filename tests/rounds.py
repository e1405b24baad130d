"""Parts of a training as tests take them one by one: a network that is compiled, images drawn."""

from kpairs.data.source import open_source
from kpairs.training.compile import compile_model
from kpairs.training.network import architecture_of, build_round, completed


def compiled(recipe, number=1, classes=10, rescaling=None, **how):
    """The network of one round with its initial weights, compiled; `how` as in `compile_model`."""
    if rescaling is not None:
        recipe = recipe.replace(normalization="standardize")
    model = build_round(recipe, number, classes)
    compile_model(model, recipe, architecture_of(recipe), rescaling=rescaling, **how)
    return model


def opened(recipe):
    """A recipe that its images complete, and both their splits."""
    source = open_source(recipe.data.source, **recipe.data.read_by)
    recipe, _ = completed(recipe, source)
    return recipe, [source.split(part, recipe.pixels) for part in ("train", "test")]
