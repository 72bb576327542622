//! Moves a network interface of the host into the container's network
//! namespace, with its addresses (`linux.netDevices`).

use super::Interface;
use super::address::{Address, addresses};
use super::netlink::{Message, Request, Socket, text};
use crate::error::{Context, Error, Result};
use nix::sched::{CloneFlags, setns};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Size of `struct ifinfomsg`: family, padding, type, index, flags, change.
const LINK_HEADER: usize = 16;
/// How many interface numbers are tried in a namespace that others change too.
const ATTEMPTS: usize = 8;

/// Moves `interface` from the current network namespace into `container`, a
/// descriptor of another one, restores its permanent addresses of global scope
/// and sets it up. The calling thread is in its own namespace again afterwards.
///
/// Nothing has changed when the interface does not exist, cannot move, or its
/// new name is taken; after a later failure it is put back.
///
/// # Errors
/// `ENODEV` without such an interface, `EEXIST` when the container has one of
/// the new name, `EINVAL` for a kind that cannot leave its namespace, `EPERM`
/// without `CAP_NET_ADMIN` over both namespaces. See rtnetlink(7).
pub fn move_interface(interface: &Interface, container: OwnedFd) -> Result<Moved> {
    let within = |error: Error| error.within(format!("cannot move interface {}", interface.host));
    let home = own_namespace().map_err(within)?;
    let key = Key::Name(&interface.host);
    let (host, there) = (home.as_fd(), container.as_fd());
    let (index, up) =
        relocate(key, host, there, host, &interface.container, true).map_err(within)?;
    Ok(Moved { name: interface.host.clone(), index, up, container })
}

/// An interface that is in the container by now.
#[derive(Debug)]
pub struct Moved {
    name: String,
    index: u32,
    /// Whether it was on the host.
    up: bool,
    /// Keeps the namespace, and so the interface, in being.
    container: OwnedFd,
}

impl Moved {
    /// Brings it back as it was, with its name and addresses: the container has failed.
    pub fn give_back(&self) -> Result<()> {
        let home = own_namespace()?;
        let key = Key::Index(self.index);
        relocate(key, self.container.as_fd(), home.as_fd(), home.as_fd(), &self.name, self.up)
            .map(drop)
            .map_err(|error| error.within(format!("cannot bring interface {} back", self.name)))
    }
}

fn own_namespace() -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty())
        .os(|| "cannot open the current network namespace")
}

/// Moves an interface from one namespace to another, and sets it `up` there. Returns
/// its number there, and whether it was up before.
fn relocate(
    key: Key,
    from: BorrowedFd,
    to: BorrowedFd,
    home: BorrowedFd,
    name: &str,
    up: bool,
) -> Result<(u32, bool)> {
    if same_namespace(from, to)? {
        return Err(Error::new("the container is in the same network namespace")
            .hint("give the container a network namespace of its own"));
    }
    let mut here = socket_in(from, home)?;
    let mut there = socket_in(to, home)?;
    let Some(link) = find(&mut here, key)? else {
        return Err(Error::os("no interface has this name", libc::ENODEV)
            .hint("it must be in the runtime's network namespace: see `ip link`"));
    };
    if let Key::Name(asked) = key
        && asked != link.name
    {
        return Err(Error::new(format!("that is another name of interface {}", link.name))
            .hint("linux.netDevices takes the first name of an interface: see `ip link`"));
    }
    // The kernel moves first and renames afterwards, so it must not be left to
    // the kernel to find a name that is taken.
    if find(&mut there, Key::Name(name))?.is_some() {
        return Err(name_taken(name));
    }
    let addresses = addresses(&mut here, link.index)?;
    let mut transfer = Transfer {
        host: End { socket: here, namespace: from },
        container: End { socket: there, namespace: to },
        link,
        addresses,
    };
    let was_up = transfer.link.up;
    transfer.run(name, up).map(|index| (index, was_up))
}

/// An interface.
#[derive(Debug)]
struct Link {
    index: u32,
    name: String,
    up: bool,
}

