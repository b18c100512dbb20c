"""Writes a trained network as ONNX under the tensor contract.

The graph is built node by node from the collapsed kernels instead of traced, so
the same weights give the same bytes under every PyTorch, and nothing is in it
that a runtime would have to optimise away:

    luma u8 -> Cast -+-> Pad(edge, all) -> Conv 5x5 + Relu -> (Conv 3x3 + Relu) * n -> Conv 3x3 -+
                     +-> Pad(edge, 2) -> Conv 5x5 (interpolation, scale^2 phases) ---------------+-> Add
    -> DepthToSpace(scale) -> Clip(0, 255.5) -> Cast -> luma_out u8

A VDSR interpolates first and works at target resolution:

    luma u8 -> Cast -+-> Pad(edge, all) -> Conv 5x5 (interpolation) -> DepthToSpace [-> Slice]
                     |       -> Conv 3x3 + Relu -> (Conv 3x3 + Relu) * n -> Conv 3x3 ---+
                     +-> Pad(edge, 2) -> Conv 5x5 (interpolation) -> DepthToSpace ------+-> Add
    -> Clip -> Cast -> luma_out u8

What stands still in a cluster's pictures (an `Overlay`) is no part of the graph: the file's metadata carries it, and
whoever runs the network corrects the finished picture with it, as `Session` does here and the edge does there.

Scaling to 0..1 and back is folded into the first and last kernels, rounding (+0.5
before a cast that truncates) into the last bias.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from . import __version__, contract
from .networks import PAD, reach, shape_of, vdsr_reach
from .overlay import Overlay
from .overlay import entry as overlay_entry

# The last code value plus what the cast cuts off; 255.5 itself would do, a little less is safe in half precision too.
CEILING = 255.49


def build(layers, metadata, overlay=None):
    """An onnx.ModelProto from a network's `collapsed()`, a dictionary of strings about its making, and an `Overlay`.

    The Overlay becomes one more entry of the metadata; without one the bytes do not depend on there being such a thing.
    """
    scale, vdsr = shape_of(layers)
    names = [name for name, _, _ in layers]
    body = [name for name in names if name.startswith("body")]
    initializers, nodes = [], []

    def constant(name, value, dtype=np.float32):
        initializers.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    for name, weight, bias in layers:
        if name == "head":
            weight = weight / 255.0
            if vdsr:
                # It reads the interpolated picture, rounding's half a step included: off with that.
                bias = bias - 0.5 * weight.sum((1, 2, 3))
        if name == "tail":
            weight, bias = weight * 255.0, bias * 255.0
        if name == "skip":
            # Works on code values directly; its bias carries the rounding.
            bias = bias * 255.0 + 0.5
        constant(f"{name}.weight", weight)
        constant(f"{name}.bias", bias)

    def conv(name, source, size, relu):
        inputs = [source, f"{name}.weight", f"{name}.bias"]
        nodes.append(helper.make_node("Conv", inputs, [f"{name}.out"], name=name, kernel_shape=[size, size]))
        if not relu:
            return f"{name}.out"
        nodes.append(helper.make_node("Relu", [f"{name}.out"], [f"{name}.relu"], name=f"{name}.relu"))
        return f"{name}.relu"

    def conv_again(name, source):
        """The same kernel on another input."""
        inputs = [source, f"{name}.weight", f"{name}.bias"]
        nodes.append(helper.make_node("Conv", inputs, [f"{name}.again"], name=f"{name}.again"))
        return f"{name}.again"

    def continued(name, by):
        pads = constant(f"{name}.pads", [0, 0, by, by, 0, 0, by, by], np.int64)
        nodes.append(helper.make_node("Pad", ["code", pads], [name], name=name, mode="edge"))
        return name

    def shuffled(name, source):
        nodes.append(helper.make_node("DepthToSpace", [source], [name], name=name, blocksize=scale, mode="CRD"))
        return name

    def added(name, detail, plain):
        nodes.append(helper.make_node("Add", [detail, plain], [name], name=name))
        return name

    def chain(source, first_size):
        features = conv("head", source, first_size, relu=True)
        for name in body:
            features = conv(name, features, 3, relu=True)
        return conv("tail", features, 3, relu=False)

    nodes.append(helper.make_node("Cast", [contract.INPUT_NAME], ["code"], name="code", to=TensorProto.FLOAT))
    plain = conv("skip", continued("near", PAD), 2 * PAD + 1, relu=False)
    if vdsr:
        layers_deep = len(body) + 2
        margin = vdsr_reach(layers_deep, scale)
        far = shuffled("large", conv_again("skip", continued("far", margin)))
        spare = (margin - PAD) * scale - layers_deep
        if spare:
            bounds = [constant("spare", [spare, spare], np.int64), constant("spare_end", [-spare, -spare], np.int64)]
            axes = constant("spare_axes", [2, 3], np.int64)
            nodes.append(helper.make_node("Slice", [far, *bounds, axes], ["large_cut"], name="large_cut"))
            far = "large_cut"
        added("picture", chain(far, 3), shuffled("plain", plain))
    else:
        added("phases", chain(continued("far", reach(len(body))), 2 * PAD + 1), plain)
        shuffled("picture", "phases")
    nodes.append(
        helper.make_node(
            "Clip", ["picture", constant("floor", 0.0), constant("ceiling", CEILING)], ["clipped"], name="clipped"
        )
    )
    nodes.append(helper.make_node("Cast", ["clipped"], [contract.OUTPUT_NAME], name="rounded", to=TensorProto.UINT8))

    if overlay:
        metadata = metadata | {contract.OVERLAY_KEY: overlay_entry.text(overlay)}
    return finished(nodes, initializers, metadata)


def finished(nodes, initializers, metadata):
    """The checked onnx.ModelProto of a graph between the contract's tensors; `metadata` {key: text} has an "id"."""
    shape = ["batch", 1, "height", "width"]
    graph = helper.make_graph(
        nodes,
        metadata["id"],
        [helper.make_tensor_value_info(contract.INPUT_NAME, TensorProto.UINT8, shape)],
        [
            helper.make_tensor_value_info(
                contract.OUTPUT_NAME, TensorProto.UINT8, ["batch", 1, "height_out", "width_out"]
            )
        ],
        initializers,
    )
    model = helper.make_model(
        graph,
        producer_name="acuity-trainer",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", contract.OPSET)],
        ir_version=contract.IR_VERSION,
    )
    for key in sorted(metadata):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, str(metadata[key])
    onnx.checker.check_model(model, full_check=True)
    return model


