"""The table of architectures, and how one becomes a Keras model."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, get_args, get_origin

import keras

from kpairs.data.pairs import KNOWN, SCORES, TARGETS, Targets
from kpairs.data.settings import LONGEST_SIDE
from kpairs.data.words import output_name
from kpairs.errors import KpairsError, UsageError, first_line, unknown
from kpairs.layers import PLACES, PosteriorComparison
from kpairs.losses import check_pair_loss
from kpairs.models.outputs import OUTPUT_KINDS, Output
from kpairs.models.pair import Outputs, Pair

Shape = tuple[int, int, int]
DIGIT_SHAPE: Shape = (14, 14, 1)  # of the reports' images: height, width, channels
PIXELS = "rescaled_pixels"  # name of the layer that rescales them
_CLASSES = 10  # the digits
_BUILDS = ("classes", "backbone", "test_shifts", "ordinal")  # arguments that `build` passes on
ARCHS: dict[str, "Architecture"] = {}


@dataclass(frozen=True)
class Architecture:
    """A registered architecture.

    Attributes:
        name: its function's name: registry key, command-line name and value in result files.
        report: key in `kpairs.reports.REPORTS`, or "kpairs" for our own.
        source: report table or paper, for a reader to hold it against.
        outputs: kind of each output by name, a key of `kpairs.models.outputs.OUTPUT_KINDS`; classes
            are digits as registered.
        function: `(pair, *, classes, ...) -> {output name: tensor}`.
        input_shape: `(height, width, channels)` of the images that it is for; None for any.
        own_targets: functions of a `PairSet` that give the targets of outputs of its own.
        linear: scores are linear in a frozen network's features, and solved for at once.
        longest_side: pixels to which images are reduced, where nothing else says their size.
    """

    name: str
    report: str
    source: str
    outputs: Mapping[str, str]
    function: Callable[..., Outputs]
    input_shape: Shape | None = None
    own_targets: Targets = field(default_factory=dict)
    linear: bool = False
    longest_side: int = LONGEST_SIDE

    def called(self, word: str) -> "Architecture":
        """Return the same, its outputs named as a data source calls a class: digit or grade."""
        outputs = {output_name(name, word): kind for name, kind in self.outputs.items()}
        return self if outputs == self.outputs else replace(self, outputs=outputs)

    @cached_property
    def learned(self) -> dict[str, str]:
        """Kind of each output that learns from a target, all but scores."""
        return {name: kind for name, kind in self.outputs.items() if kind != "score"}

    @cached_property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of the function's own, with their defaults."""
        return {p.name: p.default for p in self._keywords() if p.name not in _BUILDS}

    def check_takes(self, argument: str, called: str) -> None:
        """Refuse an argument that the function lacks; name the architectures that have it."""
        able = [a.name for a in ARCHS.values() if any(p.name == argument for p in a._keywords())]
        if self.name not in able:
            raise UsageError(
                f"{self.name} takes no {called}; {', '.join(sorted(able))} "
                f"do{'es' * (len(able) == 1)}"
            )

    def check_pair_loss(self, kind: str, head: str) -> None:
        """Refuse a loss of scores that cannot train it; see `kpairs.losses.check_pair_loss`."""
        scored = "left_score" in self.outputs and self.outputs["comparison"] == "logits"
        scored &= not self.linear and head == "own"
        check_pair_loss(kind, scored, self.name)

    @cached_property
    def lengths(self) -> dict[str, int]:
        """Number of values of each argument that is annotated so, as in `tuple[int, int]`."""
        tuples = [p for p in self._keywords() if get_origin(p.annotation) is tuple]
        kinds = {p.name: get_args(p.annotation) for p in tuples}
        return {name: len(each) for name, each in kinds.items() if Ellipsis not in each}

    def _keywords(self) -> list[inspect.Parameter]:
        parameters = inspect.signature(self.function).parameters.values()
        return [p for p in parameters if p.kind is p.KEYWORD_ONLY]


def outputs(comparison: str, digits: str | None = None, *, scores: bool = False) -> dict[str, str]:
    """Return kinds by output name: comparison, then scores and digits where there are heads."""
    sides = {} if digits is None else {"left_digit": digits, "right_digit": digits}
    return {"comparison": comparison, **(dict.fromkeys(SCORES, "score") if scores else {}), **sides}


