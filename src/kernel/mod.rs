//! The only folder that knows the kernel: links, can-gw rules, namespaces, modules.
//!
//! [`Kernel`] is the interface for the rest of canhub, in plain values. [`Linux`] implements it over netlink;
//! [`fake::FakeKernel`] follows the same rules in memory, for tests of the planner. No type of rtnetlink or nix leaves
//! this folder (a clippy lint enforces it), and nothing here spawns a process.
//!
//! All calls are synchronous: rtnetlink requests are processed inside `sendmsg(2)`, so the response is queued before
//! the call returns, and there is nothing to wait for.

#![allow(clippy::disallowed_types, reason = "the only folder that may use netlink types")]

mod bcm;
mod cangw;
mod controller;
mod counters;
mod disk;
pub mod fake;
mod frame_socket;
mod identity;
mod kept;
mod link;
mod linux;
mod listen;
mod mark;
mod message;
mod module;
mod monitor;
mod namespace;
mod netns;
mod passed;
mod qdisc;
pub mod refused;
mod sleep;
mod socket;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

pub use bcm::{BcmId, BcmNews, BcmSocket};
pub use controller::{
    BusState, Controller, ControllerChange, ErrorCounters, History, Modes, Timing, TimingLimits, TimingRange,
};
pub use disk::{FreeSpace, free_space};
pub use frame_socket::{FrameSocket, Heard, Sender};
pub use identity::{Identity, Usb};
pub use kept::KeptNumbers;
pub use link::PairIndices;
pub use linux::Linux;
pub use listen::{LinkNews, Listener};
pub use module::request as request_module;
pub use monitor::{LinkEvent, watch};
pub use namespace::{Cookie, HOST_NAMESPACE, Inside, Namespace};
pub use netns::{boot_id, is_alone};
pub use passed::Passed;
pub use qdisc::{Gauge, Netem, Pace, Qdisc};
pub use sleep::{monotonic, since_boot, sleep_until, wait_readable, wake_on_time};

use nix::libc::{CAN_ERR_FLAG, CAN_ERR_MASK};

use crate::names::IfName;

/// `CAN_MTU`: the MTU of a classic CAN interface in bytes (`include/uapi/linux/can.h`).
pub const CAN_MTU: u32 = 16;
/// `CANFD_MTU`: the MTU of a CAN FD interface in bytes.
pub const CANFD_MTU: u32 = 72;
/// `CANXL_MAX_MTU`: the largest MTU of a CAN XL interface in bytes.
pub const CANXL_MTU: u32 = 2060;

/// canhub's links have indices from here on; the kernel assigns small ones.
///
/// So a link stays recognizable even if someone removes its alias.
pub const OWN_INDEX_BASE: u32 = 0x0800_0000;

/// The properties of an interface that canhub uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Unique within its namespace, unchanged by renames.
    pub index: u32,
    /// Its name in that namespace.
    pub name: String,
    /// Its kind.
    pub kind: LinkKind,
    /// In bytes; determines which frames fit: [`CAN_MTU`], [`CANFD_MTU`], [`CANXL_MTU`].
    pub mtu: u32,
    /// `IFF_UP`: it was brought up.
    pub up: bool,
    /// `IFLA_IFALIAS`; on our links it names the owner.
    pub alias: Option<String>,
    /// `IFLA_LINK`: for a vxcan, the index of the other end in the other end's namespace.
    pub peer: Option<u32>,
    /// Transmit queue length in frames; 1000 for virtual interfaces, 10 for most hardware.
    pub txqueuelen: u32,
    /// The controller, for hardware (and slcan) whose driver reports one.
    pub controller: Option<Box<Controller>>,
    /// The qdiscs, if they are not the kernel's default. On the host, only the kind is read unless the link is a vxcan.
    pub qdisc: Option<Qdisc>,
    /// Frames that it received, sent and lost, if they were read.
    pub counters: Option<LinkCounters>,
}

/// The counters of an interface since it was created (`struct rtnl_link_stats64`), as far as they tell of lost frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Frames received.
    pub rx_packets: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Frames that arrived and were not received: the backlog was full or, on an adapter, the driver had no memory.
    pub rx_dropped: u64,
    /// Frames that were not sent: the other end was down or, on an adapter, the driver refused them.
    pub tx_dropped: u64,
    /// Frames that a controller overwrote before its driver read them.
    pub rx_overruns: u64,
}

