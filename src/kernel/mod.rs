//! The one folder that knows the kernel: links, can-gw rules, namespaces, modules.
//!
//! [`Kernel`] is what the rest of canhub may ask for, in plain values. [`Linux`] answers it over
//! netlink; [`fake::FakeKernel`] obeys the same rules in memory, for tests of planning. No type of
//! rtnetlink or nix leaves this folder (a clippy lint holds it), and nothing here spawns a process.
//!
//! Every call is synchronous: rtnetlink work runs inside `sendmsg(2)`, so the answer is queued before
//! the call returns, and there is nothing to wait for.

#![allow(clippy::disallowed_types, reason = "this is the folder that may")]

mod cangw;
mod controller;
mod disk;
pub mod fake;
mod identity;
mod link;
mod linux;
mod mark;
mod module;
mod monitor;
mod netns;
mod socket;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

pub use controller::{
    BusState, Controller, ControllerChange, ErrorCounters, History, Modes, Timing, TimingLimits, TimingRange,
};
pub use disk::{FreeSpace, free_space};
pub use identity::{Identity, Usb};
pub use linux::Linux;
pub use module::request as request_module;
pub use monitor::{LinkEvent, watch};
pub use netns::boot_id;

use crate::names::IfName;

/// `CAN_MTU`: the MTU of a classic CAN interface in bytes (`include/uapi/linux/can.h`).
pub const CAN_MTU: u32 = 16;
/// `CANFD_MTU`: the MTU of a CAN FD interface in bytes.
pub const CANFD_MTU: u32 = 72;
/// `CANXL_MAX_MTU`: the largest MTU of a CAN XL interface in bytes.
pub const CANXL_MTU: u32 = 2060;

/// canhub gives its links indices from here on; the kernel hands out small ones.
///
/// So a link keeps a mark that a person cannot remove with the alias.
pub const OWN_INDEX_BASE: u32 = 0x0800_0000;

/// An interface, as far as canhub cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Unique within its namespace, kept over renames.
    pub index: u32,
    /// Its name in the namespace it was read in.
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
    /// In bytes; tells which frames fit: [`CAN_MTU`], [`CANFD_MTU`], [`CANXL_MTU`].
    pub mtu: u32,
    /// `IFF_UP`: somebody wants it up.
    pub up: bool,
    /// `IFLA_IFALIAS`; where ours stands it says whose the link is.
    pub alias: Option<String>,
    /// `IFLA_LINK`: for a vxcan, the index of the other end in the other end's namespace.
    pub peer: Option<u32>,
    /// Frames that may wait for the wire; 1000 for virtual interfaces, 10 for most hardware.
    pub txqueuelen: u32,
    /// The controller, where it is hardware (or slcan) with a driver that tells.
    pub controller: Option<Box<Controller>>,
}

/// The kinds of interface canhub tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkKind {
    /// A virtual bus on one host.
    Vcan,
    /// One end of a pair.
    Vxcan,
    /// Any other CAN interface: USB, PCI, SPI, slcan.
    Can,
    /// Anything that is not CAN.
    Other,
}

impl LinkKind {
    /// Whether CAN frames can run over it (`ARPHRD_CAN`).
    pub fn is_can(self) -> bool {
        self != Self::Other
    }
}

/// What to change on a link; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkChange {
    /// A new name.
    pub name: Option<IfName>,
    /// A new MTU in bytes. The kernel changes it only while the link is down, so the link goes down and up again.
    pub mtu: Option<u32>,
    /// A new alias, at most 255 bytes.
    pub alias: Option<String>,
    /// `Some(true)` brings it up.
    pub up: Option<bool>,
}

/// A pair to make: the host end here, the container end where it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairSpec<'a> {
    /// The host end's name.
    pub host: &'a IfName,
    /// The container end's name.
    pub end: &'a IfName,
    /// The sandbox that the container end is born in; `None`: beside the host end, for Docker to move.
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
        /// The frame keeps the time stamp it came with.
        const SRC_TSTAMP = 0x02;
        /// The frame may leave by an interface whose index is the one it was sent on. Without it a
        /// container end whose index inside equals the target's on the host is cut off, and no counter moves.
        const IIF_TX_OK = 0x04;
        /// The rule carries CAN FD frames, and only those; without it classic frames, and only those.
        const FD = 0x08;
    }
}

/// `struct can_filter`. The default, 0/0, lets every data and remote frame pass; the kernel never reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Filter {
    /// Compared with the frame's id where the mask has a one.
    pub id: u32,
    /// Which bits count.
    pub mask: u32,
}

