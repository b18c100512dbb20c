//! ONNX files for scenarios: a network that is there already with one of its numbers changed, and a tiny one written from
//! nothing. Just as much of protobuf and of `onnx.proto` as that takes, so that no test needs Python.

use crate::Result;

/// Field numbers of `onnx.proto`.
mod field {
    /// `ModelProto.ir_version`.
    pub(super) const IR_VERSION: u64 = 1;
    /// `ModelProto.graph`.
    pub(super) const GRAPH: u64 = 7;
    /// `ModelProto.opset_import`.
    pub(super) const OPSET: u64 = 8;
    /// `GraphProto.initializer`.
    pub(super) const INITIALIZER: u64 = 5;
    /// `TensorProto.name`.
    pub(super) const TENSOR_NAME: u64 = 8;
    /// `TensorProto.raw_data`.
    pub(super) const RAW_DATA: u64 = 9;
}

/// `network` with `by` added to every 32-bit float of one initializer. The file's length stays, as after more training.
///
/// # Errors
/// When it is no ONNX file or has no such initializer.
pub fn shifted(network: &[u8], initializer: &str, by: f32) -> Result<Vec<u8>> {
    let found = initializers(network)?.into_iter().find(|(name, _)| name == initializer);
    let (_, range) = found.ok_or_else(|| format!("there is no initializer {initializer}"))?;
    let mut changed = network.to_vec();
    for float in changed.get_mut(range).unwrap_or_default().chunks_exact_mut(4) {
        let value = f32::from_le_bytes(float.try_into()?) + by;
        float.copy_from_slice(&value.to_le_bytes());
    }
    Ok(changed)
}

/// A network that repeats each sample `scale` times along both axes: the cheapest there is. `element`: 2 for uint8, 1 for
/// 32-bit floats, as `TensorProto.DataType` has them.
#[must_use]
pub fn nearest(scale: u8, element: u64) -> Vec<u8> {
    model(&nearest_graph(scale, element, "scales"))
}

/// A graph around its nodes.
fn model(graph: &[u8]) -> Vec<u8> {
    let opset = number(2, 13);
    [number(field::IR_VERSION, 7), message(field::GRAPH, graph), message(field::OPSET, &opset)].concat()
}

/// A node of a graph.
fn node(kind: &str, inputs: &[&str], output: &str, attribute: Option<Vec<u8>>) -> Vec<u8> {
    let mut node: Vec<u8> = inputs.iter().flat_map(|input| message(1, input.as_bytes())).collect();
    node.extend(message(2, output.as_bytes()));
    node.extend(message(4, kind.as_bytes()));
    node.extend(attribute.unwrap_or_default());
    message(1, &node)
}

/// Fields of `GraphProto`; `scales` names what the node takes its scales from.
fn nearest_graph(scale: u8, element: u64, scales: &str) -> Vec<u8> {
    let tensor = |name: &str| {
        let named_dimension = |name: &str| message(1, &message(2, name.as_bytes()));
        let fixed = || message(1, &number(1, 1));
        let shape =
            [fixed(), fixed(), named_dimension(&format!("{name}_h")), named_dimension(&format!("{name}_w"))];
        let tensor_type = [number(1, element), message(2, &shape.concat())].concat();
        [message(1, name.as_bytes()), message(2, &message(1, &tensor_type))].concat()
    };
    let numbers: Vec<u8> =
        [1.0, 1.0, f32::from(scale), f32::from(scale)].iter().flat_map(|s| s.to_le_bytes()).collect();
    let initializer = [
        number(1, 4), // dims
        number(2, 1), // data_type: float
        message(field::TENSOR_NAME, b"scales"),
        message(field::RAW_DATA, &numbers),
    ];
    // AttributeProto: name, s, type = STRING
    let attribute = |name: &str, value: &str| {
        message(5, &[message(1, name.as_bytes()), message(4, value.as_bytes()), number(20, 3)].concat())
    };
    let node = [
        message(1, b"luma"),
        message(1, b""), // no region of interest
        message(1, scales.as_bytes()),
        message(2, b"luma_out"),
        message(3, b"enlarge"),
        message(4, b"Resize"),
        attribute("mode", "nearest"),
        attribute("coordinate_transformation_mode", "asymmetric"),
        attribute("nearest_mode", "floor"),
    ];
    [
        message(1, &node.concat()),
        message(2, b"nearest"),
        message(field::INITIALIZER, &initializer.concat()),
        message(11, &tensor("luma")),
        message(12, &tensor("luma_out")),
    ]
    .concat()
}