impl LinkCounters {
    fn each(&self) -> [u64; 5] {
        [self.rx_packets, self.tx_packets, self.rx_dropped, self.tx_dropped, self.rx_overruns]
    }

    /// Whether these are the counters of a link that was created after `last` was read. A single counter that fell has
    /// wrapped: on 32-bit machines most of them have 32 bits.
    pub(crate) fn restarted(&self, last: &Self) -> bool {
        let pairs = || self.each().into_iter().zip(last.each());
        pairs().any(|(now, last)| now < last) && pairs().all(|(now, last)| now <= last)
    }

    /// What was counted since `last`.
    pub(crate) fn minus(&self, last: &Self) -> Self {
        Self {
            rx_packets: self.rx_packets.saturating_sub(last.rx_packets),
            tx_packets: self.tx_packets.saturating_sub(last.tx_packets),
            rx_dropped: self.rx_dropped.saturating_sub(last.rx_dropped),
            tx_dropped: self.tx_dropped.saturating_sub(last.tx_dropped),
            rx_overruns: self.rx_overruns.saturating_sub(last.rx_overruns),
        }
    }
}

/// The kinds of interfaces that matter to canhub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkKind {
    /// A virtual bus on one host.
    Vcan,
    /// One end of a pair.
    Vxcan,
    /// Any other CAN interface: USB, PCI, SPI, slcan.
    Can,
    /// Not a CAN interface.
    Other,
}

impl LinkKind {
    /// Whether it can carry CAN frames (`ARPHRD_CAN`).
    pub fn is_can(self) -> bool {
        self != Self::Other
    }
}

/// A change of a link; `None` means no change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkChange {
    /// A new name.
    pub name: Option<IfName>,
    /// A new MTU in bytes. The kernel only changes it while the link is down, so the link is taken down and up again.
    pub mtu: Option<u32>,
    /// A new alias, at most 255 bytes.
    pub alias: Option<String>,
    /// `Some(true)` brings it up.
    pub up: Option<bool>,
}

/// A pair to create: the host end here, the container end where requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairSpec<'a> {
    /// The host end's name.
    pub host: &'a IfName,
    /// The container end's name.
    pub end: &'a IfName,
    /// The sandbox in which the container end is created; `None`: next to the host end, for Docker to move.
    pub sandbox: Option<&'a Path>,
    /// Both ends' MTU in bytes.
    pub mtu: u32,
    /// Both ends' alias.
    pub alias: &'a str,
}

bitflags::bitflags! {
    /// `CGW_FLAGS_*` of `include/uapi/linux/can/gw.h`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
    pub struct RuleFlags: u16 {
        /// Sockets on the outgoing interface see the frame too.
        const ECHO = 0x01;
        /// The frame keeps its original time stamp.
        const SRC_TSTAMP = 0x02;
        /// The frame may leave through an interface with the same index as the one it was sent on. Without this flag, a
        /// container end whose index in the container equals the target's index on the host is cut off, and no counter
        /// shows it.
        const IIF_TX_OK = 0x04;
        /// The rule carries CAN FD frames, and only those; without it classic frames, and only those.
        const FD = 0x08;
    }
}

/// `struct can_filter`. The default, 0/0, lets every data and remote frame pass; the kernel never reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Filter {
    /// Compared with the frame's ID in the bits of the mask.
    pub id: u32,
    /// The bits to compare.
    pub mask: u32,
}

impl Filter {
    /// Error frames, and only those: an unfiltered rule never carries them (`af_can.c`, `RX_ERR`).
    pub const ERRORS: Self = Self { id: CAN_ERR_FLAG, mask: CAN_ERR_FLAG | CAN_ERR_MASK };

    /// Whether a frame with this ID and its flags (`CAN_EFF_FLAG`, `CAN_RTR_FLAG`, `CAN_ERR_FLAG`) passes: `can_rx_register`
    /// and `can_rcv_filter` of `af_can.c`. Error frames only go to those who subscribe to them.
    pub fn passes(self, frame: u32) -> bool {
        let Self { id, mask } = self;
        let asks_for_errors = mask & CAN_ERR_FLAG != 0;
        if frame & CAN_ERR_FLAG != 0 {
            return asks_for_errors && frame & mask & CAN_ERR_MASK != 0;
        }
        let equal = frame & mask == id & mask;
        // In a filter's ID this bit, `CAN_INV_FILTER`, inverts the comparison.
        !asks_for_errors && equal == (id & CAN_ERR_FLAG == 0)
    }
}

