"""The lock that gives a folder to one process."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from kpairs.errors import KpairsError
from kpairs.files import write_json


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock during a block; the system frees it when the process ends, however.

    Raises:
        KpairsError: another process holds it; the message names that process.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    holder = folder / ".holder.json"
    try:
        lock.acquire()
    except Timeout:
        raise KpairsError(
            f"{folder} is in use by {_describe(holder)}; wait for it or stop it"
        ) from None
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(holder, {"pid": os.getpid(), "host": socket.gethostname(), "since": since})
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _describe(holder: Path) -> str:
    try:
        known = json.loads(holder.read_text())
        return f"process {known['pid']} on {known['host']} since {known['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it is just starting or just ending
        return "another process"
