"""Four tasks in two worker processes, for the tests to stop, kill and read.

python tests/pool_script.py SECONDS

Prints the process of each task when it begins, and what the tasks returned.
"""

import os
import sys
import time
from contextlib import closing

from tqdm import tqdm

from kpairs.training.workers import log, run_tasks


def work(number, seconds):
    """Say something, take a while, return the number."""
    tqdm(disable=True)  # as torch.fx does where a training is lowered
    log.warning("every task says this")
    log.warning("task %d", number)
    os.write(1, b"%d\n" % os.getpid())  # print may write the line's end apart, after another's
    time.sleep(seconds)
    return number


def main(seconds):
    """Run the tasks."""
    tasks = [(number, seconds) for number in range(4)]
    with closing(run_tasks(work, tasks, processes=2)) as results:
        print(sorted(results))


if __name__ == "__main__":
    main(float(sys.argv[1]))