/// A forwarding rule of can-gw, in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule {
    /// Index of the interface that frames come from.
    pub source: u32,
    /// Index of the interface that frames are sent on.
    pub destination: u32,
    /// How.
    pub flags: RuleFlags,
    /// Which frames.
    pub filter: Filter,
    /// `CGW_LIM_HOPS`; `None`: the module's `max_hops`.
    pub max_hops: Option<u8>,
}

/// A rule as the kernel reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleStatus {
    /// The rule.
    pub rule: Rule,
    /// Forwarded frames; wraps at 2³².
    pub handled: u32,
    /// Frames lost because the destination was down or refused them; wraps at 2³².
    pub dropped: u32,
    /// Whether the rule also modifies frames. canhub never creates such rules, so it is foreign.
    pub modifies: bool,
}

/// What canhub needs from a kernel. On failure, each call returns the errno.
pub trait Kernel: Send + Sync + 'static {
    /// Makes sure that can-gw is loaded: links load their modules (`rtnl-link-vcan`, `-vxcan`), rules do not.
    ///
    /// # Errors
    /// `EOPNOTSUPP` if can-gw is not loaded and cannot be loaded.
    fn ensure_gateway(&self) -> Result<()>;

    /// Makes sure that pairs can be made.
    ///
    /// # Errors
    /// `EOPNOTSUPP` if vxcan is not loaded and cannot be loaded.
    fn ensure_pairs(&self) -> Result<()>;

    /// All links of the host's namespace.
    fn links(&self) -> Result<Vec<Link>>;

    /// The host's link of that name. The cost does not grow with the number of links.
    fn link_named(&self, name: &IfName) -> Result<Option<Link>> {
        Ok(self.links()?.into_iter().find(|link| link.name == name.as_str()))
    }

    /// The counters of the host's links, by index.
    fn counters(&self) -> Result<Vec<(u32, LinkCounters)>>;

    /// All can-gw rules of the host's namespace. Empty if can-gw is not loaded.
    fn rules(&self) -> Result<Vec<RuleStatus>>;

    /// All links inside a sandbox, or `None` if there is no namespace at that path (yet, or any longer).
    fn sandbox_links(&self, sandbox: &Path) -> Result<Option<Vec<Link>>>;

    /// The links of many sandboxes and the namespace that each is, each with its own result: an unreadable one does not
    /// hide the others.
    fn look_into(&self, sandboxes: BTreeSet<&Path>) -> BTreeMap<PathBuf, Result<Option<Inside>>>;

    /// Where each hardware CAN interface of the host is plugged in, by its name, each with its own result.
    ///
    /// # Errors
    /// If the interfaces cannot be listed at all.
    fn identities(&self) -> Result<Vec<(String, Result<Identity>)>>;

    /// Whether there is a namespace at that path.
    fn sandbox_exists(&self, sandbox: &Path) -> Result<bool>;

    /// Which namespace is at that path; `None` if there is none. Reads nothing of what is in it.
    ///
    /// # Errors
    /// If it cannot be entered, for example because it is a namespace of another kind.
    fn namespace(&self, sandbox: &Path) -> Result<Option<Namespace>>;

    /// Creates a vcan, up, and returns its index.
    fn create_vcan(&self, name: &IfName, mtu: u32, alias: &str) -> Result<u32>;

    /// Creates a pair, both ends up if possible, and returns their indices.
    ///
    /// On failure nothing is left behind.
    fn create_pair(&self, pair: &PairSpec<'_>) -> Result<PairIndices>;

    /// Changes a link on the host or in a sandbox.
    fn change_link(&self, sandbox: Option<&Path>, index: u32, change: &LinkChange) -> Result<()>;

    /// Changes a controller on the host, taking it down first if necessary. `up`: whether it is up afterwards.
    ///
    /// # Errors
    /// The driver's error: `EINVAL`, `ERANGE` or `EDOM` for a bit timing, `EOPNOTSUPP` for a mode or termination.
    fn configure(&self, index: u32, change: &ControllerChange, up: bool) -> Result<()>;

    /// Sets the pace of a link in a sandbox, replacing any qdisc but canhub's; `None` ends it. Frames that wait are lost
    /// unless only the pace is changed.
    ///
    /// # Errors
    /// `EOPNOTSUPP` if the kernel has no `sch_tbf`.
    fn pace(&self, sandbox: &Path, index: u32, pace: Option<Pace>) -> Result<()>;

    /// Sets what happens to frames on their way through a link in a sandbox, replacing any qdisc but canhub's; `None` ends
    /// it. Frames that wait are lost unless only the parameters are changed.
    ///
    /// # Errors
    /// `EOPNOTSUPP` if the kernel has no `sch_netem`.
    fn netem(&self, sandbox: &Path, index: u32, netem: Option<Netem>) -> Result<()>;

    /// Makes sure that [`netem`](Self::netem) can be set.
    ///
    /// # Errors
    /// `EOPNOTSUPP` if `sch_netem` is not loaded and cannot be loaded.
    fn ensure_netem(&self) -> Result<()>;

    /// The queue and the counters of an adapter, and the frames received from these host ends.
    ///
    /// # Errors
    /// If the adapter does not exist.
    fn gauge(&self, adapter: u32, ends: &[u32]) -> Result<Gauge>;

    /// Deletes a link on the host or in a sandbox. A link that no longer exists is not an error.
    fn delete_link(&self, sandbox: Option<&Path>, index: u32) -> Result<()>;

    /// Adds rules. The kernel does not check for duplicates: two equal rules deliver each frame twice.
    fn add_rules(&self, rules: &[Rule]) -> Result<()>;

    /// Removes one rule per entry. A rule that no longer exists is not an error.
    fn delete_rules(&self, rules: &[Rule]) -> Result<()>;

    /// A socket that sends frames on a link of the host or of a sandbox. `looped`: programs in that namespace hear them too,
    /// and so do rules that start at the link.
    ///
    /// # Errors
    /// If there is no such link or namespace.
    fn sender(&self, sandbox: Option<&Path>, index: u32, looped: bool) -> Result<Box<dyn Sender>>;
}

