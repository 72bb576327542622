//! Protocol Buffers, as far as criu's messages need them: numbers, strings and
//! messages in messages, each with the number of its field.

/// A message in the making.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message(Vec<u8>);

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Of a number, an enumeration or a flag.
    Number(u64),
    /// Of a string or of a message.
    Bytes(&'a [u8]),
}

/// How a value is laid out: the lowest three bits of a field's key.
const NUMBER: u64 = 0;
const EIGHT_BYTES: u64 = 1;
const BYTES: u64 = 2;
const FOUR_BYTES: u64 = 5;

impl Message {
    /// Adds a number; a negative one takes ten bytes, as the format wants it.
    pub fn number(&mut self, field: u32, value: i64) -> &mut Self {
        self.key(field, NUMBER);
        self.varint(value.cast_unsigned());
        self
    }

    /// Adds a flag. One that is not set is left out: that is what it means.
    pub fn flag(&mut self, field: u32, value: bool) -> &mut Self {
        if value {
            self.number(field, 1);
        }
        self
    }

    /// Adds a string or a path.
    pub fn text(&mut self, field: u32, value: impl AsRef<std::ffi::OsStr>) -> &mut Self {
        self.bytes_of(field, value.as_ref().as_encoded_bytes())
    }

    /// Adds a message.
    pub fn message(&mut self, field: u32, value: &Message) -> &mut Self {
        self.bytes_of(field, &value.0)
    }

    /// What goes over the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_of(&mut self, field: u32, bytes: &[u8]) -> &mut Self {
        self.key(field, BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn key(&mut self, field: u32, layout: u64) {
        self.varint(u64::from(field) << 3 | layout);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// The fields of a message in their order; `None` if it is none.
pub fn fields(mut rest: &[u8]) -> Option<Vec<(u32, Value<'_>)>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let key = take_varint(&mut rest)?;
        let value = match key & 7 {
            NUMBER => Value::Number(take_varint(&mut rest)?),
            EIGHT_BYTES => Value::Bytes(take(&mut rest, 8)?),
            BYTES => {
                let length = take_varint(&mut rest)?;
                Value::Bytes(take(&mut rest, length.try_into().ok()?)?)
            }
            FOUR_BYTES => Value::Bytes(take(&mut rest, 4)?),
            _ => return None,
        };
        found.push((u32::try_from(key >> 3).ok()?, value));
    }
    Some(found)
}

/// Where the number of this field begins in a message.
pub fn place_of_number(bytes: &[u8], field: u32) -> Option<usize> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let key = take_varint(&mut rest)?;
        let place = bytes.len() - rest.len();
        if key == u64::from(field) << 3 | NUMBER {
            return Some(place);
        }
        skip(&mut rest, key & 7)?;
    }
    None
}

fn skip(rest: &mut &[u8], layout: u64) -> Option<()> {
    let length = match layout {
        NUMBER => return take_varint(rest).map(drop),
        EIGHT_BYTES => 8,
        BYTES => take_varint(rest)?.try_into().ok()?,
        FOUR_BYTES => 4,
        _ => return None,
    };
    take(rest, length).map(drop)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the format's own documentation, and protoc's bytes for -1.
    #[test]
    fn messages_have_the_bytes_of_the_format() {
        let mut message = Message::default();
        assert_eq!(message.number(1, 150).bytes(), [0x08, 0x96, 0x01]);
        let mut message = Message::default();
        assert_eq!(message.text(2, "testing").bytes(), b"\x12\x07testing");
        let mut message = Message::default();
        let mut expected = vec![0x08];
        expected.extend([0xff; 9]);
        expected.push(0x01);
        assert_eq!(message.number(1, -1).bytes(), expected);
        let mut message = Message::default();
        assert_eq!(message.flag(50, true).flag(51, false).bytes(), [0x90, 0x03, 0x01]);
        let mut inner = Message::default();
        inner.number(1, 150);
        let mut message = Message::default();
        assert_eq!(message.message(3, &inner).bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut message = Message::default();
        message.number(1, i64::MIN).number(68, 0).text(13, "/a b").text(37, "").number(1, 7);
        let read = fields(message.bytes());
        let expected = [
            (1, Value::Number(1 << 63)),
            (68, Value::Number(0)),
            (13, Value::Bytes(b"/a b")),
            (37, Value::Bytes(b"")),
            (1, Value::Number(7)),
        ];
        assert_eq!(read.as_deref(), Some(&expected[..]));
        assert_eq!(fields(b"").as_deref(), Some(&[][..]));
        let fixed = [0x0d, 1, 2, 3, 4, 0x11, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(fields(&fixed).map(|found| found.len()), Some(2));
    }

    #[test]
    fn a_number_is_found_where_it_is() {
        let mut message = Message::default();
        message.text(6, "/").number(1, 300).number(5, 0x20_0001).text(7, "/");
        let place = place_of_number(message.bytes(), 5).unwrap();
        assert_eq!(message.bytes()[place..place + 4], [0x81, 0x80, 0x80, 0x01]);
        assert_eq!(place_of_number(message.bytes(), 7), None);
        assert_eq!(place_of_number(&message.bytes()[..5], 5), None);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let rows: [&[u8]; 7] = [
            &[0x08],
            &[0x08, 0x80],
            &[0x12, 0x07, b't'],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x0b, 0x00],
            b"{\"Failed\":1}",
        ];
        for bytes in rows {
            assert_eq!(fields(bytes), None, "{bytes:?}");
        }
    }
}
