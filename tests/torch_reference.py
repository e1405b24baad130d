"""The reports' networks in plain torch, transcribed from their specification.

An oracle for numeric parity: written independently of `kpairs.archs`, never imported by it.
Images are (batch, 1, 14, 14).
"""

import torch
from torch import nn


class Simple(nn.Module):
    """Report 001, Simple CNN."""

    def __init__(self, dropout=0.15):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 32, 5), nn.Conv2d(32, 64, 3)
        self.fc1, self.fc2, self.fc3 = nn.Linear(64, 230), nn.Linear(230, 100), nn.Linear(100, 2)
        self.drop = nn.Dropout(dropout)

    def forward(self, left, right):
        x = torch.cat([left, right], dim=1)
        x = torch.selu(nn.functional.max_pool2d(self.conv1(x), 2))
        x = torch.selu(nn.functional.max_pool2d(self.conv2(x), 3)).flatten(1)
        x = self.drop(torch.selu(self.fc1(x)))
        x = self.drop(torch.selu(self.fc2(x)))
        return {"comparison": self.fc3(x)}


class AuxWS(nn.Module):
    """Report 001, Weight Sharing with Auxiliary Loss; without it the same network."""

    def __init__(self, dropout=0.15, digits=True):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 5), nn.Conv2d(32, 64, 3)
        self.shared1, self.shared2 = nn.Linear(64, 120), nn.Linear(120, 10)
        self.fc1, self.fc2, self.fc3 = nn.Linear(20, 230), nn.Linear(230, 100), nn.Linear(100, 2)
        self.drop, self.digits = nn.Dropout(dropout), digits

    def image(self, x):
        x = torch.selu(nn.functional.max_pool2d(self.conv1(x), 2))
        x = torch.selu(nn.functional.max_pool2d(self.conv2(x), 3)).flatten(1)
        x = self.drop(torch.selu(self.shared1(x)))
        return self.drop(torch.selu(self.shared2(x)))

    def forward(self, left, right):
        left_digit, right_digit = self.image(left), self.image(right)
        x = torch.cat([left_digit, right_digit], dim=1)
        x = self.drop(torch.selu(self.fc1(x)))
        x = self.drop(torch.selu(self.fc2(x)))
        outputs = {"comparison": self.fc3(x)}
        if self.digits:
            outputs |= {"left_digit": left_digit, "right_digit": right_digit}
        return outputs


REFERENCES = {
    "simple": Simple,
    "ws": lambda dropout=0.15: AuxWS(dropout, digits=False),
    "auxws": AuxWS,
}


def copy_weights(model, reference):
    """Copy a Keras model's weights into the reference, layer by layer in order."""
    sources = [layer for layer in model.layers if hasattr(layer, "kernel")]
    targets = [m for m in reference.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(sources) == len(targets)
    with torch.no_grad():
        for source, target in zip(sources, targets, strict=True):
            kernel, bias = (torch.as_tensor(w) for w in source.get_weights())
            order = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
            assert target.weight.shape == kernel.permute(order).shape
            target.weight.copy_(kernel.permute(order))
            target.bias.copy_(bias)


def as_nchw(images):
    return torch.as_tensor(images).permute(0, 3, 1, 2)
