"""Pairs of images with their labels, and the targets of a network's outputs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs.data.division import image_groups
from kpairs.data.stored import Stored
from kpairs.errors import InputError, UsageError, first_line, unknown

# What a pair set knows of its pairs, by the name of the output that learns it. Where classes are
# grades the last two are called left_grade and right_grade.
TARGETS = ("comparison", "left_digit", "right_digit")
SCORES = ("left_score", "right_score")
KNOWN = (*TARGETS, "left_grade", "right_grade", *SCORES)  # whatever classes are called
Targets = Mapping[str, Callable[["PairSet"], NDArray[Any]]]  # of a user's own outputs, by name
Images = NDArray[np.float32] | Stored
Transform = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # of (n, h, w, c) images
WEIGHT = "sample_weight"
_KEPT = {"train": 100, "test": 200}  # pairs of a sample
_MOST_BYTES = 2**24  # of images in each part


@dataclass(frozen=True)
class PairSet:
    """n pairs of images with their labels, ready for Keras' `fit`.

    Attributes:
        left, right: `(n, height, width, channels)` float32 pixels in [0, 1]; a `Stored` reads them
            from a file when they are needed.
        left_digit, right_digit: `(n,)` int64 class numbers; a higher number ranks higher. -1 where
            the class is unknown.
        probability: `(n,)` float32, P(left ranks no higher) as people judged it, 0.5 for a tie;
            None where the class numbers decide.
        sample_weight: `(n,)` float32 weights of the pairs in the loss, 1 on average, as `fit`
            takes them; None for equal weights.
        group: `(n, 2)` int64 numbers of the groups of left and right image, such as a patient's;
            None without groups.
        judge: `(n,)` names of who judged each pair; None where nobody says.
        value: `(n, 2)` scores that people gave the left and the right image; None without scores.
        margin: `(n,)` float32, by how much the winner's score should lead, for
            `kpairs.losses.PairwiseLoss`; None where nobody says.

    Raises:
        InputError: arrays whose shapes do not fit each other.

    Example:
    >>> import keras, numpy as np
    >>> from kpairs import PairSet
    >>> rng = np.random.default_rng(0)
    >>> images, grades = rng.random((2, 50, 8, 8, 1), np.float32), rng.integers(0, 5, (2, 50))
    >>> pairs = PairSet(*images, *grades)
    >>> pairs
    PairSet(50 pairs of 8x8x1)
    >>> left, right = keras.Input((8, 8, 1), name="left"), keras.Input((8, 8, 1), name="right")
    >>> score = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    >>> output = keras.layers.Activation("sigmoid")(score(right) - score(left))
    >>> model = keras.Model([left, right], {"comparison": output})
    >>> model.compile("adam", {"comparison": "binary_crossentropy"})
    >>> fitted = model.fit(
    ...     pairs.inputs(), pairs.targets(["comparison"]), sample_weight=pairs.sample_weight,
    ...     validation_split=0.2, verbose=0,
    ... )
    >>> sorted(fitted.history)
    ['loss', 'val_loss']
    """

    left: Images
    right: Images
    left_digit: NDArray[np.int64]
    right_digit: NDArray[np.int64]
    probability: NDArray[np.float32] | None = None
    sample_weight: NDArray[np.float32] | None = None
    group: NDArray[np.int64] | None = None
    judge: NDArray[np.str_] | None = None
    value: NDArray[np.float64] | None = None
    margin: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        expected = (len(self.left_digit), *self.left.shape[1:])
        if self.left.ndim != 4:
            raise InputError(
                f"left images: expected shape (n, height, width, channels), received "
                f"{self.left.shape}"
            )
        for name, images in (("left", self.left), ("right", self.right)):
            if images.shape != expected:
                raise InputError(
                    f"{name} images: expected shape {expected}, received {images.shape}"
                )
        for name in ("right_digit", "probability", "sample_weight"):
            values = getattr(self, name)
            if values is not None and values.shape != self.left_digit.shape:
                raise InputError(
                    f"{name}: expected {len(self.left_digit)} labels, received {len(values)}"
                )

    def __len__(self) -> int:
        return len(self.left_digit)

    def __repr__(self) -> str:
        return f"PairSet({len(self)} pairs of {'x'.join(map(str, self.left.shape[1:]))})"

    @property
    def comparison(self) -> NDArray[np.float32] | NDArray[np.int64]:
        """The target of the comparison, `(n,)`.

        The judged probability where there is one, float32; else 1 where left <= right (equal
        digits included) and 0 elsewhere, int64.
        """
        if self.probability is not None:
            return self.probability
        return (self.left_digit <= self.right_digit).astype(np.int64)

    def inputs(self) -> dict[str, NDArray[np.float32]]:
        """Return the images by input name, read where they are stored.

        Models whose inputs are a list `[left, right]` take them too, where the inputs are named
        `left` and `right`; for other names, `[*pairs.inputs().values()]` is that list.
        """
        return {"left": np.asarray(self.left), "right": np.asarray(self.right)}

    def targets(
        self,
        outputs: Iterable[str] = TARGETS,
        own: Targets | None = None,
    ) -> dict[str, Any]:
        """Return the targets by output name, each `(n,)` int64; a judged comparison float32.

        A score learns from the comparison: its target is None, which `fit` takes. A model whose
        outputs are no dict takes no dict of targets: give its one output `comparison`.

        Args:
            outputs: names in `TARGETS` or `SCORES`, or with "grade" for "digit".
            own: functions of these pairs that give the targets of further outputs, `(n,)` each.

        Raises:
            UsageError: another name, or no names; a function of one's own fails, or gives another
                shape.
        """
        own = own or {}
        known: dict[str, Any] = {"comparison": self.comparison, **dict.fromkeys(SCORES)}
        for word in ("digit", "grade"):
            known |= {f"left_{word}": self.left_digit, f"right_{word}": self.right_digit}
        if hasattr(outputs, "shape") or isinstance(outputs, str):
            raise UsageError(
                "targets: expected the names of outputs, received one output; for a model with one "
                "output give fit the array `pairs.comparison`"
            )
        names = list(outputs)
        for name in names:
            if name not in known and name not in own:
                raise unknown("output", name, [*known, *own])
        return {name: self._own(name, own[name]) if name in own else known[name] for name in names}

    def batch(
        self, outputs: Iterable[str], own: Targets | None = None, transform: Transform | None = None
    ) -> list[dict[str, NDArray[Any]]]:
        """Return what a step takes: images by input, targets by output, and weights if any.

        Args:
            outputs: see `targets`.
            own: see `targets`.
            transform: a change of the images, left ones first.
        """
        inputs = self.inputs()
        if transform is not None:
            inputs = {name: transform(images) for name, images in inputs.items()}
        # Not every adapter of Keras takes None, the target of a score: zeros, which no loss reads.
        none = np.zeros(len(self), np.float32)
        targets = {n: none if y is None else y for n, y in self.targets(outputs, own).items()}
        if self.margin is not None and "comparison" in targets:  # `PairwiseLoss` takes both
            targets["comparison"] = np.stack([self.comparison, self.margin], axis=1)
        weights = [] if self.sample_weight is None else [{WEIGHT: self.sample_weight}]
        return [inputs, targets, *weights]

    def _own(self, name: str, function: Callable[["PairSet"], NDArray[Any]]) -> NDArray[Any]:
        try:
            found = np.asarray(function(self))
        except Exception as error:  # whatever a user's code raises
            raise UsageError(
                f"the target of output {name} raised {type(error).__name__}: {first_line(error)}"
            ) from error
        if found.shape != (len(self),):
            raise UsageError(
                f"the target of output {name} has the shape {found.shape}; expected one number a "
                f"pair, ({len(self)},)"
            )
        numbers = found.dtype.kind in "biuf" and bool(np.isfinite(found).all())
        lowest = 0 if self.probability is None else -1  # of judged pairs classes may be unknown
        if not numbers or (found % 1).any() or found.min(initial=0) < lowest:
            raise UsageError(f"the target of output {name}: expected class numbers, from {lowest}")
        return found.astype(np.int64)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> "PairSet":
        """Return the pairs of these rows, in their order."""
        parts: Any = (None if part is None else part[rows] for part in self._parts())
        return PairSet(*parts)

    @classmethod
    def concat(cls, *sets: "PairSet") -> "PairSet":
        """Join pair sets, one after the other."""
        return cls(*map(_joined, zip(*(pairs._parts() for pairs in sets), strict=True)))

    def swapped(self) -> "PairSet":
        """Return the same pairs with left and right exchanged."""
        return replace(
            self,
            left=self.right,
            right=self.left,
            left_digit=self.right_digit,
            right_digit=self.left_digit,
            probability=None if self.probability is None else 1 - self.probability,
            group=None if self.group is None else self.group[:, ::-1],
            value=None if self.value is None else self.value[:, ::-1],
        )

    def with_even_ties(self) -> "PairSet":
        """Return the same pairs, compared by their digits, of which equal ones are a tie: 1/2."""
        higher = np.sign(self.right_digit - self.left_digit)
        return replace(self, probability=((1 + higher) / 2).astype(np.float32))

    def _parts(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))


def packed(train: PairSet, test: PairSet) -> dict[str, NDArray[Any]]:
    """Return the first pairs of both sets as arrays by name, which `unpacked` turns back.

    Images are bytes where all their pixels are levels of 255.
    """
    found: dict[str, NDArray[Any]] = {}
    for (part, most), pairs in zip(_KEPT.items(), (train, test), strict=True):
        bytes_each = 2 * 4 * int(np.prod(pairs.left.shape[1:]))
        few = pairs.take(slice(max(2, min(most, _MOST_BYTES // bytes_each))))
        arrays: dict[str, NDArray[Any]] = {**few.inputs()}
        for side, images in [*arrays.items()]:
            levels = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
            if np.array_equal(_pixels(levels), images):
                arrays[side] = levels
        arrays |= {"left_digit": few.left_digit, "right_digit": few.right_digit}
        if few.probability is not None:
            arrays["probability"] = few.probability
        found |= {f"{part}_{name}": array for name, array in arrays.items()}
    return found


def unpacked(arrays: Mapping[str, NDArray[Any]]) -> tuple[PairSet, PairSet]:
    """Return the training and the test pairs that `packed` made arrays of."""
    parts: dict[str, dict[str, Any]] = {part: {} for part in _KEPT}
    for name, array in arrays.items():
        part, _, name = name.partition("_")
        parts[part][name] = _pixels(array) if array.dtype == np.uint8 else array
    train, test = (PairSet(**part) for part in parts.values())
    return train, test


def _pixels(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return (levels / 255).astype(np.float32)


def image_sides(
    pairs: PairSet, shares: Sequence[float], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Divide the images of pairs into parts; see `kpairs.data.division.image_groups`.

    Images in memory are each in one pair, which goes into one part; `Stored` ones are known by
    their number in the file. Images of one group (`PairSet.group`) go into one part.

    Args:
        pairs: the pairs.
        shares: of the images, by part; they add up to 1.
        rng: what the parts are drawn from.

    Returns:
        `(2, n)` parts of the left and of the right image.
    """
    count = len(pairs)
    left, right = np.arange(count), np.arange(count, 2 * count)
    if isinstance(pairs.left, Stored) and isinstance(pairs.right, Stored):
        left, right = pairs.left.rows, pairs.right.rows
    if pairs.group is not None:
        left, right = pairs.group.T
    _, number = np.unique(np.concatenate([left, right]), return_inverse=True)
    left, right = np.split(number, 2)
    group = image_groups(left, right, shares, rng)
    return group[np.stack([left, right])]


def _joined(parts: tuple[Any, ...]) -> Any:
    if any(part is None for part in parts):
        if all(part is None for part in parts):
            return None
        raise InputError("expected pair sets that are all judged or weighted alike, received both")
    if all(isinstance(part, Stored) for part in parts):
        return reduce(Stored.joined, parts)
    return np.concatenate(parts)
