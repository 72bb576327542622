//! rtnetlink(7), as much of it as moving an interface needs: build a request,
//! send it, collect the answers until the kernel acknowledges.

use crate::error::{Context, Error, Result};
use crate::sys;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::os::fd::{AsFd, OwnedFd};

/// Size of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Larger than any datagram the kernel sends on a route socket (32 KiB).
const CAPACITY: usize = 64 * 1024;
/// The high bits of an attribute's type are flags (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;
/// How often a listing is repeated when it changed while it was read.
const ATTEMPTS: usize = 8;

/// One request: a header of its kind and attributes.
#[derive(Debug, Clone)]
pub struct Request {
    kind: u16,
    flags: u16,
    pub(super) body: Vec<u8>,
    /// An attribute did not fit its 16-bit length; cutting it would smuggle in others.
    oversized: bool,
}

impl Request {
    /// A request of kind `RTM_*` with its fixed header, such as `ifinfomsg`.
    pub fn new(kind: u16, header: &[u8]) -> Self {
        Self { kind, flags: libc::NLM_F_ACK as u16, body: padded(header), oversized: false }
    }

    /// Asks for all objects of the kind instead of one.
    #[must_use]
    pub fn dump(mut self) -> Self {
        // A listing ends with a message of its own, not with an acknowledgement.
        self.flags = libc::NLM_F_DUMP as u16;
        self
    }

    /// Creates the object, and fails if it exists.
    #[must_use]
    pub fn create(mut self) -> Self {
        self.flags |= (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
        self
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        match u16::try_from(value.len() + 4) {
            Ok(length) => {
                self.body.extend_from_slice(&length.to_ne_bytes());
                self.body.extend_from_slice(&kind.to_ne_bytes());
                self.body.extend(padded(value));
            }
            Err(_) => self.oversized = true,
        }
        self
    }

    /// Adds an attribute that is a null-terminated string.
    #[must_use]
    pub fn string(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    fn encode(&self, sequence: u32) -> Vec<u8> {
        let length = (HEADER + self.body.len()) as u32;
        let flags = self.flags | libc::NLM_F_REQUEST as u16;
        let mut bytes = Vec::with_capacity(HEADER + self.body.len());
        bytes.extend_from_slice(&length.to_ne_bytes());
        bytes.extend_from_slice(&self.kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A route socket. It speaks to the network namespace it was opened in, even
/// after its process has left that namespace.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens one in the current network namespace.
    pub fn open() -> Result<Self> {
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // Protocol 0, NETLINK_ROUTE.
            None,
        )
        .os(|| "cannot open a netlink socket")?;
        // Connected to the kernel: no process can slip an answer in.
        rustix::net::connect(&fd, &SocketAddrNetlink::new(0, 0))
            .os(|| "cannot connect a netlink socket")?;
        sys::netlink_explain(fd.as_fd()).os(|| "cannot set up a netlink socket")?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Carries out `request` and returns the objects the kernel answers with.
    /// An error is the sentence `what`, with the kernel's own explanation.
    pub fn execute(
        &mut self,
        request: &Request,
        what: impl Fn() -> String,
    ) -> Result<Vec<Message>> {
        if request.oversized {
            return Err(Error::os(what(), rustix::io::Errno::MSGSIZE));
        }
        for _ in 0..ATTEMPTS {
            self.sequence += 1;
            rustix::net::send(&self.fd, &request.encode(self.sequence), SendFlags::empty())
                .os(&what)?;
            let mut answer = Answer::default();
            while !answer.complete {
                let datagram = self.receive().os(&what)?;
                answer.read(&datagram, self.sequence, &what)?;
            }
            if !answer.interrupted {
                return Ok(answer.messages);
            }
        }
        Err(Error::os(what(), rustix::io::Errno::AGAIN))
    }

    fn receive(&self) -> rustix::io::Result<Vec<u8>> {
        let mut buffer = vec![0; CAPACITY];
        let (_, length) = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::TRUNC)
        })?;
        if length > CAPACITY {
            return Err(rustix::io::Errno::MSGSIZE);
        }
        buffer.truncate(length);
        Ok(buffer)
    }
}

/// One object of an answer.
#[derive(Debug, Clone)]
pub struct Message(Vec<u8>);

impl Message {
    /// The 32-bit number at `offset`, or 0 past the end.
    pub fn u32_at(&self, offset: usize) -> u32 {
        u32_at(&self.0, offset).unwrap_or(0)
    }

    /// The byte at `offset`, or 0 past the end.
    pub fn u8_at(&self, offset: usize) -> u8 {
        self.0.get(offset).copied().unwrap_or(0)
    }

    /// The attributes after a fixed header of `header` bytes.
    pub fn attributes(&self, header: usize) -> impl Iterator<Item = (u16, &[u8])> {
        attributes(self.0.get(header..).unwrap_or_default())
    }

