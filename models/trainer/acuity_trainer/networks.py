"""The networks: a plain chain of 3x3 convolutions at low resolution, then a pixel shuffle.

Trained over-parameterised and exported plain. Every convolution of the chain is
held as a wide one times a 1x1 projection, plus identity (Bhardwaj et al.,
"Collapsible Linear Blocks for Super-Efficient Super Resolution", SESR, 2022);
the product is formed on the *weights* in each step, so training costs little more
than the plain chain and the exported graph is nothing but Conv and Relu.

The residual is not the repeated input but a 5x5 interpolation kernel for each
of the four output phases, begun as bicubic and trained along: a fresh network is
already as good as the plain scaler.

No layer pads its own input: the picture is continued by its edge pixels once, by
as much as all layers together reach. Zero padding inside would leave a frame of
wrong shade around every picture, which on black borders can be seen.
"""

import math

import torch
import torch.nn.functional as functional
from torch import nn

from . import contract

# Reach of the two first kernels, which are 5x5.
PAD = 2
# swscale's own bicubic has B = 0, C = 0.6.
BICUBIC_A = -0.6


def reach(body_layers):
    """How many low pixels an output pixel looks away: what the picture is continued by at each side."""
    return PAD + body_layers + 1


def bicubic_phases(a=BICUBIC_A):
    """The four 5x5 kernels that double a picture, [4, 1, 5, 5]; order of phases: row-major, as the pixel shuffle's."""

    def cubic(x):
        x = abs(x)
        if x < 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

    # Output sample 2i lies a quarter of a low pixel before sample i, 2i+1 a quarter after.
    rows = torch.tensor([[cubic(tap - 2 - offset) for tap in range(5)] for offset in (-0.25, 0.25)])
    rows = rows / rows.sum(1, keepdim=True)
    return torch.stack([torch.outer(rows[y], rows[x]) for y in range(2) for x in range(2)])[:, None]


class CollapsibleConv(nn.Module):
    """A k x k convolution trained as wide k x k times 1x1 (plus identity where shapes allow)."""

    def __init__(self, inputs, outputs, size, wide, identity=False, gain=1.414):
        super().__init__()
        self.expand = nn.Parameter(torch.randn(wide, inputs, size, size) / math.sqrt(inputs * size * size))
        self.project = nn.Parameter(torch.randn(outputs, wide) * gain / math.sqrt(wide))
        self.bias = nn.Parameter(torch.zeros(outputs))
        kernel = torch.zeros(outputs, inputs, size, size)
        if identity:
            for channel in range(min(inputs, outputs)):
                kernel[channel, channel, size // 2, size // 2] = 1.0
        self.register_buffer("identity", kernel, persistent=False)

    def weight(self):
        """The plain kernel [outputs, inputs, size, size] that it collapses to."""
        outputs = self.project.shape[0]
        return (self.project @ self.expand.flatten(1)).view(outputs, *self.expand.shape[1:]) + self.identity

    def forward(self, x):
        return functional.conv2d(x, self.weight(), self.bias)


class UpscaleNet(nn.Module):
    """x2 luma network of one tier. Works on code values / 255, float32 [n, 1, h, w] -> [n, 1, 2h, 2w]."""

    def __init__(self, channels, body_layers, wide_factor=4):
        super().__init__()
        phases = contract.SCALE**2
        self.skip = nn.Conv2d(1, phases, 2 * PAD + 1)
        with torch.no_grad():
            self.skip.weight.copy_(bicubic_phases())
            self.skip.bias.zero_()
        self.head = CollapsibleConv(1, channels, 2 * PAD + 1, wide_factor * channels)
        self.body = nn.ModuleList(
            CollapsibleConv(channels, channels, 3, wide_factor * channels, identity=True, gain=0.3)
            for _ in range(body_layers)
        )
        self.tail = CollapsibleConv(channels, phases, 3, wide_factor * channels, gain=0.05)

    def forward(self, x):
        inner = reach(len(self.body)) - PAD
        padded = functional.pad(x, (inner + PAD,) * 4, mode="replicate")
        features = functional.relu(self.head(padded))
        for layer in self.body:
            features = functional.relu(layer(features))
        plain = self.skip(padded[..., inner:-inner, inner:-inner])
        return functional.pixel_shuffle(self.tail(features) + plain, contract.SCALE)

    def collapsed(self):
        """Plain arrays in graph order: [(name, weight, bias)], float64 numpy, for the exporter."""
        layers = [("skip", self.skip.weight, self.skip.bias), ("head", self.head.weight(), self.head.bias)]
        layers += [(f"body{i}", layer.weight(), layer.bias) for i, layer in enumerate(self.body)]
        layers.append(("tail", self.tail.weight(), self.tail.bias))
        return [
            (name, weight.detach().double().numpy(), bias.detach().double().numpy()) for name, weight, bias in layers
        ]


def build(tier):
    """An untrained network of a tier of the contract."""
    return UpscaleNet(**contract.TIERS[tier])


def parameters_of(layers):
    """How many trained numbers an exported network holds, from `collapsed()`."""
    return sum(weight.size + bias.size for _, weight, bias in layers)


def macs_per_pixel(layers):
    """Multiply-accumulates for each *source* pixel, from `collapsed()`."""
    return sum(weight.size for _, weight, _ in layers)
