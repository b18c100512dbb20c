"""The interpolation network: two pictures in, the one halfway between them out.

Motion is estimated for the picture that is *made*: one field v, so that the made pixel x was at x - v in the previous
picture and will be at x + v in the next. No field has to be projected, so there are no holes; a mask says which of the
two pictures a pixel is taken from where only one shows it.

    luma of both -> features at 1/4, 1/8, 1/16 of the size (one encoder, both pictures)
    1/16: a slide by the slopes of the lumas at 1/8, products of the features moved against each other by every d of
          a window                                                                 -> v  (finds large motion)
    1/8:  a slide at 1/4, products in a small window                               -> v  (sharpens it)
    1/4:  a slide at 1/2                                    -> v and mask, 16 of each: one for each pixel of a cell
    all three planes of both pictures moved by v, mixed by the mask

Everything but the last line works on less than a tenth of the pixels: that is what makes it affordable.
"""

import itertools

import torch
import torch.nn.functional as functional
from torch import nn

from . import contract


def activated(x):
    """Leaky: with plain rectifiers most of the coarse levels' channels died in training, and large motion with them."""
    return functional.leaky_relu(x, contract.LEAK)


def windows(reach_y, reach_x):
    """Every (dy, dx) of a window, row by row: the order of the channels of `products`."""
    return [(dy, dx) for dy in range(-reach_y, reach_y + 1) for dx in range(-reach_x, reach_x + 1)]


def products(previous, following, reach):
    """[n, c, h, w] twice to [n, window, h, w]: mean product of previous at x - d and following at x + d.

    Outside the picture there is nothing: a product of 0.
    """
    height, width = previous.shape[2:]
    pads = (reach[1], reach[1], reach[0], reach[0])
    first, second = functional.pad(previous, pads), functional.pad(following, pads)
    found = []
    for dy, dx in windows(*reach):
        ahead = first[..., reach[0] - dy : reach[0] - dy + height, reach[1] - dx : reach[1] - dx + width]
        behind = second[..., reach[0] + dy : reach[0] + dy + height, reach[1] + dx : reach[1] + dx + width]
        found.append((ahead * behind).mean(1))
    return torch.stack(found, 1)


def base_grid(height, width, like):
    """[1, h, w, 2]: where `grid_sample` finds every pixel of a picture itself."""
    y = (torch.arange(height, dtype=like.dtype, device=like.device) * 2 + 1) / height - 1
    x = (torch.arange(width, dtype=like.dtype, device=like.device) * 2 + 1) / width - 1
    return torch.stack([x[None, :].expand(height, -1), y[:, None].expand(-1, width)], -1)[None]


def moved(pictures, flow):
    """`pictures` [n, c, ..] read at x + flow, flow [n, 2, h, w] in pixels (x, y); the border goes on outside.

    [n, c, h, w]: a field of half the pictures' size reads the means of 2x2 pixels where it moves by whole pixels.
    """
    height, width = flow.shape[2:]
    scale = torch.tensor([2.0 / width, 2.0 / height], dtype=flow.dtype, device=flow.device)
    grid = base_grid(height, width, flow) + flow.permute(0, 2, 3, 1) * scale
    return functional.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)


def doubled(flow):
    """A field at twice the size, and so of twice the lengths."""
    return 2.0 * functional.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=False)


