"""What a video looks like, as a short vector: the ONNX graph that trainer and edge share, and its use here.

Why a file of its own and not code on both sides: a descriptor that is written twice differs twice. The graph takes the
decoder's own planes (luma and chroma code values, any size), does its own resizing, and is run by ONNX Runtime here
and in the edge, so the same pictures give the same vector on both sides.

    luma u8 [n,1,H,W], chroma u8 [n,2,H/2,W/2]
      -> 256x144 luma, 128x72 chroma (antialiased), luma pyramid
      -> statistics: luma and chroma histograms, gradient orientations and strengths, band energies, corners,
         flat blocks, a coarse layout
      -> clip((statistics - mean) / deviation) @ projection -> embedding f32 [n, d]

Only mean, deviation and projection are learned (`fit`): directions along which one window's coded versions differ
count little, those along which contents differ count much. docs/clustering.md says how that compares with a trained
network and with the bare statistics.
"""

import json
from pathlib import Path

import numpy as np

from . import __version__, media

LUMA, CHROMA, OUTPUT = "luma", "chroma", "embedding"
# Resize with antialiasing and `axes` came with 18; ONNX Runtime 1.24 has it.
OPSET, IR_VERSION = 18, 8
HEIGHT, WIDTH = 144, 256
ORIENTATIONS = 12
# Pictures of a segment that are looked at, and reference pictures that are decoded at most: the edge's figures
# (describe.rs).
PICTURES, MOST_DECODED = 8, 128
# Deviations beyond which a statistic says no more: black pictures and noise lie dozens away.
MOST_DEVIATIONS = 6.0


class Graph:
    """Builds an ONNX graph node by node; values are names."""

    def __init__(self):
        self.nodes, self.constants, self.count = [], [], 0

    def constant(self, value, dtype=np.float32):
        """A constant's name."""
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def op(self, kind, *inputs, **attributes):
        """The output's name of a new node; numbers among the inputs become constants."""
        from onnx import helper

        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        output = f"v{self.count}"
        self.count += 1
        self.nodes.append(helper.make_node(kind, names, [output], name=f"{kind}{self.count}", **attributes))
        return output

    def many(self, source, weights, biases):
        """1x1 convolution: [n, c, h, w] to [n, k, h, w]; weights [k, c], biases [k]."""
        weights = np.asarray(weights, np.float32)
        return self.op("Conv", source, weights[:, :, None, None], np.asarray(biases, np.float32), kernel_shape=[1, 1])

    def mean(self, source):
        """[n, c, h, w] to [n, c]."""
        return self.op("Flatten", self.op("GlobalAveragePool", source), axis=1)

    def pool(self, source, size, stride=None):
        """Mean over squares (or (rows, columns)) of `size`."""
        size = [size, size] if isinstance(size, int) else list(size)
        return self.op("AveragePool", source, kernel_shape=size, strides=size if stride is None else [stride, stride])

    def scaled(self, source, by, plus=0.0):
        """source * by + plus."""
        scaled = self.op("Mul", source, by)
        return self.op("Add", scaled, plus) if plus else scaled


def _plane(graph, name, height, width):
    code = graph.op("Cast", name, to=1)
    sizes = graph.constant([height, width], np.int64)
    # The two empty names are `roi` and `scales`, which the sizes stand for.
    resized = graph.op("Resize", code, "", "", sizes, mode="linear", antialias=1, axes=[2, 3])
    return graph.scaled(resized, 1.0 / 255.0)


def _soft_bins(graph, source, centres):
    """Triangular memberships of [n, 1, h, w] in evenly spaced bins; the first and last take all beyond them."""
    centres = np.asarray(centres, np.float32)
    step = float(centres[1] - centres[0])
    inside = graph.op("Clip", source, float(centres[0]), float(centres[-1]))
    away = graph.op("Abs", graph.many(inside, np.full((len(centres), 1), 1.0 / step), -centres / step))
    return graph.op("Relu", graph.scaled(away, -1.0, 1.0))


def _root(graph, source):
    """Square root: histograms as points whose distances are Hellinger's."""
    return graph.op("Sqrt", graph.op("Add", source, 1e-6))


