"""The networks, every tier of them: luma in, luma of two to four times the size out.

The small tiers are a plain chain of 3x3 convolutions at low resolution, then a pixel shuffle (`UpscaleNet`). The
VDSR tiers (Kim et al., 2016; the sizes of "How will Deep Learning Change Internet Video Delivery?", HotNets 2017) work
at target resolution on the interpolated picture (`Vdsr`): dearer by far, and the paper's own point of comparison.

Trained over-parameterised and exported plain. Every convolution of the chain is
held as a wide one times a 1x1 projection, plus identity (Bhardwaj et al.,
"Collapsible Linear Blocks for Super-Efficient Super Resolution", SESR, 2022);
the product is formed on the *weights* in each step, so training costs little more
than the plain chain and the exported graph is nothing but Conv and Relu.

The residual is not the repeated input but a 5x5 interpolation kernel for each
of the output phases, begun as bicubic and trained along: a fresh network is
already as good as the plain scaler.

No layer pads its own input: the picture is continued by its edge pixels once, by
as much as all layers together reach. Zero padding inside would leave a frame of
wrong shade around every picture, which on black borders can be seen. For the same reason training needs no
padding at all: `core` gives the middle of a patch, every pixel of it made from real picture.
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
    """How many low pixels an output pixel of an `UpscaleNet` looks away: what the picture is continued by."""
    return PAD + body_layers + 1


def vdsr_reach(layers, scale):
    """The same for a `Vdsr`, whose layers each look one *target* pixel away: whole low pixels."""
    return PAD + -(-layers // scale)


def bicubic_phases(scale=2, a=BICUBIC_A):
    """The 5x5 kernels that enlarge a picture, [scale^2, 1, 5, 5]; phases row-major, as the pixel shuffle's."""

    def cubic(x):
        x = abs(x)
        if x < 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

    # Output sample scale * i + phase lies this far from low sample i: at x2 a quarter of a pixel before and after.
    offsets = [(phase + 0.5) / scale - 0.5 for phase in range(scale)]
    rows = torch.tensor([[cubic(tap - 2 - offset) for tap in range(5)] for offset in offsets])
    rows = rows / rows.sum(1, keepdim=True)
    return torch.stack([torch.outer(rows[y], rows[x]) for y in range(scale) for x in range(scale)])[:, None]


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


def _cut(x, by):
    """`x` without `by` pixels at each side."""
    return x[..., by:-by, by:-by] if by else x