def _conv(inputs, outputs, size=3, stride=1):
    return nn.Conv2d(inputs, outputs, size, stride, size // 2)


def slope_kernel():
    """[8, 4, 3, 3]: of cells of 2x2 pixels, row by row, how each pixel rises to the right (first four) and down."""
    across = torch.tensor([1.0, 2.0, 1.0])[:, None] * torch.tensor([-1.0, 0.0, 1.0]) / 8
    kernel = torch.zeros(2, 2, 2, 2, 2, 3, 3)
    for way, slopes in enumerate((across, across.T)):
        for y, x, dy, dx in itertools.product((0, 1), (0, 1), (0, 1, 2), (0, 1, 2)):
            down, right = y + dy - 1, x + dx - 1
            kernel[way, y, x, down % 2, right % 2, down // 2 + 1, right // 2 + 1] = slopes[dy, dx]
    return kernel.view(8, 4, 3, 3)


def window_kernel():
    """[20, 1, 5, 5]: for five terms of cells of 2x2 pixels, which of them lie in the window around a cell."""
    taps = torch.tensor([[0.0, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    both = torch.einsum("ya,xb->yxab", taps, taps).reshape(4, 1, 5, 5) / 64
    return both.repeat(5, 1, 1, 1)


def slide(first, second):
    """How much further the field should go, by the lumas' slopes: the step of Lucas and Kanade (1981).

    `first` and `second` [n, 4, h, w] are cells of 2x2 code values / 255, moved by the field so far. Gives [n, 4, h, w]:
    the step (x, y) in pixels of the lumas, at most SLIDE_LIMIT and 0 where there is no slope, and how well each of the
    two is known, 0 to 1. A step needs no training, and finds fractions of a pixel where a comparison of cells does not.
    It is by windows of 8x8 pixels.
    """
    unit = 255.0 / contract.SLIDE_UNIT
    wide = functional.pad((first + second) * (unit / 2), (1, 1, 1, 1), mode="replicate")
    slopes = functional.conv2d(wide, slope_kernel().to(first))
    x, y = slopes.chunk(2, 1)
    apart = (first - second) * unit
    terms = torch.cat([x * x, y * y, x * y, x * apart, y * apart], 1)
    summed = functional.conv2d(terms, window_kernel().to(first), padding=2, groups=20)
    xx, yy, xy, xt, yt = summed.view(len(first), 5, 4, *first.shape[2:]).sum(2).split(1, 1)
    noise = contract.SLIDE_NOISE
    xx, yy = xx + noise, yy + noise
    # Both pictures are moved, so that each goes half the way: least squares of 2 (x dx + y dy) = apart.
    share = 0.5 / (xx * yy - xy * xy)
    step = torch.cat([(yy * xt - xy * yt) * share, (xx * yt - xy * xt) * share], 1)
    step = step.clamp(-contract.SLIDE_LIMIT, contract.SLIDE_LIMIT)
    return torch.cat([step, 1 - noise / xx, 1 - noise / yy], 1)


def leaving(flow):
    """[n, 1, h, w] to add to the mask's logits: a pixel that one picture does not show is taken from the other.

    `flow` [n, 2, h, w] in pixels of its size. Full where a picture would be read a pixel outside of itself.
    """
    height, width = flow.shape[2:]
    half = torch.tensor([width / 2.0, height / 2.0]).to(flow)[:, None, None]
    places = base_grid(height, width, flow).permute(0, 3, 1, 2) * half
    outside = [((places + way * flow).abs() - half).clamp(0, 1).sum(1, keepdim=True) for way in (-1, 1)]
    return contract.LEAVING * (outside[1] - outside[0])


class InterpolationNet(nn.Module):
    """See the module. Sizes come from the contract's table of tiers."""

    def __init__(self, features, keys, hidden, depth=2):
        super().__init__()
        (f4, f8, f16), (k8, k16), (h4, h8, h16) = features, keys, hidden
        self.shape = {"features": tuple(features), "keys": tuple(keys), "hidden": tuple(hidden), "depth": depth}
        # Its window reaches RIM pixels out of its cell; the picture is continued by its own edge there.
        self.encode4, self.encode4b = nn.Conv2d(1, f4, contract.CELL + 2 * contract.RIM, contract.CELL), _conv(f4, f4)
        self.encode8, self.encode16 = _conv(f4, f8, 3, 2), _conv(f8, f16, 3, 2)
        # What of the features takes part in the comparison.
        self.key16, self.key8 = _conv(f16, k16, 1), _conv(f8, k8, 1)
        window16, window8 = (len(windows(*reach)) for reach in (contract.REACH_16, contract.REACH_8))
        more = contract.CARRIED + 2 + 4
        self.level16 = self._level(window16 + 2 * k16 + 4, h16, depth, 2 + contract.CARRIED)
        self.level8 = self._level(window8 + 2 * k8 + more, h8, depth, 2 + contract.CARRIED)
        self.level4 = self._level(2 * 4 + more, h4, depth, 3 * contract.CELL**2)

    def _level(self, inputs, hidden, depth, outputs):
        layers = [_conv(inputs, hidden)] + [_conv(hidden, hidden) for _ in range(depth - 1)]
        last = _conv(hidden, outputs)
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.zero_()
        return nn.ModuleList([*layers, last])

    @staticmethod
    def _through(layers, x):
        for layer in layers[:-1]:
            x = activated(layer(x))
        return layers[-1](x)

    def motion(self, previous, following):
        """Lumas [n, 1, h, w] of code values / 255, h and w multiples of 16: (fields coarse to fine, mask logits).

        The fields are [n, 2, ..] in pixels of their own size; the last, and the mask [n, 1, h, w], of the picture's.
        """
        count, both = len(previous), torch.cat([previous, following])
        wide = functional.pad(both, (contract.RIM,) * 4, mode="replicate") - 0.5
        at8 = activated(self.encode8(activated(self.encode4b(activated(self.encode4(wide))))))
        k8, k16 = self.key8(at8), self.key16(activated(self.encode16(at8)))
        quarters = functional.avg_pool2d(both, contract.CELL)

        eighths = functional.pixel_unshuffle(functional.avg_pool2d(quarters, 2), 2)
        step = slide(eighths[:count], eighths[count:])
        first, second = k16[:count], k16[count:]
        found = products(first, second, contract.REACH_16)
        told = self._through(self.level16, torch.cat([found, first, second, step], 1))
        leap = told[:, :2].clamp(-contract.LEAP_16, contract.LEAP_16)
        flow16, carried = step[:, :2] / 2 + leap, told[:, 2:]

        flow8, carried = doubled(flow16), activated(functional.interpolate(carried, scale_factor=2.0))
        fine = doubled(flow8)
        first, second = moved(quarters[:count], -fine), moved(quarters[count:], fine)
        step = slide(functional.pixel_unshuffle(first, 2), functional.pixel_unshuffle(second, 2))
        flow8 = flow8 + step[:, :2] / 2
        first, second = moved(k8[:count], -flow8), moved(k8[count:], flow8)
        found = products(first, second, contract.REACH_8)
        told = self._through(self.level8, torch.cat([found, first, second, carried, flow8, step], 1))
        flow8, carried = flow8 + told[:, :2].clamp(-contract.LEAP_8, contract.LEAP_8), told[:, 2:]

        flow4, carried = doubled(flow8), activated(functional.interpolate(carried, scale_factor=2.0))
        fine = doubled(flow4)
        first, second = (
            functional.pixel_unshuffle(moved(part, way * fine), 2) for part, way in ((previous, -1), (following, 1))
        )
        step = slide(first, second)
        flow4 = flow4 + step[:, :2] / 2
        told = self._through(self.level4, torch.cat([first - 0.5, second - 0.5, carried, flow4, step], 1))
        cell, plane = contract.CELL, contract.CELL**2
        flow = functional.interpolate(flow4, scale_factor=cell, mode="bilinear", align_corners=False) * cell
        # One for each pixel of a cell: edges need not be 4 pixels wide.
        flow = flow + functional.pixel_shuffle(told[:, : 2 * plane], cell)
        mask = told[:, 2 * plane :] + leaving(flow4)
        return [flow16, flow8, flow4, flow], functional.pixel_shuffle(mask, cell)

    def forward(self, previous, following):
        """(made picture [n, 1, h, w], both moved pictures, the fields)."""
        flows, mask = self.motion(previous, following)
        first, second = moved(previous, -flows[-1]), moved(following, flows[-1])
        share = torch.sigmoid(mask)
        return second + share * (first - second), (first, second), flows


def build(tier):
    """An untrained network of a tier of the contract."""
    return InterpolationNet(**contract.TIERS[tier])


def parameters_of(network):
    """How many trained numbers it holds."""
    return sum(value.numel() for value in network.parameters())
