//! Network interfaces of the network namespace.

use serde_json::{Map, Value, json};
use std::ffi::CStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Interface name → whether it is up, and its addresses.
pub fn interfaces() -> Value {
    let mut head: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the call writes one pointer, which is freed below.
    if unsafe { libc::getifaddrs(&raw mut head) } != 0 {
        return Value::Null;
    }
    let mut interfaces = Map::new();
    let mut next = head;
    // SAFETY: the list is valid until it is freed, and ends with null.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        // SAFETY: the name is a string that ends with NUL.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy().into_owned();
        let up = entry.ifa_flags & libc::IFF_UP as u32 != 0;
        let interface =
            interfaces.entry(name).or_insert_with(|| json!({ "up": up, "addresses": [] }));
        if let (Some(address), Some(list)) =
            (address(entry.ifa_addr), interface["addresses"].as_array_mut())
        {
            list.push(json!(address.to_string()));
        }
    }
    // SAFETY: the list came from getifaddrs and is not used any more.
    unsafe { libc::freeifaddrs(head) };
    Value::Object(interfaces)
}

fn address(pointer: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: null, or a socket address whose family says what it is.
    let family = unsafe { pointer.as_ref() }?.sa_family;
    match i32::from(family) {
        libc::AF_INET => {
            // SAFETY: the family says that this is a sockaddr_in.
            let inet = unsafe { pointer.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(inet.sin_addr.s_addr))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that this is a sockaddr_in6.
            let inet = unsafe { pointer.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(IpAddr::V6(Ipv6Addr::from(inet.sin6_addr.s6_addr)))
        }
        _ => None,
    }
}
