//! As much of protocol buffers as it takes to change a serialised ONNX model (`onnx.proto`): messages are read field by field, and what
//! is not known is handed on as it is.

/// A field of a message.
pub(in crate::inference) struct Field<'a> {
    pub(in crate::inference) number: u64,
    /// Key and value.
    pub(in crate::inference) raw: &'a [u8],
    /// The value, where it is bytes, a text or a message.
    pub(in crate::inference) bytes: &'a [u8],
    /// The value, where it is an integer.
    pub(super) integer: u64,
    /// Whether it is one.
    is_integer: bool,
}

/// The fields of a message; `None` if it is none.
pub(in crate::inference) fn fields(mut message: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let (key, at) = number(message)?;
        let is_integer = key & 7 == 0;
        let (integer, start, end) = match key & 7 {
            0 => {
                let (integer, length) = number(message.get(at..)?)?;
                (integer, at, at + length)
            }
            1 => (0, at, at + 8),
            2 => {
                let (length, bytes) = number(message.get(at..)?)?;
                (0, at + bytes, (at + bytes).checked_add(usize::try_from(length).ok()?)?)
            }
            5 => (0, at, at + 4),
            _ => return None,
        };
        let (raw, rest) = message.split_at_checked(end)?;
        fields.push(Field { number: key >> 3, raw, bytes: raw.get(start..)?, integer, is_integer });
        message = rest;
    }
    Some(fields)
}

/// The integers of a repeated field, which are each a field or all in one (packed).
pub(super) fn integers(fields: &[Field<'_>], of: u64) -> Option<Vec<u64>> {
    let mut integers = Vec::new();
    for field in fields.iter().filter(|field| field.number == of) {
        if field.is_integer {
            integers.push(field.integer);
            continue;
        }
        let mut packed = field.bytes;
        while !packed.is_empty() {
            let (integer, length) = number(packed)?;
            integers.push(integer);
            packed = &packed[length..];
        }
    }
    Some(integers)
}

/// A number of variable length at the start of `bytes`, and how many of them it takes.
fn number(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (place, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * place as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, place + 1));
        }
    }
    None
}

/// Appends a field that is bytes.
pub(in crate::inference) fn put(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_number(out, field << 3 | 2);
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a field that is an integer.
pub(super) fn put_integer(out: &mut Vec<u8>, field: u64, integer: u64) {
    put_number(out, field << 3);
    put_number(out, integer);
}

fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_read() {
        let mut message = Vec::new();
        put_integer(&mut message, 1, 300);
        put_integer(&mut message, 1, 2);
        put(&mut message, 1, &[0xac, 0x02, 5]);
        put(&mut message, 20, b"text");
        let fields = fields(&message).unwrap();
        assert_eq!(integers(&fields, 1).unwrap(), [300, 2, 300, 5]);
        assert_eq!((fields[3].number, fields[3].bytes), (20, &b"text"[..]));
        let again: Vec<u8> = fields.iter().flat_map(|field| field.raw.iter().copied()).collect();
        assert_eq!(again, message);
        assert_eq!(super::fields(&message[..message.len() - 1]).map(|fields| fields.len()), None);
    }
}
