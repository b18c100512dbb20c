"""An overlay as ONNX nodes: the arithmetic of `Box.correction`, behind a question for the frame's size.

picture, code -> If(size of luma = frame) -> for each box: Slice -> (difference)^2 -> AveragePool -> gates
                 -> Resize(nearest) * (known picture - the network's) -> ReduceSum -> Pad -> Add to the picture
                 else the picture as it is
"""

import numpy as np
from onnx import TensorProto, helper

from .. import contract
from . import BLOCK, MIDDLE, REACH, WINDOW


class _Nodes:
    """Nodes of the branch that corrects; `constant` makes an initializer and gives its name."""

    def __init__(self, constant):
        self.constant, self.made = constant, []

    def add(self, kind, inputs, name, **attributes):
        self.made.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def integers(self, name, values):
        return self.constant(name, values, np.int64)


def append(nodes, constant, overlay, picture):
    """Adds the overlay's nodes to a graph's `nodes`; gives the name of the corrected picture.

    `constant(name, value, dtype)` makes an initializer. The graph has the tensors `code` (the low picture, float) and
    `picture` (the high one), both in code values.
    """
    branch = _Nodes(constant)
    corrected = picture
    for number, box in enumerate(overlay.boxes):
        corrected = _box(branch, overlay, box, f"overlay{number}", corrected)
    same = helper.make_graph(
        [helper.make_node("Identity", [picture], ["overlay.none"], name="overlay.none")],
        "as_it_is",
        [],
        [_float("overlay.none")],
    )
    fits = helper.make_graph(branch.made, "overlaid", [], [_float(corrected)])
    top = _Nodes(constant)
    size = top.add("Shape", [contract.INPUT_NAME], "overlay.size", start=2)
    equal = top.add("Equal", [size, top.integers("overlay.frame", overlay.frame)], "overlay.equal")
    equal = top.add("Cast", [equal], "overlay.equal_i32", to=TensorProto.INT32)
    both = top.add("ReduceMin", [equal], "overlay.both", keepdims=0)
    both = top.add("Cast", [both], "overlay.fits", to=TensorProto.BOOL)
    nodes.extend(top.made)
    nodes.append(helper.make_node("If", [both], ["overlaid"], name="overlaid", then_branch=fits, else_branch=same))
    return "overlaid"


def _float(name):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1, "height_out", "width_out"])


def _box(branch, overlay, box, name, picture):
    """The nodes of one box; gives the name of the picture that it corrected."""
    add, constant, integers = branch.add, branch.constant, branch.integers
    (y, x), (height, width), scale = box.at, box.low.shape[1:], box.scale

    def plane(part, values):
        return add(
            "Cast", [constant(f"{name}.{part}", values[None], values.dtype)], f"{name}.{part}_f32", to=TensorProto.FLOAT
        )

    cut = add(
        "Slice",
        ["code", integers(f"{name}.from", [y, x]), integers(f"{name}.to", [y + height, x + width]),
         integers(f"{name}.axes", [2, 3])],
        f"{name}.cut",
    )  # fmt: skip
    sides = constant(f"{name}.block", [1, 1, BLOCK, BLOCK], np.float32)
    large = constant(f"{name}.scale", [1, 1, scale, scale], np.float32)
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    known = add("Resize", [plane("known", box.known), "", sides], f"{name}.known_all", **nearest)

    def pooled(source, result):
        window = {"kernel_shape": [WINDOW] * 2, "pads": [REACH] * 4, "count_include_pad": 1}
        return add("AveragePool", [source], result, **window)

    share = add(
        "Max", [pooled(known, f"{name}.share"), constant(f"{name}.least", 1e-3, np.float32)], f"{name}.share_safe"
    )
    difference = add("Mul", [add("Sub", [cut, plane("low", box.low)], f"{name}.minus"), known], f"{name}.difference")
    shift = add("Div", [pooled(difference, f"{name}.sum"), share], f"{name}.shift")
    squares = add("Mul", [difference, difference], f"{name}.squares")
    spread = add("Div", [pooled(squares, f"{name}.sum_squares"), share], f"{name}.mean_squares")
    spread = add("Sub", [spread, add("Mul", [shift, shift], f"{name}.shift_squared")], f"{name}.spread")
    mean = add("Div", [spread, constant(f"{name}.tolerance", overlay.tolerance, np.float32)], f"{name}.relative")
    gate = add("Sub", [constant(f"{name}.two", 2.0, np.float32), mean], f"{name}.ramp")
    bounds = [constant(f"{name}.zero", 0.0, np.float32), constant(f"{name}.one", 1.0, np.float32)]
    gate = add("Mul", [add("Clip", [gate, *bounds], f"{name}.clip"), known], f"{name}.gate")
    if len(box.low) > 1:
        total = add("ReduceSum", [gate, integers(f"{name}.sum_axis", [1])], f"{name}.total", keepdims=1)
        gate = add("Div", [gate, add("Max", [total, bounds[1]], f"{name}.total_safe")], f"{name}.shared")
    gate = add("Resize", [gate, "", large], f"{name}.gate_large", **nearest)
    # What of the network's picture goes, in 0..1, and what comes for it.
    kept = add("Div", [plane("kept", box.kept), constant(f"{name}.full", 255.0, np.float32)], f"{name}.kept_share")
    kept = add("Resize", [kept, "", constant(f"{name}.places", [1, 1, scale * BLOCK, scale * BLOCK], np.float32)],
               f"{name}.kept_large", **nearest)  # fmt: skip
    middle = add("Mul", [kept, constant(f"{name}.middle", MIDDLE, np.float32)], f"{name}.middle_kept")
    comes = add("Sub", [plane("picture", box.picture), middle], f"{name}.comes")
    goes = add("Sub", [bounds[1], kept], f"{name}.goes")
    made = add(
        "Slice",
        ["picture", integers(f"{name}.made_from", [scale * y, scale * x]),
         integers(f"{name}.made_to", [scale * (y + height), scale * (x + width)]), f"{name}.axes"],
        f"{name}.made",
    )  # fmt: skip
    # The network's picture carries the half that rounding cuts off, the known one does not.
    made = add("Sub", [made, constant(f"{name}.half", 0.5, np.float32)], f"{name}.made_exact")
    made = add("Sub", [made, add("Resize", [shift, "", large], f"{name}.shift_large", **nearest)], f"{name}.usual")
    change = add("Sub", [comes, add("Mul", [goes, made], f"{name}.gone")], f"{name}.change")
    added = add("Mul", [gate, change], f"{name}.each")
    if len(box.low) > 1:
        added = add("ReduceSum", [added, f"{name}.sum_axis"], f"{name}.added", keepdims=1)
    ends = [
        scale * (side - start - length)
        for side, start, length in zip(overlay.frame, box.at, (height, width), strict=True)
    ]
    pads = integers(f"{name}.pads", [0, 0, scale * y, scale * x, 0, 0, *ends])
    added = add("Pad", [added, pads], f"{name}.padded")
    return add("Add", [picture, added], f"{name}.corrected")
