//! What is done to a serialised ONNX model (`onnx.proto`) before a session is made of it.
//!
//! Files keep their contract: only the bytes in memory change. Of them the few fields that matter are looked at, and everything else is
//! handed on as it is.

pub(super) mod bare;
pub(super) mod phases;
pub(super) mod proto;

use proto::{Field, fields, integers, put, put_integer};

const MODEL_GRAPH: u64 = 7;
const GRAPH_NODE: u64 = 1;
const GRAPH_TENSOR: u64 = 5;
const GRAPH_OUTPUT: u64 = 12;
const GRAPH_SHAPES: u64 = 13;
const NODE_INPUT: u64 = 1;
const NODE_OUTPUT: u64 = 2;
const NODE_OP_TYPE: u64 = 4;
const NODE_ATTRIBUTE: u64 = 5;
const ATTRIBUTE_NAME: u64 = 1;
const ATTRIBUTE_INTEGERS: u64 = 8;
const ATTRIBUTE_TYPE: u64 = 20;
const TYPE_OF_INTEGERS: u64 = 7;
const TENSOR_DIMENSION: u64 = 1;
const TENSOR_ELEMENTS: u64 = 2;
const TENSOR_NAME: u64 = 8;
const TENSOR_BYTES: u64 = 9;
const VALUE_NAME: u64 = 1;
const VALUE_TYPE: u64 = 2;
const TYPE_TENSOR: u64 = 1;
const TENSOR_ELEMENT: u64 = 1;

struct Model<'a> {
    fields: Vec<Field<'a>>,
    graph: Graph<'a>,
}

impl<'a> Model<'a> {
    /// `None` if it is none.
    fn read(model: &'a [u8]) -> Option<Self> {
        let fields = fields(model)?;
        let graph = Graph::read(fields.iter().find(|field| field.number == MODEL_GRAPH)?.bytes)?;
        Some(Self { fields, graph })
    }

    /// The model with what has changed in its graph, and an output of any shape.
    fn with(&self, changed: &[Change<'a>]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for field in &self.fields {
            match field.number {
                MODEL_GRAPH => put(&mut out, MODEL_GRAPH, &self.graph.with(changed)?),
                _ => out.extend_from_slice(field.raw),
            }
        }
        Some(out)
    }
}

/// A field of a graph, as it is in the file, and what stands in its place.
type Change<'a> = (&'a [u8], Vec<u8>);

struct Graph<'a> {
    fields: Vec<Field<'a>>,
    nodes: Vec<Node<'a>>,
}

struct Node<'a> {
    /// As a field of the graph.
    raw: &'a [u8],
    fields: Vec<Field<'a>>,
}

impl<'a> Node<'a> {
    fn text(&self, of: u64) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |field| field.number == of).map(|field| field.bytes)
    }

    fn is(&self, op_type: &[u8]) -> bool {
        self.text(NODE_OP_TYPE).eq([op_type])
    }

    /// The attributes, by name.
    fn attributes(&self) -> Option<Vec<(&'a [u8], Vec<Field<'a>>)>> {
        let attributes = self.text(NODE_ATTRIBUTE).map(|attribute| {
            let parts = fields(attribute)?;
            let name = parts.iter().find(|part| part.number == ATTRIBUTE_NAME)?.bytes;
            Some((name, parts))
        });
        attributes.collect()
    }

    /// As a field of the graph, with other attributes.
    fn with(&self, op_type: Option<&[u8]>, attributes: &[(&str, &[u64])]) -> Vec<u8> {
        let mut node = Vec::new();
        for field in &self.fields {
            match (field.number, op_type) {
                (NODE_ATTRIBUTE, _) => {}
                (NODE_OP_TYPE, Some(op_type)) => put(&mut node, NODE_OP_TYPE, op_type),
                _ => node.extend_from_slice(field.raw),
            }
        }
        for (name, integers) in attributes {
            let mut attribute = Vec::new();
            put(&mut attribute, ATTRIBUTE_NAME, name.as_bytes());
            integers.iter().for_each(|integer| put_integer(&mut attribute, ATTRIBUTE_INTEGERS, *integer));
            put_integer(&mut attribute, ATTRIBUTE_TYPE, TYPE_OF_INTEGERS);
            put(&mut node, NODE_ATTRIBUTE, &attribute);
        }
        let mut out = Vec::new();
        put(&mut out, GRAPH_NODE, &node);
        out
    }
}

