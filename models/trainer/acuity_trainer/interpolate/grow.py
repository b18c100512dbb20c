"""A larger tier's network that makes the very pictures of a smaller one's: what training of the larger begins with.

New channels see everything and nobody listens to them yet (Net2Net, Chen et al. 2016): the old ones' weights for them
are zero, and training finds out what they are good for. So a dear tier starts where a cheap one has ended.
"""

import math

import torch

from . import contract, networks

# What new keys begin with, relative to a fresh layer: silence would keep them silent, since a product of two that are 0
# does not change with either.
QUIET = 1e-3


def grown(small, tier):
    """The network of `tier` that does what `small`, of a tier with no more channels anywhere, does."""
    large = networks.build(tier)
    old, new = small.shape, large.shape
    if old["depth"] != new["depth"]:
        raise ValueError(f"levels {old['depth']} deep do not grow into levels {new['depth']} deep")
    sizes = ("features", "keys", "hidden")
    if any(was > is_now for size in sizes for was, is_now in zip(old[size], new[size], strict=True)):
        raise ValueError(f"a network of {old} is not smaller than one of {new}")
    (_, f8, _), (k8, k16) = old["features"], old["keys"]
    (_, wide8, _), (wide_k8, wide_k16) = new["features"], new["keys"]
    # Products are means over the keys: old keys are lengthened by what new, nearly silent ones take from them.
    longer8, longer16 = math.sqrt(wide_k8 / k8), math.sqrt(wide_k16 / k16)
    window16, window8 = (len(networks.windows(*reach)) for reach in (contract.REACH_16, contract.REACH_8))
    for name, inputs, scale in (
        ("encode4", [(1, 1, 1.0)], 1.0),
        ("encode4b", [(old["features"][0], new["features"][0], 1.0)], 1.0),
        ("encode8", [(old["features"][0], new["features"][0], 1.0)], 1.0),
        ("encode16", [(f8, wide8, 1.0)], 1.0),
        ("key16", [(old["features"][2], new["features"][2], 1.0)], longer16),
        ("key8", [(f8, wide8, 1.0)], longer8),
    ):
        _widen(getattr(large, name), getattr(small, name), inputs, scale)
    for key, count in ((large.key16, k16), (large.key8, k8)):
        with torch.no_grad():
            key.weight[count:] *= QUIET
            key.bias[count:] = 0
    keys16 = [(k16, wide_k16, 1 / longer16)] * 2
    keys8 = [(k8, wide_k8, 1 / longer8)] * 2
    more = contract.CARRIED + 2 + 4
    first = {
        "level16": [(window16, window16, 1.0), *keys16, (4, 4, 1.0)],
        "level8": [(window8, window8, 1.0), *keys8, (more, more, 1.0)],
        "level4": [(2 * 4 + more, 2 * 4 + more, 1.0)],
    }
    for place, (name, inputs) in enumerate(reversed(first.items())):
        hidden = (old["hidden"][place], new["hidden"][place], 1.0)
        pairs = zip(getattr(large, name), getattr(small, name), strict=True)
        for number, (layer, before) in enumerate(pairs):
            _widen(layer, before, [hidden] if number else inputs, 1.0)
    return large


def _widen(layer, before, inputs, scale):
    """Puts the weights of `before` into `layer`; inputs come in groups (channels before, channels now, factor)."""
    with torch.no_grad():
        rows = before.weight.shape[0]
        layer.weight[:rows] = 0
        at = was = 0
        for count, wide, factor in inputs:
            layer.weight[:rows, at : at + count] = before.weight[:, was : was + count] * (scale * factor)
            at, was = at + wide, was + count
        layer.bias[:rows] = before.bias * scale