/// The error of a kernel call.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel refused; the errno has the reason, sometimes with a message (`NETLINK_EXT_ACK`).
    #[error("{errno}{}", said(.words))]
    Refused {
        /// The errno.
        #[source]
        errno: io::Error,
        /// The message.
        words: Option<String>,
    },
    /// A malformed response.
    #[error("unexpected netlink answer: {0}")]
    Unexpected(String),
}

/// The result of a kernel call.
pub type Result<T, E = KernelError> = std::result::Result<T, E>;

fn said(words: &Option<String>) -> String {
    words.as_ref().map(|words| format!(", the kernel says \"{words}\"")).unwrap_or_default()
}

/// The refusals that canhub handles or explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `EPERM`: a capability is missing.
    NotPermitted,
    /// `EOPNOTSUPP`: the kernel module is not loaded.
    NotSupported,
    /// `EEXIST`: the name or index is taken.
    Exists,
    /// `ENODEV`, `ENOENT`: the interface or namespace is gone.
    Gone,
    /// `EBUSY`.
    Busy,
    /// Another errno, or none.
    Other,
}

impl KernelError {
    /// The kind of refusal.
    pub fn refusal(&self) -> Refusal {
        use nix::errno::Errno;
        let Self::Refused { errno: err, .. } = self else { return Refusal::Other };
        match err.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EPERM | Errno::EACCES) => Refusal::NotPermitted,
            Some(Errno::EOPNOTSUPP) => Refusal::NotSupported,
            Some(Errno::EEXIST) => Refusal::Exists,
            Some(Errno::ENODEV | Errno::ENOENT | Errno::ENXIO) => Refusal::Gone,
            Some(Errno::EBUSY) => Refusal::Busy,
            _ => Refusal::Other,
        }
    }
}

impl From<io::Error> for KernelError {
    fn from(err: io::Error) -> Self {
        Self::Refused { errno: err, words: None }
    }
}

impl From<nix::errno::Errno> for KernelError {
    fn from(errno: nix::errno::Errno) -> Self {
        io::Error::from(errno).into()
    }
}
