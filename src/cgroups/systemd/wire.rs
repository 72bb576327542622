//! The wire format of D-Bus, as far as systemd's manager speaks it (D-Bus
//! Specification, "Type System" and "Message Protocol").
//!
//! Both ends of a bus are on this machine, so numbers are in its byte order.

use super::value::Value;

/// Longest message that is accepted. Answers of the manager are far shorter.
const LARGEST: usize = 1 << 20;

/// Length of the part of a header that is there in every message.
pub const FIXED_HEADER: usize = 16;

const ORDER: u8 = if cfg!(target_endian = "little") { b'l' } else { b'B' };
const VERSION: u8 = 1;

/// Fields of a header, by their numbers.
mod field {
    pub const PATH: u8 = 1;
    pub const INTERFACE: u8 = 2;
    pub const MEMBER: u8 = 3;
    pub const ERROR_NAME: u8 = 4;
    pub const REPLY_SERIAL: u8 = 5;
    pub const DESTINATION: u8 = 6;
    pub const SENDER: u8 = 7;
    pub const SIGNATURE: u8 = 8;
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A call of a method.
    Call,
    /// What a call returned.
    Return,
    /// Why a call failed.
    Error,
    /// A signal.
    Signal,
}

/// Appends values, each aligned as its type wants it.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    /// `y`
    pub fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// `b`
    pub fn boolean(&mut self, value: bool) {
        self.uint32(value.into());
    }

    /// `u`, and the bits of an `i`
    pub fn uint32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_ne_bytes());
    }

    /// `t`
    pub fn uint64(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend(value.to_ne_bytes());
    }

    /// `s` and `o`
    pub fn text(&mut self, value: &str) {
        self.uint32(value.len() as u32);
        self.bytes.extend(value.as_bytes());
        self.byte(0);
    }

    /// `g`
    pub fn signature(&mut self, value: &str) {
        self.byte(value.len() as u8);
        self.bytes.extend(value.as_bytes());
        self.byte(0);
    }

    /// `a`: its length does not count the padding before the first element.
    pub fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.uint32(0);
        let length_at = self.bytes.len() - 4;
        self.align(alignment);
        let start = self.bytes.len();
        elements(self);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// `(`: the start of a structure.
    pub fn structure(&mut self) {
        self.align(8);
    }

    /// `v`
    pub fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        value.write(self);
    }
}

/// A call of a method, before it is sent.
#[derive(Debug)]
pub struct Call<'a> {
    /// Whose method; `None` on a connection without a broker.
    pub destination: Option<&'a str>,
    /// Of which object.
    pub path: &'a str,
    /// In which interface.
    pub interface: &'a str,
    /// Its name.
    pub member: &'a str,
    /// The types of its arguments.
    pub signature: &'a str,
    /// Its arguments.
    pub body: Writer,
}

impl Call<'_> {
    /// The message's bytes.
    pub fn encode(&self, serial: u32) -> Vec<u8> {
        const NO_FLAGS: u8 = 0;
        let mut message = Writer::default();
        for byte in [ORDER, 1, NO_FLAGS, VERSION] {
            message.byte(byte);
        }
        message.uint32(self.body.bytes.len() as u32);
        message.uint32(serial);
        let texts = [
            (field::PATH, "o", Some(self.path)),
            (field::INTERFACE, "s", Some(self.interface)),
            (field::MEMBER, "s", Some(self.member)),
            (field::DESTINATION, "s", self.destination),
        ];
        message.array(8, |fields| {
            for (code, kind, text) in texts {
                let Some(text) = text else { continue };
                fields.structure();
                fields.byte(code);
                fields.signature(kind);
                fields.text(text);
            }
            if !self.signature.is_empty() {
                fields.structure();
                fields.byte(field::SIGNATURE);
                fields.signature("g");
                fields.signature(self.signature);
            }
        });
        message.align(8);
        message.bytes.extend(&self.body.bytes);
        message.bytes
    }
}

/// A message that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// The call that it answers.
    pub reply_serial: Option<u32>,
    /// The object that a signal comes from.
    pub path: Option<String>,
    /// The interface of a signal.
    pub interface: Option<String>,
    /// The name of a signal.
    pub member: Option<String>,
    /// The name of an error.
    pub error_name: Option<String>,
    /// Who sent it; the broker vouches for that.
    pub sender: Option<String>,
    /// The types in its body.
    pub signature: String,
    body: Vec<u8>,
}

impl Message {
    /// How long the message is that starts with these [`FIXED_HEADER`] bytes;
    /// `None` if they start none, or one that is too long.
    pub fn length(start: &[u8; FIXED_HEADER]) -> Option<usize> {
        let mut reader = Reader::new(start);
        if reader.byte()? != ORDER {
            return None;
        }
        reader.take(3)?;
        let body = reader.uint32()? as usize;
        reader.uint32()?;
        let fields = reader.uint32()? as usize;
        let header = FIXED_HEADER.checked_add(fields)?.checked_next_multiple_of(8)?;
        header.checked_add(body).filter(|length| *length <= LARGEST)
    }

