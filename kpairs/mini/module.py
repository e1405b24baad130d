"""The interface of every part of a network: forward, backward, param."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

from kpairs.errors import InputError, UsageError

_COMPUTING = ("forward", "backward", "predict", "gradient_step", "gradient_reset")


def without_autograd(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a method so that autograd records nothing of its inputs."""

    def plain(value: Any) -> Any:
        return value.detach() if isinstance(value, torch.Tensor) else value

    @wraps(method)
    def alone(self: Any, *inputs: Any, **options: Any) -> Any:
        with torch.no_grad():
            # no_grad alone is not enough: a view of a tensor that requires a gradient would too.
            options = {name: plain(value) for name, value in options.items()}
            return method(self, *map(plain, inputs), **options)

    return alone


class Module(ABC):
    """A function with a derivative.

    In all of this package n is the number of samples, x a module's input, y its output, l the
    loss, a number, and g = dl/dy the gradient that comes back from whatever follows. `backward`
    is the chain rule for one module: from g it computes dl/dx, which is the g of the module
    before.

    A module remembers what its derivative needs, so `backward` follows the `forward` whose
    gradient it computes. Autograd is off in these methods, also in those of modules that you
    write: their results never require a gradient, whatever their inputs do.
    """

    only_in_training = False  # left out of predictions, as Dropout is

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in _COMPUTING:
            if name in vars(cls):
                setattr(cls, name, without_autograd(vars(cls)[name]))

    @abstractmethod
    def forward(self, *inputs: Any) -> Any:
        """x -> y; a `Loss` and a `Sequential` take the target as well."""

    @abstractmethod
    def backward(self, *inputs: Any) -> torch.Tensor:
        """dl/dy -> dl/dx, of the last `forward`; computes the parameters' gradients as well."""

    def param(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return the parameters, each a pair of tensors of one shape: value and gradient."""
        return []

    def expect(self, x: Any, *shape: int | str) -> None:
        """Refuse what is not a tensor of this shape: a letter is any size, "..." any shape.

        Raises:
            TypeError: not a tensor.
            InputError: another shape.
        """
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"{self!r}: expected a tensor, received {type(x).__name__}")
        fits = shape == ("...",) or (
            x.dim() == len(shape)
            and all(isinstance(s, str) or s == r for s, r in zip(shape, x.shape, strict=True))
        )
        if not fits:
            wanted = ", ".join(map(str, shape))
            raise InputError(f"{self!r}: expected shape ({wanted}), received {tuple(x.shape)}")

    def __getattr__(self, name: str) -> Any:
        # Python asks here only for what is not there, such as an x before the first forward.
        raise AttributeError(
            f"{type(self).__name__} has no {name!r}; what backward needs is there after forward"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Loss(Module):
    """A module that ends a network: a number that says how far its output is from the target."""

    @abstractmethod
    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Output and target -> l, a tensor of shape ()."""

    @abstractmethod
    def backward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """dl/doutput at that output and target; no `forward` needs to come before."""


class Weighted(Module):
    """A module with weights w and biases b, and their gradients dw and db.

    Two initialisations (Chassagne et al., report 002, 2.2), where d is the number of inputs that
    one output sums over. A sum of d independent terms has d times the variance of one, so the
    factor 1/sqrt(d) gives outputs that vary as much as the inputs, however wide the layer is:

        normal   w ~ N(mean, sigma) * sqrt(1/d)
        uniform  w ~ U(-1/sqrt(d), 1/sqrt(d)), which torch's own layers use as well

    Biases begin at 0.

    Args:
        shape: of w; b has its first size.
        d: inputs per output ("fan in").
        init: "normal" or "uniform".
        mean, sigma: of the normal distribution.
        generator: a `torch.Generator` to draw from; default torch's global one.
        dtype: of the parameters.

    Raises:
        TypeError: another `init`.
        UsageError: a size below 1.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        d: int,
        init: str = "normal",
        mean: float = 0.0,
        sigma: float = 1.0,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if min(shape) < 1:
            raise UsageError(
                f"{type(self).__name__}: expected sizes of at least 1, received {shape}"
            )
        self.init = init
        self.w = torch.empty(shape, dtype=dtype)
        if init == "normal":
            self.w.normal_(mean, sigma, generator=generator).mul_(d**-0.5)
        elif init == "uniform":
            self.w.uniform_(-(d**-0.5), d**-0.5, generator=generator)
        else:
            raise TypeError(
                f"{type(self).__name__}: expected init 'normal' or 'uniform', received {init!r}"
            )
        self.b = torch.empty(shape[0], dtype=dtype).zero_()
        self.dw, self.db = torch.empty_like(self.w), torch.empty_like(self.b)
        self.gradient_reset()

    def param(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(self.w, self.dw), (self.b, self.db)]

    def gradient_step(self, eta: float) -> None:
        """Take one step of gradient descent with the learning rate eta."""
        self.w -= eta * self.dw
        self.b -= eta * self.db

    def gradient_reset(self) -> None:
        """Set the gradients to 0."""
        self.dw.zero_()
        self.db.zero_()
