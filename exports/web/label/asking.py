"""The pairs that a judge is asked: those that the model proposes, or else pairs by chance."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from kpairs.errors import InputError
from kpairs.exports.web.label.images import Images

_AHEAD = 3  # pairs that a page knows: shown, and loaded ahead
_RECENT = 10  # pairs of a judge's last answers that no repeat shows again
_TRIES = 300  # pairs by chance that are looked at before the model is waited for


@dataclass(frozen=True)
class Question:
    """A pair that a page shows."""

    left: int  # number of an image
    right: int
    reason: str  # why it is asked, as in `kpairs.data.columns.REASONS`
    id: str = field(default_factory=lambda: secrets.token_urlsafe(9))  # the page answers it once

    @property
    def pair(self) -> frozenset[int]:
        """Both images, in no order."""
        return frozenset((self.left, self.right))


class Seat:
    """A judge's pairs: those to come, and those that were; all judges share pairs by chance."""

    def __init__(self, images: Images, chance: Iterator[tuple[int, int]]) -> None:
        self.queue: deque[Question] = deque()  # those that the judge's page knows
        self.proposed: deque[tuple[int, int, str]] = deque()  # left, right and reason, by the model
        self._images, self._chance = images, chance
        self._seen: set[frozenset[int]] = set()  # answered, or skipped
        self._recent: deque[frozenset[int]] = deque(maxlen=_RECENT)
        self._settled: deque[str] = deque(maxlen=50)  # ids of answered questions

    def fill(self) -> None:
        """Put questions in the queue, as far as there are any, and drop those that none can see."""
        unreadable = self._images.unreadable.keys()
        self.queue = deque(q for q in self.queue if not unreadable & q.pair)
        while len(self.queue) < _AHEAD and (found := self._next()):
            self.queue.append(found)

    def find(self, name: str) -> Question | None:
        """Return the question of that id, None if it was just answered; refuse any other."""
        asked = next((question for question in self.queue if question.id == name), None)
        if asked is None and name not in self._settled:
            raise InputError("this pair is not asked any more")
        return asked

    def settle(self, question: Question) -> None:
        """Take an answered question out of the queue."""
        self.queue.remove(question)
        self._settled.append(question.id)
        self.remember(question.pair)

    def remember(self, pair: frozenset[int]) -> None:
        """Count a pair as seen."""
        self._seen.add(pair)
        self._recent.append(pair)

    def forget(self, pair: frozenset[int]) -> None:
        """Count a pair as not seen."""
        self._seen.discard(pair)

    def is_through(self) -> bool:
        """Tell if the judge has seen every pair of readable images."""
        sizes = np.bincount(self._images.group[self._images.readable()]).tolist()
        seen = sum(not pair & self._images.unreadable.keys() for pair in self._seen)
        return seen >= sum(size * (size - 1) // 2 for size in sizes)

    def _next(self) -> Question | None:
        while self.proposed:
            question = Question(*self.proposed.popleft())
            if self._suits(question):
                return question
        by_chance = (Question(*pair, "random") for pair in islice(self._chance, _TRIES))
        return next(filter(self._suits, by_chance), None)

    def _suits(self, question: Question) -> bool:
        """Tell if a question may come next: both readable, and not asked before or just now."""
        before = self._recent if question.reason == "repeat" else self._seen
        return not (
            question.pair & self._images.unreadable.keys()
            or question.pair in before
            or question.pair in (other.pair for other in self.queue)
        )


def pairs_by_chance(images: Images) -> Iterator[tuple[int, int]]:
    """Yield pairs within groups for ever, in rounds that take each image once."""
    rng = np.random.default_rng()
    while True:
        order = rng.permutation(len(images.files))
        turn = rng.permutation(images.group.max() + 1)[images.group[order]]
        order = order[np.argsort(turn, kind="stable")]
        halves = order[: len(order) // 2 * 2].reshape(-1, 2)
        same = images.group[halves[:, 0]] == images.group[halves[:, 1]]
        yield from rng.permutation(halves[same]).tolist()
