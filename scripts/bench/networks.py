"""Published super-resolution networks as ONNX graphs, x2 on luma, bytes in and bytes out.

No package was found that carries their trained weights, so the weights are arbitrary (seeded, scaled as for
training, so that activations stay in range and no denormal slows anything): speed does not depend on them, quality
is not asked. FSRCNN(d,s,m): Dong et al., ECCV 2016; ESPCN: Shi et al., CVPR 2016. Conversion from bytes and back is
part of the graph, as a careful user would have it.
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

OPSET, IR = 17, 8


class Graph:
    """Nodes in a row."""

    def __init__(self):
        self.nodes, self.weights, self.last = [], [], "luma"
        self.random = np.random.default_rng(1)

    def constant(self, values):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, kind, *inputs, **attributes):
        out = f"x{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.last, *inputs], [out], **attributes))
        self.last = out

    def filters(self, shape, fan_in):
        return self.constant(self.random.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32))

    def convolve(self, inputs, outputs, size, activation=None):
        weights = self.filters((outputs, inputs, size, size), inputs * size * size)
        bias = self.constant(np.zeros(outputs, np.float32))
        self.add("Conv", weights, bias, kernel_shape=[size, size], pads=[size // 2] * 4)
        if activation == "PRelu":
            self.add("PRelu", self.constant(np.full((outputs, 1, 1), 0.25, np.float32)))
        elif activation:
            self.add(activation)

    def parameters(self):
        return sum(int(np.prod(weight.dims)) for weight in self.weights if len(weight.dims) > 0)


def fsrcnn(graph, wide, narrow, layers):
    graph.convolve(1, wide, 5, "PRelu")
    graph.convolve(wide, narrow, 1, "PRelu")
    for _ in range(layers):
        graph.convolve(narrow, narrow, 3, "PRelu")
    graph.convolve(narrow, wide, 1, "PRelu")
    weights = graph.filters((wide, 1, 9, 9), wide * 81)
    graph.add("ConvTranspose", weights, kernel_shape=[9, 9], strides=[2, 2], pads=[4, 4, 4, 4], output_padding=[1, 1])


def espcn(graph):
    graph.convolve(1, 64, 5, "Tanh")
    graph.convolve(64, 32, 3, "Tanh")
    graph.convolve(32, 4, 3)
    graph.add("DepthToSpace", blocksize=2, mode="CRD")


BUILDERS = {
    "fsrcnn": lambda graph: fsrcnn(graph, 56, 12, 4),
    "fsrcnn-s": lambda graph: fsrcnn(graph, 32, 5, 1),
    "espcn": espcn,
}


def build(name, width, height):
    """The model for frames of this size."""
    graph = Graph()
    graph.add("Cast", to=TensorProto.FLOAT)
    graph.add("Mul", graph.constant(np.float32(1 / 255)))
    BUILDERS[name](graph)
    graph.add("Mul", graph.constant(np.float32(255)))
    graph.add("Round")
    graph.add("Clip", graph.constant(np.float32(0)), graph.constant(np.float32(255)))
    graph.add("Cast", to=TensorProto.UINT8)
    luma = helper.make_tensor_value_info("luma", TensorProto.UINT8, [1, 1, height, width])
    larger = helper.make_tensor_value_info(graph.last, TensorProto.UINT8, [1, 1, height * 2, width * 2])
    made = helper.make_graph(graph.nodes, name, [luma], [larger], graph.weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
