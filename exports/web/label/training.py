"""A network trained from the answers, in the background, when the starter's page asks for it."""

from __future__ import annotations

import logging
import os
import shlex
import time
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from kpairs.data.settings import WHITE
from kpairs.errors import InputError, KpairsError
from kpairs.exports.web.label.background import Background, Progress

if TYPE_CHECKING:
    from kpairs.exports.runtime import PairModel

log = logging.getLogger("kpairs.label")


class Training:
    """The trainings of a sitting, one at a time.

    Args:
        table: the answers, as its path was typed.
        folder: the images, as their path was typed.
        white: level of 16-bit grey that is white.

    Attributes:
        file: the exported network of the last training; None before.
    """

    def __init__(self, table: Path, folder: Path, white: int = WHITE) -> None:
        self.file: Path | None = None
        self._table, self._folder, self._white = table, folder, white
        self._lock = Lock()
        self._worker: Background | None = None
        self._closed, self._started = False, 0.0
        self._told: dict[str, Any] = {"state": "none"}
        self._explaining = Lock()
        self._explains: tuple[Path, PairModel] | None = None

    def command(self) -> dict[str, str]:
        """Return the command that does the same, and the folder in which it is exact."""
        if self._table.is_absolute():  # no path of the disk goes to a page
            return {
                "train": train_command(Path(self._table.name), self._white),
                "where": f"where {self._table.name} is",
            }
        command = train_command(self._table, self._white)
        return {"train": command, "where": "where kpairs label was started"}

    def start(self) -> None:
        """Begin to train; InputError tells that a training runs already."""
        with self._lock:
            if self._told["state"] == "running" or self._closed:
                raise InputError("a training runs already")
            self._told, self._started = {"state": "running", "step": 1}, time.monotonic()
            self._worker = Background()
            Thread(target=self._train, args=(self._worker,), daemon=True).start()

    def told(self) -> dict[str, Any]:
        """Return the `state` (none, running, done or failed), and what belongs to it.

        Of a running one `seconds`, and the `step` of `train_network`; of a failed one `error`; of a
        finished one `run`, the command to `rank` with, `wrong`: share of held-out pairs, or None,
        and `pairs`: their number.
        """
        with self._lock:
            running = self._told["state"] == "running"
            return {**self._told, "seconds": round(time.monotonic() - self._started) * running}

    def explained(self, file: str, name: str) -> bytes:
        """Return a PNG of the places that raise or lower a named image's score."""
        from kpairs.exports.runtime import PairModel  # imports onnxruntime, once it is needed
        from kpairs.exports.runtime.heat import explanation_sheet, png

        with self._explaining:
            if self.file is None or not self.file.is_file():
                raise InputError("no network was trained here")
            if self._explains is None or self._explains[0] != self.file:
                self._explains = self.file, PairModel.load(self.file)
            model = self._explains[1]
        try:
            found = model.explain(file)
        except InputError as error:  # no path of the disk goes to a page
            raise InputError(str(error).replace(file, name)) from error
        return png(explanation_sheet(found, [name]))

    def close(self) -> None:
        """End the training that runs."""
        with self._lock:
            self._closed, worker = True, self._worker
        if worker is not None:
            worker.close()

    def _train(self, worker: Background) -> None:
        def progress(step: int, _: int) -> None:
            with self._lock:
                self._told["step"] = step

        try:
            found = worker.call(train_network, str(self._table), self._white, progress=progress)
        except KpairsError as error:
            if not self._closed:
                log.warning("no network was trained: %s", error)
            text = str(error)
            for place in (self._table.parent, self._folder):  # no path of the disk goes to a page
                if place.is_absolute():
                    text = text.replace(f"{place}{os.sep}", "").replace(str(place), place.name)
            told: dict[str, Any] = {"state": "failed", "error": text}
        else:
            run = found.pop("run")
            self.file = Path(found.pop("file"))
            log.warning("saved in %s; next: kpairs rank %s IMAGES", run, shlex.quote(run))
            rank = f"kpairs rank {shlex.quote(run)} NEW_IMAGES"
            told = {"state": "done", "run": run, "rank": rank, **found}
        finally:
            worker.close()
        with self._lock:
            self._told = told


def train_command(table: Path, white: int) -> str:
    """Return the command that trains on a table."""
    name = shlex.quote(f"./{table}" if str(table).startswith("-") else str(table))
    return f"kpairs train --data {name}" + f" --white {white}" * (white != WHITE)


def train_network(table: str, white: int, progress: Progress) -> dict[str, Any]:
    """Train a linear score on the table, and export it; runs in a background process.

    The steps are 1, importing Keras, 2, training, and 3, exporting.

    Returns `run`, the run folder, `file`, the exported network, and of `pairs` held-out ones the
    share `wrong`, None where there are none.
    """
    import kpairs

    train = kpairs.train  # imports Keras, in this process alone
    progress(2, 3)
    run = train("linear", data=table, white=white, verbose=0)
    progress(3, 3)
    (exported,) = kpairs.export(run)
    row = run.metrics["rounds"][0]
    error = row.get("cross_validated") or {"comparison_error_pct": None, "pairs": 0}
    wrong = error["comparison_error_pct"]
    return {
        "run": str(run.path),
        "file": str(exported.path),
        "wrong": None if wrong is None else wrong / 100,
        "pairs": error["pairs"],
    }
