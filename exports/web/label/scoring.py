"""Features and scores of a sitting, computed in other processes whenever the answers change."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any

import numpy as np

from kpairs.errors import KpairsError
from kpairs.exports.web.label.answers import LABELS, Answers
from kpairs.exports.web.label.asking import Seat
from kpairs.exports.web.label.background import Background
from kpairs.exports.web.label.images import Images
from kpairs.exports.web.label.thinking import find_features, think
from kpairs.judging import Judgements, Scores
from kpairs.judging.judgements import Floats

log = logging.getLogger("kpairs.label")

_BATCH = 12  # pairs that the model proposes at a time
_SHARED = 0.2  # of a judge's pairs that others have answered, where there are several judges


@dataclass(frozen=True)
class Standing:
    """Scores of some images, given by number, and by names of judges, from so many answers."""

    scores: Scores
    images: list[int]
    judges: list[str]
    answers: int


class Scoring:
    """The work behind a sitting, in two threads and two processes.

    Seats get the pairs that the scores propose; `changed` guards all that is shared.
    """

    def __init__(
        self,
        images: Images,
        answers: Answers,
        seats: Mapping[str, Seat],
        repeat: float,
        changed: Condition,
    ) -> None:
        self.standing: Standing | None = None  # the last scores; None without answers
        self.done: tuple[int, int] | None = (0, len(images.files))  # features; None: all
        self._images, self._answers, self._seats = images, answers, seats
        self._shares = {"random": 0.15, "repeat": repeat}
        if len(seats) > 1:
            self._shares["overlap"] = _SHARED
        self._features: Floats | None = None
        self._featured: list[int] = []  # images that the features are of
        self._changed, self._closed, self._version = changed, False, 1
        self._workers = [Background(), Background()]
        self._threads = [Thread(target=run, daemon=True) for run in (self._look, self._think)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End threads and processes, whatever they are doing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.close()
        for thread in self._threads:
            thread.join()

    def touch(self) -> None:
        """Have scores computed again. The caller holds `changed`."""
        self._version += 1
        self._changed.notify_all()

    def judges(self) -> list[str]:
        """Return the names of all who compare now, or have compared."""
        return sorted({*self._seats, *(answer.judge for answer in self._answers.rows)})

    def _look(self) -> None:
        """Find the images' features, once."""

        def progress(done: int, of: int) -> None:
            self.done = (done, of)

        features, bad = None, list[int]()
        call = self._workers[0].call
        try:
            files, white = self._images.files, self._images.white
            features, bad = call(find_features, files, white, progress=progress)
        except KpairsError as error:
            if not self._closed:
                log.warning("pairs are chosen without features of the images: %s", error)
        finally:
            self._workers[0].close()
        with self._changed:
            self._features, self.done = features, None
            self._featured = sorted({*range(len(self._images.files))} - {*bad})
            for n in bad:
                self._images.leave_out(n, f"{self._images.names[n]}: the image cannot be read")
            self.touch()

    def _think(self) -> None:
        """Compute scores whenever something changed."""
        seen = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._version != seen)  # noqa: B023
                if self._closed:
                    return
                seen = self._version
                task = self._task()
            if task is None:
                continue
            arguments, (images, judges, answers) = task
            try:
                scores, proposals = self._workers[1].call(think, *arguments)
            except KpairsError as error:
                if not self._closed:
                    log.warning("scores cannot be computed: %s", error)
                continue
            with self._changed:
                self.standing = Standing(scores, images, judges, answers)
                for judge, pairs in proposals.items():
                    self._seats[judges[judge]].proposed = deque(
                        (images[one.left], images[one.right], one.reason) for one in pairs
                    )

    def _task(self) -> tuple[tuple[Any, ...], tuple[list[int], list[str], int]] | None:
        """Return arguments of `think`, and what `Standing` needs; forget it without answers."""
        featured = range(len(self._images.files)) if self._features is None else self._featured
        images = [number for number in featured if number not in self._images.unreadable]
        names = self.judges()
        group = self._images.group[images]
        answers = self._judgements(images, names)
        if answers is None or np.bincount(group).max() < 2:
            self.standing = None
            return None
        features = None
        if self._features is not None:
            row = {number: i for i, number in enumerate(self._featured)}
            features = self._features[[row[number] for number in images]]
        same = self.standing is not None and self.standing.images == images
        start = self.standing.scores if same and self.standing else None
        wanted = {names.index(name): self._shares for name in self._seats}
        labelled = sum(bool(answer.label) for answer in self._answers.rows)
        arguments = (answers, features, start, wanted, _BATCH, group)
        return arguments, (images, names, labelled)

    def _judgements(self, images: list[int], names: list[str]) -> Judgements | None:
        """Return the answers about these images; None where there are none."""
        place = {number: i for i, number in enumerate(images)}
        rows = [
            (place[pair[0]], place[pair[1]], LABELS.index(a.label), names.index(a.judge), a.reason)
            for a in self._answers.rows
            if a.label and (pair := self._images.pair(a)) and place.keys() >= set(pair)
        ]
        if not rows:
            return None
        left, right, label, judge, reason = zip(*rows, strict=True)
        return Judgements(
            left,
            right,
            np.array([0.0, 1.0, 0.5])[list(label)],
            len(images),
            judge,
            random=[text == "random" for text in reason],
        )