/// As [`nearest`] for uint8, but it fails on pictures that are not as wide as those that networks are proven with (96, 160 and 640).
#[must_use]
pub fn nearest_where_proven(scale: u8) -> Vec<u8> {
    const INT64: u64 = 7;
    let constant = |name: &str, value: i64| {
        let tensor = [
            number(2, INT64),
            message(field::TENSOR_NAME, name.as_bytes()),
            message(field::RAW_DATA, &value.to_le_bytes()),
        ];
        message(field::INITIALIZER, &tensor.concat())
    };
    // A place that is none in the table of scales, unless the width is one of the three.
    let mut graph = [
        node("Shape", &["luma"], "shape", None),
        node("Gather", &["shape", "three"], "width", None),
        node("Sub", &["width", "first"], "a", None),
        node("Sub", &["width", "second"], "b", None),
        node("Sub", &["width", "third"], "c", None),
        node("Mul", &["a", "b"], "ab", None),
        node("Mul", &["ab", "c"], "place", None),
        node("Gather", &["scales", "place"], "one", None),
        node("Mul", &["scales", "one"], "scales_there", None),
        constant("three", 3),
        constant("first", 96),
        constant("second", 160),
        constant("third", 640),
    ]
    .concat();
    graph.extend(nearest_graph(scale, 2, "scales_there"));
    model(&graph)
}

/// A network of contract 2 that shows the brighter of two pictures at each place as the one between them: no real network would,
/// and neither the mean of both nor the first looks so.
#[must_use]
pub fn brighter_of_two() -> Vec<u8> {
    of_two("Max")
}

/// A network of contract 2 that shows the mean of two pictures.
#[must_use]
pub fn mean_of_two() -> Vec<u8> {
    of_two("Mean")
}

/// A network of contract 2 that shows what an operator makes of two pictures, place for place.
fn of_two(operator: &str) -> Vec<u8> {
    const FLOAT: u64 = 1;
    const BYTE: u64 = 2;
    let cast = |to: u64| message(5, &[message(1, b"to"), number(3, to), number(20, 2)].concat());
    let value = |name: &str, element: u64, channels: u64, sides: [&str; 2]| {
        let fixed = |size: u64| message(1, &number(1, size));
        let named = |name: &str| message(1, &message(2, name.as_bytes()));
        let shape = [fixed(1), fixed(channels), named(sides[0]), named(sides[1])].concat();
        let tensor = [number(1, element), message(2, &shape)].concat();
        [message(1, name.as_bytes()), message(2, &message(1, &tensor))].concat()
    };
    let (luma, chroma) = (["height", "width"], ["chroma_height", "chroma_width"]);
    let mut graph = Vec::new();
    for (suffix, channels, sides) in [("", 1, luma), ("_chroma", 2, chroma)] {
        let [a, b, out] = ["previous", "next", "middle"].map(|name| format!("{name}{suffix}"));
        let [x, y, most] = ["x", "y", "most"].map(|name| format!("{name}{suffix}"));
        graph.extend(node("Cast", &[&a], &x, Some(cast(FLOAT))));
        graph.extend(node("Cast", &[&b], &y, Some(cast(FLOAT))));
        graph.extend(node(operator, &[&x, &y], &most, None));
        graph.extend(node("Cast", &[&most], &out, Some(cast(BYTE))));
        graph.extend(message(11, &value(&a, BYTE, channels, sides)));
        graph.extend(message(11, &value(&b, BYTE, channels, sides)));
        graph.extend(message(12, &value(&out, BYTE, channels, sides)));
    }
    let none = [
        number(1, 1),
        number(2, FLOAT),
        message(field::TENSOR_NAME, b"none"),
        message(field::RAW_DATA, &0.0_f32.to_le_bytes()),
    ];
    graph.extend(node("Identity", &["none"], "mismatch", None));
    graph.extend(message(field::INITIALIZER, &none.concat()));
    let one = message(2, &message(1, &number(1, 1)));
    let mismatch = message(2, &message(1, &[number(1, FLOAT), one].concat()));
    graph.extend(message(12, &[message(1, b"mismatch"), mismatch].concat()));
    graph.extend(message(2, b"of_two"));
    model(&graph)
}

