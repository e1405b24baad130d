"""A deep-learning framework from nothing but tensors: report 002, part 2.

Read it in this order: `module` (what every part promises), `linear`, `activations`, `losses`,
`sequential` (the chain rule over all of them), `optimizers`, then `convolution` and `dropout`.
The report's experiment, and a network of report 001 that learns pairs of digits by this framework,
stand in `kpairs.reports.chassagne.disc`.

Every backward computes its derivative by a formula that is derived beside it. torch gives the
arithmetic of tensors and nothing else: no torch.nn, no torch.optim, and autograd is off.

How the words map to the report's code:

    report                                  here
    columns: data (features, samples)       rows: (samples, features), as torch and Keras do;
                                            w keeps its shape (outputs, inputs)
    forward_pass, backward_pass             forward, backward
    param() -> [(w, b), (dw, db)]           param() -> [(w, dw), (b, db)]; [] without parameters
    reset_gradients                         gradient_reset
    Linear(randType=, mean=, sigma=)        Linear(init=, mean=, sigma=)
    reLU, tanh, lossMSE                     ReLU, Tanh, LossMSE
    backward(output, target, eta)           the same; without eta no step is made, so that an
                                            optimizer can make it

A network that learns the larger of two numbers:

>>> import torch
>>> from kpairs.mini import Linear, LossMSE, Sequential, Tanh
>>> numbers = torch.Generator().manual_seed(0)
>>> x = torch.empty(200, 2).uniform_(generator=numbers)
>>> larger = x.amax(1, keepdim=True)
>>> net = Sequential(
...     LossMSE(), Linear(2, 8, generator=numbers), Tanh(), Linear(8, 1, generator=numbers)
... )
>>> for epoch in range(500):
...     loss, output = net.forward(x, larger)
...     gradient = net.backward(output, larger, eta=0.2)
>>> loss.item() < 0.02
True
"""

from kpairs.mini.activations import SELU, ReLU, Sigmoid, Softmax, Tanh
from kpairs.mini.convolution import Conv2d, Flatten, MaxPool2d
from kpairs.mini.dropout import Dropout
from kpairs.mini.linear import Linear
from kpairs.mini.losses import LossCrossEntropy, LossMSE
from kpairs.mini.module import Loss, Module, Weighted
from kpairs.mini.optimizers import SGD, Adam
from kpairs.mini.sequential import Sequential

__all__ = [
    "SELU",
    "SGD",
    "Adam",
    "Conv2d",
    "Dropout",
    "Flatten",
    "Linear",
    "Loss",
    "LossCrossEntropy",
    "LossMSE",
    "MaxPool2d",
    "Module",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "Weighted",
]
