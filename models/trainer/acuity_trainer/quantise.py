"""The same network in 8-bit integers, beside the exported one: twice to four times as fast where a runtime has integer
kernels, the same tensors outside.

    luma u8 -+-> Pad(edge, all) -> Dequantize(1) -> Conv 5x5 -> Q/DQ -> (Conv 3x3 -> Q/DQ) * n -> Conv 3x3 -+
             +-> Pad(edge, 2) -> Dequantize(1) -> Conv 5x5 (interpolation) ---------------------------------+-> Add
    -> Quantize(1) -> DepthToSpace(scale) -> luma_out u8

Kernels are int8, each output channel with a scale of its own. What a layer passes on is uint8 from zero up, which
is its Relu as well; the first layer reads the video's code values as they are. Scales are those with the least squared
error: of kernels by themselves, of what layers pass on over pictures of the material that the network was trained on.
All of the picture's levels go through the interpolation, so its kernels are rounded such that their sums stay what
they were: plain surfaces keep their level, and what is rounded shows only where the picture changes (0.8 dB lost
without that on a clear clip, 0.01 dB with it). A VDSR stays as it was, because its layers get that picture and not the
video's.

Rounding comes before the pixel shuffle, which so moves a quarter of the bytes.
"""

import json
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from onnx import helper, numpy_helper

from . import contract, export, heldout
from .corpus import Corpus
from .networks import PAD, reach, shape_of

# Pictures that are looked at: more do not change the scales.
PICTURES = 24
# Places of a picture whose values are weighed when a scale is chosen; the largest value is that of all places.
PLACES = 6000
# Candidates for a scale, as shares of what holds the largest value.
PASSED_ON = np.linspace(0.3, 1.0, 36)
KERNEL = np.linspace(0.8, 1.0, 21)


class NotQuantisedError(ValueError):
    """There are no 8-bit integers for this network; the message says why."""


@dataclass(frozen=True)
class Calibration:
    """Low pictures uint8 [h, w] that a network is used on, and the digest of the corpus they are from."""

    pictures: tuple
    corpus: str

    def facts(self):
        """What metadata and records tell of it."""
        return {"pictures": len(self.pictures), "corpus": self.corpus}


