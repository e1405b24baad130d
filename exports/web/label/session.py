"""A sitting of people who compare a folder's images: who they are, what is asked, what follows.

Methods may be called from several threads. What they return goes to a page as JSON: images by
number, never a path of the disk.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from threading import Condition, Thread
from typing import Any

import numpy as np

from kpairs.data.decode import SUFFIXES
from kpairs.data.groups import FOLDER, name_groups
from kpairs.data.listing import list_images
from kpairs.errors import InputError, KpairsError, UsageError
from kpairs.exports.web.label.answers import LABELS, Answer, Answers
from kpairs.exports.web.label.background import Background
from kpairs.exports.web.label.pictures import SIZES, Kept, Shown, check_readable, shown
from kpairs.exports.web.label.thinking import Thought, find_features, think
from kpairs.judging import Judgements
from kpairs.judging.judgements import Floats

log = logging.getLogger("kpairs.label")

_AHEAD = 3  # pairs that a page knows: shown, and loaded ahead
_BATCH = 12  # pairs that the model proposes at a time
_RECENT = 10  # pairs of a judge's last answers that no repeat shows again
_TRIES = 300  # pairs by chance that are looked at before the model is waited for
_TARGET = 0.8  # expected tau at which the page offers to stop
_SHARED = 0.2  # of a judge's pairs that others have answered, where there are several judges
_LONGEST_LOOK = 86_400  # seconds


@dataclass(frozen=True)
class Question:
    """A pair that a page shows.

    Attributes:
        id: a random name, by which the page answers once.
        left, right: numbers of images.
        reason: why it is asked, as in `kpairs.data.columns.REASONS`.
    """

    id: str
    left: int
    right: int
    reason: str

    @property
    def pair(self) -> frozenset[int]:
        """Both images, in no order."""
        return frozenset((self.left, self.right))


@dataclass
class _Seat:
    """A judge: the pairs to come, and those that were."""

    name: str
    queue: deque[Question] = field(default_factory=deque)
    proposed: deque[tuple[int, int, str]] = field(default_factory=deque)
    asked: set[frozenset[int]] = field(default_factory=set)  # answered, or skipped
    recent: deque[frozenset[int]] = field(default_factory=lambda: deque(maxlen=_RECENT))
    settled: deque[str] = field(default_factory=lambda: deque(maxlen=50))  # ids of answers


class Session:
    """A sitting. Use it as a context manager: background work ends with it.

    Args:
        folder: the images, also in its folders.
        out: the table of answers.
        judges: names.
        question: what is asked about each pair.
        ties: a judge may say that two images are equal.
        group: pairs stay within groups, see `kpairs.data.groups.name_groups`; None for all pairs.
        repeat: share of pairs that a judge is asked a second time.
        white: level of 16-bit grey that is shown white.

    Attributes:
        answers: the table.
        names: of the images, as paths below the folder.
        notes: sentences about images and answers that are left out.

    Raises:
        InputError: fewer than two images, or a table that cannot be continued.
        KpairsError: another process holds the table.
    """

    def __init__(
        self,
        folder: str | Path,
        out: str | Path,
        judges: Sequence[str],
        *,
        question: str,
        ties: bool = True,
        group: str | None = None,
        repeat: float = 0.0,
        white: int = 65535,
    ) -> None:
        if not 0 <= repeat <= 0.5:
            raise UsageError(f"repeat: expected a share from 0 to 0.5, received {repeat}")
        self.folder, self.question, self.ties = Path(folder), question, ties
        self._repeat, self._white = repeat, white
        listing = list_images(folder)
        said = listing.said().removeprefix(f"{folder}: ")
        self.notes = [said] if said else []
        base = os.path.realpath(Path(out).parent)
        texts = {os.fspath(file): _text(file, base) for file in listing.files}
        self.files = [file for file, text in texts.items() if text.isprintable()]
        self.names = [os.path.relpath(file, folder) for file in self.files]
        if odd := len(texts) - len(self.files):
            self.notes.append(
                f"left out {odd} image{'s' * (odd > 1)} with control characters, or letters that "
                "are not UTF-8, in the name"
            )
        if len(self.files) < 2:
            raise InputError(
                f"{folder}: expected at least two images to compare ({', '.join(SUFFIXES)}), "
                + "; ".join([f"received {len(self.files)}", *self.notes])
            )
        self._texts = [texts[file] for file in self.files]
        self._number = {text: number for number, text in enumerate(self._texts)}
        self._groups = self._named_groups(group)
        self._group = np.unique(self._groups, return_inverse=True)[1]
        if np.bincount(self._group).max() < 2:
            raise InputError(f"{folder}: expected a group with at least two images, received none")
        self._unreadable = self._first_unreadable()
        self._pictures = Kept()
        self.answers = Answers(out)
        self._seats = {name: _Seat(name) for name in judges}
        for answer in self.answers.rows:
            if (pair := self._pair(answer)) and (seat := self._seats.get(answer.judge)):
                seat.asked.add(frozenset(pair))
                seat.recent.append(frozenset(pair))
        self._chance = self._pairs_by_chance()
        self._features: Floats | None = None
        self._of: list[int] = []  # images that the features are of
        self._done: tuple[int, int] | None = (0, len(self.files))  # features so far
        self._thought: Thought | None = None
        self._thought_of: tuple[list[int], int] = ([], 0)  # images and number of answers
        self._thought_names: list[str] = []  # of its judges
        self._changed, self._closed, self._version = Condition(), False, 1
        self._workers = [Background(), Background()]
        self._threads = [Thread(target=run, daemon=True) for run in (self._look, self._think)]
        if self.answers.mended:
            self.notes.append(self.answers.mended)
        if gone := sum(self._pair(answer) is None for answer in self.answers.rows):
            self.notes.append(
                f"{gone} answers of {self.answers.path.name} are about images that are gone. "
                "They stay in the table, and do not count here"
            )

    def __enter__(self) -> Session:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.close()
        for thread in self._threads:
            thread.join()
        self.answers.close()

    # ---- A judge's page --------------------------------------------------------------------

    def state(self, judge: str) -> dict[str, Any]:
        """Return what a judge's page shows: the pairs to come, and how far the order is."""
        with self._changed:
            seat = self._seats[judge]
            self._fill(seat)
            own = sum(a.judge == judge and bool(a.label) for a in self.answers.rows)
            return {
                "queue": [{"id": q.id, "left": q.left, "right": q.right} for q in seat.queue],
                "done": not seat.queue and self._is_through(seat),
                "judged": own,
                **self.progress(),
            }

    def progress(self) -> dict[str, Any]:
        """Return how far the order is: counts, expected tau, its gain, a reason to stop."""
        with self._changed:
            scores = self._thought.scores if self._thought else None
            return {
                "answers": sum(bool(answer.label) for answer in self.answers.rows),
                "images": len(self.files) - len(self._unreadable),
                "tau": scores and scores.expected_tau,
                "gain": scores and scores.gain,
                "last": scores and scores.last,
                "enough": scores and scores.stop(_TARGET),
                "features": self._done,
                "unreadable": len(self._unreadable),
            }

    def answer(self, judge: str, question: str, label: str, seconds: float) -> dict[str, Any]:
        """Keep an answer, on disk, and return the new state.

        The same answer sent twice is kept once.

        Args:
            judge: who answers.
            question: id of the pair.
            label: left, right, tie, or "" for a pair that is skipped.
            seconds: for which the judge looked.

        Raises:
            InputError: a pair that is not asked, or another label.
            OSError, KpairsError: the answer cannot be kept; see `Answers.append`.
        """
        allowed = (*LABELS[: 3 if self.ties else 2], "")
        if label not in allowed:
            raise InputError(f"label: expected one of {', '.join(allowed[:-1])}, or nothing")
        with self._changed:
            seat = self._seats[judge]
            asked = next((q for q in seat.queue if q.id == question), None)
            if asked is None and question not in seat.settled:
                raise InputError("this pair is not asked any more")
            if asked is not None:
                self.answers.append(
                    Answer(
                        left=self._texts[asked.left],
                        right=self._texts[asked.right],
                        label=label,
                        judge=judge,
                        group=self._groups[asked.left],
                        time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                        seconds=f"{min(max(seconds, 0), _LONGEST_LOOK):.1f}",
                        reason=asked.reason,
                    )
                )
                seat.queue.remove(asked)
                seat.settled.append(asked.id)
                seat.asked.add(asked.pair)
                seat.recent.append(asked.pair)
                self._touch()
            return self.state(judge)

    def undo(self, judge: str) -> dict[str, Any]:
        """Take a judge's last answer back, and ask its pair again, sides as they were.

        Raises:
            InputError: there is none, or its images are gone.
            OSError, KpairsError: see `Answers.remove`.
        """
        with self._changed:
            rows = self.answers.rows
            last = next((r for r in reversed(range(len(rows))) if rows[r].judge == judge), None)
            if last is None:
                raise InputError("there is no answer to take back")
            if (pair := self._pair(rows[last])) is None or self._unreadable.keys() & set(pair):
                raise InputError("an image of the last answer is no longer there")
            removed = self.answers.remove(last)
            self._forget(removed, frozenset(pair))
            again = Question(secrets.token_urlsafe(9), *pair, removed.reason)
            self._seats[judge].queue.appendleft(again)
            self._touch()
            return self.state(judge)

    def picture(self, number: int, longest: int) -> Shown:
        """Return an image, at most so many pixels a side; an unreadable one is asked no more.

        Raises:
            InputError: no such image, another size than those in `SIZES` or 0, or an image that
                cannot be read.
        """
        if not 0 <= number < len(self.files) or longest not in (*SIZES, 0):
            raise InputError("no such image")
        file, name = self.files[number], self.names[number]
        try:
            return self._pictures.get(
                number, longest, lambda: shown(file, name, longest, self._white)
            )
        except InputError as error:
            with self._changed:
                self._leave_out({number: str(error)})
            raise InputError("this image cannot be read") from error

    # ---- The starter's page -----------------------------------------------------------------

    def ranking(self) -> dict[str, Any]:
        """Return all images in order, the highest first; none before the first fit."""
        with self._changed:
            thought, (images, rows) = self._thought, self._thought_of
            disagreed = self._disagreed()
        if thought is None:
            return {"images": [], "answers": 0, "notes": []}
        found = thought.scores
        order = (-found.score).argsort(kind="stable")
        return {
            "images": [
                {
                    "number": images[i],
                    "name": self.names[images[i]],
                    "rank": int(found.rank[i]),
                    "best": int(found.best[i]),
                    "worst": int(found.worst[i]),
                    "score": round(float(found.score[i]), 4),
                    "low": round(float(found.low[i]), 4),
                    "high": round(float(found.high[i]), 4),
                    "judgements": int(found.count[i]),
                    "disagreed": images[i] in disagreed,
                }
                for i in order
            ],
            "answers": rows,
            "notes": [*self.notes, *self._unreadable.values(), *found.notes],
        }

    def comparisons(self, number: int) -> list[dict[str, Any]]:
        """Return the answers about an image, the newest first."""
        if not 0 <= number < len(self.files):
            raise InputError("no such image")
        with self._changed:
            found = [
                {
                    "row": row,
                    "key": _key(answer),
                    "left": pair[0],
                    "right": pair[1],
                    "label": answer.label,
                    "judge": answer.judge,
                    "time": answer.time,
                }
                for row, answer in enumerate(self.answers.rows)
                if answer.label and (pair := self._pair(answer)) and number in pair
            ]
        return found[::-1]

    def withdraw(self, row: int, key: str) -> None:
        """Remove one answer of anybody's.

        Args:
            row: its number among all answers.
            key: as `comparisons` tells it; another answer may have come to stand in that row.

        Raises:
            InputError: it is not there any more.
        """
        with self._changed:
            rows = self.answers.rows
            if not 0 <= row < len(rows) or _key(rows[row]) != key:
                raise InputError("that answer is not there any more")
            removed = self.answers.remove(row)
            if pair := self._pair(removed):
                self._forget(removed, frozenset(pair))
            self._touch()

    def judges(self) -> dict[str, Any]:
        """Return counts of all judges, and their agreement where there are answers to compare."""
        with self._changed:
            rows = [answer for answer in self.answers.rows if answer.label]
            thought, numbered = self._thought, self._thought_names
            names = self._judge_names()
        known = {numbered[one.judge]: one for one in thought.scores.judges} if thought else {}

        def told(name: str, part: str) -> list[float] | None:
            share = getattr(known.get(name), part, None)
            return [share.value, share.low, share.high] if share and share.of else None

        alpha = thought.scores.alpha if thought else float("nan")
        return {
            "judges": [
                {
                    "name": name,
                    "answers": sum(answer.judge == name for answer in rows),
                    "last": max((a.time for a in rows if a.judge == name), default=""),
                    "agreement": told(name, "agreement"),
                    "consistency": told(name, "consistency"),
                    "right_side": told(name, "right_side"),
                }
                for name in names
            ],
            "alpha": None if np.isnan(alpha) else alpha,
        }

    def pairs_table(self) -> list[dict[str, str]]:
        """Return all answers about images that are there, with their names below the folder."""
        with self._changed:
            return [
                {
                    **answer._asdict(),
                    "left": self.names[pair[0]],
                    "right": self.names[pair[1]],
                }
                for answer in self.answers.rows
                if answer.label and (pair := self._pair(answer))
            ]

    def _first_unreadable(self) -> dict[int, str]:
        """Read images until two of a group can be compared; return what is wrong with others.

        Raises:
            InputError: no two can be compared.
        """
        bad: dict[int, str] = {}
        readable: Counter[int] = Counter()
        for number, file in enumerate(self.files):
            try:
                check_readable(file, self.names[number])
            except InputError as error:
                bad[number] = str(error)
                continue
            readable[self._group[number]] += 1
            if readable[self._group[number]] == 2:
                for text in bad.values():
                    log.warning("left out: %s", text)
                return bad
        raise InputError(
            f"{self.folder}: expected two images that can be compared; {len(bad):,} of the "
            f"{len(self.files):,} images cannot be read, such as {next(iter(bad.values()))}"
        )

    def _named_groups(self, group: str | None) -> list[str]:
        """Return the name of each image's group; of an image without one, its own name."""
        if group is None:
            return [""] * len(self.names)
        if group == FOLDER:
            return [os.path.dirname(name) or "." for name in self.names]
        found = name_groups(self.names, group)
        return [one or name for one, name in zip(found, self.names, strict=True)]

    # ---- What is asked ----------------------------------------------------------------------

    def _pair(self, answer: Answer) -> tuple[int, int] | None:
        """Return the numbers of an answer's images; None where one is gone."""
        left, right = self._number.get(answer.left), self._number.get(answer.right)
        return None if left is None or right is None or left == right else (left, right)

    def _fill(self, seat: _Seat) -> None:
        seat.queue = deque(q for q in seat.queue if not self._unreadable.keys() & q.pair)
        while len(seat.queue) < _AHEAD:
            found = self._next(seat)
            if found is None:
                return
            seat.queue.append(Question(secrets.token_urlsafe(9), *found))

    def _is_through(self, seat: _Seat) -> bool:
        """Tell if a judge has seen every pair of readable images."""
        readable = [n for n in range(len(self.files)) if n not in self._unreadable]
        pairs = sum(k * (k - 1) // 2 for k in np.bincount(self._group[readable]).tolist())
        return sum(not pair & self._unreadable.keys() for pair in seat.asked) >= pairs

    def _next(self, seat: _Seat) -> tuple[int, int, str] | None:
        while seat.proposed:
            left, right, reason = seat.proposed.popleft()
            if self._suits(seat, left, right, reason):
                return left, right, reason
        for left, right in islice(self._chance, _TRIES):
            if self._suits(seat, left, right, "random"):
                return left, right, "random"
        return None

    def _suits(self, seat: _Seat, left: int, right: int, reason: str) -> bool:
        """Tell if a pair may come next: both readable, and not asked before or just now."""
        pair = frozenset((left, right))
        before = seat.recent if reason == "repeat" else seat.asked
        queued = (question.pair for question in seat.queue)
        return not (pair & self._unreadable.keys() or pair in before or pair in queued)

    def _pairs_by_chance(self) -> Iterator[tuple[int, int]]:
        """Yield pairs within groups for ever, in rounds that take each image once."""
        rng = np.random.default_rng()
        while True:
            order = rng.permutation(len(self.files))
            turn = rng.permutation(self._group.max() + 1)[self._group[order]]
            order = order[np.argsort(turn, kind="stable")]
            halves = order[: len(order) // 2 * 2].reshape(-1, 2)
            same = self._group[halves[:, 0]] == self._group[halves[:, 1]]
            yield from rng.permutation(halves[same]).tolist()

    def _forget(self, answer: Answer, pair: frozenset[int]) -> None:
        seat = self._seats.get(answer.judge)
        rows = (self._pair(a) for a in self.answers.rows if a.judge == answer.judge)
        if seat and not any(other and frozenset(other) == pair for other in rows):
            seat.asked.discard(pair)

    def _leave_out(self, images: dict[int, str]) -> None:
        for number, text in images.items():
            if self._unreadable.setdefault(number, text) is text:
                log.warning("left out: %s", text)
        self._touch()

    def _touch(self) -> None:
        self._version += 1
        self._changed.notify_all()

    def _judge_names(self) -> list[str]:
        return sorted({*self._seats, *(answer.judge for answer in self.answers.rows)})

    def _disagreed(self) -> set[int]:
        """Return the images of pairs about which answers contradict each other."""
        said: dict[frozenset[int], int] = {}
        found: set[int] = set()
        for answer in self.answers.rows:
            pair = self._pair(answer)
            if pair and answer.label in ("left", "right"):
                higher = pair[answer.label == "right"]
                if said.setdefault(frozenset(pair), higher) != higher:
                    found.update(pair)
        return found

    # ---- Background work --------------------------------------------------------------------

    def _look(self) -> None:
        """Find the images' features, once."""

        def progress(done: int, of: int) -> None:
            self._done = (done, of)

        features: Floats | None = None
        bad: list[int] = []
        try:
            features, bad = self._workers[0].call(find_features, self.files, progress=progress)
        except KpairsError as error:
            if not self._closed:
                log.warning("pairs are chosen without features of the images: %s", error)
        finally:
            self._workers[0].close()
        with self._changed:
            self._features, self._done = features, None
            self._of = [n for n in range(len(self.files)) if n not in set(bad)]
            self._leave_out({n: f"{self.names[n]}: the image cannot be read" for n in bad})

    def _think(self) -> None:
        """Fit scores whenever something changed."""
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
            images, rows, names, arguments = task
            try:
                thought = self._workers[1].call(think, *arguments)
            except KpairsError as error:
                if not self._closed:
                    log.warning("scores cannot be computed: %s", error)
                continue
            with self._changed:
                self._thought_of, self._thought_names = (images, rows), names
                self._take(thought)

    def _task(self) -> tuple[list[int], int, list[str], tuple[Any, ...]] | None:
        """Return images, number of answers, judges, arguments of `think`; None without answers."""
        there = self._of if self._features is not None else range(len(self.files))
        images = [number for number in there if number not in self._unreadable]
        place = {number: i for i, number in enumerate(images)}
        names = {name: number for number, name in enumerate(self._judge_names())}
        rows = [
            (place[pair[0]], place[pair[1]], LABELS.index(a.label), names[a.judge], a.reason)
            for a in self.answers.rows
            if a.label and (pair := self._pair(a)) and place.keys() >= set(pair)
        ]
        group = self._group[images]
        if not rows or np.bincount(group).max() < 2:
            self._thought = None
            return None
        left, right, label, judge, reason = zip(*rows, strict=True)
        answers = Judgements(
            left,
            right,
            np.array([0.0, 1.0, 0.5])[list(label)],
            len(images),
            judge,
            random=[text == "random" for text in reason],
        )
        features = None
        if self._features is not None:
            row = {number: i for i, number in enumerate(self._of)}
            features = self._features[[row[number] for number in images]]
        shares = {"random": 0.15, "repeat": self._repeat}
        if len(self._seats) > 1:
            shares["overlap"] = _SHARED
        same = self._thought is not None and self._thought_of[0] == images
        start = self._thought.scores if same and self._thought else None
        wanted = {names[name]: shares for name in self._seats}
        arguments = (answers, features, start, wanted, _BATCH, group)
        labelled = sum(bool(answer.label) for answer in self.answers.rows)
        return images, labelled, [*names], arguments

    def _take(self, thought: Thought) -> None:
        self._thought = thought
        images = self._thought_of[0]
        for judge, proposals in thought.proposals.items():
            self._seats[self._thought_names[judge]].proposed = deque(
                (images[one.left], images[one.right], one.reason) for one in proposals
            )


def _key(answer: Answer) -> str:
    return f"{answer.judge} {answer.time} {answer.label} {answer.seconds}"


def _text(file: Path, base: str) -> str:
    """Return an image's path in the table: its folder is real; a link's own name stays."""
    text = os.path.relpath(os.path.join(os.path.realpath(file.parent), file.name), base)
    return text if text == text.strip() else os.path.join(os.curdir, text)  # cells are stripped