impl<'a> Graph<'a> {
    fn read(graph: &'a [u8]) -> Option<Self> {
        let parts = fields(graph)?;
        let nodes = parts.iter().filter(|field| field.number == GRAPH_NODE);
        let nodes = nodes.map(|field| Some(Node { raw: field.raw, fields: fields(field.bytes)? }));
        Some(Self { nodes: nodes.collect::<Option<_>>()?, fields: parts })
    }

    /// The node that makes `name`.
    fn maker(&self, name: &[u8]) -> Option<&Node<'a>> {
        self.nodes.iter().find(|node| node.text(NODE_OUTPUT).any(|output| output == name))
    }

    /// The tensor `name`; `None` if there is none, or its elements are not written as bytes.
    fn tensor(&self, name: &[u8]) -> Option<Tensor<'a>> {
        self.fields.iter().filter(|field| field.number == GRAPH_TENSOR).find_map(|field| {
            let parts = fields(field.bytes)?;
            parts.iter().find(|part| (part.number, part.bytes) == (TENSOR_NAME, name))?;
            let bytes = parts.iter().find(|part| part.number == TENSOR_BYTES)?.bytes;
            Some(Tensor { raw: field.raw, shape: integers(&parts, TENSOR_DIMENSION)?, bytes, fields: parts })
        })
    }

    /// The graph with what has changed, and an output of any shape.
    fn with(&self, changed: &[Change<'a>]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for field in &self.fields {
            match changed.iter().find(|(before, _)| std::ptr::eq(*before, field.raw)) {
                Some((_, after)) => out.extend_from_slice(after),
                None if field.number == GRAPH_OUTPUT => {
                    put(&mut out, GRAPH_OUTPUT, &without_shape(field.bytes)?);
                }
                None => out.extend_from_slice(field.raw),
            }
        }
        Some(out)
    }
}

/// A tensor of the graph's own.
struct Tensor<'a> {
    /// As a field of the graph.
    raw: &'a [u8],
    fields: Vec<Field<'a>>,
    shape: Vec<u64>,
    /// Its elements, little-endian.
    bytes: &'a [u8],
}

impl<'a> Tensor<'a> {
    /// What stands in its place with another shape and other elements.
    fn with(&self, shape: &[u64], bytes: &[u8]) -> Change<'a> {
        let mut tensor = Vec::new();
        shape.iter().for_each(|size| put_integer(&mut tensor, TENSOR_DIMENSION, *size));
        for field in self.fields.iter().filter(|field| matches!(field.number, TENSOR_ELEMENTS | TENSOR_NAME))
        {
            tensor.extend_from_slice(field.raw);
        }
        put(&mut tensor, TENSOR_BYTES, bytes);
        let mut out = Vec::new();
        put(&mut out, GRAPH_TENSOR, &tensor);
        (self.raw, out)
    }
}

/// What is declared of an output: its name and its type alone.
fn without_shape(value: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for field in fields(value)? {
        match field.number {
            VALUE_NAME => out.extend_from_slice(field.raw),
            VALUE_TYPE => {
                let types = fields(field.bytes)?;
                let tensor = fields(types.iter().find(|kind| kind.number == TYPE_TENSOR)?.bytes)?;
                let element = tensor.iter().find(|part| part.number == TENSOR_ELEMENT)?;
                let mut kind = Vec::new();
                put(&mut kind, TYPE_TENSOR, element.raw);
                put(&mut out, VALUE_TYPE, &kind);
            }
            _ => {}
        }
    }
    Some(out)
}
