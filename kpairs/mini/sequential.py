"""Layers in a row, and the chain rule back through them."""

import torch

from kpairs.mini.module import Loss, Module


class Sequential(Module):
    """A loss and the layers before it.

    Args:
        loss: a `Loss`.
        layers: `Module`s, from the input on.

    Raises:
        TypeError: no loss, no layers, a loss among the layers, or something else than a module.
    """

    def __init__(self, loss: Loss, *layers: Module) -> None:
        if not isinstance(loss, Loss):
            raise TypeError(f"Sequential: expected a loss first, received {loss!r}")
        if not layers:
            raise TypeError("Sequential: expected layers after the loss, received none")
        for layer in layers:
            if isinstance(layer, Loss):
                raise TypeError(
                    f"Sequential: expected the loss first and layers after it, received {layer!r} "
                    "among the layers"
                )
            if not isinstance(layer, Module):
                raise TypeError(f"Sequential: expected modules as layers, received {layer!r}")
        self.loss, self.layers = loss, layers

    def forward(self, x: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Input and target -> the loss, (), and the output of the last layer.

        Each layer's output is the next one's input; the shapes are the layers' and the loss'.
        """
        for layer in self.layers:
            x = layer.forward(x)
        return self.loss.forward(x, target), x

    def backward(
        self, output: torch.Tensor, target: torch.Tensor, eta: float | None = None
    ) -> torch.Tensor:
        """Output and target of the last `forward` -> dl/dx of the network's input.

        Args:
            output: as `forward` gave it.
            target: of that output.
            eta: learning rate. Each layer with weights makes its step of gradient descent right
                after its backward, which has already used the old weights; so this is the same
                as stepping them all at the end. None makes no step.
        """
        # The network is f_m(... f_2(f_1(x))). By the chain rule dl/dx is a product of all
        # derivatives; multiplied from the loss on, each factor meets a gradient of one layer's
        # output, never a matrix of all outputs by all inputs.
        g = self.loss.backward(output, target)
        for layer in reversed(self.layers):
            g = layer.backward(g)
            if eta is not None and hasattr(layer, "gradient_step"):
                layer.gradient_step(eta)
        return g

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        """Input -> output, without the layers that are for training only."""
        for layer in self.layers:
            if not layer.only_in_training:
                x = layer.forward(x)
        return x

    def param(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [pair for layer in self.layers for pair in layer.param()]

    def gradient_reset(self) -> None:
        """Set all gradients to 0."""
        for _, gradient in self.param():
            gradient.zero_()

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, (self.loss, *self.layers)))})"

    def __str__(self) -> str:
        """Return one line per layer."""
        return "\n".join(["Sequential", *(f"  {m!r}" for m in (*self.layers, self.loss))])
