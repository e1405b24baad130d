"""Rankings of images by exported models.

A network that scores images, or tells their digit or grade, sees each image once. One that only
compares is asked about sampled pairs, from whose answers scores are fitted by Bradley and Terry.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from kpairs.data.decode import THREADS
from kpairs.data.pixels import Prepared, prepare
from kpairs.data.rows import Rows, blocks
from kpairs.data.settings import PixelSettings
from kpairs.errors import CacheError, UsageError
from kpairs.exports.runtime.kept import known_features
from kpairs.exports.runtime.trust import no_better_than_chance, warn_of_pictures
from kpairs.judging import bradley_terry
from kpairs.judging.reference import Placed, Reference, chance, thumbnails

if TYPE_CHECKING:
    from kpairs.exports.runtime import PairModel

log = logging.getLogger(__name__)

_AT_ONCE = 256  # pictures or pairs that a network sees together, fewer of large ones
_NUMBERS = 2**21  # in the pixels of pictures that are seen together: 8 MiB
_OPPONENTS = 16  # of each image, where a network only compares
METHODS = {
    "score": "the network's scores",
    "grade": "expected ranks, from the probabilities of each image's class",
    "comparison": "Bradley-Terry scores, fitted to sampled comparisons",
}


@dataclass(frozen=True)
class Ranking:
    """Images in the order of a model, or of several.

    Attributes:
        score: `(n,)` float64, the mean over models; a higher score ranks higher.
        rank: `(n,)` int64; 1 is the highest score, and equal scores share a rank.
        deviation: `(n,)` float64, each score's standard error: of a linear head Laplace's; of
            several models the standard deviation (n - 1) over models, each one's scores taken from
            their own mean, and with it the mean variance of linear heads'; None for one model of
            another kind.
        method: what the scores are, a key of `METHODS`.
        doubtful: `(n,)` bool, images whose ink is not what the model learned from.
        percentile: `(n,)` float64, percentage of the training images with a lower score; None where
            these are not known, and for networks that only compare.
        far: `(n,)` bool, images unlike the training images; None where these are not known.
    """

    score: NDArray[np.float64]
    rank: NDArray[np.int64]
    deviation: NDArray[np.float64] | None
    method: str
    doubtful: NDArray[np.bool_]
    percentile: NDArray[np.float64] | None = None
    far: NDArray[np.bool_] | None = None
    _apart: NDArray[np.float64] | None = field(default=None, repr=False)  # variance over models
    _placed: tuple[_Places, ...] = field(default=(), repr=False)  # by each linear head
    _models: tuple[PairModel, ...] = field(default=(), repr=False)

    def higher(self, image: int) -> NDArray[np.float64]:
        """Return P(ranks higher than one of the images), `(n,)`, of each image.

        It is what a judge would say of the two. Scores' standard errors make it less sure.

        Args:
            image: the number of the image to compare with.

        Raises:
            UsageError: scores that are no logits: of networks that tell grades.
        """
        if self.method == "grade":
            raise UsageError(
                "P(ranks higher): expected a network that scores images or compares them; this "
                "one tells grades"
            )
        margin, variance, temperature = self.score - self.score[image], np.zeros(1), 1.0
        if self._apart is not None:
            variance = self._apart + self._apart[image]
        for model, placed in zip(self._models, self._placed, strict=False):
            known = cast(Reference, model.reference)
            between = partial(known.difference_variance, _one(placed, image % len(self.score)))
            variance = variance + _over(placed, between) / len(self._placed)
        if self._models:
            temperature = float(np.mean([model.temperature for model in self._models]))
        found = chance(margin, variance, temperature)
        found[image] = 0.5
        return found

    def order(self) -> NDArray[np.int64]:
        """Return the numbers of the images, highest first; equal ones in the order given."""
        return np.argsort(-self.score, kind="stable")


def rank(
    models: Sequence[PairModel],
    pictures: Any,
    progress: Callable[[int, int], None] | None = None,
    *,
    cache: Path | None = None,
) -> Ranking:
    """Rank pictures by one model, or by the mean of several models of one network.

    Logs a warning where pictures have another ink than the model learned from.

    Args:
        models: at least one.
        pictures: n of them, as `kpairs.data.pixels.prepare` takes several.
        progress: called with how many of how many are done.
        cache: folder in which features of image files are kept, where scores are linear in them.
            Default: each file is decoded again, and nothing is written.

    Raises:
        UsageError: no model, or models whose scores are of different kinds.
        InputError: a picture that cannot be read.

    Example:
        >>> import kpairs
        >>> run = kpairs.train("ws", "run", pairs=100, test_pairs=100, epochs=1, verbose=0)
        >>> model = kpairs.PairModel.load(kpairs.export(run)[0].path)
        >>> ranking = kpairs.rank([model], run.source().split("test").images[:20])
        >>> ranking.rank.shape
        (20,)
    """
    from scipy.stats import rankdata

    method = _common_method(models)
    seen = []
    for number, model in enumerate(models):
        if told := no_better_than_chance(model.metadata):
            log.warning("%s", told)
        shown = progress and _share(progress, number, len(models))
        seen.append(_scored(model, method, pictures, shown, cache))
    mean = np.mean([each.score for each in seen], axis=0)
    known = [(model.reference, each) for model, each in zip(models, seen, strict=True)]
    distance = _mean_over(known, lambda known, one: _over(one.placed, known.distance))
    far = None if distance is None else distance > 1
    percentile = within = None
    if method != "comparison":
        percentile = _mean_over(known, lambda known, one: known.percentile(one.score))
    if all(reference is not None and reference.has_deviation for reference, _ in known):
        within = _mean_over(known, lambda known, one: _over(one.placed, known.deviation) ** 2)
    apart = _apart([each.score for each in seen])
    variances = [variance for variance in (apart, within) if variance is not None]
    unnamed = isinstance(pictures, np.ndarray | Rows)
    warn_of_pictures(
        (lambda i: f"image {i}") if unnamed else pictures.__getitem__,
        models[-1].pixels,
        models[-1].metadata,
        doubtful=seen[-1].doubtful,
        faint=seen[-1].faint,
        far=far,
    )
    return Ranking(
        score=mean,
        rank=rankdata(-mean, method="min").astype(np.int64),
        deviation=np.sqrt(np.sum(variances, axis=0)) if variances else None,
        method=method,
        doubtful=seen[-1].doubtful,
        percentile=percentile,
        far=far,
        _apart=apart,
        _placed=() if within is None else tuple(each.placed for each in seen),
        _models=tuple(models),
    )


def _apart(scores: Sequence[NDArray[np.float64]]) -> NDArray[np.float64] | None:
    """Return the variance of each image's score between models, beside their means."""
    if len(scores) == 1 or len(scores[0]) == 1:  # of one image nothing but its own mean is known
        return None
    centred = [each - (each.mean() if len(each) else 0) for each in scores]
    return np.asarray(np.var(centred, axis=0, ddof=1))