class _Net(nn.Module):
    """What all tiers share: interpolation phases, continuation at the border, plain arrays for the exporter."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale
        self.skip = nn.Conv2d(1, scale**2, 2 * PAD + 1)
        with torch.no_grad():
            self.skip.weight.copy_(bicubic_phases(scale))
            self.skip.bias.zero_()

    def forward(self, x):
        """float32 [n, 1, h, w] of code values / 255 to [n, 1, scale h, scale w]."""
        return self.core(functional.pad(x, (self.margin,) * 4, mode="replicate"))

    def _detail(self, x, bfloat16):
        """What the chain of convolutions adds. Kernels and the first layer are single precision in any case.

        A picture in bfloat16 would be rounded to whole code values before the network saw it; what comes after may be.
        """
        kind = torch.bfloat16 if bfloat16 else torch.float32
        features = functional.relu(self.head(x)).to(kind)
        for layer in self.body:
            features = functional.relu(functional.conv2d(features, layer.weight().to(kind), layer.bias.to(kind)))
        return functional.conv2d(features, self.tail.weight().to(kind), self.tail.bias.to(kind)).float()

    def _chain(self):
        """The convolutions after the phases, in order: [(name, layer)]."""
        return [("head", self.head), *((f"body{i}", layer) for i, layer in enumerate(self.body)), ("tail", self.tail)]

    def collapsed(self):
        """Plain arrays in graph order: [(name, weight, bias)], float64 numpy, for the exporter."""
        layers = [("skip", self.skip.weight, self.skip.bias)]
        layers += [(name, layer.weight(), layer.bias) for name, layer in self._chain()]
        return [
            (name, weight.detach().double().numpy(), bias.detach().double().numpy()) for name, weight, bias in layers
        ]

    def silence(self):
        """Takes away all but the interpolation: what a fresh network is compared with."""
        last = self.tail
        nn.init.zeros_(last.project)
        nn.init.zeros_(last.bias)
        return self


class UpscaleNet(_Net):
    """Body at low resolution, then a pixel shuffle."""

    family = "shuffle"

    def __init__(self, channels, body_layers, scale=2, wide_factor=4):
        super().__init__(scale)
        # Low pixels that `core` needs around what it gives.
        self.margin = reach(body_layers)
        self.head = CollapsibleConv(1, channels, 2 * PAD + 1, wide_factor * channels)
        self.body = nn.ModuleList(
            CollapsibleConv(channels, channels, 3, wide_factor * channels, identity=True, gain=0.3)
            for _ in range(body_layers)
        )
        self.tail = CollapsibleConv(channels, scale**2, 3, wide_factor * channels, gain=0.05)

    def core(self, x, bfloat16=False):
        """[n, 1, h, w] to [n, 1, scale (h - 2 margin), scale (w - 2 margin)]: nothing is made up at the border."""
        plain = self.skip(_cut(x, self.margin - PAD))
        return functional.pixel_shuffle(self._detail(x, bfloat16) + plain, self.scale)


class Vdsr(_Net):
    """`layers` 3x3 convolutions at target resolution that correct the interpolated picture."""

    family = "vdsr"

    def __init__(self, channels, layers, scale=2, wide_factor=2):
        super().__init__(scale)
        self.margin = vdsr_reach(layers, scale)
        self.head = CollapsibleConv(1, channels, 3, wide_factor * channels)
        self.body = nn.ModuleList(
            CollapsibleConv(channels, channels, 3, wide_factor * channels, identity=True, gain=0.3)
            for _ in range(layers - 2)
        )
        self.tail = CollapsibleConv(channels, 1, 3, wide_factor * channels, gain=0.05)
        self.layers = layers

    def core(self, x, bfloat16=False):
        """As `UpscaleNet.core`."""
        plain = functional.pixel_shuffle(self.skip(x), self.scale)
        # Whole low pixels were continued; what the layers do not need of them goes.
        plain = _cut(plain, (self.margin - PAD) * self.scale - self.layers)
        return self._detail(plain, bfloat16) + _cut(plain, self.layers)


def build(tier, scale=2):
    """An untrained network of a tier of the contract."""
    shape = contract.TIERS[tier]
    return Vdsr(**shape, scale=scale) if "layers" in shape else UpscaleNet(**shape, scale=scale)


def widened(network, tier, scale=None):
    """A network of a dearer tier, or of another scale, that begins where `network` is.

    The first channels carry `network`'s own kernels. New ones begin at random and reach nothing that `network`
    computes, new layers pass everything on, so the very same picture comes out. Another scale takes over all but
    phases and tail.
    """
    scale = scale or network.scale
    fresh = build(tier, scale)
    if fresh.family != network.family or len(fresh.body) < len(network.body):
        raise ValueError(f"tier {tier} cannot continue this network: another family, or fewer layers")
    old, same_scale = dict(network._chain()), scale == network.scale
    with torch.no_grad():
        if same_scale:
            fresh.skip.load_state_dict(network.skip.state_dict())
        for name, layer in fresh._chain():
            if name not in old:
                layer.project.zero_()
            elif name != "tail" or same_scale or network.family == "vdsr":
                _embed(layer, old[name].weight(), old[name].bias)
    return fresh


def from_layers(layers):
    """The network of an exported model (its `collapsed()` arrays), ready to be trained on."""
    kernels = {name: (torch.tensor(weight).float(), torch.tensor(bias).float()) for name, weight, bias in layers}
    scale, vdsr = shape_of(layers)
    channels, depth = kernels["head"][0].shape[0], sum(name.startswith("body") for name in kernels)
    network = Vdsr(channels, depth + 2, scale) if vdsr else UpscaleNet(channels, depth, scale)
    with torch.no_grad():
        network.skip.weight.copy_(kernels["skip"][0])
        network.skip.bias.copy_(kernels["skip"][1])
        for name, layer in network._chain():
            _embed(layer, *kernels[name])
    return network


def _embed(layer, kernel, bias):
    """Puts a kernel into the first channels of `layer`, as a product that training can go on with."""
    outputs, inputs = kernel.shape[:2]
    wanted = layer.weight().clone()
    wanted[:outputs] = 0.0
    wanted[:outputs, :inputs] = kernel
    left, values, right = torch.linalg.svd((wanted - layer.identity).flatten(1), full_matrices=False)
    rank, root = len(values), values.sqrt()
    layer.expand[:rank] = (root[:, None] * right).view(rank, *layer.expand.shape[1:])
    layer.project.zero_()
    layer.project[:, :rank] = left * root
    layer.bias.zero_()
    layer.bias[:outputs] = bias


def parameters_of(layers):
    """How many trained numbers an exported network holds, from `collapsed()`."""
    return sum(weight.size + bias.size for _, weight, bias in layers)


def shape_of(layers):
    """(scale, is it a VDSR) of `collapsed()`: a VDSR's last convolution gives one picture, not phases."""
    sizes = {name: weight.shape[0] for name, weight, _ in layers}
    return math.isqrt(sizes["skip"]), sizes["tail"] == 1


def macs_per_pixel(layers):
    """Multiply-accumulates for each *source* pixel, from `collapsed()`."""
    scale, vdsr = shape_of(layers)
    return sum(weight.size * (scale**2 if vdsr and name != "skip" else 1) for name, weight, _ in layers)