def _chroma_histogram(graph, chroma, bins=6):
    centred = graph.scaled(chroma, 1.0, -128.0 / 255.0)
    # Most chroma is near grey: x / (|x| + 0.06) gives it more bins.
    curved = graph.op("Div", centred, graph.op("Add", graph.op("Abs", centred), 0.06))
    flat = graph.constant([0, bins, -1], np.int64)
    blue, red = (
        graph.op("Reshape", _soft_bins(graph, graph.many(curved, [half], [0]), np.linspace(-0.75, 0.75, bins)), flat)
        for half in ([1, 0], [0, 1])
    )
    joint = graph.op("MatMul", blue, graph.op("Transpose", red, perm=[0, 2, 1]))
    return _root(graph, graph.op("Flatten", graph.scaled(joint, 1.0 / (HEIGHT // 2 * WIDTH // 2)), axis=1))


def _gradients(graph, luma):
    """Of [n, 1, h, w]: squares of (gx, gy, gx + gy) stacked, their power gx^2 + gy^2, and its root."""
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32) / 8.0
    both = graph.op("Conv", luma, np.stack([sobel, sobel.T])[:, None], kernel_shape=[3, 3])
    # 2 gx gy follows from the three squares.
    three = graph.many(both, [[1, 0], [0, 1], [1, 1]], [0, 0, 0])
    squares = graph.op("Mul", three, three)
    power = graph.many(squares, [[1, 1, 0]], [0])
    magnitude = graph.op("Sqrt", graph.op("Add", power, 1e-6))
    return squares, power, magnitude


def _orientations(graph, squares, power, magnitude):
    """Share of gradient at each of ORIENTATIONS directions."""
    angles = np.arange(ORIENTATIONS) * np.pi / ORIENTATIONS
    # cos 2t = (gx^2 - gy^2) / p, sin 2t = 2 gx gy / p = ((gx + gy)^2 - p) / p
    cosine, sine = np.cos(2 * angles), np.sin(2 * angles)
    towards = graph.many(squares, np.stack([cosine - sine, -cosine - sine, sine], 1), np.zeros(ORIENTATIONS))
    likeness = graph.op("Relu", graph.op("Div", towards, graph.op("Add", power, 1e-5)))
    for _ in range(3):
        likeness = graph.op("Mul", likeness, likeness)
    weights = graph.mean(graph.op("Mul", likeness, magnitude))
    total = graph.op("ReduceSum", weights, graph.constant([1], np.int64), keepdims=1)
    return _root(graph, graph.op("Div", weights, graph.op("Add", total, 1e-3)))


def _strengths(graph, magnitude, limits):
    """Soft shares of samples above each of `limits`."""
    limits = np.asarray(limits, np.float32)
    ramp = graph.many(magnitude, 1.0 / limits[:, None], np.full(len(limits), -1.0))
    return graph.mean(graph.op("Clip", ramp, 0.0, 1.0))


def _band(graph, luma):
    """Log mean magnitude of what a 3x3 mean leaves, and how unevenly it is spread."""
    kernel = np.full((1, 1, 3, 3), -1.0 / 9.0, np.float32)
    kernel[0, 0, 1, 1] += 1.0
    detail = graph.op("Conv", luma, kernel, kernel_shape=[3, 3])
    typical = graph.op("Log", graph.op("Add", graph.mean(graph.op("Abs", detail)), 1e-3))
    root = graph.op("Sqrt", graph.op("Add", graph.mean(graph.op("Mul", detail, detail)), 1e-6))
    return [typical, graph.op("Sub", graph.op("Log", root), typical)]


def _corners(graph, squares):
    """Share of gradient energy that lies in both directions at once."""
    local = graph.pool(squares, 5, 2)
    half_sum = graph.many(local, [[0.5, 0.5, 0.0]], [0])
    difference = graph.many(local, [[0.5, -0.5, 0.0]], [0])
    product = graph.many(local, [[-0.5, -0.5, 0.5]], [0])
    squared = graph.op("Add", graph.op("Mul", difference, difference), graph.op("Mul", product, product))
    spread = graph.op("Sqrt", graph.op("Add", squared, 1e-10))
    least = graph.mean(graph.op("Relu", graph.op("Sub", half_sum, spread)))
    return graph.op("Div", least, graph.op("Add", graph.mean(half_sum), 1e-4))


def _flatness(graph, luma):
    mean = graph.pool(luma, 8)
    variance = graph.op("Sub", graph.pool(graph.op("Mul", luma, luma), 8), graph.op("Mul", mean, mean))
    deviation = graph.op("Sqrt", graph.op("Add", graph.op("Relu", variance), 1e-8))
    return _strengths(graph, deviation, [0.004, 0.01, 0.02, 0.04, 0.08])


def statistics(graph):
    """Appends everything up to the projection: [(group, name of [n, k])]."""
    levels = [_plane(graph, LUMA, HEIGHT, WIDTH)]
    chroma = _plane(graph, CHROMA, HEIGHT // 2, WIDTH // 2)
    for _ in range(3):
        levels.append(graph.pool(levels[-1], 2))
    groups = [("luma", _root(graph, graph.mean(_soft_bins(graph, levels[1], np.linspace(0.06, 0.93, 8)))))]
    groups.append(("chroma", _chroma_histogram(graph, chroma)))
    for level in range(3):
        squares, power, magnitude = _gradients(graph, levels[level])
        groups.append((f"orientation{level}", _orientations(graph, squares, power, magnitude)))
        groups.append((f"strength{level}", _strengths(graph, magnitude, [0.01, 0.02, 0.04, 0.08, 0.16])))
        groups.append((f"corner{level}", _corners(graph, squares)))
        if level == 1:
            grid = graph.pool(magnitude, (17, 31))
            groups.append(("layout_edges", graph.op("Flatten", graph.op("Log", graph.op("Add", grid, 3e-3)), axis=1)))
    for level in range(4):
        groups += [(f"band{level}", value) for value in _band(graph, levels[level])]
    groups.append(("flat", _flatness(graph, levels[0])))
    groups.append(("layout_luma", graph.op("Flatten", graph.pool(levels[1], (18, 32)), axis=1)))
    groups.append(("layout_chroma", graph.op("Flatten", graph.pool(chroma, (18, 32)), axis=1)))
    return groups


def build(learned=None):
    """The model's bytes. Without what `fit` learned its output is the bare statistics."""
    import onnx
    from onnx import TensorProto, helper

    graph = Graph()
    output = graph.op("Concat", *[name for _, name in statistics(graph)], axis=1)
    dimensions = "statistics"
    if learned is not None:
        dimensions = learned["projection"].shape[1]
        output = graph.op("Div", graph.op("Sub", output, learned["mean"][None]), learned["deviation"][None])
        output = graph.op("Clip", output, -MOST_DEVIATIONS, MOST_DEVIATIONS)
        output = graph.op("MatMul", output, learned["projection"])
    graph.nodes.append(helper.make_node("Identity", [output], [OUTPUT], name=OUTPUT))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "embedding",
            [
                helper.make_tensor_value_info(LUMA, TensorProto.UINT8, ["n", 1, "height", "width"]),
                helper.make_tensor_value_info(CHROMA, TensorProto.UINT8, ["n", 2, "half_height", "half_width"]),
            ],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", dimensions])],
            graph.constants,
        ),
        producer_name="acuity-trainer",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def fit(statistics_, windows, weights, dimensions, shrinkage):
    """Mean, deviation and projection [k, d] from statistics [n, k], all float32.

    `windows` names the window each row is a coded version of: their scatter is what must not count. `weights` gives
    each row's share in the scatter between contents. The projection is Fisher's: directions in order of between over
    within scatter, the latter shrunk towards a multiple of the identity by `shrinkage`.
    """
    mean, deviation = statistics_.mean(0), statistics_.std(0) + 2e-3
    rows = np.clip((statistics_ - mean) / deviation, -MOST_DEVIATIONS, MOST_DEVIATIONS)
    within, count = np.zeros((rows.shape[1],) * 2), 0
    for window in sorted(set(windows)):
        own = rows[windows == window]
        if len(own) > 1:
            own = own - own.mean(0)
            within, count = within + own.T @ own / len(own), count + 1
    within /= max(count, 1)
    within = (1 - shrinkage) * within + shrinkage * np.trace(within) / len(within) * np.eye(len(within))
    weights = weights / weights.sum()
    centred = rows - (rows * weights[:, None]).sum(0)
    between = (centred * weights[:, None]).T @ centred
    whitening = np.linalg.cholesky(np.linalg.inv(within))
    values, vectors = np.linalg.eigh(whitening.T @ between @ whitening)
    order = np.argsort(-values)[:dimensions]
    projection = whitening @ vectors[:, order]
    # Signs are free: fixed, so that the same material gives the same file.
    projection *= np.sign(projection[np.abs(projection).argmax(0), np.arange(len(order))])
    projection /= np.sqrt(values[order].mean())
    return {
        "mean": mean.astype(np.float32),
        "deviation": deviation.astype(np.float32),
        "projection": projection.astype(np.float32),
    }


def project(learned, statistics_):
    """What the network's last layers do, for rows of bare statistics [n, k]."""
    rows = np.clip((statistics_ - learned["mean"]) / learned["deviation"], -MOST_DEVIATIONS, MOST_DEVIATIONS)
    return rows @ learned["projection"]


def chosen(count, pictures=PICTURES):
    """Places of the pictures to look at among `count`: in the middle of as many equal parts, each once."""
    return sorted({(2 * part + 1) * count // (2 * pictures) for part in range(pictures)}) if count else []


def read_planes(path, start_s=None, seconds=None):
    """(luma [n, 1, H, W], chroma [n, 2, H/2, W/2]) of the chosen pictures of a segment, or of a part of a video.

    As in the edge: pictures that nothing refers to are not decoded, and code values stay what they are.
    """
    probe = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=width,height,pix_fmt"]
    streams = json.loads(media._run([*probe, "-of", "json", str(path)])).get("streams") or []
    if not streams or not streams[0].get("width"):
        raise media.MediaError(f"{path}: no video in it")
    width, height = streams[0]["width"], streams[0]["height"]
    # Asking for yuv420p would squeeze full range into limited range.
    layout = streams[0]["pix_fmt"] if streams[0].get("pix_fmt") == "yuvj420p" else "yuv420p"
    command = [*media.QUIET, "-skip_frame", "noref", *(["-ss", str(start_s)] if start_s else [])]
    command += ["-i", str(path), "-map", "0:v:0", *(["-t", str(seconds)] if seconds else [])]
    command += ["-fps_mode", "passthrough", "-frames:v", str(MOST_DECODED), "-pix_fmt", layout, "-f", "rawvideo", "-"]
    half = ((height + 1) // 2, (width + 1) // 2)
    size = width * height + 2 * half[0] * half[1]
    data = media._run(command)
    rows = np.frombuffer(data, np.uint8, len(data) // size * size).reshape(-1, size)
    rows = rows[chosen(len(rows))]
    return rows[:, : width * height].reshape(-1, 1, height, width), rows[:, width * height :].reshape(-1, 2, *half)


class Embedder:
    """A session of the embedding network."""

    def __init__(self, model):
        from . import export

        self.session = export.runtime(model)

    def pictures(self, luma, chroma):
        """One vector a picture, [n, d]; one at a time, as the edge does."""
        run = self.session.run
        rows = [run([OUTPUT], {LUMA: luma[i : i + 1], CHROMA: chroma[i : i + 1]})[0][0] for i in range(len(luma))]
        return np.stack(rows)

    def segment(self, path, start_s=None, seconds=None):
        """The vector of a segment, or of a part of a video."""
        luma, chroma = read_planes(path, start_s, seconds)
        if len(luma) == 0:
            raise media.MediaError(f"{path}: no picture could be decoded")
        return self.pictures(luma, chroma).mean(0)

    def windows(self, path, count, seconds):
        """Vectors [k, d] of up to `count` windows of `seconds`, evenly spread over a video."""
        out = media._run(["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(path)])
        try:
            duration = float(out)
        except ValueError:
            return self.segment(path, None, seconds)[None]
        count = max(1, min(count, int(duration // seconds)))
        starts = [duration * (2 * part + 1) / (2 * count) - seconds / 2 for part in range(count)]
        return np.stack([self.segment(Path(path), round(max(start, 0.0), 3), seconds) for start in starts])
