"""Writes a trained interpolation network as ONNX under contract 2.

The graph takes the pictures as they come from a decoder and gives the made one, all three planes: continuing them to a
multiple of the coarsest cell, cropping, moving, mixing and rounding are inside. Comparing two pictures under
every displacement of a window, which ONNX has no operator for, is two convolutions with kernels of a single 1, a
product and a sum.

Where nothing differs between the two pictures in a cell and those around it, luma or chroma, the previous one is taken
as it is: static parts stay still to the bit, whatever the network thinks of them.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from . import contract
from .graph import Graph
from .networks import InterpolationNet, slope_kernel, window_kernel, windows

FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8
# The last code value plus what the cast cuts off.
CEILING = 255.49


# The two parts of the last layer, in the names of its numbers.
FIELD, MASK = "field", "mask"


def arrays_of(network):
    """{name: float32 array} of a torch network's numbers, the last layer in its two parts."""
    held = {name: value.detach().float().numpy() for name, value in network.state_dict().items()}
    last, count = f"level4.{network.shape['depth']}", 2 * contract.CELL**2
    for kind in ("weight", "bias"):
        whole = held.pop(f"{last}.{kind}")
        held[f"{last}{FIELD}.{kind}"], held[f"{last}{MASK}.{kind}"] = whole[:count], whole[count:]
    return held


