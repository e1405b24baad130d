"""What the page of the mini framework says whatever its rows are."""

INTRODUCTION = """\
Report 002 asks how a deep-learning framework works inside, and answers by writing one from empty
tensors: no torch.nn, no torch.optim, autograd off. `kpairs.mini` is that framework, and a little
more. It is written to be read: a file per idea, each formula derived beside the line that computes
it.

## How it works

A network is a function made of functions, and training makes one number small: the loss l. Each
module has three methods.

- `forward` computes the output y from the input x, and remembers what the derivative needs.
- `backward` receives g = dl/dy, the gradient of the loss by its output, and returns dl/dx. That is
  the g of the module before it. So one walk back through the network finds every derivative; this
  is all that the chain rule says.
- `param` gives each parameter with its gradient, which `backward` has left behind.

```python
from kpairs.mini import Linear, LossMSE, Sequential, Tanh

net = Sequential(LossMSE(), Linear(2, 25), Tanh(), Linear(25, 2), Tanh())
loss, output = net.forward(x, target)  # x (n, 2), target (n, 2)
net.backward(output, target, eta=0.1)  # gradients, and a step of gradient descent
```

Rows are samples. (The report's data are columns; its formulas are these, transposed.)

| module | forward | backward |
| --- | --- | --- |
| `Linear` | y = x wᵀ + b | dl/dx = g w, dw = gᵀ x, db = sum of g's rows |
| `ReLU` | y = max(x, 0) | dl/dx = g where x > 0, else 0 |
| `Tanh` | y = tanh x | dl/dx = g (1 - y²) |
| `Sigmoid` | y = 1 / (1 + e⁻ˣ) | dl/dx = g y (1 - y) |
| `SELU` | y = s x or s a (eˣ - 1) | dl/dx = g s where x > 0, else g (y + s a) |
| `Softmax` | y = eˣ / sum of the row's eˣ | dl/dx = y (g - sum of the row's g y) |
| `Conv2d` | a `Linear` of each patch | as `Linear`; each patch's gradient goes back to its place |
| `MaxPool2d` | the largest number of each block | g goes to where the largest was |
| `Dropout` | y = x or 0 at random, rescaled | the same factor on g |
| `LossMSE` | l = sum of (y - t)² / n | dl/dy = 2 (y - t) / n |
| `LossCrossEntropy` | l = mean of -log softmax(y) at the true class \
| dl/dy = (softmax(y) - t) / n, t one-hot |

`Sequential` holds a loss and layers; `SGD` (with momentum) and `Adam` make other steps than plain
gradient descent. Read the files in `kpairs/mini` in the order that its first lines give. Every
backward is tested against torch's autograd and against finite differences.

## The disc

1,000 points, uniform in the unit square, say whether they are inside a disc of half its area;
1,000 others test what was learned. The network is 2-25-25-25-2 with tanh after every layer, the
last included, and two outputs: outside, inside. It is trained by plain gradient descent on the
squared error, 100 epochs of 10 batches of 100. `kpairs mini train` does it in seconds, and draws a
picture; `kpairs mini study` repeats it 50 times at each of four learning rates, with tanh and with
ReLU.
"""

COLLAPSES = """\
With one dead output the other decides alone; with two the network gives one answer, and half of the
points are wrong. The reported deviations, up to 22.7, fit this. If k of 50 runs end at 50 % and the
others near 3 %, mean and deviation follow from k: for k = 3, 1, 6 and 19 at the four rates they are
5.8 ± 11.3, 3.9 ± 6.6, 8.6 ± 15.4 and 20.9 ± 23.0, where the report has 6.3 ± 11.9, 3.8 ± 7.0,
8.2 ± 15.8 and 20.5 ± 22.7. So tanh is not so much better than ReLU here as safer: where no output
dies, ReLU's errors are no larger.
"""
