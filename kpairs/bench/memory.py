"""Peak memory of a runner's process."""

import re
from pathlib import Path


def peak_mib() -> float | None:
    """Return the most memory that this process has had, in MiB; None where it is not told.

    `getrusage` would count what the parent process had before this one was its own.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(peak[1]) / 2**10 if peak else None
