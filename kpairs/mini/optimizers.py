"""Better steps than -eta * gradient, for after `Sequential.backward` without eta."""

import torch

from kpairs.mini.module import Module


class SGD:
    """Gradient descent with momentum: v = momentum v + g, then p = p - eta v.

    v is a sum of past gradients that fade by the factor `momentum`: what they agree on grows up
    to 1 / (1 - momentum) times, what they contradict each other in cancels out.

    Args:
        net: a module; its parameters and their gradients are read anew at each step.
        eta: learning rate.
        momentum: in [0, 1); 0 is the report's plain step.
    """

    def __init__(self, net: Module, eta: float, momentum: float = 0.0) -> None:
        self.net, self.eta, self.momentum = net, eta, momentum
        self.v = [torch.zeros_like(p) for p, _ in net.param()]

    @torch.no_grad()
    def step(self) -> None:
        """Change every parameter once, in place."""
        for (p, g), v in zip(self.net.param(), self.v, strict=True):
            v.mul_(self.momentum).add_(g)
            p -= self.eta * v

    def __repr__(self) -> str:
        return f"SGD({self.net!r}, {self.eta}, {self.momentum})"


class Adam:
    """Adam (Kingma and Ba, 2015, arXiv:1412.6980), with coupled L2.

    Each number steps by its mean gradient m over the root of its mean squared gradient v: by
    about eta, whatever the scale of its gradients. Both are running means that begin at 0; after
    t steps they hold 1 - betaᵗ of the weight of a true mean, and are divided by that.

    Args:
        net: a module.
        eta: learning rate.
        betas: how much of m and of v is kept per step.
        epsilon: keeps the division finite.
        l2: adds l2 * p to each parameter's gradient, as torch's `weight_decay` does.
    """

    def __init__(
        self,
        net: Module,
        eta: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        l2: float = 0.0,
    ) -> None:
        self.net, self.eta, self.betas, self.epsilon, self.l2 = net, eta, betas, epsilon, l2
        self.t = 0
        self.m = [torch.zeros_like(p) for p, _ in net.param()]
        self.v = [torch.zeros_like(p) for p, _ in net.param()]

    @torch.no_grad()
    def step(self) -> None:
        """Change every parameter once, in place."""
        self.t += 1
        keep_m, keep_v = self.betas
        for (p, g), m, v in zip(self.net.param(), self.m, self.v, strict=True):
            g = g + self.l2 * p
            m.mul_(keep_m).add_((1 - keep_m) * g)
            v.mul_(keep_v).add_((1 - keep_v) * g**2)
            mean, square = m / (1 - keep_m**self.t), v / (1 - keep_v**self.t)
            p -= self.eta * mean / (square.sqrt() + self.epsilon)

    def __repr__(self) -> str:
        return f"Adam({self.net!r}, {self.eta}, {self.betas}, {self.epsilon}, {self.l2})"
