"""A sitting of people who compare a folder's images: what is asked, what follows.

Methods may be called from several threads. What they return goes to a page as JSON: images by
number, never a path of the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Condition
from typing import Any, Self

import numpy as np

from kpairs.errors import InputError, UsageError
from kpairs.exports.web.label.answers import LABELS, Answer, Answers
from kpairs.exports.web.label.asking import Question, Seat, pairs_by_chance
from kpairs.exports.web.label.images import Images
from kpairs.exports.web.label.pictures import SIZES, Shown
from kpairs.exports.web.label.scoring import Scoring

_TARGET = 0.8  # expected tau at which the page offers to stop
_LONGEST_LOOK = 86_400  # seconds
_SHARES = ("agreement", "consistency", "right_side")


class Session:
    """A sitting, by arguments as of `Sitting`; a context manager, as background work ends with it.

    Raises InputError for fewer than two images, or a table that cannot be continued, KpairsError
    where another process holds the table.
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
        self.question, self.ties = question, ties
        self.images = Images(folder, out, group, white)
        self.answers = Answers(out)
        chance = pairs_by_chance(self.images)
        self._seats = {name: Seat(self.images, chance) for name in judges}
        pairs = [self.images.pair(answer) for answer in self.answers.rows]
        for answer, pair in zip(self.answers.rows, pairs, strict=True):
            if pair and answer.judge in self._seats:
                self._seats[answer.judge].remember(frozenset(pair))
        self._changed = Condition()
        self._scoring = Scoring(self.images, self.answers, self._seats, repeat, self._changed)
        # Sentences about images and answers that are left out.
        self.notes = [*self.images.notes, *filter(None, [self.answers.mended])]
        if gone := pairs.count(None):
            self.notes.append(
                f"{gone} answers of {self.answers.path.name} are about images that are gone. "
                "They stay in the table, and do not count here"
            )

    def __enter__(self) -> Self:
        self._scoring.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._scoring.close()
        self.answers.close()

    # ---- A judge's page --------------------------------------------------------------------

    def state(self, judge: str) -> dict[str, Any]:
        """Return what a judge's page shows: the pairs to come, and how far the order is."""
        with self._changed:
            seat = self._seats[judge]
            seat.fill()
            own = sum(a.judge == judge and bool(a.label) for a in self.answers.rows)
            return {
                "queue": [{"id": q.id, "left": q.left, "right": q.right} for q in seat.queue],
                "done": not seat.queue and seat.is_through(),
                "judged": own,
                **self.progress(),
            }

    def progress(self) -> dict[str, Any]:
        """Return how far the order is: counts, expected tau, its gain, a reason to stop."""
        with self._changed:
            standing = self._scoring.standing
            scores = standing and standing.scores
            return {
                "answers": sum(bool(answer.label) for answer in self.answers.rows),
                "images": len(self.images.readable()),
                "tau": scores and scores.expected_tau,
                "gain": scores and scores.gain,
                "last": scores and scores.last,
                "enough": scores and scores.stop(_TARGET),
                "features": self._scoring.done,
                "unreadable": len(self.images.unreadable),
            }

    def answer(self, judge: str, question: str, label: str, seconds: float) -> dict[str, Any]:
        """Keep an answer, on disk, and return the new state; one that is sent twice is kept once.

        `label` is left, right, tie, or "" for a pair that is skipped. Raises InputError for a pair
        that is not asked, or another label; `Answers.append` tells what else.
        """
        allowed = (*LABELS[: 3 if self.ties else 2], "")
        if label not in allowed:
            raise InputError(f"label: expected one of {', '.join(allowed[:-1])}, or nothing")
        with self._changed:
            seat = self._seats[judge]
            asked = seat.find(question)
            if asked is not None:
                self.answers.append(
                    Answer(
                        left=self.images.cells[asked.left],
                        right=self.images.cells[asked.right],
                        label=label,
                        judge=judge,
                        group=self.images.groups[asked.left],
                        time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                        seconds=f"{min(max(seconds, 0), _LONGEST_LOOK):.1f}",
                        reason=asked.reason,
                    )
                )
                seat.settle(asked)
                self._scoring.touch()
            return self.state(judge)

    def undo(self, judge: str) -> dict[str, Any]:
        """Take a judge's last answer back, and ask its pair again, sides as they were.

        Raises InputError where there is none, or its images are gone.
        """
        with self._changed:
            rows = self.answers.rows
            last = next((r for r in reversed(range(len(rows))) if rows[r].judge == judge), None)
            if last is None:
                raise InputError("there is no answer to take back")
            if (pair := self.images.pair(rows[last])) is None or (
                self.images.unreadable.keys() & set(pair)
            ):
                raise InputError("an image of the last answer is no longer there")
            removed = self.answers.remove(last)
            self._forget(removed)
            self._seats[judge].queue.appendleft(Question(*pair, removed.reason))
            self._scoring.touch()
            return self.state(judge)

    def picture(self, number: int, longest: int) -> Shown:
        """Return an image, at most so many pixels a side; an unreadable one is asked no more.

        Raises InputError for no such image, a size that is not in `SIZES`, or an unreadable one.
        """
        if not 0 <= number < len(self.images.files) or longest not in (*SIZES, 0):
            raise InputError("no such image")
        try:
            return self.images.shown(number, longest)
        except InputError as error:
            with self._changed:
                self.images.leave_out(number, str(error))
                self._scoring.touch()
            raise InputError("this image cannot be read") from error

    # ---- The starter's page -----------------------------------------------------------------

    def ranking(self) -> dict[str, Any]:
        """Return all images in order, the highest first; none before the first fit."""
        with self._changed:
            standing, disagreed = self._scoring.standing, self._disagreed()
        if standing is None:
            return {"images": [], "answers": 0, "notes": []}
        rows = standing.scores.rows()
        for row in rows:
            number = standing.images[row.pop("file")]
            row |= {name: round(row[name], 4) for name in ("score", "low", "high")}
            row |= {"number": number, "name": self.images.names[number]}
            row["disagreed"] = number in disagreed
        notes = [*self.notes, *self.images.unreadable.values(), *standing.scores.notes]
        return {"images": rows, "answers": standing.answers, "notes": notes}

    def comparisons(self, number: int) -> list[dict[str, Any]]:
        """Return the answers about an image, the newest first."""
        if not 0 <= number < len(self.images.files):
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
                if answer.label and (pair := self.images.pair(answer)) and number in pair
            ]
        return found[::-1]

    def withdraw(self, row: int, key: str) -> None:
        """Remove one answer of anybody's: its row, and its key as `comparisons` told it.

        Raises InputError where another answer has come to stand in that row.
        """
        with self._changed:
            rows = self.answers.rows
            if not 0 <= row < len(rows) or _key(rows[row]) != key:
                raise InputError("that answer is not there any more")
            removed = self.answers.remove(row)
            self._forget(removed)
            self._scoring.touch()

    def judges(self) -> dict[str, Any]:
        """Return counts of all judges, and their agreement where there are answers to compare."""
        with self._changed:
            rows = [answer for answer in self.answers.rows if answer.label]
            standing, names = self._scoring.standing, self._scoring.judges()
        known: dict[str, dict[str, Any]] = {name: {} for name in names}
        alpha = float("nan")
        if standing is not None:
            alpha = standing.scores.alpha
            known |= {standing.judges[one.judge]: one.row() for one in standing.scores.judges}
        judges = [
            {
                "name": name,
                "answers": sum(answer.judge == name for answer in rows),
                "last": max((a.time for a in rows if a.judge == name), default=""),
                **{part: known[name].get(part) for part in _SHARES},
            }
            for name in names
        ]
        return {"judges": judges, "alpha": None if np.isnan(alpha) else alpha}

    def pairs_table(self) -> list[dict[str, str]]:
        """Return all answers about images that are there, with their names below the folder."""
        with self._changed:
            return [
                {
                    **answer._asdict(),
                    "left": self.images.names[pair[0]],
                    "right": self.images.names[pair[1]],
                }
                for answer in self.answers.rows
                if answer.label and (pair := self.images.pair(answer))
            ]

    def _forget(self, answer: Answer) -> None:
        """Let a judge be asked about a pair again, if no other answer of theirs is about it."""
        seat, pair = self._seats.get(answer.judge), self.images.pair(answer)
        rows = (self.images.pair(a) for a in self.answers.rows if a.judge == answer.judge)
        if seat and pair and {*pair} not in ({*other} for other in rows if other):
            seat.forget(frozenset(pair))

    def _disagreed(self) -> set[int]:
        """Return the images of pairs about which answers contradict each other."""
        said: dict[frozenset[int], int] = {}
        found: set[int] = set()
        for answer in self.answers.rows:
            pair = self.images.pair(answer)
            if pair and answer.label in ("left", "right"):
                higher = pair[answer.label == "right"]
                if said.setdefault(frozenset(pair), higher) != higher:
                    found.update(pair)
        return found


def _key(answer: Answer) -> str:
    return f"{answer.judge} {answer.time} {answer.label} {answer.seconds}"