def _common_method(models: Sequence[PairModel]) -> str:
    methods = sorted({method_of(model) for model in models})
    if len(methods) != 1:
        raise UsageError(
            f"expected models that rank alike, received {', '.join(methods) or 'none'}"
        )
    return methods[0]


def _share(
    progress: Callable[[int, int], None], number: int, of: int
) -> Callable[[int, int], None]:
    return lambda done, total: progress(number * total + done, of * total)


def method_of(model: PairModel) -> str:
    """Return the basis of a model's ranking, a key of `METHODS`."""
    if "left_score" in model.outputs:
        return "score"
    return "grade" if model.of_class else "comparison"


# Of some images at a time: what is computed from the places of all is many times larger.
_Places: TypeAlias = Sequence[Placed]


def _over(
    places: _Places, function: Callable[[Placed], NDArray[np.float64]]
) -> NDArray[np.float64]:
    return np.concatenate([function(block) for block in places])


def _one(places: _Places, image: int) -> Placed:
    ends = np.cumsum([len(block.beyond) for block in places])
    block = int(np.searchsorted(ends, image, "right"))
    return Placed(*(part[[image - ends[block]]] for part in places[block]))  # from its end


class _Seen(NamedTuple):
    """What a model says of pictures, and what their pixels say."""

    score: NDArray[np.float64]
    placed: _Places
    doubtful: NDArray[np.bool_]
    faint: NDArray[np.bool_]


def _mean_over(
    known: Sequence[tuple[Reference | None, _Seen]],
    of: Callable[[Reference, _Seen], NDArray[np.float64]],
) -> NDArray[np.float64] | None:
    """Return the mean over models of what their training images tell; None if one knows none."""
    found = [of(reference, one) for reference, one in known if reference is not None]
    return np.mean(found, axis=0) if len(found) == len(known) else None


