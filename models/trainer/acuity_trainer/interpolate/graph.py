"""A small builder of ONNX graphs: nodes and constants with names that do not depend on the clock."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .. import __version__
from ..contract import IR_VERSION, OPSET


class Graph:
    """Nodes in order; every method that adds one gives the name of its output."""

    def __init__(self):
        self.nodes, self.initializers, self._constants, self._count = [], [], {}, 0

    def constant(self, value, dtype=np.float32, name=None):
        """A constant; those of one name, and equal ones without a name, are kept once."""
        array = np.asarray(value, dtype)
        key = name or (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = name or f"constant{len(self._constants)}"
            self.initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def integers(self, *values):
        return self.constant(values, np.int64)

    def node(self, kind, *inputs, name=None, outputs=1, **attributes):
        """Adds a node; gives its output's name, or a list of them."""
        self._count += 1
        name = name or f"{kind}{self._count}"
        outs = [name] if outputs == 1 else [f"{name}.{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), outs, name=f"node.{name}", **attributes))
        return outs[0] if outputs == 1 else outs

    def cast(self, source, to, name=None):
        return self.node("Cast", source, to=to, name=name)

    def concat(self, sources, axis):
        return self.node("Concat", *sources, axis=axis)

    def slice(self, source, starts, ends, axes):
        """`starts` and `ends`: names, or lists of numbers."""
        bounds = [self.integers(*b) if isinstance(b, (list, tuple)) else b for b in (starts, ends)]
        return self.node("Slice", source, *bounds, self.integers(*axes))

    def side(self, source, axis):
        """The length of an axis: int64 [1]."""
        shape = self.node("Shape", source)
        return self.node("Gather", shape, self.integers(axis), axis=0)

    def repeated(self, source, factor):
        """Every value `factor` times along height and width."""
        how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.node("Resize", source, "", self.constant([1.0, 1.0, factor, factor]), mode="nearest", **how)

    def finished(self, name, inputs, outputs, metadata):
        """The checked onnx.ModelProto; `inputs` and `outputs` are value infos, `metadata` {key: text}."""
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.initializers)
        model = helper.make_model(
            graph,
            producer_name="acuity-trainer",
            producer_version=__version__,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        for key in sorted(metadata):
            entry = model.metadata_props.add()
            entry.key, entry.value = key, str(metadata[key])
        onnx.checker.check_model(model, full_check=True)
        return model
