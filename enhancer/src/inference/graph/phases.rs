//! A network without its last step, the pixel shuffle.
//!
//! A network that enlarges by `s` makes `s * s` small pictures, its *phases*, and weaves them into one. Execution providers take a tenth
//! of the smallest network's time for that; here it is one with the copy into the picture (see [`groups`](crate::inference::groups)).
//!
//! They are made for convolutions of sixteen channels and more, too: for the four phases of a network that doubles they compute sixteen and
//! throw twelve away. So a convolution of phases is made one of *groups*, the phases of four pixels beside each other at once: its kernel
//! is that of one pixel four times, each a column further, and it steps by four. Same products, same sums, half the time.

use super::proto::integers;
use super::{ATTRIBUTE_INTEGERS, Change, GRAPH_OUTPUT, GRAPH_SHAPES, Graph, Model, NODE_INPUT, Node};
use crate::inference::groups::Groups;

const ATTRIBUTE_INTEGER: u64 = 3;
const ATTRIBUTE_TEXT: u64 = 4;

/// The same model with groups for an output; `None` where `output` does not come straight from a pixel shuffle by `scale`. `width` of the
/// low pictures that it makes all of.
pub(in crate::inference) fn unwoven(
    model: &[u8],
    output: &str,
    scale: usize,
    width: usize,
) -> Option<(Vec<u8>, Groups)> {
    let model = Model::read(model)?;
    let graph = &model.graph;
    let shuffle = graph.shuffle(output, scale)?;
    let mut groups = Groups::of(scale, width);
    let ends = graph.ends(shuffle).filter(|_| groups.across > 1);
    let mut changed = ends.and_then(|ends| graph.widened(&ends, groups)).unwrap_or_else(|| {
        groups.across = 1;
        Vec::new()
    });
    // Channels last, the order that convolutions have anyway.
    changed.push((shuffle.raw, shuffle.with(Some(b"Transpose"), &[("perm", &[0, 2, 3, 1])])));
    Some((model.with(&changed)?, groups))
}