def calibration(folder, pictures=PICTURES):
    """The Calibration of a corpus' folder: low pictures evenly over its items, of all their variants and times."""
    items = list(heldout.items(folder))
    chosen = []
    for number in range(pictures):
        lows = items[number * len(items) // pictures].lows
        variants, count = lows.shape[:2]
        # Strides that share no factor with the usual numbers of variants and pictures: no two are of one place in both.
        chosen.append(np.array(lows[number % variants, (7 * number + 3) % count]))
    return Calibration(tuple(chosen), Corpus(folder).digest())


def limits(layers, pictures):
    """{layer: the largest value that it passes on}, chosen for `pictures`, for all layers but the last."""
    chain = [(name, weight, bias) for name, weight, bias in layers if name != "skip"]
    kernels = {name: (torch.from_numpy(weight).float(), torch.from_numpy(bias).float()) for name, weight, bias in chain}
    passed = [name for name in kernels if name != "tail"]
    seen, largest = {name: [] for name in passed}, dict.fromkeys(passed, 0.0)
    margin = reach(len(passed) - 1)
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for luma in pictures:
            values = torch.from_numpy(np.array(luma)).float()[None, None] / 255
            values = functional.pad(values, (margin,) * 4, mode="replicate")
            for name in passed:
                values = functional.relu(functional.conv2d(values, *kernels[name]))
                flat = values[0].flatten(1)
                places = rng.integers(0, flat.shape[1], min(PLACES, flat.shape[1]))
                seen[name].append(flat[:, places].numpy().ravel())
                largest[name] = max(largest[name], float(values.max()))
    return {name: _limit(np.concatenate(seen[name]), largest[name]) for name in passed}


def _limit(values, largest):
    """What 255 is to mean: values above it are cut off, so that those below are finer."""
    if largest <= 0.0:
        return 1.0

    def error(share):
        step = np.float32(share * largest / 255)
        return float(np.square(np.clip(np.round(values / step), 0, 255) * step - values).mean(dtype=np.float64))

    return largest * float(min(PASSED_ON, key=error))


def kernel(weight):
    """(int8 as `weight`, float32 scale for each output channel) of a kernel float [outputs, inputs, k, k]."""
    integers, scales = np.zeros(weight.shape, np.int8), np.ones(len(weight), np.float32)
    for channel, values in enumerate(weight):
        whole = np.abs(values).max() / 127
        if whole <= 0.0:
            continue
        made = [(share * whole, np.clip(np.round(values / (share * whole)), -127, 127)) for share in KERNEL]
        scales[channel], integers[channel] = min(made, key=lambda one: np.square(one[0] * one[1] - values).sum())
    return integers, scales


def interpolation(weight):
    """As `kernel`, each output channel with the sum that it has in `weight`."""
    integers, scales = kernel(weight)
    for channel, values in enumerate(weight.astype(np.float64)):
        total, largest = values.sum(), np.abs(values).max()
        if total <= 0.0:
            continue
        # So many steps that the largest value has one to spare.
        steps = np.floor(126 * total / largest)
        exact = values.ravel() * steps / total
        rounded = np.round(exact)
        missing = int(steps - rounded.sum())
        # Those that were rounded the wrong way by most go the other way.
        order = np.argsort((rounded - exact) * np.sign(missing), kind="stable")
        rounded[order[: abs(missing)]] += np.sign(missing)
        integers[channel], scales[channel] = rounded.reshape(values.shape), total / steps
    return integers, scales


def build(layers, metadata, calibrated):
    """The onnx.ModelProto of a network's `collapsed()` in 8-bit integers; NotQuantisedError for a VDSR."""
    scale, vdsr = shape_of(layers)
    if vdsr:
        raise NotQuantisedError("a VDSR stays as it is: its layers read an interpolated picture, not code values")
    highest = limits(layers, calibrated.pictures)
    initializers, nodes = [], []

    def constant(name, value, dtype=np.float32):
        initializers.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(kind, inputs, name, **attributes):
        nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def continued(name, by):
        pads = constant(f"{name}.pads", [0, 0, by, by, 0, 0, by, by], np.int64)
        return node("Pad", [contract.INPUT_NAME, pads], name, mode="edge")

    def integer_conv(name, source, weight, bias, rounding=kernel):
        integers, scales = rounding(weight)
        held = [constant(f"{name}.kernel", integers, np.int8), constant(f"{name}.kernel_scale", scales)]
        held.append(constant(f"{name}.kernel_zero", np.zeros(len(scales)), np.int8))
        weights = node("DequantizeLinear", held, f"{name}.weight", axis=0)
        inputs = [source, weights, constant(f"{name}.bias", bias)]
        return node("Conv", inputs, f"{name}.out", kernel_shape=list(weight.shape[2:]))

    chain = {name: (weight, bias) for name, weight, bias in layers}
    skip, skip_bias = chain.pop("skip")
    zero = constant("zero", 0, np.uint8)
    features = continued("far", reach(len(chain) - 2))
    features = node("DequantizeLinear", [features, constant("one", 1.0), zero], "far.code")
    for name, (weight, bias) in chain.items():
        if name == "head":
            weight = weight / 255.0
        if name == "tail":
            features = integer_conv(name, features, weight * 255.0, bias * 255.0)
            continue
        features = integer_conv(name, features, weight, bias)
        step = constant(f"{name}.scale", highest[name] / 255)
        features = node("QuantizeLinear", [features, step, zero], f"{name}.relu")
        features = node("DequantizeLinear", [features, step, zero], f"{name}.passed")
    plain = node("DequantizeLinear", [continued("near", PAD), "one", zero], "near.code")
    plain = integer_conv("skip", plain, skip, skip_bias * 255.0, interpolation)
    phases = node("Add", [features, plain], "phases")
    # Rounds and clips at once: OpenVINO converts by a slow path where sizes are not fixed.
    phases = node("QuantizeLinear", [phases, "one", zero], "rounded")
    node("DepthToSpace", [phases], contract.OUTPUT_NAME, blocksize=scale, mode="CRD")
    return export.finished(nodes, initializers, metadata)


def of(data, calibrated):
    """The bytes of an exported model in 8-bit integers, from its own bytes; metadata goes along, an overlay too.

    Nothing in them depends on the clock.
    """
    metadata = export.metadata_of(data) | {"quantised": json.dumps(calibrated.facts(), sort_keys=True)}
    return build(export.read_layers(data), metadata, calibrated).SerializeToString(deterministic=True)
