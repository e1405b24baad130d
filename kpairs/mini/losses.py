"""Losses: the number that training makes small."""

import torch

from kpairs.errors import InputError
from kpairs.mini.module import Loss


class LossMSE(Loss):
    """Squared error: sum over the outputs, mean over the n samples.

    Shapes: output and target (n, outputs). A mean over the outputs too, which other frameworks
    take, would be this divided by their number.
    """

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """(n, outputs) twice -> ()."""
        self.expect(output, "n", "outputs")
        self.expect(target, *output.shape)
        return ((output - target) ** 2).sum() / len(output)

    def backward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """(n, outputs) twice -> (n, outputs)."""
        # l = 1/n sum_ij (o_ij - t_ij)², so dl/do_ij = 2 (o_ij - t_ij) / n.
        self.expect(target, *output.shape)
        return 2 * (output - target) / len(output)


class LossCrossEntropy(Loss):
    """-log of the probability that softmax gives the true class; mean over the n samples.

    Shapes: output (n, classes), any numbers ("logits"); target (n,), class numbers, int64.
    """

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """(n, classes) and (n,) -> ()."""
        # log softmax(o)_t = o_t - log sum_k e^(o_k).
        self._check(output, target)
        logits = output.gather(1, target[:, None])[:, 0]
        return (output.logsumexp(1) - logits).sum() / len(output)

    def backward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """(n, classes) and (n,) -> (n, classes)."""
        # Of one sample l = log sum_k e^(o_k) - o_t. The first term's derivative by o_j is
        # e^(o_j) / sum_k e^(o_k) = softmax(o)_j, the second's is 1 for j = t and else 0, so
        #   dl/do_j = (softmax(o)_j - [j = t]) / n:
        # what the network believes minus what is true.
        self._check(output, target)
        g = (output - output.logsumexp(1, keepdim=True)).exp()
        g[range(len(g)), target] -= 1
        return g / len(output)

    def _check(self, output: torch.Tensor, target: torch.Tensor) -> None:
        self.expect(output, "n", "classes")
        self.expect(target, len(output))
        classes = output.shape[1]
        if target.is_floating_point() or ((target < 0) | (target >= classes)).any():
            raise InputError(
                f"{self!r}: expected class numbers from 0 to {classes - 1} as int64, received "
                f"{target.dtype} from {target.min():g} to {target.max():g}"
            )