def write(path, layers, metadata):
    """Writes the model without an overlay; returns its bytes."""
    data = build(layers, metadata).SerializeToString(deterministic=True)
    path.write_bytes(data)
    return data


def read_layers(data):
    """The network's `collapsed()` arrays out of an exported model's bytes: what training can begin with."""
    model = onnx.load_from_string(data)
    arrays = {entry.name: numpy_helper.to_array(entry).astype(np.float64) for entry in model.graph.initializer}
    names = [name.removesuffix(".weight") for name in arrays if name.endswith(".weight")]
    layers = [(name, arrays[f"{name}.weight"], arrays[f"{name}.bias"]) for name in names]
    _, vdsr = shape_of(layers)
    undone = []
    for name, weight, bias in layers:
        if name == "head":
            if vdsr:
                bias = bias + 0.5 * weight.sum((1, 2, 3))
            weight = weight * 255.0
        if name == "tail":
            weight, bias = weight / 255.0, bias / 255.0
        if name == "skip":
            bias = (bias - 0.5) / 255.0
        undone.append((name, weight, bias))
    return undone


def metadata_of(data):
    """{key: text} of an exported model's bytes."""
    return {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}


@dataclass(frozen=True)
class Session:
    """A model as the edge runs it: `network` an ONNX Runtime session, and the `overlay` its file carries, if any."""

    network: object
    overlay: Overlay | None = None


def runtime(data, threads=1, sizes=None):
    """An ONNX Runtime CPU session of a model's bytes: the graph alone; `sizes` {dimension: length} fixes some."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    for name, length in (sizes or {}).items():
        options.add_free_dimension_override_by_name(name, length)
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def session(data, threads=1):
    """The Session of a model's bytes."""
    held = metadata_of(data).get(contract.OVERLAY_KEY)
    return Session(runtime(data, threads), overlay_entry.read(held) if held else None)


def enlarged(network, luma):
    """One Y plane uint8 [h, w] through the graph alone: uint8 [scale h, scale w]."""
    return network.run([contract.OUTPUT_NAME], {contract.INPUT_NAME: np.ascontiguousarray(luma)[None, None]})[0][0, 0]


def upscale(run, luma):
    """One Y plane uint8 [h, w] through a Session, its overlay applied: uint8 [scale h, scale w]."""
    made = enlarged(run.network, luma)
    return run.overlay.applied(luma, made) if run.overlay else made