/// Names of the initializers, and where their numbers lie in the file.
fn initializers(network: &[u8]) -> Result<Vec<(String, std::ops::Range<usize>)>> {
    let mut found = Vec::new();
    let all = 0..network.len();
    for (_, graph) in fields(network, all)?.into_iter().filter(|(number, _)| *number == field::GRAPH) {
        for (_, tensor) in fields(network, graph)?.into_iter().filter(|(n, _)| *n == field::INITIALIZER) {
            let parts = fields(network, tensor)?;
            let part =
                |wanted| parts.iter().find(|(number, _)| *number == wanted).map(|(_, range)| range.clone());
            if let (Some(name), Some(data)) = (part(field::TENSOR_NAME), part(field::RAW_DATA)) {
                found.push((String::from_utf8_lossy(&network[name]).into_owned(), data));
            }
        }
    }
    Ok(found)
}

/// The length-delimited fields of the message at `range`; others are stepped over.
fn fields(bytes: &[u8], range: std::ops::Range<usize>) -> Result<Vec<(u64, std::ops::Range<usize>)>> {
    let (mut at, end) = (range.start, range.end);
    let mut found = Vec::new();
    while at < end {
        let key = varint(bytes, &mut at)?;
        match key & 7 {
            0 => drop(varint(bytes, &mut at)?),
            1 => at += 8,
            2 => {
                let length = usize::try_from(varint(bytes, &mut at)?)?;
                let stop = at
                    .checked_add(length)
                    .filter(|stop| *stop <= end)
                    .ok_or("a field ends behind its message")?;
                found.push((key >> 3, at..stop));
                at = stop;
            }
            5 => at += 4,
            other => return Err(format!("wire type {other} at {at}").into()),
        }
    }
    Ok(found)
}

fn varint(bytes: &[u8], at: &mut usize) -> Result<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at).ok_or("a number is cut short")?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number is too long".into())
}

fn number(field: u64, mut value: u64) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(field << 3).unwrap_or_default()];
    if field >= 16 {
        bytes = vec![
            u8::try_from((field << 3) & 0x7f | 0x80).unwrap_or_default(),
            u8::try_from(field >> 4).unwrap_or_default(),
        ];
    }
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn message(field: u64, content: &[u8]) -> Vec<u8> {
    // The tag of a message differs from that of a number in its wire type alone: 2 instead of 0.
    let mut bytes = number(field, content.len() as u64);
    if let Some(tag) = bytes.first_mut() {
        *tag |= 2;
    }
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let network = nearest(3, 2);
        let found = initializers(&network).unwrap();
        assert_eq!(found.len(), 1);
        let (name, range) = found[0].clone();
        assert_eq!((name.as_str(), &network[range.clone()][8..12]), ("scales", &3.0_f32.to_le_bytes()[..]));
        let changed = shifted(&network, "scales", 1.0).unwrap();
        assert_eq!(changed.len(), network.len());
        assert_eq!(&changed[range][8..12], &4.0_f32.to_le_bytes()[..]);
        assert!(shifted(&network, "weights", 1.0).is_err());
        assert!(shifted(&network[..network.len() / 2], "scales", 1.0).is_err());
    }

    #[test]
    fn the_shipped_network_can_be_changed() {
        let file = crate::world::repository().join("models/zoo/generic-x2-s.onnx");
        let network = std::fs::read(file).unwrap();
        let changed = shifted(&network, "tail.bias", 3.0).unwrap();
        let different = network.iter().zip(&changed).filter(|(a, b)| a != b).count();
        assert!((1..=16).contains(&different), "four floats at most: {different} bytes");
    }
}
