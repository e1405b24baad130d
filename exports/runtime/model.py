"""`PairModel`: a loaded .onnx file that compares and ranks pictures."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from kpairs.data.pixels import to_pixels
from kpairs.data.words import OF_CLASS
from kpairs.errors import InputError, raised_as
from kpairs.exports.runtime.bounds import MAX_TOTAL, Size
from kpairs.exports.runtime.loading import read_onnx
from kpairs.exports.runtime.metadata import pixels_of, read_metadata, read_reference
from kpairs.judging.reference import Placed, Reference, chance, thumbnails
from kpairs.models.outputs import probabilities

if TYPE_CHECKING:
    from kpairs.exports.runtime.explain import Explanation
    from kpairs.exports.runtime.ranking import Ranking

Outputs = dict[str, np.ndarray]
# Pairs per call of onnxruntime: what the layers of so many pairs hand to each other stays in a
# core's cache, so that a larger batch runs faster in such pieces than whole.
CHUNK = 32
_BLOCK = 512
_TINY = 1e-300  # a probability whose logarithm is finite
_AT_ONCE = 2**22  # numbers in one value of a call: 16 MiB; more are no faster
Images = NDArray[np.float32]  # (n, height, width, channels), pixels in [0, 1]


class PairModel:
    """An exported pair model.

    Attributes:
        outputs: kind of each output by name, in the file's order; see
            `kpairs.models.outputs.OUTPUT_KINDS`.
        classes: class names in rank order.
        arch: name of the architecture.
        pixels: the `PixelSettings` by which pictures become its input.
        metadata: all that the file says of itself, as a dict.
        reference: scores and features of the training images; None where nobody gave any.

    Example:
        >>> import kpairs
        >>> run = kpairs.train("ws", "run", pairs=100, test_pairs=100, epochs=1, verbose=0)
        >>> file = kpairs.export(run)[0].path
        >>> model = kpairs.PairModel.load(file)
        >>> pairs = kpairs.draw_pairs(run.source().split("test"), 3, seed=0)
        >>> model.predict_probabilities(pairs.left, pairs.right)["comparison"].shape
        (3, 2)
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        metadata: dict[str, Any],
        size: Size,
        opened_with: Callable[[Sequence[str]], onnxruntime.InferenceSession],
        reference: Reference | None,
    ) -> None:
        self._session, self._opened_with = session, opened_with
        self._inside: dict[tuple[str, ...], onnxruntime.InferenceSession] = {}
        fitting = min(_AT_ONCE // max(1, size.largest), MAX_TOTAL // max(1, size.total))
        self._chunk = max(1, min(CHUNK, fitting))
        self.metadata = metadata
        self.outputs: dict[str, str] = metadata["outputs"]
        self.classes: tuple[str, ...] = tuple(metadata["classes"])
        self.arch: str = metadata["arch"]
        self.pixels = pixels_of(metadata)
        self.reference = reference

    @classmethod
    def load(cls, path: str | Path, threads: int = 1) -> Self:
        """Load an .onnx file that `kpairs export` wrote.

        Args:
            path: the file.
            threads: threads that share one block of pairs. One is fastest for networks this
                small; see `predict` for many pairs.

        Raises:
            InputError: a file that `read_onnx` or onnxruntime refuses, or without the metadata that
                describes its outputs.
        """
        data, size = read_onnx(path)

        def opened(inner: Sequence[str] = ()) -> onnxruntime.InferenceSession:
            """Open the file, values inside its graph being outputs too."""
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.log_severity_level = 4  # errors come as exceptions
            with raised_as(InputError, f"{path}: expected an ONNX model, received"):
                given = _giving(data, inner) if inner else data
                return onnxruntime.InferenceSession(given, options, ["CPUExecutionProvider"])

        session = opened()
        metadata = read_metadata(session, path)
        return cls(session, metadata, size, opened, read_reference(session, metadata, path))

    @property
    def temperature(self) -> float:
        """Number that logits are divided by, as `kpairs evaluate` fitted it; 1 without."""
        return float(self.metadata.get("temperature", 1.0))

    @property
    def pairs_at_once(self) -> int:
        """Pairs for one call of onnxruntime: 32, or fewer of a network with large values."""
        return self._chunk

    @property
    def of_class(self) -> list[str]:
        """Names of the outputs that tell an image's digit or grade."""
        return [name for name in OF_CLASS if name in self.outputs]

    def predict(self, left: Any, right: Any) -> Outputs:
        """Compute every output for pairs of pictures.

        onnxruntime gets 32 pairs at a time, which is faster than all at once. More than 512 pairs
        are cut into blocks of 512, which run side by side on the machine's cores.

        Args:
            left: n pictures of any size, as the training's were: paths, Pillow images or arrays,
                as `kpairs.data.pixels.prepare` takes them. `n` may be 0. What is the network's
                input already belongs into `compare`.
            right: as many others.

        Returns:
            Arrays by output name, `(n, width)` float32 each, of the kinds in `outputs`.

        Raises:
            InputError: pictures that `prepare` refuses, batches that differ, or a file that
                onnxruntime cannot run.

        Warns:
            kpairs.data.pixels.InkWarning: pictures whose ink is not that of the training's.
        """
        left, right = to_pixels(left, self.pixels, "left"), to_pixels(right, self.pixels, "right")
        return self.compare(left, right)

    def compare(self, left: np.ndarray, right: np.ndarray) -> Outputs:
        """Compute every output for what is the network's input already.

        Args:
            left: `(n, height, width, channels)` float32 pixels in [0, 1].
            right: as many others.

        Returns:
            As `predict`.

        Raises:
            InputError: batches that differ, a file that onnxruntime cannot run, or one that gives
                other than one finite answer for each pair.
        """
        if len(left) != len(right):
            raise InputError(f"expected as many right as left images, {len(left)} != {len(right)}")
        # Of a large network a few pairs are work enough for a core.
        block = _BLOCK if self._chunk == CHUNK else self._chunk
        starts = range(0, len(left), block)
        with raised_as(InputError, "onnxruntime cannot run the model"):
            if len(starts) <= 1:
                return self._checked(left, right)
            with ThreadPoolExecutor(min(len(starts), os.cpu_count() or 1)) as pool:
                blocks = pool.map(
                    lambda i: self._checked(left[i : i + block], right[i : i + block]), starts
                )
                parts = list(blocks)
        return {name: np.concatenate([part[name] for part in parts]) for name in self.outputs}

    def _checked(self, left: np.ndarray, right: np.ndarray) -> Outputs:
        """Compute as `run` does; refuse the missing or infinite answers of odd models."""
        values = self.run(left, right)
        for name, value in values.items():
            if len(value) != len(left):
                raise InputError(
                    f"{self.arch}: expected a row of {name} for each of {len(left)} pairs, the "
                    f"model gave {len(value)}"
                )
            if not np.isfinite(value).all():
                raise InputError(
                    f"{self.arch}: expected numbers in {name}, the model gave NaN or infinite ones"
                )
        return values

    def run(self, left: np.ndarray, right: np.ndarray, chunk: int | None = None) -> Outputs:
        """Compute every output as `compare` does, without its checks, on one core.

        `chunk` is the number of pairs per call of onnxruntime; default 32, or fewer of a network
        whose values would fill the memory.
        """
        chunk = chunk or self._chunk
        names = list(self.outputs)
        if len(left) <= chunk:
            values = self._session.run(names, {"left": left, "right": right})
            return dict(zip(names, values, strict=True))
        starts = range(0, len(left), chunk)
        parts = [self.run(left[i : i + chunk], right[i : i + chunk], chunk) for i in starts]
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    @property
    def has_features(self) -> bool:
        """True if the file names the features that its scores are computed from."""
        return self.metadata.get("features") is not None

    @property
    def networks(self) -> tuple[str, str]:
        """Digests by which features are kept: by onnxruntime, and by Keras in trainings."""
        digest = self.metadata["features"]["digest"]
        return hashlib.sha256(f"onnx {digest}".encode()).hexdigest(), digest

    @property
    def width(self) -> int:
        """Number of features of an image."""
        return int(self.metadata["features"]["width"])

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return scores, `(n,)`, of `(n, d)` features; InputError tells of a misfit."""
        names = [self.metadata["features"][name] for name in ("weights", "offset")]
        none = np.zeros((1, *self.pixels.shape), np.float32)
        weights, offset = self.inner(names, none, none)
        if weights.size != self.width or offset.size != 1:
            raise InputError(f"{self.arch}: expected {self.width} weights and an offset")
        return features.astype(np.float64) @ weights.ravel() + offset.item()

    def features(self, images: Images) -> NDArray[np.float32]:
        """Compute the `(n, d)` features that scores are linear in, as `scored` does."""
        return self.scored(images)[1]

    def scored(self, images: Images) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Compute `(n,)` scores and `(n, d)` features of images; each image passes once.

        Raises InputError for a file that names no features or does not give them.
        """
        if not self.has_features:
            raise InputError(f"{self.arch}: expected a file with features; export it again")
        tensor, width = (self.metadata["features"].get(key) for key in ("tensor", "width"))
        names = [tensor, "left_score", "right_score"]

        def run(start: int) -> tuple[NDArray[Any], NDArray[Any]]:
            block = images[start : start + 2 * self._chunk]
            pairs = np.concatenate([block, block[-1:]]) if len(block) % 2 else block
            features, *sides = self.inner(names, pairs[::2], pairs[1::2])  # rows take turns
            score = np.hstack(sides).astype(np.float64).ravel()
            if features.shape != (len(pairs), width) or not np.isfinite(features).all():
                raise InputError(f"{self.arch}: expected {width} features of each image")
            return score[: len(block)], features[: len(block)]

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            parts = list(pool.map(run, range(0, len(images), 2 * self._chunk)))
        empty = np.zeros(0), np.zeros((0, width), np.float32)
        score, found = map(np.concatenate, zip(empty, *parts, strict=True))
        return score, found

    def inner(self, names: Sequence[str], left: Images, right: Images) -> list[NDArray[Any]]:
        """Compute values inside the file's graph, in one call of onnxruntime.

        Args:
            names: of values of the graph, as the metadata says them; or of its weights.
            left: as `compare` takes it.
            right: as `compare` takes it.

        Returns:
            The values in the order of `names`. Of values of single images, such as features, rows
            take turns: left 0, right 0, left 1, ...

        Raises:
            InputError: a file without such values, or that onnxruntime cannot run.
        """
        key = tuple(names)
        if key not in self._inside:
            self._inside[key] = self._opened_with(key)
        with raised_as(InputError, "onnxruntime cannot run the model"):
            return list(self._inside[key].run(names, {"left": left, "right": right}))

    def place(self, images: Images) -> Placed | None:
        """Return images by the training images' axes; None where these are not known."""
        if self.reference is None:
            return None
        return self.reference.place(
            self.features(images) if self.has_features else thumbnails(images)
        )

    def chance(
        self, held: NDArray[np.float64], left: Placed | None = None, right: Placed | None = None
    ) -> NDArray[np.float64]:
        """Return calibrated probabilities that left ranks no higher, from the network's, `(n,)`.

        They know of the scores' standard errors, by the sides' `place`, and of the temperature that
        `kpairs evaluate` fitted on held-out pairs, where the file has these.
        """
        known, variance = self.reference, np.zeros(1)
        if known is not None and known.has_deviation and left is not None and right is not None:
            variance = known.difference_variance(left, right)
        elif self.temperature == 1:
            return held
        margin = np.log(np.maximum(held, _TINY)) - np.log(np.maximum(1 - held, _TINY))
        return chance(margin, variance, self.temperature)

    def predict_probabilities(self, left: Any, right: Any) -> Outputs:
        """Compute the probabilities of every output for pairs of pictures.

        Args:
            left: as `predict` takes it.
            right: as `predict` takes it.

        Returns:
            Arrays by output name, `(n, classes)` float64 each; column 1 of `comparison` is
            P(left <= right).
        """
        return self.as_probabilities(self.predict(left, right))

    def as_probabilities(self, values: Mapping[str, np.ndarray]) -> Outputs:
        """Turn what `predict`, `compare` or `run` gave into probabilities; scores are left out."""
        return {
            name: probabilities(values[name], kind)
            for name, kind in self.outputs.items()
            if kind != "score"
        }

    def explain(self, left: Any, right: Any = None) -> "Explanation":
        """Show which places of a picture raise or lower its score, or decide a comparison.

        Args:
            left: a picture of any size: a path, a Pillow image or an array.
            right: the picture to compare it with; None to explain one picture.

        Returns:
            An `Explanation`; its `method` says whether the maps are exact contributions, or changes
            where a place is hidden.

        Raises:
            UsageError: one picture, and a network that only compares.
            InputError: a picture that cannot be read.
        """
        from kpairs.exports.runtime.explain import explain

        return explain(self, left, right)

    def rank(self, pictures: Any) -> "Ranking":
        """Rank pictures: each is seen once where the network scores images or tells their class.

        Args:
            pictures: n of them, of any size: a sequence of paths or Pillow images, or an array.

        Returns:
            A `Ranking`, with `(n,)` arrays `score` and `rank`; rank 1 is the highest score, and
            equal scores share a rank.

        Raises:
            InputError: pictures that `kpairs.data.pixels.prepare` refuses.
        """
        from kpairs.exports.runtime.ranking import rank

        return rank([self], pictures)


def _giving(data: bytes, names: Sequence[str]) -> bytes:
    """Return an ONNX file whose graph gives further values."""
    proto = onnx.ModelProto.FromString(data)
    outputs = {output.name for output in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in outputs)
    return bytes(proto.SerializeToString())