def _scored(
    model: PairModel,
    method: str,
    pictures: Any,
    progress: Callable[[int, int], None] | None,
    cache: Path | None,
) -> _Seen:
    """Return each picture's score and place, and if its ink contradicts the model's or is faint."""
    known = model.reference
    keeps = cache is not None and model.has_features and model.pixels.rounded
    if keeps and not isinstance(pictures, np.ndarray | Rows):
        try:
            found = known_features(model, pictures, cache, progress)
        except CacheError as error:
            log.warning("%s; nothing is kept", error)
        else:
            parts = [model.score(block) for block in blocks(found.features)]
            score = np.concatenate(parts).astype(np.float32)  # copies get equal scores
            there = [] if known is None else [known.place(b) for b in blocks(found.features)]
            return _Seen(score.astype(np.float64), there, found.doubtful, found.faint)
    scores, pixels = [np.zeros(0)], []
    doubtful, faint = [np.zeros(0, bool)], [np.zeros(0, bool)]
    places = [] if known is None else [known.place(np.zeros((0, len(known.centre))))]
    done = 0
    for block in prepared(pictures, model.pixels):
        features = None
        if method == "comparison":
            pixels.append(block.pixels)
        elif method == "score" and model.has_features:
            score, features = model.scored(block.pixels)
            scores.append(score)
        else:
            scores.append(one_by_one(model, method, block.pixels))
        if known is not None:
            seen = thumbnails(block.pixels) if features is None else features
            places.append(known.place(seen))
        doubtful.append(block.doubtful)
        faint.append(block.faint)
        done += len(block.doubtful)
        if progress is not None:
            progress(done, len(pictures))
    if pixels:
        scores.append(_by_comparisons(model, np.concatenate(pixels)))
    return _Seen(np.concatenate(scores), places, np.concatenate(doubtful), np.concatenate(faint))


def prepared(pictures: Any, settings: PixelSettings) -> Iterator[Prepared]:
    """Yield pictures as a network's input, some at a time, files decoded side by side."""
    size = min(_AT_ONCE, max(1, _NUMBERS // math.prod(settings.shape)))
    parts = (pictures[i : i + size] for i in range(0, len(pictures), size))
    if isinstance(pictures, np.ndarray | Rows):
        yield from (prepare(part, settings) for part in parts)
        return
    with ThreadPoolExecutor(THREADS) as pool:
        coming: deque[Iterator[Prepared]] = deque()
        for part in parts:
            coming.append(pool.map(lambda one: prepare(one, settings), part))
            if len(coming) > 1:  # the next ones are decoded while the network sees these
                yield _together(coming.popleft())
        while coming:
            yield _together(coming.popleft())


def _together(parts: Iterator[Prepared]) -> Prepared:
    return Prepared(*map(np.concatenate, zip(*parts, strict=True)))


def one_by_one(model: PairModel, method: str, pixels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return scores of images, from one pass for each where both sides are scored alike."""
    if method == "score":
        one = model.compare(pixels[:1], pixels[:1])
        if np.allclose(one["left_score"], one["right_score"], rtol=1e-4, atol=1e-5):
            half = -(-len(pixels) // 2)
            # Of an odd number, the middle one stands on both sides.
            values = model.compare(pixels[:half], pixels[-half:])
            right = values["right_score"][2 * half - len(pixels) :]
            found = np.concatenate([values["left_score"], right])
        else:
            found = model.compare(pixels, pixels)["left_score"]
        return found[:, 0].astype(np.float64)
    values = model.compare(pixels, pixels)
    found = model.as_probabilities(values)
    sides = [found[name] for name in model.of_class]
    # Both sides: in a network that shares nothing between them each is another's opinion.
    return np.mean(sides, axis=0) @ np.arange(len(model.classes))


def _by_comparisons(model: PairModel, pixels: NDArray[np.float32]) -> NDArray[np.float64]:
    pairs = sampled_pairs(len(pixels), np.random.default_rng(0))
    held = []
    for start in range(0, len(pairs), _AT_ONCE):
        left, right = pairs[start : start + _AT_ONCE].T
        # Both orders: such a network may prefer a side.
        there, back = (
            model.as_probabilities(model.compare(pixels[a], pixels[b]))["comparison"][:, 1]
            for a, b in ((left, right), (right, left))
        )
        held.append((there + 1 - back) / 2)
    return bradley_terry(pairs, np.concatenate(held or [np.zeros(0)]), len(pixels))


def sampled_pairs(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw `(m, 2)` numbers of different images, no pair twice, all of them connected.

    Each of `count` images is in about 16 pairs; of few images these are all pairs.
    """
    if count <= _OPPONENTS + 1:
        return np.stack(np.triu_indices(count, 1), axis=1)
    circles = [rng.permutation(count) for _ in range(_OPPONENTS // 2)]
    pairs = np.concatenate([np.stack([c, np.roll(c, 1)], axis=1) for c in circles])
    return np.unique(np.sort(pairs, axis=1), axis=0)