/// What to find an interface by.
#[derive(Debug, Clone, Copy)]
enum Key<'a> {
    Name(&'a str),
    Index(u32),
}

/// One of the two namespaces, and a socket that speaks to it.
#[derive(Debug)]
struct End<'fd> {
    socket: Socket,
    namespace: BorrowedFd<'fd>,
}

/// The move of one interface.
#[derive(Debug)]
struct Transfer<'fd> {
    host: End<'fd>,
    container: End<'fd>,
    link: Link,
    addresses: Vec<Address>,
}

impl Transfer<'_> {
    fn run(&mut self, name: &str, up: bool) -> Result<u32> {
        let mut index = self.link.index;
        self.send(&mut index, name)
            .and_then(|()| configure(&mut self.container.socket, index, &self.addresses, up))
            .map_err(|error| self.put_back(index, error))?;
        Ok(index)
    }

    /// Moves the interface under its new name, or one made from the template,
    /// and leaves its number in the container in `index`. It keeps the one it
    /// has, unless that is taken.
    fn send(&mut self, index: &mut u32, name: &str) -> Result<()> {
        let mut attempts = 0;
        loop {
            let request = transfer(self.link.index, *index, name, self.container.namespace);
            let sent = self.host.socket.execute(&request, || {
                "cannot pass it to the container's network namespace".to_owned()
            });
            attempts += 1;
            match sent {
                Ok(_) => return Ok(()),
                Err(error) if error.errno == Some(libc::EBUSY) && attempts < ATTEMPTS => {
                    *index = unused_index(&mut self.container.socket)?;
                }
                Err(error) if error.errno == Some(libc::EEXIST) => return Err(name_taken(name)),
                Err(error) => return Err(unmovable(error)),
            }
        }
    }

    /// After a failure: makes everything as it was, as far as the interface
    /// has left its namespace at all.
    fn put_back(&mut self, index: u32, error: Error) -> Error {
        let link = &self.link;
        match find(&mut self.host.socket, Key::Index(link.index)) {
            Ok(Some(found)) if found.name == link.name => return error,
            _ => {}
        }
        let request = transfer(index, link.index, &link.name, self.host.namespace);
        let mut undone = self.container.socket.execute(&request, String::new).map(drop);
        let host = &mut self.host.socket;
        for address in &self.addresses {
            undone = undone.and(configure(host, link.index, std::slice::from_ref(address), false));
        }
        undone = undone.and(configure(host, link.index, &[], link.up));
        match undone {
            Ok(()) => error,
            Err(_) => error.hint("the interface could not be put back: check it with ip(8)"),
        }
    }
}

/// The request that gives an interface to another namespace.
fn transfer(index: u32, new_index: u32, name: &str, namespace: BorrowedFd) -> Request {
    Request::new(libc::RTM_NEWLINK, &link_header(index, 0, 0))
        .attribute(libc::IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes())
        .attribute(libc::IFLA_NEW_IFINDEX, &new_index.to_ne_bytes())
        .string(libc::IFLA_IFNAME, name)
}

/// Gives the interface its addresses back and sets it up if it shall be.
fn configure(socket: &mut Socket, index: u32, addresses: &[Address], up: bool) -> Result<()> {
    for address in addresses {
        socket
            .execute(&address.request(index), || format!("cannot restore its address {address}"))?;
    }
    if up {
        let flag = libc::IFF_UP as u32;
        let request = Request::new(libc::RTM_NEWLINK, &link_header(index, flag, flag));
        socket.execute(&request, || "cannot set it up".to_owned())?;
    }
    Ok(())
}

