//! A network without the edges that it continues a picture by.
//!
//! Networks look some pixels around each, and before anything else they continue the picture they are given by so many. Of a window
//! of a larger picture these pixels are there: to continue them as well makes the smallest windows cost half as much again.

use super::proto::integers;
use super::{ATTRIBUTE_INTEGERS, Change, Graph, Model, NODE_INPUT, Node};

/// A network that makes of a picture what is `reach` pixels or more from its edges.
pub(in crate::inference) struct Bare {
    pub(in crate::inference) model: Vec<u8>,
    pub(in crate::inference) reach: usize,
}

/// The same model for windows that come with their surroundings; `None` where it does anything else to `input` than to continue it.
pub(in crate::inference) fn bare(model: &[u8], input: &str) -> Option<Bare> {
    let model = Model::read(model)?;
    let graph = &model.graph;
    if graph.convolutions_continue()? {
        return None;
    }
    let takes = |node: &&Node<'_>| node.text(NODE_INPUT).any(|name| name == input.as_bytes());
    let pads = graph.nodes.iter().filter(takes).map(|node| {
        let tensor = node.text(NODE_INPUT).nth(1).filter(|_| node.is(b"Pad"))?;
        let tensor = graph.tensor(tensor)?;
        let by = pads(tensor.bytes)?;
        Some((tensor, by))
    });
    let pads = pads.collect::<Option<Vec<_>>>()?;
    let reach = pads.iter().map(|(_, by)| *by).max().filter(|reach| *reach > 0)?;
    let changed: Vec<Change<'_>> = pads
        .iter()
        .map(|(tensor, by)| {
            // Less than nothing is cut off.
            let by = (by - reach).to_le_bytes();
            let zero = [0; 8];
            tensor.with(&tensor.shape, &[zero, zero, by, by, zero, zero, by, by].concat())
        })
        .collect();
    Some(Bare { model: model.with(&changed)?, reach: usize::try_from(reach).ok()? })
}

impl Graph<'_> {
    /// Whether a convolution continues what it is given, by itself; `None` if that cannot be told.
    fn convolutions_continue(&self) -> Option<bool> {
        for node in self.nodes.iter().filter(|node| node.is(b"Conv")) {
            for (name, parts) in node.attributes()? {
                let continues = match name {
                    b"auto_pad" => true,
                    b"pads" => integers(&parts, ATTRIBUTE_INTEGERS)?.iter().any(|by| *by != 0),
                    _ => false,
                };
                if continues {
                    return Some(true);
                }
            }
        }
        Some(false)
    }
}

/// By how much a picture is continued on all four sides, of the padding of `[batch, channel, row, column]` at both ends.
fn pads(bytes: &[u8]) -> Option<i64> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    let numbers: Vec<i64> = numbers.iter().map(|number| i64::from_le_bytes(*number)).collect();
    match numbers.as_slice() {
        [0, 0, top, left, 0, 0, bottom, right] if rest.is_empty() => {
            let is_even = [top, left, bottom].iter().all(|side| *side == right);
            (is_even && (0..=64).contains(right)).then_some(*right)
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::inference::tests::zoo;

    #[test]
    fn networks_tell_how_far_they_look() {
        for name in ["x2-s.int8", "x2-m.int8", "x2-l.int8", "x4-s.int8"] {
            let model = zoo(&format!("generic-{name}.onnx"));
            let bare = bare(&model, "luma").unwrap();
            assert_eq!(bare.reach, 7, "{name}");
            assert!(super::bare(&bare.model, "luma").is_none(), "{name}: once is enough");
        }
    }

    #[test]
    fn what_is_no_such_model_is_left_alone() {
        let model = zoo("generic-x2-s.int8.onnx");
        assert!(bare(&model, "picture").is_none());
        // It makes numbers of samples first.
        assert!(bare(&zoo("generic-x2-s.onnx"), "luma").is_none());
        assert!(bare(b"", "luma").is_none());
        for end in 0..model.len().min(2000) {
            assert!(bare(&model[..end], "luma").is_none(), "cut at {end}");
        }
        assert_eq!(pads(&[0; 64]), Some(0));
        assert_eq!(pads(&[1; 64]), None);
        assert_eq!(pads(&[0; 65]), None);
    }
}
