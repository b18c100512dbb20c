//! ONNX files for tests: the shipped network with its weights edited, and small networks written from nothing.
//!
//! An ONNX file is a Protocol Buffers message; the few fields that a small graph needs are written here by hand, so that
//! tests need no Python. Field numbers are those of `onnx.proto3`.

/// The shipped small network with `add` added to what it gives, in code values.
pub fn brighter(network: &[u8], add: f32) -> Vec<u8> {
    let mut edited = network.to_vec();
    let name = b"tail.bias";
    let places = (0..network.len()).filter(|&at| network[at..].starts_with(name));
    // A tensor's name comes right before its raw data (field 9), four floats here.
    let is_data = |at: &usize| network.get(at + name.len()..at + name.len() + 2) == Some(&[0x4a, 16]);
    let data = places.map(|at| at + name.len() + 2).find(|at| is_data(&(at - name.len() - 2))).unwrap();
    for place in (data..data + 16).step_by(4) {
        let bias = f32::from_le_bytes(edited[place..place + 4].try_into().unwrap()) + add;
        edited[place..place + 4].copy_from_slice(&bias.to_le_bytes());
    }
    edited
}

/// A small network: nearest neighbours, and what may be wrong with it.
#[derive(Clone)]
pub struct Small {
    /// Enlargement of rows and columns.
    pub scale: (f32, f32),
    /// Added to every sample.
    pub add: f32,
    /// Element type of the output as ONNX counts: 2 is uint8, 1 is float.
    pub output_type: u64,
    /// Dimensions of the input: a number, or a name for a dynamic one.
    pub input: [&'static str; 4],
    /// Rows become columns before they are enlarged.
    pub swap_axes: bool,
}

impl Default for Small {
    fn default() -> Self {
        let input = ["1", "1", "height", "width"];
        Self { scale: (2.0, 2.0), add: 0.0, output_type: 2, input, swap_axes: false }
    }
}

impl Small {
    pub fn file(&self) -> Vec<u8> {
        let (rows, columns) = self.scale;
        let order: &[i64] = if self.swap_axes { &[0, 1, 3, 2] } else { &[0, 1, 2, 3] };
        let floats = |name: &str, dims: &[u64], values: &[f32]| {
            let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let dims = dims.iter().flat_map(|dim| number(1, *dim));
            dims.chain(number(2, 1))
                .chain(bytes(8, name.as_bytes()))
                .chain(bytes(9, &raw))
                .collect::<Vec<u8>>()
        };
        let transpose = order.iter().flat_map(|axis| number(8, *axis as u64)).collect::<Vec<u8>>();
        let nodes = [
            node("Cast", &["luma"], "code", &[attribute("to", 2, &number(3, 1))]),
            node("Transpose", &["code"], "turned", &[attribute("perm", 7, &transpose)]),
            node(
                "Resize",
                &["turned", "", "scales"],
                "large",
                &[attribute("mode", 3, &bytes(4, b"nearest"))],
            ),
            node("Add", &["large", "add"], "lighter", &[]),
            node("Clip", &["lighter", "floor", "ceiling"], "clipped", &[]),
            node("Cast", &["clipped"], "luma_out", &[attribute("to", 2, &number(3, self.output_type))]),
        ];
        let mut graph: Vec<u8> = nodes.iter().flat_map(|node| bytes(1, node)).collect();
        graph.extend(bytes(2, b"small"));
        for tensor in [
            floats("scales", &[4], &[1.0, 1.0, rows, columns]),
            floats("add", &[], &[self.add]),
            floats("floor", &[], &[0.0]),
            floats("ceiling", &[], &[255.0]),
        ] {
            graph.extend(bytes(5, &tensor));
        }
        graph.extend(bytes(11, &value("luma", 2, &self.input)));
        graph.extend(bytes(12, &value("luma_out", self.output_type, &["batch", "1", "rows", "columns"])));
        [number(1, 8), bytes(7, &graph), bytes(8, &number(2, 17))].concat()
    }
}

/// A network of contract 2 that shows the first of two pictures moved to the right by so many pixels, an even number; what is equal in
/// both stays.
pub fn moving(pixels: i64) -> Vec<u8> {
    let integers = |name: &str, values: &[i64]| {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let head = [number(1, values.len() as u64), number(2, 7), bytes(8, name.as_bytes())];
        bytes(5, &[head.concat(), bytes(9, &raw)].concat())
    };
    let cast = |to: u64| [attribute("to", 2, &number(3, to))];
    let mut graph = bytes(2, b"moving");
    for (suffix, channels, sides, by) in [
        ("", "1", ["height", "width"], pixels),
        ("_chroma", "2", ["chroma_height", "chroma_width"], pixels / 2),
    ] {
        let own = |name: &str| format!("{name}{suffix}");
        let name =
            ["previous", "next", "middle", "x", "y", "pads", "padded", "start", "end", "axis"].map(own);
        let [a, b, out, x, y, pads, padded, start, end, axis] = name.each_ref().map(String::as_str);
        let [moved, same, made] = &["moved", "same", "made"].map(own);
        let edge = [attribute("mode", 3, &bytes(4, b"edge"))];
        for node in [
            node("Cast", &[a], x, &cast(1)),
            node("Cast", &[b], y, &cast(1)),
            node("Pad", &[x, pads], padded, &edge),
            node("Slice", &[padded, start, end, axis], moved, &[]),
            node("Equal", &[x, y], same, &[]),
            node("Where", &[same, x, moved], made, &[]),
            node("Cast", &[made], out, &cast(2)),
        ] {
            graph.extend(bytes(1, &node));
        }
        // As many columns more on the left as are cut off on the right.
        graph.extend(integers(pads, &[0, 0, 0, by, 0, 0, 0, 1]));
        graph.extend([integers(start, &[0]), integers(end, &[-by - 1]), integers(axis, &[3])].concat());
        let shape = ["1", channels, sides[0], sides[1]];
        graph.extend([bytes(11, &value(a, 2, &shape)), bytes(11, &value(b, 2, &shape))].concat());
        graph.extend(bytes(12, &value(out, 2, &shape)));
    }
    let none = [number(1, 1), number(2, 1), bytes(8, b"none"), bytes(9, &0.0_f32.to_le_bytes())];
    graph.extend(bytes(5, &none.concat()));
    // Nothing at all; not as a constant, which OpenVINO does not take for an output.
    graph.extend(bytes(1, &node("ReduceMax", &["x"], "most", &[])));
    graph.extend(bytes(1, &node("Mul", &["most", "none"], "mismatch", &[])));
    graph.extend(bytes(12, &value("mismatch", 1, &["1"; 4])));
    [number(1, 8), bytes(7, &graph), bytes(8, &number(2, 17))].concat()
}

fn node(kind: &str, inputs: &[&str], output: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut node: Vec<u8> = inputs.iter().flat_map(|input| bytes(1, input.as_bytes())).collect();
    node.extend(bytes(2, output.as_bytes()));
    node.extend(bytes(4, kind.as_bytes()));
    node.extend(attributes.iter().flat_map(|attribute| bytes(5, attribute)));
    node
}

/// `kind` as `AttributeProto.AttributeType` has it: 2 a number, 3 text, 7 numbers.
fn attribute(name: &str, kind: u64, value: &[u8]) -> Vec<u8> {
    [bytes(1, name.as_bytes()), value.to_vec(), number(20, kind)].concat()
}

fn value(name: &str, element: u64, dims: &[&str]) -> Vec<u8> {
    let dim = |dim: &&str| {
        let dim = dim.parse().map_or_else(|_| bytes(2, dim.as_bytes()), |fixed| number(1, fixed));
        bytes(1, &dim)
    };
    let shape: Vec<u8> = dims.iter().flat_map(dim).collect();
    let tensor = [number(1, element), bytes(2, &shape)].concat();
    [bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat()
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}