def arch(
    *,
    report: str,
    source: str,
    outputs: Mapping[str, str | Output],
    input_shape: Shape | None = None,
    linear: bool = False,
    longest_side: int = LONGEST_SIDE,
) -> Callable[[Callable[..., Outputs]], Callable[..., Outputs]]:
    """Register the decorated function as an architecture under its own name.

    Args:
        report: key in `kpairs.reports.REPORTS`, or any name for an architecture of one's own.
        source: where it is described.
        outputs: kind of each output by name, in order; `comparison` comes first. Pair sets have
            targets for the names in `TARGETS`; scores are called as in `SCORES`. Any other output
            is an `Output` with a target of its own.
        input_shape: `(height, width, channels)` of the images that it is for; None for any.
        linear: see `Architecture`.
        longest_side: see `Architecture`.

    Raises:
        ValueError: the name is taken.
        UsageError: an output without a target or of an unknown kind; no `comparison`; no argument
            `classes`, or one that `build` takes itself.
    """

    def register(function: Callable[..., Outputs]) -> Callable[..., Outputs]:
        name = function.__name__
        if name in ARCHS:
            raise ValueError(f"architecture {name!r} is registered twice: {ARCHS[name].source}")
        own = {n: x for n, x in outputs.items() if isinstance(x, Output)}
        kinds = {n: x.kind if isinstance(x, Output) else x for n, x in outputs.items()}
        targets = {n: x.target for n, x in own.items()}
        new = Architecture(
            *(name, report, source, kinds, function, input_shape, targets, linear, longest_side)
        )
        _check(new)
        ARCHS[name] = new
        return function

    return register


def _check(new: Architecture) -> None:
    """Refuse an architecture that could not be trained, or not be built with its arguments."""
    for output, kind in new.outputs.items():
        if kind not in OUTPUT_KINDS:
            raise unknown(f"kind of {new.name}'s output {output}", kind, OUTPUT_KINDS)
        if output in new.own_targets:
            if output in KNOWN or kind == "score" or not output.isidentifier():
                raise UsageError(
                    f"{new.name}: an output of its own is no score, and its name is a word other "
                    f"than {', '.join(sorted(KNOWN))}; received {output} ({kind})"
                )
        elif output not in (SCORES if kind == "score" else TARGETS):
            raise UsageError(
                f"{new.name}: nothing is known that output {output} ({kind}) could learn; expected "
                f"{', '.join(TARGETS)} or a score called {' or '.join(SCORES)}, or "
                "Output(kind, target) with a function that gives its targets"
            )
    if next(iter(new.outputs), None) != "comparison":
        raise UsageError(
            f"{new.name}: expected an output comparison, and that first; "
            f"received {', '.join(new.outputs) or 'none'}"
        )
    taken = set(inspect.signature(build).parameters) - {"options"}
    if clash := taken & set(new.options):
        raise UsageError(
            f"{new.name}: expected arguments of other names than build's "
            f"{', '.join(sorted(taken))}; received {', '.join(sorted(clash))}"
        )
    if "classes" not in inspect.signature(new.function).parameters:
        raise UsageError(f"{new.name}: expected a keyword argument classes, received none")
    if bare := [name for name, value in new.options.items() if value is inspect.Parameter.empty]:
        raise UsageError(f"{new.name}: expected a default of {', '.join(bare)}, received none")


def build(
    name: str,
    classes: int = _CLASSES,
    rescaling: tuple[float, float] | None = None,
    head: str = "own",
    *,
    input_shape: Shape = DIGIT_SHAPE,
    word: str = "digit",
    backbone: str | None = None,
    test_shifts: int = 1,
    fold: bool = False,
    **options: Any,
) -> keras.Model:
    """Build the Keras model of a registered architecture.

    Args:
        name: a key of `ARCHS`.
        classes: number of ranks, the width of each digit output; 0, of pairs that nobody graded,
            leaves the default, after which some networks size their layers.
        rescaling: `(scale, offset)`; the network sees `scale * pixel + offset`. None for neither.
        head: "own"; "posterior" for `kpairs.layers.PosteriorComparison` on the digit outputs in
            place of the architecture's own comparison, whose layers are then left out; or "ordinal"
            for `kpairs.layers.OrdinalGrades`, grades from one number and thresholds.
        input_shape: `(height, width, channels)` of each image.
        word: what outputs call a class: "digit", or "grade" (`left_grade`, `right_grade`).
        backbone: a network of `keras.applications`, such as "MobileNetV2", in place of the
            architecture's tower, with fresh weights.
        test_shifts: 5 for the mean of what is said of an image at five places, in inference; see
            `kpairs.layers.HalfPixelShifts`.
        fold: for a network that is not trained: run each shared tower once, on both images.
        **options: the architecture's own arguments, such as `dropout`.

    Returns:
        A functional `keras.Model` from `{"left", "right"}`, each `(batch, *input_shape)` float32
        pixels in [0, 1], to its named outputs in the registered order: `comparison` (batch, 2), or
        (batch, 1) for a sigmoid unit; where there are digit heads, `left_digit` and
        `right_digit` (batch, classes); where images are scored, `left_score` and `right_score`
        (batch, 1).

    Raises:
        UsageError: an unknown architecture, head or argument; an argument's value that a layer
            refuses, or a network larger than memory; an architecture without digit outputs for the
            posterior or the ordinal head; images of another shape than it takes.

    Example:
        >>> import kpairs
        >>> model = kpairs.build("auxws", dropout=0.2)
        >>> list(model.output)
        ['comparison', 'left_digit', 'right_digit']
    """
    if name not in ARCHS:
        raise unknown("architecture", name, ARCHS)
    architecture = ARCHS[name]
    _check_shape(architecture, input_shape)
    if backbone is not None and rescaling is not None:
        raise UsageError("a backbone prepares its own pixels: expected the normalization none")
    options = _arguments(architecture, options, classes, head, backbone, test_shifts)
    with conventions():
        inputs = {side: keras.Input(input_shape, name=side) for side in ("left", "right")}
        seen = list(inputs.values())
        if rescaling is not None:
            layer = keras.layers.Rescaling(*rescaling, name=PIXELS)
            seen = [layer(image) for image in seen]
        results = _outputs(architecture, Pair(*seen, fold=fold), options)
        if head not in ("own", "ordinal"):
            results["comparison"] = _posterior(architecture, head, results)
        named = dict(zip(architecture.called(word).outputs, results.values(), strict=True))
        return keras.Model(inputs, named, name=name)


