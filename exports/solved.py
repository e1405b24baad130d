"""A linear run as a model that ranks: without an export, and without Keras where it can."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kpairs.errors import InputError, raised_as
from kpairs.exports.features import Lite0
from kpairs.files import read_bytes
from kpairs.judging.linear import Linear
from kpairs.judging.reference import Reference
from kpairs.models.lite0_weights import has_imagenet
from kpairs.training.records import read_temperature
from kpairs.training.run import HEAD, REFERENCE, Run

if TYPE_CHECKING:
    import keras

_MOST_BYTES = 2**24  # of a reference


class SolvedRun:
    """One round of a linear run, with the attributes of `kpairs.PairModel`, in its file's place.

    Raises InputError for a round that is not finished, or whose head cannot be read.
    """

    has_features = True

    def __init__(self, run: Run, number: int = 1) -> None:
        self._run, self._number = run, number
        self.arch, self.classes = run.recipe.network.arch, run.classes
        self.outputs = {"comparison": "logits", "left_score": "score", "right_score": "score"}
        self.of_class: list[str] = []
        about = {"data": Path(run.recipe.data.source).name}
        self.metadata: dict[str, Any] = {"arch": self.arch, "training": about}
        self.pixels = run.recipe.pixels
        self.networks: Sequence[str] = [str(run.row(number)["network"])]
        if re.fullmatch("[0-9a-f]{64}", self.networks[0]) is None:  # it names a folder
            raise InputError(f"{run.path}: expected a network's digest, received another text")
        self.head = Linear.load(run.folder(number) / HEAD)
        if (error := self.head.error) is not None:
            told = self.head.answer[self.head.answer != 0.5] > 0.5
            self.metadata |= {
                "test_error_pct": {"comparison": 100 * error.value},
                "test_pairs": error.of,
                "beats_chance": bool(1 - error.high > max(told.mean(), 1 - told.mean())),
            }

    @classmethod
    def of(cls, run: Run, number: int) -> SolvedRun | None:
        """Open a round; None where its scores are not those of a solved head on kept features."""
        known = (
            number in run.rounds
            and "network" in run.row(number)
            and (run.folder(number) / HEAD).is_file()
            and run.recipe.pixels.rounded  # by whose levels features are found
        )
        return cls(run, number) if known else None

    @cached_property
    def reference(self) -> Reference | None:
        """Scores and features of the training images; None where the run keeps none."""
        file = self._run.folder(self._number) / REFERENCE
        if not file.is_file():
            return None
        with raised_as(InputError, str(file)):
            found = Reference.from_text(read_bytes(file, "reference", _MOST_BYTES).decode())
            if len(found.centre) != self.width or not len(found.scores):
                raise ValueError(f"expected scores of images of {self.width} features")
        return found

    @property
    def temperature(self) -> float:
        """Number that logits are divided by, as `kpairs evaluate` fitted it; 1 without."""
        return read_temperature(self._run.folder(self._number)) or 1.0

    @property
    def width(self) -> int:
        """Numbers of an image."""
        return len(self.head.weights)

    def features(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute features, `(n, width)`, of `(n, height, width, channels)` pixels."""
        if self.pixels.features:
            return images.reshape(len(images), -1)
        if self._lite0 is not None:
            return self._lite0.features(images)
        from kpairs.training.device import compute
        from kpairs.training.features import predicted

        with compute("cpu"):
            return predicted(self._network, images)

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return scores, `(n,)`, of `(n, width)` features."""
        return self.head.score(features)

    def scored(
        self, images: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Compute scores and features of images, as `kpairs.PairModel.scored` does."""
        features = self.features(images)
        return self.score(features), features

    @cached_property
    def _lite0(self) -> Lite0 | None:
        """Return EfficientNet-Lite0 by onnxruntime, where it is the run's network."""
        if self._run.recipe.network.backbone != "lite0" or not has_imagenet():
            return None
        found = Lite0(*self.pixels.shape)
        return found if [found.digest] == self.networks else None

    @cached_property
    def _network(self) -> keras.Model:
        from kpairs.models.backbone import backbone_of

        return backbone_of(self._run.model(self._number))