fn find(socket: &mut Socket, key: Key) -> Result<Option<Link>> {
    let request = match key {
        Key::Name(name) => {
            Request::new(libc::RTM_GETLINK, &link_header(0, 0, 0)).string(libc::IFLA_IFNAME, name)
        }
        Key::Index(index) => Request::new(libc::RTM_GETLINK, &link_header(index, 0, 0)),
    };
    match socket.execute(&request, || "cannot look it up".to_owned()) {
        Ok(answer) => Ok(answer.first().map(Link::read)),
        Err(error) if error.errno == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A number that no interface has at the moment.
fn unused_index(socket: &mut Socket) -> Result<u32> {
    let request = Request::new(libc::RTM_GETLINK, &link_header(0, 0, 0)).dump();
    let links = socket.execute(&request, || "cannot list the container's interfaces".to_owned())?;
    let highest = links.iter().map(|link| Link::read(link).index).max();
    Ok(highest.unwrap_or(0) + 1)
}

impl Link {
    fn read(message: &Message) -> Self {
        Self {
            index: message.u32_at(4),
            name: message.attribute(LINK_HEADER, libc::IFLA_IFNAME).map(text).unwrap_or_default(),
            up: message.u32_at(8) & libc::IFF_UP as u32 != 0,
        }
    }
}

/// A `struct ifinfomsg`.
fn link_header(index: u32, flags: u32, change: u32) -> [u8; LINK_HEADER] {
    let mut header = [0; LINK_HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// A socket that speaks to `namespace`, made by visiting it.
fn socket_in(namespace: BorrowedFd, home: BorrowedFd) -> Result<Socket> {
    setns(namespace, CloneFlags::CLONE_NEWNET)
        .os(|| "cannot enter the container's network namespace")?;
    let socket = Socket::open();
    setns(home, CloneFlags::CLONE_NEWNET)
        .os(|| "cannot return from the container's network namespace")?;
    socket
}

fn same_namespace(one: BorrowedFd, other: BorrowedFd) -> Result<bool> {
    let identity = |fd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
    let compared = identity(one).and_then(|one| Ok(one == identity(other)?));
    compared.os(|| "cannot examine the container's network namespace")
}

fn name_taken(name: &str) -> Error {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    Error::os(format!("the container already has an interface called {name}"), libc::EEXIST)
        .hint(format!("choose another name, or let the kernel number it: {stem}%d"))
}

fn unmovable(error: Error) -> Error {
    match error.errno {
        Some(libc::EINVAL) => {
            error.hint("loopback, bridges and some tunnels cannot leave their network namespace")
        }
        Some(libc::EPERM) => {
            error.hint("moving it takes CAP_NET_ADMIN over both network namespaces")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sched::unshare;
    use std::fs::File;

    const IFLA_INFO_KIND: u16 = 1;

    /// Runs `test` in a network namespace of its own, with a descriptor of
    /// another one; not at all without the privilege to make them.
    fn with_namespaces(test: impl FnOnce(BorrowedFd) + Send) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                if unshare(CloneFlags::CLONE_NEWNET).is_err() {
                    return;
                }
                let other = File::open("/proc/thread-self/ns/net").unwrap();
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                test(other.as_fd());
            });
        });
    }

    /// Makes the pair of interfaces `name` and `name` + "p".
    fn make(socket: &mut Socket, name: &str) {
        let info = Request::new(0, &[]).attribute(IFLA_INFO_KIND, b"veth");
        let request = Request::new(libc::RTM_NEWLINK, &link_header(0, 0, 0))
            .create()
            .string(libc::IFLA_IFNAME, name)
            .attribute(libc::IFLA_LINKINFO, &info.body);
        socket.execute(&request, || format!("make {name}")).unwrap();
        let index = find(socket, Key::Name(name)).unwrap().unwrap().index;
        configure(socket, index, &[], true).unwrap();
    }

    fn give_address(socket: &mut Socket, name: &str, address: &str) {
        let link = find(socket, Key::Name(name)).unwrap().unwrap();
        let address = Address::new(address.parse().unwrap(), 24);
        configure(socket, link.index, &[address], true).unwrap();
    }

    fn described(socket: &mut Socket, name: &str) -> (bool, Vec<String>) {
        let link = find(socket, Key::Name(name)).unwrap().unwrap();
        let addresses = addresses(socket, link.index).unwrap();
        (link.up, addresses.iter().map(Address::to_string).collect())
    }

    fn owned(namespace: BorrowedFd) -> OwnedFd {
        namespace.try_clone_to_owned().unwrap()
    }

    fn interface(host: &str, container: &str) -> Interface {
        Interface { host: host.to_owned(), container: container.to_owned() }
    }

    #[test]
    fn moves_with_addresses_and_new_name() {
        with_namespaces(|container| {
            let mut here = Socket::open().unwrap();
            make(&mut here, "a");
            give_address(&mut here, "a", "10.1.2.3");
            give_address(&mut here, "a", "2001:db8::1");
            move_interface(&interface("a", "b"), owned(container)).unwrap();
            assert!(find(&mut here, Key::Name("a")).unwrap().is_none());
            let home = File::open("/proc/thread-self/ns/net").unwrap();
            let mut there = socket_in(container, home.as_fd()).unwrap();
            let expected = ["10.1.2.3/24", "2001:db8::1/24"].map(str::to_owned);
            assert_eq!(described(&mut there, "b"), (true, expected.to_vec()));
        });
    }

    #[test]
    fn template_is_numbered_in_the_container() {
        with_namespaces(|container| {
            let home = File::open("/proc/thread-self/ns/net").unwrap();
            let mut there = socket_in(container, home.as_fd()).unwrap();
            make(&mut there, "eth0");
            let mut here = Socket::open().unwrap();
            make(&mut here, "eth7");
            move_interface(&interface("eth7", "eth%d"), owned(container)).unwrap();
            assert!(described(&mut there, "eth1").0);
        });
    }

    #[test]
    fn failures_change_nothing() {
        with_namespaces(|container| {
            let home = File::open("/proc/thread-self/ns/net").unwrap();
            let mut there = socket_in(container, home.as_fd()).unwrap();
            make(&mut there, "taken");
            let mut here = Socket::open().unwrap();
            make(&mut here, "a");
            give_address(&mut here, "a", "10.1.2.3");
            let error = move_interface(&interface("a", "taken"), owned(container)).unwrap_err();
            assert_eq!(error.errno, Some(libc::EEXIST));
            assert!(error.to_string().starts_with("cannot move interface a: "));
            let error = move_interface(&interface("none", "x"), owned(container)).unwrap_err();
            assert_eq!(error.errno, Some(libc::ENODEV));
            let error = move_interface(&interface("lo", "x"), owned(container)).unwrap_err();
            assert_eq!(error.errno, Some(libc::EINVAL));
            let error = move_interface(&interface("a", "b"), owned(home.as_fd())).unwrap_err();
            assert!(error.to_string().contains("same network namespace"));
            let expected = (true, vec!["10.1.2.3/24".to_owned()]);
            assert_eq!(described(&mut here, "a"), expected);
        });
    }

    #[test]
    fn half_moved_interface_is_put_back() {
        with_namespaces(|container| {
            let home = File::open("/proc/thread-self/ns/net").unwrap();
            let mut there = socket_in(container, home.as_fd()).unwrap();
            // Somebody takes the name after it was found to be free.
            make(&mut there, "taken");
            let mut here = Socket::open().unwrap();
            make(&mut here, "a");
            give_address(&mut here, "a", "10.1.2.3");
            let link = find(&mut here, Key::Name("a")).unwrap().unwrap();
            let addresses = addresses(&mut here, link.index).unwrap();
            let mut transfer = Transfer {
                host: End { socket: here, namespace: home.as_fd() },
                container: End { socket: there, namespace: container },
                link,
                addresses,
            };
            let error = transfer.run("taken", true).unwrap_err();
            assert_eq!(error.errno, Some(libc::EEXIST));
            // An address that cannot be restored: prefix length 33.
            let impossible = Address::new("10.0.0.1".parse().unwrap(), 33);
            transfer.addresses.push(impossible);
            let error = transfer.run("b", true).unwrap_err();
            assert!(error.to_string().contains("10.0.0.1/33"), "{error}");
            let expected = (true, vec!["10.1.2.3/24".to_owned()]);
            assert_eq!(described(&mut transfer.host.socket, "a"), expected);
        });
    }
}
