"""Activation functions. All but Softmax act on each number alone: x, y and g have one shape."""

from abc import abstractmethod

import torch

from kpairs.mini.module import Module


class Elementwise(Module):
    """y = f(x) for each number, any shape.

    y_i depends on x_i alone, so the chain rule has one term: dl/dx_i = g_i f'(x_i).
    """

    y: torch.Tensor

    @abstractmethod
    def function(self, x: torch.Tensor) -> torch.Tensor:
        """Return f(x)."""

    @abstractmethod
    def derivative(self) -> torch.Tensor:
        """Return f'(x) of the last `forward`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape -> the same shape."""
        self.expect(x, "...")
        self.y = self.function(x)
        return self.y

    def backward(self, g: torch.Tensor) -> torch.Tensor:
        """Any shape -> the same shape."""
        self.expect(g, *self.y.shape)
        return g * self.derivative()


class ReLU(Elementwise):
    """max(x, 0)."""

    def function(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(min=0)

    def derivative(self) -> torch.Tensor:
        """1 where x > 0, else 0; at 0 itself, where there is none, 0 as in the report."""
        return self.y > 0


class Tanh(Elementwise):
    """(eˣ - e⁻ˣ) / (eˣ + e⁻ˣ), in (-1, 1)."""

    def function(self, x: torch.Tensor) -> torch.Tensor:
        return x.tanh()

    def derivative(self) -> torch.Tensor:
        """1 - y²: what was computed already gives the derivative."""
        # With s = eˣ - e⁻ˣ and c = eˣ + e⁻ˣ: y = s/c, s' = c and c' = s, so
        #   y' = (c c - s s) / c² = 1 - y².
        # The report computes the same number as 4 c⁻², because c² - s² = 4.
        return 1 - self.y**2


class Sigmoid(Elementwise):
    """1 / (1 + e⁻ˣ), in (0, 1)."""

    def function(self, x: torch.Tensor) -> torch.Tensor:
        return 1 / (1 + (-x).exp())

    def derivative(self) -> torch.Tensor:
        """y (1 - y)."""
        # y' = e⁻ˣ / (1 + e⁻ˣ)² = y · e⁻ˣ / (1 + e⁻ˣ), and the last factor is 1 - y.
        return self.y * (1 - self.y)


class SELU(Elementwise):
    """s x where x > 0, else s a (eˣ - 1) (Klambauer et al., 2017, arXiv:1706.02515).

    With these s and a, a deep network keeps its numbers at mean 0 and variance 1. Report 001's
    networks have it.
    """

    SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772

    def function(self, x: torch.Tensor) -> torch.Tensor:
        # The clamp keeps eˣ finite for the large x that do not need it.
        below = self.ALPHA * (x.clamp(max=0).exp() - 1)
        return self.SCALE * (x.clamp(min=0) + below)

    def derivative(self) -> torch.Tensor:
        """s where x > 0, else s a eˣ, which is y + s a."""
        below = self.y + self.SCALE * self.ALPHA
        return below.where(self.y <= 0, self.SCALE)


class Softmax(Module):
    """y_j = e^(x_j) / sum_k e^(x_k): each row becomes probabilities.

    To train on classes take `LossCrossEntropy` without it: that loss applies softmax itself.
    Report 000 has both, one after the other, which bounds its gradients.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, classes) -> (n, classes)."""
        self.expect(x, "n", "classes")
        # A number subtracted from the whole row cancels out of the fraction; with the largest
        # one no exponential overflows.
        e = (x - x.amax(1, keepdim=True)).exp()
        self.y = e / e.sum(1, keepdim=True)
        return self.y

    def backward(self, g: torch.Tensor) -> torch.Tensor:
        """(n, classes) -> (n, classes)."""
        # Every y_j of a row depends on every x_k:
        #   dy_j/dx_k = y_j ([j = k] - y_k), so
        #   dl/dx_k   = sum_j g_j y_j ([j = k] - y_k) = y_k (g_k - sum_j g_j y_j).
        self.expect(g, *self.y.shape)
        return self.y * (g - (g * self.y).sum(1, keepdim=True))
