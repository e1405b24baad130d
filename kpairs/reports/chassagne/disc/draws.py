"""Random generators and the device of a round of training."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kpairs import seeds


def generator(seed: int, number: int, purpose: str) -> torch.Generator:
    """Return the `torch.Generator` of a purpose ("points", "initialization", ...) in a round."""
    return torch.Generator().manual_seed(seeds.integer(seed, number, purpose))


@contextmanager
def one_thread() -> Iterator[None]:
    """Run on one CPU thread; a decorator as well.

    With two, tensors as small as these wait for each other: where anything else runs on the
    machine, one second becomes half a minute.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