impl Filter {
    /// Error frames, and only those: an unfiltered rule never carries them (`af_can.c`, `RX_ERR`).
    pub const ERRORS: Self = Self { id: 0x2000_0000, mask: 0x3fff_ffff };
}

/// One one-way forwarding rule of can-gw.
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
    /// Frames sent on; wraps at 2³².
    pub handled: u32,
    /// Frames lost because the destination was down or refused them; wraps at 2³².
    pub dropped: u32,
    /// The rule also modifies frames, which canhub never asks for: somebody else made it.
    pub modifies: bool,
}

/// What canhub asks of a kernel. Each call says on failure which errno it met.
pub trait Kernel: Send + Sync + 'static {
    /// Makes sure that can-gw is there: links bring their modules (`rtnl-link-vcan`, `-vxcan`), rules do not.
    ///
    /// # Errors
    /// `EOPNOTSUPP` when can-gw is not loaded and could not be.
    fn ensure_gateway(&self) -> Result<()>;

    /// All links of the host's namespace.
    fn links(&self) -> Result<Vec<Link>>;

    /// All can-gw rules of the host's namespace. Empty where can-gw is not loaded.
    fn rules(&self) -> Result<Vec<RuleStatus>>;

    /// All links inside a sandbox, or `None` when there is no namespace at that path (any more, or yet).
    fn sandbox_links(&self, sandbox: &Path) -> Result<Option<Vec<Link>>>;

    /// The same for many sandboxes, each with a result of its own: one that cannot be read hides no other.
    fn links_of_sandboxes(&self, sandboxes: BTreeSet<&Path>) -> BTreeMap<PathBuf, Result<Option<Vec<Link>>>> {
        sandboxes.into_iter().map(|path| (path.to_owned(), self.sandbox_links(path))).collect()
    }

    /// Where each hardware CAN interface of the host is plugged in, by its name, each with a result of its own.
    ///
    /// # Errors
    /// When the interfaces cannot be listed at all.
    fn identities(&self) -> Result<Vec<(String, Result<Identity>)>>;

    /// Whether there is a namespace at that path.
    fn sandbox_exists(&self, sandbox: &Path) -> Result<bool>;

    /// Makes a vcan, up, and returns its index.
    fn create_vcan(&self, name: &IfName, mtu: u32, alias: &str) -> Result<u32>;

    /// Makes a pair, both ends up where possible, and returns the host end's index.
    ///
    /// On failure nothing is left.
    fn create_pair(&self, pair: &PairSpec<'_>) -> Result<u32>;

    /// Changes a link of the host, or of a sandbox.
    fn change_link(&self, sandbox: Option<&Path>, index: u32, change: &LinkChange) -> Result<()>;

    /// Changes a controller of the host. Where it has to be down for that, it goes down; `up`: it is up afterwards.
    ///
    /// # Errors
    /// What the driver refuses: `EINVAL`, `ERANGE`, `EDOM` for a bit timing, `EOPNOTSUPP` for a mode or termination.
    fn configure(&self, index: u32, change: &ControllerChange, up: bool) -> Result<()>;

    /// Deletes a link of the host, or of a sandbox. A link that is gone already is not an error.
    fn delete_link(&self, sandbox: Option<&Path>, index: u32) -> Result<()>;

    /// Adds rules. The kernel does not look for duplicates: two equal rules deliver each frame twice.
    fn add_rules(&self, rules: &[Rule]) -> Result<()>;

    /// Removes one rule for each entry. One that is gone already is not an error.
    fn delete_rules(&self, rules: &[Rule]) -> Result<()>;
}

/// What the kernel answered instead of doing it.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel refused; the errno tells why, and sometimes its own words (`NETLINK_EXT_ACK`).
    #[error("{errno}{}", said(.words))]
    Refused {
        /// Why, in a number.
        #[source]
        errno: io::Error,
        /// Why, in words.
        words: Option<String>,
    },
    /// An answer that makes no sense.
    #[error("unexpected netlink answer: {0}")]
    Unexpected(String),
}

/// What a kernel call returns.
pub type Result<T, E = KernelError> = std::result::Result<T, E>;

fn said(words: &Option<String>) -> String {
    words.as_ref().map(|words| format!(", the kernel says \"{words}\"")).unwrap_or_default()
}

/// The refusals that canhub acts upon or explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `EPERM`: a capability is missing.
    NotPermitted,
    /// `EOPNOTSUPP`: the module that would do it is not loaded.
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
    /// Which kind of refusal it is.
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