    /// Reads a whole message; `None` if it is malformed. Messages of kinds
    /// that a client need not know come out as signals without a name.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        reader.byte()?;
        let kind = match reader.byte()? {
            1 => Kind::Call,
            2 => Kind::Return,
            3 => Kind::Error,
            _ => Kind::Signal,
        };
        reader.take(2)?;
        let body_length = reader.uint32()? as usize;
        reader.uint32()?;
        let mut message = Self {
            kind,
            reply_serial: None,
            path: None,
            interface: None,
            member: None,
            error_name: None,
            sender: None,
            signature: String::new(),
            body: Vec::new(),
        };
        let fields_length = reader.uint32()? as usize;
        let end = reader.position.checked_add(fields_length)?;
        while reader.position < end {
            reader.align(8)?;
            message.read_field(&mut reader)?;
        }
        reader.align(8)?;
        message.body = reader.take(body_length)?.to_vec();
        Some(message)
    }

    fn read_field(&mut self, reader: &mut Reader) -> Option<()> {
        let code = reader.byte()?;
        let signature = reader.signature()?;
        match signature.as_str() {
            "u" => {
                let number = reader.uint32()?;
                if code == field::REPLY_SERIAL {
                    self.reply_serial = Some(number);
                }
            }
            "g" => {
                let text = reader.signature()?;
                if code == field::SIGNATURE {
                    self.signature = text;
                }
            }
            "s" | "o" => {
                let text = Some(reader.text()?);
                match code {
                    field::PATH => self.path = text,
                    field::INTERFACE => self.interface = text,
                    field::MEMBER => self.member = text,
                    field::ERROR_NAME => self.error_name = text,
                    field::SENDER => self.sender = text,
                    _ => {}
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Reads the body from its start.
    pub fn body(&self) -> Reader<'_> {
        Reader::new(&self.body)
    }
}

/// Takes values from the bytes of a message. `None` means malformed.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.position.checked_add(count)?;
        let taken = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(taken)
    }

    fn align(&mut self, to: usize) -> Option<()> {
        self.take(self.position.next_multiple_of(to) - self.position).map(drop)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// `u`
    pub fn uint32(&mut self) -> Option<u32> {
        self.align(4)?;
        Some(u32::from_ne_bytes(self.take(4)?.try_into().ok()?))
    }

    /// `s` and `o`
    pub fn text(&mut self) -> Option<String> {
        let length = self.uint32()? as usize;
        self.terminated(length)
    }

    /// `g`
    pub fn signature(&mut self) -> Option<String> {
        let length = self.byte()?;
        self.terminated(length.into())
    }

    /// `v` with a text in it
    pub fn variant_text(&mut self) -> Option<String> {
        (self.signature()? == "s").then(|| self.text()).flatten()
    }

    fn terminated(&mut self, length: usize) -> Option<String> {
        let text = String::from_utf8(self.take(length)?.to_vec()).ok()?;
        (self.byte()? == 0).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call(body: Writer) -> Call<'static> {
        Call {
            destination: Some("org.example"),
            path: "/org/example",
            interface: "org.example.Manager",
            member: "Start",
            signature: "su",
            body,
        }
    }

    fn example() -> Vec<u8> {
        let mut body = Writer::default();
        body.text("web.scope");
        body.uint32(7);
        call(body).encode(3)
    }

    #[test]
    fn what_is_encoded_can_be_decoded() {
        let bytes = example();
        let start: &[u8; FIXED_HEADER] = bytes[..FIXED_HEADER].try_into().unwrap();
        assert_eq!(Message::length(start), Some(bytes.len()));
        let message = Message::decode(&bytes).unwrap();
        assert_eq!(message.kind, Kind::Call);
        assert_eq!(message.path.as_deref(), Some("/org/example"));
        assert_eq!(message.interface.as_deref(), Some("org.example.Manager"));
        assert_eq!(message.member.as_deref(), Some("Start"));
        assert_eq!(message.signature, "su");
        let mut body = message.body();
        assert_eq!((body.text(), body.uint32()), (Some("web.scope".into()), Some(7)));
        assert_eq!(body.uint32(), None);
    }

    #[test]
    fn an_array_does_not_count_its_first_padding() {
        let mut body = Writer::default();
        body.array(8, |list| list.uint64(1));
        assert_eq!(body.bytes.len(), 16);
        assert_eq!(body.bytes[..8], [8_u32.to_ne_bytes(), [0; 4]].concat());
    }

    #[test]
    fn overlong_messages_are_refused() {
        let mut start = [0; FIXED_HEADER];
        start[0] = ORDER;
        start[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(Message::length(&start), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(message) = Message::decode(&bytes) {
                let mut body = message.body();
                while body.variant_text().is_some() {}
            }
        }

        #[test]
        fn no_damage_makes_it_panic(position in 0_usize..150, byte in any::<u8>(), length in 0_usize..150) {
            let mut bytes = example();
            if let Some(place) = bytes.get_mut(position) {
                *place = byte;
            }
            bytes.truncate(length);
            let _ = Message::decode(&bytes);
        }
    }
}
