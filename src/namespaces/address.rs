//! The addresses of a network interface.

use super::netlink::{Message, Request, Socket};
use crate::error::Result;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Size of `struct ifaddrmsg`: family, prefix length, flags, scope, index.
const ADDRESS_HEADER: usize = 8;
/// `IFA_*` attributes that make up an address. Its label is not one of them:
/// it starts with the name of the interface, which may change.
const ADDRESS_ATTRIBUTES: [u16; 5] = [
    libc::IFA_ADDRESS,
    libc::IFA_LOCAL,
    libc::IFA_BROADCAST,
    9,  // IFA_RT_PRIORITY
    11, // IFA_PROTO
];
/// `IFA_F_*` that somebody chose, as opposed to what the kernel observed:
/// NODAD, OPTIMISTIC, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN.
const CHOSEN_FLAGS: u32 = 0x02 | 0x04 | 0x10 | 0x100 | 0x200 | 0x400;

/// One address of an interface.
#[derive(Debug, Clone)]
pub struct Address {
    family: u8,
    prefix: u8,
    flags: u32,
    attributes: Vec<(u16, Vec<u8>)>,
}

/// The permanent addresses of global scope of interface `index`, in the order
/// in which to give them to another one: which is first matters, because the
/// kernel prefers it as a source.
pub fn addresses(socket: &mut Socket, index: u32) -> Result<Vec<Address>> {
    let request = Request::new(libc::RTM_GETADDR, &[0; ADDRESS_HEADER]).dump();
    let answer = socket.execute(&request, || "cannot list its addresses".to_owned())?;
    let (mut kept, mut v6): (Vec<Address>, Vec<Address>) = answer
        .iter()
        .filter_map(|message| Address::read(message, index))
        .partition(|address| i32::from(address.family) == libc::AF_INET);
    // The kernel appends a new IPv4 address to its list and prepends an IPv6 one.
    v6.reverse();
    kept.append(&mut v6);
    Ok(kept)
}

impl Address {
    #[cfg(test)]
    pub fn new(address: std::net::IpAddr, prefix: u8) -> Self {
        let (family, octets) = match address {
            std::net::IpAddr::V4(v4) => (libc::AF_INET, v4.octets().to_vec()),
            std::net::IpAddr::V6(v6) => (libc::AF_INET6, v6.octets().to_vec()),
        };
        let kinds = [libc::IFA_LOCAL, libc::IFA_ADDRESS];
        Self {
            family: family as u8,
            prefix,
            flags: 0,
            attributes: kinds.map(|kind| (kind, octets.clone())).to_vec(),
        }
    }

    /// The address in `message`, if it is to be kept and belongs to interface `index`.
    fn read(message: &Message, index: u32) -> Option<Self> {
        let family = message.u8_at(0);
        let scope = message.u8_at(3);
        // The header has room for the first eight flags only.
        let flags = message
            .attribute(ADDRESS_HEADER, libc::IFA_FLAGS)
            .and_then(|value| Some(u32::from_ne_bytes(value.try_into().ok()?)))
            .unwrap_or(message.u8_at(2).into());
        let wanted = message.u32_at(4) == index
            && [libc::AF_INET, libc::AF_INET6].contains(&i32::from(family))
            && scope == libc::RT_SCOPE_UNIVERSE
            && flags & libc::IFA_F_PERMANENT != 0;
        wanted.then(|| Self {
            family,
            prefix: message.u8_at(1),
            flags: flags & CHOSEN_FLAGS,
            attributes: message
                .attributes(ADDRESS_HEADER)
                .filter(|(kind, _)| ADDRESS_ATTRIBUTES.contains(kind))
                .map(|(kind, value)| (kind, value.to_vec()))
                .collect(),
        })
    }

    /// The request that gives this address to an interface.
    pub fn request(&self, index: u32) -> Request {
        let mut header = vec![self.family, self.prefix, 0, libc::RT_SCOPE_UNIVERSE];
        header.extend_from_slice(&index.to_ne_bytes());
        let request = Request::new(libc::RTM_NEWADDR, &header)
            .create()
            .attribute(libc::IFA_FLAGS, &self.flags.to_ne_bytes());
        self.attributes
            .iter()
            .fold(request, |request, (kind, value)| request.attribute(*kind, value))
    }
}

impl fmt::Display for Address {
    /// `10.0.0.1/24`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // IFA_ADDRESS is the peer's on a point-to-point link.
        let value = [libc::IFA_LOCAL, libc::IFA_ADDRESS]
            .iter()
            .find_map(|wanted| self.attributes.iter().find(|(kind, _)| kind == wanted))
            .map_or(&[][..], |(_, value)| value);
        if let Ok(octets) = <[u8; 4]>::try_from(value) {
            write!(f, "{}/", Ipv4Addr::from(octets))?;
        } else if let Ok(octets) = <[u8; 16]>::try_from(value) {
            write!(f, "{}/", Ipv6Addr::from(octets))?;
        }
        write!(f, "{}", self.prefix)
    }
}