def _arguments(
    architecture: Architecture,
    options: Mapping[str, Any],
    classes: int,
    head: str,
    backbone: str | None,
    test_shifts: int,
) -> dict[str, Any]:
    """Return the keywords of an architecture's function; refuse those that it does not take."""
    if excess := set(options) - set(architecture.options):
        expected = ", ".join(architecture.options) or "no arguments"
        received = ", ".join(sorted(excess))
        raise UsageError(f"{architecture.name} takes {expected}; received {received}")
    if test_shifts not in PLACES:
        raise UsageError(f"test_shifts: expected 1 or {PLACES[1]}, received {test_shifts}")
    if head == "ordinal" and classes == 1:
        raise UsageError("head ordinal: expected at least two grades, received 1")
    given = {**options, "classes": classes or _CLASSES}
    for argument, called, value in (
        ("backbone", "backbone", backbone),
        ("test_shifts", "test_shifts", test_shifts if test_shifts != PLACES[0] else None),
        ("ordinal", "ordinal head", head == "ordinal" or None),
    ):
        if value is not None:
            architecture.check_takes(argument, called)
            given[argument] = value
    return given


def _outputs(architecture: Architecture, pair: Pair, options: Mapping[str, Any]) -> Outputs:
    """Call the architecture's function; a failure becomes a sentence."""
    name = architecture.name
    try:
        results = architecture.function(pair, **options)
    except KpairsError:
        raise
    except Exception as error:  # of a layer, of memory, of a user's code
        given = ", ".join(f"{key} {value}" for key, value in options.items())
        said = f"{type(error).__name__}: {first_line(error)}"
        raise UsageError(f"{name} cannot be built with {given}: {said}") from error
    if list(results) != list(architecture.outputs):
        raise UsageError(
            f"{name} returned the outputs {', '.join(results)}; it is registered with "
            f"{', '.join(architecture.outputs)}"
        )
    return results


def _check_shape(architecture: Architecture, shape: Shape) -> None:
    """Refuse images of another `(height, width, channels)` than an architecture is for."""
    own = architecture.input_shape
    if own is not None and own != tuple(shape):
        anywhere = sorted(name for name, a in ARCHS.items() if a.input_shape is None)
        raise UsageError(
            f"{architecture.name} is for {_size(own)} images, as in its report; received "
            f"{_size(shape)}; any size and colour takes {' or '.join(anywhere)}"
        )


def _size(shape: Shape) -> str:
    height, width, channels = shape
    return f"{width}x{height} {'grey' if channels == 1 else 'RGB'}"


@contextmanager
def conventions() -> Iterator[None]:
    """Run a block with channels last and float32, whatever the user's keras.json says."""
    before = keras.config.image_data_format(), keras.config.floatx()
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    try:
        yield
    finally:
        keras.config.set_image_data_format(before[0])
        keras.config.set_floatx(before[1])


def _posterior(architecture: Architecture, head: str, results: Outputs) -> keras.KerasTensor:
    """Make the comparison from the digit outputs, of the architecture's own kind of comparison."""
    if head != "posterior":
        raise unknown("head", head, ("own", "posterior", "ordinal"))
    if "left_digit" not in results:
        raise UsageError(
            f"head posterior reads digit outputs; {architecture.name} has only a comparison"
        )
    if isinstance(results["comparison"]._keras_history.operation, PosteriorComparison):
        return results["comparison"]  # its own comparison is that already
    kinds = architecture.outputs
    layer = PosteriorComparison(kinds["left_digit"], kinds["comparison"])
    return layer([results["left_digit"], results["right_digit"]])


def trainable_parameters(model: keras.Model | keras.Layer) -> int:
    """Count trainable parameters of a model or layer, without batch-norm statistics."""
    return sum(math.prod(v.shape) for v in getattr(model, "trainable_variables", ()))