    /// The value of the first attribute of a kind.
    pub fn attribute(&self, header: usize, kind: u16) -> Option<&[u8]> {
        self.attributes(header).find(|(found, _)| *found == kind).map(|(_, value)| value)
    }
}

/// What has arrived so far.
#[derive(Debug, Default)]
struct Answer {
    messages: Vec<Message>,
    complete: bool,
    interrupted: bool,
}

impl Answer {
    /// Takes in one datagram, which may hold several messages.
    fn read(&mut self, datagram: &[u8], sequence: u32, what: impl Fn() -> String) -> Result<()> {
        let mut rest = datagram;
        while let (Some(length), Some(kind), Some(flags), Some(number)) =
            (u32_at(rest, 0), u16_at(rest, 4), u16_at(rest, 6), u32_at(rest, 8))
        {
            let length = length as usize;
            let Some(payload) = rest.get(HEADER..length) else {
                return Err(Error::os(what(), rustix::io::Errno::BADMSG));
            };
            if number == sequence {
                self.take(kind, flags, payload, &what)?;
            }
            rest = rest.get(aligned(length)..).unwrap_or_default();
        }
        Ok(())
    }

    fn take(
        &mut self,
        kind: u16,
        flags: u16,
        payload: &[u8],
        what: impl Fn() -> String,
    ) -> Result<()> {
        self.interrupted |= flags & libc::NLM_F_DUMP_INTR as u16 != 0;
        match i32::from(kind) {
            // Both start with a negated error number; 0 acknowledges.
            libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                let errno = u32_at(payload, 0).unwrap_or(0).cast_signed();
                if errno != 0 {
                    let mut message = what();
                    if let Some(words) = explanation(flags, payload) {
                        message = format!("{message}: the kernel says {words:?}");
                    }
                    return Err(Error::os(message, errno.saturating_neg()));
                }
                self.complete = true;
            }
            libc::NLMSG_NOOP => {}
            _ => self.messages.push(Message(payload.to_vec())),
        }
        Ok(())
    }
}

/// The text an error message carries (`NLMSGERR_ATTR_MSG`).
fn explanation(flags: u16, payload: &[u8]) -> Option<String> {
    const NLMSGERR_ATTR_MSG: u16 = 1;
    if flags & libc::NLM_F_ACK_TLVS as u16 == 0 {
        return None;
    }
    // The error number, then the refused request: whole, or its header alone.
    let request =
        if flags & libc::NLM_F_CAPPED as u16 != 0 { HEADER } else { u32_at(payload, 4)? as usize };
    let start = aligned(request).checked_add(4)?;
    attributes(payload.get(start..)?)
        .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)
        .map(|(_, value)| text(value))
}

/// A string attribute without its terminator.
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & TYPE_MASK;
        let value = rest.get(4..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Everything in netlink starts at a multiple of four bytes.
fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(aligned(bytes.len()), 0);
    padded
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let bytes = bytes.get(offset..offset.checked_add(2)?)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what() -> String {
        "cannot test".to_owned()
    }

    #[test]
    fn request_has_the_wire_format() {
        let bytes = Request::new(18, &[1, 2, 3, 4, 5]).string(3, "ab").encode(7);
        assert_eq!(u32_at(&bytes, 0), Some(bytes.len() as u32));
        assert_eq!(u16_at(&bytes, 4), Some(18));
        assert_eq!(u32_at(&bytes, 8), Some(7));
        assert_eq!(&bytes[16..24], [1, 2, 3, 4, 5, 0, 0, 0]);
        assert_eq!(u16_at(&bytes, 24), Some(7));
        assert_eq!(&bytes[28..], b"ab\0\0");
    }

    #[test]
    fn oversized_attribute_is_refused_not_cut() {
        let request = Request::new(16, &[]).attribute(3, &vec![0; 65533]);
        assert!(request.oversized);
        assert!(!Request::new(16, &[]).attribute(3, &vec![0; 65531]).oversized);
    }

    #[test]
    fn attributes_stop_at_nonsense() {
        let good = Request::new(0, &[]).attribute(1, b"x").attribute(2, b"yz").body;
        let seen: Vec<_> = attributes(&good).collect();
        assert_eq!(seen, [(1, &b"x"[..]), (2, &b"yz"[..])]);
        // A length beyond the end, and a length shorter than its own header.
        assert_eq!(attributes(&[255, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[0, 0, 1, 0, 0, 0, 1, 0]).count(), 0);
    }

    #[test]
    fn damaged_datagrams_are_errors_or_ignored() {
        let mut datagram = Request::new(2, &(-19i32).to_ne_bytes()).encode(1);
        let read = |bytes: &[u8]| Answer::default().read(bytes, 1, what);
        assert_eq!(read(&datagram).unwrap_err().errno, Some(19));
        for length in 0..datagram.len() {
            let _ = read(&datagram[..length]);
        }
        datagram[0] = 255;
        assert_eq!(read(&datagram).unwrap_err().errno, Some(libc::EBADMSG));
        datagram[..4].fill(0);
        assert!(read(&datagram).is_err());
        assert_eq!(read(&[0xff; 64]).unwrap_err().errno, Some(libc::EBADMSG));
    }
}
