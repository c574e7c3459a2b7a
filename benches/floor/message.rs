//! The floor's messages, byte by byte (include/uapi/linux/{rtnetlink,if_link,can/gw}.h).

use std::{fs::File, os::fd::AsRawFd};

use canhub::kernel::{Filter, Link, Rule};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_SETLINK: u16 = 19;
const RTM_NEWROUTE: u16 = 24;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const EXCL: u16 = 0x200;
const CREATE: u16 = 0x400;
const IFF_UP: u32 = 1;

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VXCAN_INFO_PEER: u16 = 1;

/// Messages for one send(2); the last one asks for an ACK.
#[derive(Default, Clone)]
pub struct Batch {
    bytes: Vec<u8>,
    last: usize,
    /// The position of the sandbox's descriptor.
    namespace: Option<usize>,
}

impl Batch {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The message with this descriptor of the sandbox.
    pub fn within(&self, sandbox: &File) -> Self {
        let mut batch = self.clone();
        let at = self.namespace.unwrap();
        batch.bytes[at..at + 4].copy_from_slice(&sandbox.as_raw_fd().to_ne_bytes());
        batch
    }

    pub fn new_vcan(self, link: &Link) -> Self {
        let payload = Payload::link(link.index, true)
            .text(IFLA_IFNAME, &link.name)
            .word(IFLA_MTU, link.mtu)
            .nest(IFLA_LINKINFO, |info| info.bytes(IFLA_INFO_KIND, b"vcan"));
        self.message(RTM_NEWLINK, CREATE | EXCL, &payload)
    }

    pub fn new_pair(self, outside: &Link, inside: &Link) -> Self {
        let peer = Payload::link(inside.index, false)
            .text(IFLA_IFNAME, &inside.name)
            .word(IFLA_MTU, inside.mtu)
            .word(IFLA_NET_NS_FD, u32::MAX);
        let payload = Payload::link(outside.index, false)
            .text(IFLA_IFNAME, &outside.name)
            .word(IFLA_MTU, outside.mtu)
            .nest(IFLA_LINKINFO, |info| {
                let data = |data: Payload| data.bytes(VXCAN_INFO_PEER, &peer.0);
                info.bytes(IFLA_INFO_KIND, b"vxcan").nest(IFLA_INFO_DATA, data)
            });
        let mut batch = self.message(RTM_NEWLINK, CREATE | EXCL, &payload);
        // The descriptor is the last attribute of the innermost nest.
        batch.namespace = Some(batch.bytes.len() - 4);
        batch
    }

    /// Brings it up, with this alias.
    pub fn set_link(self, index: u32, alias: Option<&str>) -> Self {
        let payload = Payload::link(index, true);
        let payload = match alias {
            Some(alias) => payload.bytes(IFLA_IFALIAS, alias.as_bytes()),
            None => payload,
        };
        self.message(RTM_SETLINK, 0, &payload)
    }

    pub fn delete_link(self, index: u32) -> Self {
        self.message(RTM_DELLINK, 0, &Payload::link(index, false))
    }

    pub fn add_rules<'a>(self, rules: impl IntoIterator<Item = &'a Rule>) -> Self {
        rules.into_iter().fold(self, |batch, rule| batch.message(RTM_NEWROUTE, 0, &Payload::rule(rule)))
    }

    fn message(mut self, kind: u16, flags: u16, payload: &Payload) -> Self {
        if !self.bytes.is_empty() {
            self.flags(REQUEST);
        }
        self.last = self.bytes.len();
        self.bytes.extend((16 + payload.0.len() as u32).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((REQUEST | ACK | flags).to_ne_bytes());
        self.bytes.extend([0; 8]);
        self.bytes.extend(&payload.0);
        self
    }

    /// Sets the flags of the last message.
    fn flags(&mut self, flags: u16) {
        self.bytes[self.last + 6..self.last + 8].copy_from_slice(&flags.to_ne_bytes());
    }
}

struct Payload(Vec<u8>);

impl Payload {
    /// `struct ifinfomsg`.
    fn link(index: u32, up: bool) -> Self {
        let up = if up { IFF_UP } else { 0 };
        let words = [0, index, up, up];
        Self(words.iter().flat_map(|word| word.to_ne_bytes()).collect())
    }

    /// `struct rtcanmsg` and its attributes.
    fn rule(rule: &Rule) -> Self {
        let [low, high] = rule.flags.bits().to_ne_bytes();
        let payload = Self(vec![29, 1, low, high]).word(9, rule.source).word(10, rule.destination);
        let payload = match rule.filter {
            none if none == Filter::default() => payload,
            Filter { id, mask } => payload.bytes(11, &[id.to_ne_bytes(), mask.to_ne_bytes()].concat()),
        };
        match rule.max_hops {
            Some(hops) => payload.bytes(13, &[hops]),
            None => payload,
        }
    }

    fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend((4 + value.len() as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn text(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, format!("{value}\0").as_bytes())
    }

    fn word(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    fn nest(self, kind: u16, inner: impl FnOnce(Self) -> Self) -> Self {
        let inner = inner(Self(Vec::new()));
        self.bytes(kind, &inner.0)
    }
}
