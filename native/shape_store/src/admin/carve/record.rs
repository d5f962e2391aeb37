//! A record of a table, taken apart:
//! <https://sqlite.org/fileformat2.html#record_format>.

use crate::{
    admin::row::{Condition, Row},
    file::row::unpack_oids,
};

enum Value<'a> {
    Null,
    Number(i64),
    Bytes(&'a [u8]),
}

/// A record of `shapes`.
pub(super) fn narrow(id: i64, payload: &[u8]) -> Option<Row> {
    use Value::{Bytes, Null, Number};
    match record(payload)?.as_slice() {
        [
            Null,
            Bytes(handle),
            Bytes(digest),
            Number(hash),
            Number(snapshot),
            Bytes(relations),
            more @ ..,
        ] if digest.len() == 32
            && relations.len().is_multiple_of(4)
            && (0..=2).contains(snapshot) =>
        {
            Some(Row {
                id,
                handle: handle.to_vec(),
                digest: digest.to_vec(),
                hash: *hash,
                snapshot: *snapshot,
                flags: match more.first() {
                    Some(Number(flags)) => *flags as u8,
                    _ => 0,
                },
                oids: unpack_oids(relations).to_vec(),
                body: Vec::new(),
                condition: Condition::Unreadable,
            })
        }
        _ => None,
    }
}

/// A record of `bodies`, or of another table that looks like it: the checksum tells.
pub(super) fn body(payload: &[u8]) -> Option<(u64, &[u8])> {
    match record(payload)?.as_slice() {
        [Value::Null, Value::Number(checksum), Value::Bytes(body)] => {
            Some((*checksum as u64, *body))
        }
        _ => None,
    }
}

fn record(payload: &[u8]) -> Option<Vec<Value<'_>>> {
    let mut rest = payload;
    let header = usize::try_from(varint(&mut rest)?).ok()?;
    let mut types = payload.get(payload.len() - rest.len()..header)?;
    let mut data = payload.get(header..)?;
    let mut values = Vec::new();
    while !types.is_empty() && values.len() < 8 {
        let kind = varint(&mut types)?;
        let len = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind as usize,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => usize::try_from((kind - 12) / 2).ok()?,
        };
        let (bytes, after) = data.split_at_checked(len)?;
        data = after;
        values.push(match kind {
            0 => Value::Null,
            8 => Value::Number(0),
            9 => Value::Number(1),
            1..=6 => Value::Number(signed(bytes)),
            7 => return None,
            _ => Value::Bytes(bytes),
        });
    }
    Some(values)
}

fn signed(bytes: &[u8]) -> i64 {
    let first = bytes.first().map_or(0, |byte| if byte & 0x80 == 0 { 0 } else { -1 });
    bytes.iter().fold(first, |number, byte| number << 8 | i64::from(*byte))
}

pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if place == 8 {
            return Some(number << 8 | u64::from(*byte));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

pub(super) fn number2(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

pub(super) fn number4(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}
