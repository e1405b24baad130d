"""A linear run as a model that ranks: without an export, and without Keras where it can."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kpairs.exports.features import Lite0
from kpairs.judging.linear import Linear
from kpairs.models.lite0_weights import has_imagenet
from kpairs.training.run import HEAD, Run

if TYPE_CHECKING:
    import keras


class SolvedRun:
    """One round of a linear run, in the place of its exported file.

    Keras is imported where features of new images are needed that onnxruntime does not give.

    Args:
        run: the run.
        number: the round.

    Attributes:
        arch, outputs, classes, of_class, metadata, pixels: see `kpairs.PairModel`.
        networks: digest of the network.
        head: the solution.

    Raises:
        InputError: a round that is not finished, or whose head cannot be read.
    """

    has_features = True

    def __init__(self, run: Run, number: int = 1) -> None:
        self._run, self._number = run, number
        self.arch, self.classes = run.recipe.network.arch, run.classes
        self.outputs = {"comparison": "logits", "left_score": "score", "right_score": "score"}
        self.of_class: list[str] = []
        self.metadata: dict[str, Any] = {"arch": self.arch, "outputs": self.outputs}
        self.pixels = run.recipe.pixels
        self.networks: Sequence[str] = [str(run.row(number)["network"])]
        self.head = Linear.load(run.folder(number) / HEAD)

    @classmethod
    def of(cls, run: Run, number: int) -> SolvedRun | None:
        """Open a round; None where its scores are not those of a solved head on kept features."""
        known = (
            number in run.rounds
            and "network" in run.row(number)
            and (run.folder(number) / HEAD).is_file()
        )
        return cls(run, number) if known else None

    @property
    def width(self) -> int:
        """Numbers of an image."""
        return len(self.head.weights)

    def features(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute features, `(n, width)`, of `(n, height, width, channels)` pixels."""
        if self._lite0 is not None:
            return self._lite0.features(images)
        from kpairs.training.device import compute
        from kpairs.training.features import predicted

        with compute("cpu"):
            return predicted(self._network, images)

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return scores, `(n,)`, of `(n, width)` features."""
        return self.head.score(features)

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
