"""Layers for images: (n, channels, height, width)."""

import math
from typing import Any

import torch

from kpairs.errors import InputError, UsageError
from kpairs.mini.module import Module, Weighted


class Conv2d(Weighted):
    """Convolution with a k x k kernel, no padding, stride 1.

    Every output pixel is a `Linear` of the k x k patch under it, with the same w and b
    everywhere: y[:, o, i, j] = sum_cab x[:, c, i + a, j + b] w[o, c, a, b] + b[o].

    Shapes: x (n, inputs, h, w), y (n, outputs, h - k + 1, w - k + 1), w (outputs, inputs, k, k),
    b (outputs,).

    Args:
        inputs, outputs: numbers of channels.
        kernel: k.
        init, **drawn: see `Weighted`.

    Raises:
        TypeError: an `init` that is neither "normal" nor "uniform".
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, init: str = "normal", **drawn: Any
    ) -> None:
        self.inputs, self.outputs, self.kernel = inputs, outputs, kernel
        shape = outputs, inputs, kernel, kernel
        super().__init__(shape, inputs * kernel**2, init, **drawn)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, inputs, h, w) -> (n, outputs, h - k + 1, w - k + 1)."""
        self.expect(x, "n", self.inputs, "h", "w")
        k = self.kernel
        if min(x.shape[2:]) < k:
            raise InputError(
                f"{self!r}: expected images of at least {k}x{k}, received {tuple(x.shape)}"
            )
        # The patches are a view: unfold moves k x k windows over x without copying a number.
        patches = x.unfold(2, k, 1).unfold(3, k, 1)  # (n, inputs, h', w', k, k)
        self.shape, (n, _, high, wide, _, _) = x.shape, patches.shape
        # One patch per row (the "im2col" of Chellapilla et al., 2006), then it is a Linear.
        self.rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(n * high * wide, -1)
        y = self.rows @ self.w.flatten(1).T + self.b  # (n h' w', outputs)
        return y.view(n, high, wide, self.outputs).permute(0, 3, 1, 2)

    def backward(self, g: torch.Tensor) -> torch.Tensor:
        """(n, outputs, h - k + 1, w - k + 1) -> (n, inputs, h, w)."""
        n, c, h, w = self.shape
        k = self.kernel
        high, wide = h - k + 1, w - k + 1
        self.expect(g, n, self.outputs, high, wide)
        # As in Linear, with patches as samples ...
        g = g.permute(0, 2, 3, 1).reshape(-1, self.outputs)  # (n h' w', outputs)
        self.db = g.sum(0)
        self.dw = (g.T @ self.rows).view_as(self.w)
        dpatches = (g @ self.w.flatten(1)).view(n, high, wide, c, k, k).permute(0, 3, 1, 2, 4, 5)
        # ... but a pixel of x lies in up to k x k patches, at each place (a, b) of the kernel
        # once. Its gradient is the sum over them: every patch's number (a, b) goes back to
        # where it came from, the pixel (i + a, j + b).
        dx = g.new_zeros(self.shape)
        for a in range(k):
            for b in range(k):
                dx[:, :, a : a + high, b : b + wide] += dpatches[..., a, b]
        return dx

    def __repr__(self) -> str:
        return f"Conv2d({self.inputs}, {self.outputs}, {self.kernel}, {self.init!r})"


class MaxPool2d(Module):
    """The largest number of each p x p block; rows and columns that fill no block are left out.

    Shapes: x (n, c, h, w), y (n, c, h // p, w // p).

    Raises:
        UsageError: a size p below 1.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise UsageError(f"MaxPool2d: expected a size of at least 1, received {size}")
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, c, h, w) -> (n, c, h // p, w // p)."""
        self.expect(x, "n", "c", "h", "w")
        p = self.size
        if min(x.shape[2:]) < p:
            raise InputError(
                f"{self!r}: expected images of at least {p}x{p}, received {tuple(x.shape)}"
            )
        self.shape = x.shape
        blocks = x.unfold(2, p, p).unfold(3, p, p).flatten(4)  # (n, c, h', w', p p)
        y, self.index = blocks.max(-1)
        return y

    def backward(self, g: torch.Tensor) -> torch.Tensor:
        """(n, c, h // p, w // p) -> (n, c, h, w)."""
        # y is one of the block's numbers: its derivative by that one is 1, by the others 0. So g
        # goes to where the largest was found, the first of them where several are equal.
        self.expect(g, *self.index.shape)
        (n, c, high, wide), p = g.shape, self.size
        blocks = g.new_zeros(n, c, high, wide, p * p)
        blocks.scatter_(-1, self.index[..., None], g[..., None])
        dx = g.new_zeros(self.shape)
        inside = blocks.view(n, c, high, wide, p, p).transpose(3, 4)  # (n, c, h', p, w', p)
        dx[:, :, : high * p, : wide * p] = inside.reshape(n, c, high * p, wide * p)
        return dx

    def __repr__(self) -> str:
        return f"MaxPool2d({self.size})"


class Flatten(Module):
    """(n, ...) -> (n, the product of the others): from images to the rows that Linear takes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, ...) -> (n, size)."""
        self.expect(x, "...")
        self.shape = x.shape
        return x.flatten(1)

    def backward(self, g: torch.Tensor) -> torch.Tensor:
        """(n, size) -> (n, ...): the numbers are the same, so their gradients are."""
        self.expect(g, self.shape[0], math.prod(self.shape[1:]))
        return g.reshape(self.shape)