class _Writer:
    """One network being written: shapes and numbers at hand."""

    def __init__(self, arrays, shape):
        self.graph, self.arrays, self.shape = Graph(), arrays, shape

    def conv(self, name, source, active=True, **attributes):
        graph, weight, bias = self.graph, self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"]
        if name == "encode4":
            # Its input is code values, not (code values / 255 - 0.5).
            bias = bias - 0.5 * weight.sum((1, 2, 3))
            weight = weight / 255.0
            weight = in_cells(weight)
        size = weight.shape[-1]
        pad = 0 if name == "encode4" else size // 2
        inputs = [source, graph.constant(weight, name=f"{name}.weight"), graph.constant(bias, name=f"{name}.bias")]
        out = graph.node("Conv", *inputs, kernel_shape=[size, size], pads=[pad] * 4, **attributes)
        return self.activated(out) if active else out

    def activated(self, source):
        return self.graph.node("LeakyRelu", source, alpha=contract.LEAK)

    def level(self, name, sources, lasts=("",)):
        """The layers of a level; the last may be in parts, which saves taking its output apart."""
        out, depth = self.graph.concat(sources, 1), self.shape["depth"]
        for index in range(depth):
            out = self.conv(f"{name}.{index}", out)
        found = [self.conv(f"{name}.{depth}{last}", out, active=False) for last in lasts]
        return found if len(found) > 1 else found[0]

    def channels(self, source, start, end):
        return self.graph.slice(source, [start], [end], [1])

    def products(self, keys, reach):
        """`networks.products` of the two pictures in `keys`, moved against each other."""
        graph = self.graph
        places, count = windows(*reach), self.shape["keys"][0 if reach == contract.REACH_8 else 1]
        rows, columns = 2 * reach[0] + 1, 2 * reach[1] + 1
        moved = []
        for source, sign in zip(keys, (-1, 1), strict=True):
            kernel = np.zeros((count * len(places), 1, rows, columns), np.float32)
            for index, (dy, dx) in enumerate(places):
                kernel[index :: len(places), 0, reach[0] + sign * dy, reach[1] + sign * dx] = 1.0
            pads = [*reach, *reach]
            moved.append(graph.node("Conv", source, graph.constant(kernel), group=count, pads=pads))
        # Channels are ordered by key first; the mean over the keys is a convolution too.
        mean = np.tile(np.eye(len(places), dtype=np.float32), (1, count))[..., None, None] / count
        return graph.node("Conv", graph.node("Mul", *moved), graph.constant(mean))

    def coordinates(self, like, cell, rim):
        """What `moved` needs of a size: (one pixel [1, 2, 1, 1], columns [1, 2, 1, w], rows [1, 2, h, 1])."""
        graph = self.graph
        sides = [graph.side(like, axis) for axis in (3, 2)]
        # A pixel of the field is `cell` pixels of a picture that is continued by `rim` all around.
        lengths = [graph.node("Mul", graph.cast(side, FLOAT), graph.constant(cell)) for side in sides]
        lengths = [graph.node("Add", length, graph.constant(2.0 * rim)) for length in lengths]
        steps = [graph.node("Div", graph.constant(2.0 * cell), length) for length in lengths]
        places = []
        for side, step, shape in zip(sides, steps, ((1, 1, 1, -1), (1, 1, -1, 1)), strict=True):
            limit = graph.node("Squeeze", side)
            count = graph.node("Range", graph.constant(0, np.int64), limit, graph.constant(1, np.int64))
            at = graph.node("Mul", graph.node("Add", graph.cast(count, FLOAT), graph.constant(0.5 + rim / cell)), step)
            places.append(graph.node("Reshape", graph.node("Sub", at, graph.constant(1.0)), graph.integers(*shape)))
        nothing = [graph.node("Mul", place, graph.constant(0.0)) for place in places]
        columns, rows = graph.concat([places[0], nothing[0]], 1), graph.concat([nothing[1], places[1]], 1)
        return graph.node("Reshape", graph.concat(steps, 0), graph.integers(1, 2, 1, 1)), columns, rows

    def moved(self, pictures, flow, cell=1.0, rim=0.0):
        """Two pictures: the first read at x - flow, the second at x + flow; `flow` in pixels of its own size."""
        graph = self.graph
        unit, columns, rows = self.coordinates(flow, cell, rim)
        offset = graph.node("Mul", flow, unit)
        found = []
        for picture, way in zip(pictures, ("Sub", "Add"), strict=True):
            grid = graph.node("Add", graph.node(way, columns, offset), rows)
            grid = graph.node("Transpose", grid, perm=[0, 2, 3, 1])
            how = {"mode": "bilinear", "padding_mode": "border", "align_corners": 0}
            found.append(graph.node("GridSample", picture, grid, **how))
        return found

    def doubled(self, flow):
        """A field at twice the size: a convolution that gives four values for each, and those put in their places."""
        graph = self.graph
        wide = graph.node("Pad", flow, graph.integers(0, 0, 1, 1, 0, 0, 1, 1), mode="edge")
        found = graph.node("Conv", wide, graph.constant(enlarging(2)))
        return graph.node("DepthToSpace", found, blocksize=2, mode="CRD")

    def carried(self, told):
        found = self.channels(told, 2, 2 + contract.CARRIED)
        return self.activated(self.graph.repeated(found, 2.0))

    def encoded(self, cells):
        """What is compared of one picture's cells: keys at 1/8 and 1/16, the luma at 1/4."""
        at4 = self.conv("encode4b", self.conv("encode4", cells))
        at8 = self.conv("encode8", at4, strides=[2, 2])
        at16 = self.conv("encode16", at8, strides=[2, 2])
        inner = self.graph.slice(cells, [1, 1], [-1, -1], [2, 3])
        mean = self.graph.constant(np.full((1, contract.CELL**2, 1, 1), 1.0 / contract.CELL**2))
        quarter = self.graph.node("Conv", inner, mean)
        return self.conv("key8", at8, active=False), self.conv("key16", at16, active=False), quarter

    def slide(self, first, second):
        """`networks.slide` of cells of 2x2 code values: (step [1, 2, h, w], how well it is known)."""
        graph, unit = self.graph, 1.0 / contract.SLIDE_UNIT
        pads = graph.integers(0, 0, 1, 1, 0, 0, 1, 1)
        wide = graph.node("Pad", graph.node("Add", first, second), pads, mode="edge")
        kernel = slope_kernel().numpy() * unit / 2
        x, y = (graph.node("Conv", wide, graph.constant(part)) for part in (kernel[:4], kernel[4:]))
        apart = graph.node("Mul", graph.node("Sub", first, second), graph.constant(unit))
        pairs = ((x, x), (y, y), (x, y), (x, apart), (y, apart))
        terms = graph.concat([graph.node("Mul", *pair) for pair in pairs], 1)
        near = graph.node("Conv", terms, graph.constant(window_kernel().numpy()), group=20, pads=[2, 2, 2, 2])
        # The sums of four, as pairs that are worked on together: (xx, yy), (yy, xx), (xt, yt), (yt, xt), (xy, xy).
        wanted = ((0, 1), (1, 0), (3, 4), (4, 3), (2, 2))
        own, others, way, swapped, xy = (
            graph.node(
                "Conv", near, graph.constant(summing(pair)), graph.constant([contract.SLIDE_NOISE * (at < 2)] * 2)
            )
            for at, pair in enumerate(wanted)
        )
        determinant = graph.node("Sub", graph.node("Mul", own, others), graph.node("Mul", xy, xy))
        step = graph.node("Sub", graph.node("Mul", others, way), graph.node("Mul", swapped, xy))
        step = graph.node("Mul", step, graph.node("Div", graph.constant(0.5), determinant))
        limit = contract.SLIDE_LIMIT
        step = graph.node("Clip", step, graph.constant(-limit), graph.constant(limit))
        known = graph.node("Div", graph.constant(contract.SLIDE_NOISE), own)
        return step, graph.node("Sub", graph.constant(1.0), known)

    def motion(self, wide, cells):
        """`InterpolationNet.motion` of continued pictures: field of cells [1, 2 * cell^2, h, w], x first, and mask."""
        graph = self.graph
        keys8, keys16, quarters = zip(*(self.encoded(part) for part in cells), strict=True)
        step = self.slide(*map(self.eighths, quarters))
        told = self.level("level16", [self.products(keys16, contract.REACH_16), *keys16, *step])
        flow8 = self.doubled(self.added(self.leap(told, contract.LEAP_16), step[0]))
        step = self.slide(*map(self.unshuffled, self.moved(quarters, self.doubled(flow8))))
        flow8 = self.added(flow8, step[0])
        keys8 = self.moved(keys8, flow8)
        told = self.level("level8", [self.products(keys8, contract.REACH_8), *keys8, self.carried(told), flow8, *step])
        flow4 = self.doubled(graph.node("Add", flow8, self.leap(told, contract.LEAP_8)))
        halves = [*map(self.unshuffled, self.moved(wide, self.doubled(flow4), 2.0, contract.CELL))]
        step = self.slide(*halves)
        flow4 = self.added(flow4, step[0])
        unit, middle = graph.constant(1.0 / 255.0), graph.constant(-0.5)
        seen = [graph.node("Add", graph.node("Mul", half, unit), middle) for half in halves]
        told, mask = self.level("level4", [*seen, self.carried(told), flow4, *step], (FIELD, MASK))
        # Enlarging the cells' field is a convolution too, one that gives a value for each pixel of a cell.
        mask = graph.node("Add", mask, self.leaving(flow4))
        around = graph.node("Pad", flow4, graph.integers(0, 0, 1, 1, 0, 0, 1, 1), mode="edge")
        return graph.node("Add", told, graph.node("Conv", around, graph.constant(enlarging(contract.CELL)))), mask

    def leaving(self, flow):
        """`networks.leaving`."""
        graph = self.graph
        unit, columns, rows = self.coordinates(flow, 1.0, 0.0)
        places, offset = graph.node("Add", columns, rows), graph.node("Mul", flow, unit)
        outside = []
        for way in ("Sub", "Add"):
            beyond = graph.node("Sub", graph.node("Abs", graph.node(way, places, offset)), graph.constant(1.0))
            beyond = graph.node("Div", beyond, unit)
            outside.append(graph.node("Clip", beyond, graph.constant(0.0), graph.constant(1.0)))
        apart = graph.node("Sub", outside[1], outside[0])
        return graph.node("Conv", apart, graph.constant(np.full((1, 2, 1, 1), contract.LEAVING)))

    def leap(self, told, limit):
        """The learned part of a field."""
        bounds = (self.graph.constant(-limit), self.graph.constant(limit))
        return self.graph.node("Clip", self.channels(told, 0, 2), *bounds)

    def added(self, flow, step):
        """A field and a step in pixels of half their size."""
        return self.graph.node("Add", flow, self.graph.node("Mul", step, self.graph.constant(0.5)))

    def eighths(self, quarter):
        """Cells of 2x2 pixels of a luma at half the size."""
        apart = self.graph.node("SpaceToDepth", quarter, blocksize=contract.CELL)
        return self.graph.node("Conv", apart, self.graph.constant(quartered(contract.CELL, 1)))

    def unshuffled(self, picture):
        return self.graph.node("SpaceToDepth", picture, blocksize=2)

    def still(self, *pairs):
        """[1, 1, h, w] float: 1 for cells in which, and in those around, nothing differs; a rim of cells goes."""
        graph, found = self.graph, []
        for first, second in pairs:
            differs = graph.node("Abs", graph.node("Sub", first, second))
            channels = contract.CELL**2 // (1 if len(found) == 0 else 2)
            found.append(graph.node("Conv", differs, graph.constant(np.ones((1, channels, 1, 1)))))
        around = graph.node("MaxPool", graph.node("Add", *found), kernel_shape=[3, 3])
        return graph.cast(graph.node("Less", around, graph.constant(0.5)), FLOAT)

    def mixed(self, moved, share, still, previous, size, cell, out):
        """The made planes, rounded; `share` is the first picture's. Gives what the two moved pictures differ by."""
        graph = self.graph
        first, second = moved
        apart = graph.node("Sub", first, second)
        made = graph.node("Add", second, graph.node("Mul", apart, graph.node("Sigmoid", share)))
        # The same for every pixel of a cell; a Resize does not run under OpenVINO here where sizes are dynamic.
        kept = self.spread(graph.node("Conv", still, graph.constant(np.ones((cell**2, 1, 1, 1)))), cell, size)
        made = graph.node("Where", graph.node("Greater", kept, graph.constant(0.5)), previous, made)
        made = graph.node(
            "Clip", graph.node("Add", made, graph.constant(0.5)), graph.constant(0.0), graph.constant(CEILING)
        )
        graph.cast(made, UINT8, name=out)
        return apart

    def cropped(self, source, size):
        return self.graph.slice(source, [0, 0], size, [2, 3])

    def spread(self, cells, cell, size):
        """What `cells` say of their pixels, as a picture, cropped to its size."""
        return self.cropped(self.graph.node("DepthToSpace", cells, blocksize=cell, mode="CRD"), size)

    def whole(self):
        """The graph between the contract's tensors."""
        graph = self.graph
        lumas = [graph.cast(name, FLOAT) for name in (contract.PREVIOUS, contract.FOLLOWING)]
        chromas = [graph.cast(name, FLOAT) for name in (contract.PREVIOUS_CHROMA, contract.FOLLOWING_CHROMA)]
        size, chroma_size = (graph.concat([graph.side(p, 2), graph.side(p, 3)], 0) for p in (lumas[0], chromas[0]))
        # What is missing to a multiple of the stride: (stride - side mod stride) mod stride.
        stride = graph.integers(contract.STRIDE)
        spare = graph.node("Mod", graph.node("Sub", stride, graph.node("Mod", size, stride)), stride)
        half = graph.node("Div", spare, graph.integers(2))
        cell = contract.CELL
        wide = [self.continued(luma, spare, cell) for luma in lumas]
        wide_chroma = [self.continued(chroma, half, cell // 2) for chroma in chromas]
        cells = [graph.node("SpaceToDepth", part, blocksize=cell) for part in wide]
        still = self.still(cells, [graph.node("SpaceToDepth", part, blocksize=cell // 2) for part in wide_chroma])
        # Cells that are of the picture: the rest has done its part.
        count = graph.node("Div", graph.node("Add", size, graph.integers(cell - 1)), graph.integers(cell))
        field, mask = (self.cropped(part, count) for part in self.motion(wide, cells))
        still = self.cropped(still, count)
        moved = self.moved(lumas, self.spread(field, cell, size))
        apart = self.mixed(moved, self.spread(mask, cell, size), still, lumas[0], size, cell, contract.MIDDLE)
        graph.node("ReduceMean", graph.node("Abs", apart), axes=[0, 2, 3], keepdims=0, name=contract.MISMATCH)
        # A chroma pixel moves as the mean of its four lumas, half as far.
        field = graph.node("Conv", field, graph.constant(quartered(cell, 2) / 2.0))
        mask = graph.node("Conv", mask, graph.constant(quartered(cell, 1)))
        cell //= 2
        moved = self.moved(chromas, self.spread(field, cell, chroma_size))
        share = self.spread(mask, cell, chroma_size)
        self.mixed(moved, share, still, chromas[0], chroma_size, cell, contract.MIDDLE_CHROMA)

    def continued(self, source, spare, rim):
        """`source` continued by its edge: `rim` all around, `spare` (int64 [2]) more at the bottom and the right."""
        graph = self.graph
        ends = graph.node("Add", spare, graph.integers(rim, rim))
        pads = graph.concat([graph.integers(0, 0, rim, rim, 0, 0), ends], 0)
        return graph.node("Pad", source, pads, mode="edge")


def in_cells(weight):
    """The first layer's kernel, for a picture taken apart into cells: [c, cell^2, 3, 3] of [c, 1, side, side]."""
    cell, rim = contract.CELL, contract.RIM
    wide = np.zeros((len(weight), 3 * cell, 3 * cell), weight.dtype)
    wide[:, cell - rim : 2 * cell + rim, cell - rim : 2 * cell + rim] = weight[:, 0]
    apart = wide.reshape(-1, 3, cell, 3, cell).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(apart.reshape(-1, cell**2, 3, 3))


def from_cells(kernel):
    """The other way."""
    cell, rim = contract.CELL, contract.RIM
    wide = kernel.reshape(-1, cell, cell, 3, 3).transpose(0, 3, 1, 4, 2).reshape(-1, 1, 3 * cell, 3 * cell)
    return np.ascontiguousarray(wide[:, :, cell - rim : 2 * cell + rim, cell - rim : 2 * cell + rim])


def summing(terms):
    """[2, 20, 1, 1]: two of five terms, each the sum of four channels."""
    kernel = np.zeros((2, 5, 4, 1, 1))
    for out, term in enumerate(terms):
        kernel[out, term] = 1.0
    return kernel.reshape(2, 20, 1, 1)


def enlarging(cell):
    """[2 * cell^2, 2, 3, 3]: a field at `cell` times the size, and so of as many times the lengths, bilinear.

    One channel for each pixel of a cell, x before y.
    """
    offsets = [(index + 0.5) / cell - 0.5 for index in range(cell)]
    taps = np.array([[max(0.0, 1 - abs(tap - 1 - offset)) for tap in range(3)] for offset in offsets])
    kernel = np.zeros((2, cell, cell, 2, 3, 3))
    for axis in range(2):
        kernel[axis, :, :, axis] = cell * np.einsum("ya,xb->yxab", taps, taps)
    return kernel.reshape(2 * cell**2, 2, 3, 3)


def quartered(cell, kinds):
    """[kinds * (cell / 2)^2, kinds * cell^2, 1, 1]: means of four pixels each, of every kind of cells."""
    half = cell // 2
    kernel = np.zeros((kinds, half, half, kinds, cell, cell))
    for kind, y, x in np.ndindex(kinds, cell, cell):
        kernel[kind, y // 2, x // 2, kind, y, x] = 0.25
    return kernel.reshape(kinds * half**2, kinds * cell**2, 1, 1)


def build(network, metadata):
    """An onnx.ModelProto of a torch network; `metadata` {key: text} has an "id"."""
    writer = _Writer(arrays_of(network), network.shape)
    writer.whole()

    def info(name, kind, channels, height, width):
        return helper.make_tensor_value_info(name, kind, [1, channels, height, width])

    sides = {1: ("height", "width"), 2: ("chroma_height", "chroma_width")}
    inputs = [info(name, UINT8, 2 if "chroma" in name else 1, *sides[2 if "chroma" in name else 1])
              for name in contract.INPUTS]  # fmt: skip
    outputs = [info(contract.MIDDLE, UINT8, 1, *sides[1]), info(contract.MIDDLE_CHROMA, UINT8, 2, *sides[2])]
    outputs.append(helper.make_tensor_value_info(contract.MISMATCH, FLOAT, [1]))
    return writer.graph.finished(metadata["id"], inputs, outputs, metadata)


def written(network, metadata):
    """The model's bytes; the same network and metadata give the same bytes."""
    return build(network, metadata).SerializeToString(deterministic=True)


def tier_of(data):
    """The tier that an exported model says it is of."""
    told = {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}
    return told["tier"]


def read_network(data, tier):
    """The torch network of an exported model's bytes, ready to be trained on."""
    import torch

    held = {entry.name: numpy_helper.to_array(entry) for entry in onnx.load_from_string(data).graph.initializer}
    network = InterpolationNet(**contract.TIERS[tier])
    last = f"level4.{network.shape['depth']}"
    for kind in ("weight", "bias"):
        held[f"{last}.{kind}"] = np.concatenate([held[f"{last}{part}.{kind}"] for part in (FIELD, MASK)])
    held["encode4.weight"] = from_cells(held["encode4.weight"])
    state = {name: torch.tensor(held[name].copy()) for name in network.state_dict()}
    state["encode4.weight"] = state["encode4.weight"] * 255.0
    state["encode4.bias"] = state["encode4.bias"] + 0.5 * state["encode4.weight"].sum((1, 2, 3))
    network.load_state_dict(state)
    return network


def made(session, previous, following):
    """The picture between two, each (luma [h, w], chroma [2, h / 2, w / 2]) uint8: (luma, chroma, mismatch)."""
    planes = zip(contract.INPUTS, (*previous, *following), strict=True)
    fed = {name: np.ascontiguousarray(plane).reshape(1, -1, *plane.shape[-2:]) for name, plane in planes}
    luma, chroma, mismatch = session.run(list(contract.OUTPUTS), fed)
    return luma[0, 0], chroma[0], float(mismatch[0])