impl<'a> Graph<'a> {
    /// The pixel shuffle that makes the graph's one output.
    fn shuffle(&self, output: &str, scale: usize) -> Option<&Node<'a>> {
        let outputs = self.fields.iter().filter(|field| field.number == GRAPH_OUTPUT).count();
        let node = self.maker(output.as_bytes()).filter(|node| outputs == 1 && node.is(b"DepthToSpace"))?;
        let (mut by, mut is_by_rows) = (0, false);
        for (name, parts) in node.attributes()? {
            let part = |number| parts.iter().find(|part| part.number == number);
            match name {
                b"blocksize" => by = part(ATTRIBUTE_INTEGER)?.integer,
                b"mode" => is_by_rows = part(ATTRIBUTE_TEXT)?.bytes == b"CRD",
                _ => {}
            }
        }
        (is_by_rows && by == scale as u64).then_some(node)
    }

    /// The convolutions that make phases: the last of the network and that of the interpolation, whose sum is rounded and shuffled.
    fn ends(&self, shuffle: &Node<'a>) -> Option<Vec<&Node<'a>>> {
        // What the file says of shapes between nodes would be wrong.
        if self.fields.iter().any(|field| field.number == GRAPH_SHAPES) {
            return None;
        }
        let rounding =
            self.maker(shuffle.text(NODE_INPUT).next()?).filter(|node| node.is(b"QuantizeLinear"))?;
        let sum = self.maker(rounding.text(NODE_INPUT).next()?).filter(|node| node.is(b"Add"))?;
        sum.text(NODE_INPUT).map(|term| self.maker(term).filter(|node| node.is(b"Conv"))).collect()
    }

    /// What changes where the convolutions `ends` make groups instead of phases; `None` if one of them is not as expected.
    fn widened(&self, ends: &[&Node<'a>], groups: Groups) -> Option<Vec<Change<'a>>> {
        let mut changes = Vec::new();
        for end in ends {
            let attributes = end.attributes()?;
            let [(b"kernel_shape", parts)] = attributes.as_slice() else { return None };
            let [height, width] = integers(parts, ATTRIBUTE_INTEGERS)?.try_into().ok()?;
            let across = groups.across as u64;
            let attributes = [("kernel_shape", &[height, width + across - 1][..]), ("strides", &[1, across])];
            changes.push((end.raw, end.with(None, &attributes)));
            for (place, name) in end.text(NODE_INPUT).enumerate().skip(1) {
                // Weights are numbers, or eight bits with scales and zero points.
                match self.maker(name).filter(|node| node.is(b"DequantizeLinear")) {
                    Some(node) => {
                        for (place, name) in node.text(NODE_INPUT).enumerate() {
                            changes.push(self.spread(name, groups, place == 0)?);
                        }
                    }
                    None => changes.push(self.spread(name, groups, place == 1)?),
                }
            }
        }
        Some(changes)
    }

    /// A tensor of something for each phase as one for each sample of a group; `is_kernel`: of kernels, `[phases, channels, rows, columns]`.
    fn spread(&self, name: &[u8], groups: Groups, is_kernel: bool) -> Option<Change<'a>> {
        let Groups { scale, across } = groups;
        let tensor = self.tensor(name)?;
        let (mut shape, bytes) = (tensor.shape.clone(), tensor.bytes);
        let phases = scale * scale;
        if shape.first() != Some(&(phases as u64)) || bytes.is_empty() || !bytes.len().is_multiple_of(phases)
        {
            return None;
        }
        let (mut columns, mut wide) = (1, 1);
        if is_kernel {
            let [.., last] = shape.as_mut_slice() else { return None };
            columns = usize::try_from(*last).ok()?;
            wide = columns + across - 1;
            *last = wide as u64;
        }
        let count = shape
            .iter()
            .skip(1)
            .try_fold(1, |count: usize, size| count.checked_mul(usize::try_from(*size).ok()?))?;
        let rows = count / wide.max(1);
        let element = bytes.len() / phases / (rows * columns).max(1);
        if element * rows * columns * phases != bytes.len() {
            return None;
        }
        shape[0] *= across as u64;
        let mut spread = Vec::with_capacity(bytes.len() * across * wide / columns);
        for (row, pixel, column) in groups.samples() {
            let kernel = bytes.chunks_exact(bytes.len() / phases).nth(row * scale + column)?;
            for line in kernel.chunks_exact(columns * element) {
                let before = if is_kernel { pixel * element } else { 0 };
                spread.extend(std::iter::repeat_n(0, before));
                spread.extend_from_slice(line);
                spread.extend(std::iter::repeat_n(0, (wide - columns) * element - before));
            }
        }
        Some(tensor.with(&shape, &spread))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::inference::tests::zoo;

    fn holds(bytes: &[u8], text: &[u8]) -> bool {
        bytes.windows(text.len()).any(|part| part == text)
    }

    #[test]
    fn the_shuffle_is_taken_out_and_nothing_else() {
        let model = zoo("generic-x2-s.int8.onnx");
        let (cut, groups) = unwoven(&model, "luma_out", 2, 641).unwrap();
        assert_eq!(groups, Groups { scale: 2, across: 1 });
        assert!(holds(&model, b"DepthToSpace") && !holds(&cut, b"DepthToSpace"));
        assert!(holds(&cut, b"Transpose") && !holds(&cut, b"width_out") && !holds(&cut, b"strides"));
        let lost = model.len() - cut.len();
        assert!((20..200).contains(&lost), "{lost} bytes less");
    }

    #[test]
    fn phases_of_pixels_beside_each_other_are_made_at_once() {
        let model = zoo("generic-x2-s.int8.onnx");
        for (width, across) in [(640, 4), (426, 2)] {
            let (cut, groups) = unwoven(&model, "luma_out", 2, width).unwrap();
            assert_eq!(groups, Groups { scale: 2, across });
            assert!(holds(&cut, b"strides"));
            // Two kernels of four phases, 16x3x3 and 1x5x5, and for each phase a bias, a scale and a zero point of each.
            let before = 4 * (16 * 9 + 25 + 2 * 9);
            let after = 4 * across * (16 * 3 * (2 + across) + 5 * (4 + across) + 2 * 9);
            let more = cut.len() - model.len();
            assert!((more + before).abs_diff(after) < 200, "{more} bytes more");
        }
        // Nine phases fill the channels of a convolution by themselves.
        let (_, groups) = unwoven(&zoo("generic-x3-s.int8.onnx"), "luma_out", 3, 640).unwrap();
        assert_eq!(groups.across, 1);
        // The interpolation of a large tier is not of eight bits.
        let (_, groups) = unwoven(&zoo("generic-x2-l.int8.onnx"), "luma_out", 2, 640).unwrap();
        assert_eq!(groups.across, 4);
    }

    #[test]
    fn other_models_stay_as_they_are() {
        let model = zoo("generic-x2-s.int8.onnx");
        assert!(unwoven(&model, "luma_out", 3, 640).is_none(), "another scale");
        assert!(unwoven(&model, "picture", 2, 640).is_none(), "another output");
        // Its shuffle is not the last step.
        assert!(unwoven(&zoo("generic-x2-s.onnx"), "luma_out", 2, 640).is_none());
        assert!(unwoven(b"", "luma_out", 2, 640).is_none());
        for end in 0..model.len().min(2000) {
            assert!(unwoven(&model[..end], "luma_out", 2, 640).is_none(), "cut at {end}");
        }
    }
}
