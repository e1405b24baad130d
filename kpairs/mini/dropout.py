"""Dropout: what a layer may not rely on."""

import torch

from kpairs.errors import UsageError
from kpairs.mini.module import Module


class Dropout(Module):
    """Each number is 0 with probability `rate`, else divided by 1 - rate (Srivastava et al., 2014).

    The division keeps every number's mean, so that predictions leave the layer out.

    Args:
        rate: in [0, 1).
        generator: a `torch.Generator` to draw from; default torch's global one.

    Raises:
        UsageError: a rate outside that.
    """

    only_in_training = True

    def __init__(self, rate: float, generator: torch.Generator | None = None) -> None:
        if not 0 <= rate < 1:
            raise UsageError(f"Dropout: expected a rate of at least 0 and below 1, received {rate}")
        self.rate, self.generator = rate, generator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape -> the same shape."""
        self.expect(x, "...")
        kept = x.new_empty(x.shape).bernoulli_(1 - self.rate, generator=self.generator)
        self.factor = kept / (1 - self.rate)
        return x * self.factor

    def backward(self, g: torch.Tensor) -> torch.Tensor:
        """Any shape -> the same shape: y = factor x, so dl/dx = factor g."""
        self.expect(g, *self.factor.shape)
        return g * self.factor

    def __repr__(self) -> str:
        return f"Dropout({self.rate})"
