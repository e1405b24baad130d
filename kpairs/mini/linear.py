"""The fully connected layer."""

from typing import Any

import torch

from kpairs.mini.module import Weighted


class Linear(Weighted):
    """Fully connected layer: y = x wᵀ + b.

    Shapes: x (n, inputs), y (n, outputs), w (outputs, inputs), b (outputs,).

    In the report's column layout this is y = w x + b with x (inputs, n): the same w and b, and
    every formula below transposed.

    Args:
        inputs, outputs: sizes.
        init, **drawn: see `Weighted`.

    Raises:
        TypeError: an `init` that is neither "normal" nor "uniform".
    """

    def __init__(self, inputs: int, outputs: int, init: str = "normal", **drawn: Any) -> None:
        self.inputs, self.outputs = inputs, outputs
        super().__init__((outputs, inputs), inputs, init, **drawn)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, inputs) -> (n, outputs)."""
        self.expect(x, "n", self.inputs)
        self.x = x
        return x @ self.w.T + self.b

    def backward(self, g: torch.Tensor) -> torch.Tensor:
        """(n, outputs) -> (n, inputs); dw and db are overwritten, not added to."""
        # Of one sample i, y_ij = sum_k x_ik w_jk + b_j. So
        #   dy_ij/db_j  = 1     and  dl/db_j  = sum_i g_ij       a bias acts on every sample
        #   dy_ij/dw_jk = x_ik  and  dl/dw_jk = sum_i g_ij x_ik  = (gᵀ x)_jk
        #   dy_ij/dx_ik = w_jk  and  dl/dx_ik = sum_j g_ij w_jk  = (g w)_ik
        self.expect(g, len(self.x), self.outputs)
        self.db = g.sum(0)
        self.dw = g.T @ self.x
        return g @ self.w

    def __repr__(self) -> str:
        return f"Linear({self.inputs}, {self.outputs}, {self.init!r})"
