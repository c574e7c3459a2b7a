//! The floor: the time that the kernel itself needs for what canhub creates, measured with a bare loop.
//!
//! Raw netlink messages, built before the clock starts, on a socket that is already open: no HTTP, no plan, no dump.
//! They are derived from the kernel's state after canhub's own Join, so the floor always creates the same as canhub.

mod message;

use std::{
    fs::File,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use canhub::kernel::{Kernel, Link, Linux, Rule};
use message::Batch;
use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
    },
};

/// A socket in the namespace that it was opened in.
pub struct Bare(OwnedFd);

impl Bare {
    pub fn open() -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        Self(socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute).unwrap())
    }

    /// One system call to send, and one to receive the confirmation.
    fn send(&self, batch: &Batch) {
        if batch.is_empty() {
            return;
        }
        let fd = self.0.as_raw_fd();
        sendto(fd, batch.bytes(), &NetlinkAddr::new(0, 0), MsgFlags::empty()).unwrap();
        let mut answer = [0; 4096];
        let length = recv(fd, &mut answer, MsgFlags::empty()).unwrap();
        // Only refusals are answered before the ACK of the last message.
        let errno = answer[16..20].try_into().map(i32::from_ne_bytes).unwrap();
        assert_eq!((errno, length >= 36), (0, true), "the kernel refused a message of the floor");
    }
}

/// A link by its index.
pub struct Bring(Batch);

impl Bring {
    /// Brings up a link that is down.
    pub fn up(index: u32) -> Self {
        Self(Batch::default().set_link(index, None))
    }

    pub fn outside(&self, host: &Bare) {
        host.send(&self.0);
    }

    pub fn inside(&self, home: &File, sandbox: &Path) {
        within(home, &File::open(sandbox).unwrap(), &self.0);
    }
}

/// A hub with the rules that start or end at it.
pub struct Hub {
    create: Batch,
    set_up: Batch,
    rules: Batch,
}

impl Hub {
    pub fn capture(name: &str) -> Self {
        let (links, rules) = look();
        let link = named(&links, name);
        let mine = rules.iter().filter(|rule| rule.source == link.index || rule.destination == link.index);
        Self {
            create: Batch::default().new_vcan(link),
            set_up: Batch::default().set_link(link.index, link.alias.as_deref()),
            rules: Batch::default().add_rules(mine),
        }
    }

    pub fn make(&self, host: &Bare) {
        host.send(&self.create);
        host.send(&self.set_up);
        host.send(&self.rules);
    }
}

/// A pair with its rules.
pub struct Pair {
    sandbox: PathBuf,
    create: Batch,
    outside: Batch,
    inside: Batch,
    rules: Batch,
    delete: Batch,
}

impl Pair {
    /// Pairs that exist, and their rules with each other and with the hub: each pair's with those before it.
    pub fn capture(hosts: &[(String, PathBuf)]) -> Vec<Self> {
        let (links, rules) = look();
        let indices: Vec<u32> = hosts.iter().map(|(host, _)| named(&links, host).index).collect();
        let each = |(number, (host, sandbox)): (usize, &(String, PathBuf))| {
            let later = &indices[number + 1..];
            let outside = named(&links, host);
            let inside = Linux::default().sandbox_links(sandbox).unwrap().unwrap();
            let inside = inside.iter().find(|link| link.peer == Some(outside.index)).unwrap();
            let mine = rules.iter().filter(|rule| {
                let ends = [rule.source, rule.destination];
                ends.contains(&outside.index) && !ends.iter().any(|end| later.contains(end))
            });
            Self {
                sandbox: sandbox.clone(),
                create: Batch::default().new_pair(outside, inside),
                outside: Batch::default().set_link(outside.index, outside.alias.as_deref()),
                inside: Batch::default().set_link(inside.index, inside.alias.as_deref()),
                rules: Batch::default().add_rules(mine),
                delete: Batch::default().delete_link(outside.index),
            }
        };
        hosts.iter().enumerate().map(each).collect()
    }

    /// Messages can only get into a sandbox through a socket opened in it, so that is part of the floor.
    pub fn make(&self, host: &Bare, home: &File) {
        let sandbox = File::open(&self.sandbox).unwrap();
        host.send(&self.create.within(&sandbox));
        host.send(&self.outside);
        within(home, &sandbox, &self.inside);
        host.send(&self.rules);
    }

    pub fn delete(&self, host: &Bare) {
        host.send(&self.delete);
    }
}

/// The namespace of this thread, to return to.
pub fn home() -> File {
    File::open("/proc/thread-self/ns/net").unwrap()
}

fn within(home: &File, sandbox: &File, batch: &Batch) {
    setns(sandbox, CloneFlags::CLONE_NEWNET).unwrap();
    Bare::open().send(batch);
    setns(home, CloneFlags::CLONE_NEWNET).unwrap();
}

fn look() -> (Vec<Link>, Vec<Rule>) {
    let kernel = Linux::default();
    let rules = kernel.rules().unwrap().into_iter().map(|status| status.rule);
    (kernel.links().unwrap(), rules.collect())
}

fn named<'a>(links: &'a [Link], name: &str) -> &'a Link {
    links.iter().find(|link| link.name == name).unwrap_or_else(|| panic!("{name} is not there"))
}
