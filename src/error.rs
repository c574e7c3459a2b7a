//! What can go wrong, told apart by what can be done about it.

use std::{io, path::PathBuf};

use crate::kernel::{KernelError, Refusal};

/// Why a request was not carried out. Its text is what the user of `docker` reads: one sentence that
/// names what was tried, on what, why it failed, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request itself is wrong; asking again will not help.
    #[error("{0}")]
    Refused(String),
    /// The bus cannot be had as things are; somebody else has to mend something first.
    #[error("network {network}: {text}")]
    Blocked {
        /// The network's name or short id.
        network: String,
        /// What is wrong and what to do.
        text: String,
    },
    /// The kernel did not do what a step asked.
    #[error("cannot {doing}: {source}{}", advice(.doing, .source))]
    Kernel {
        /// What was tried, on what.
        doing: String,
        /// The errno.
        source: KernelError,
    },
    /// The state folder did not take a record.
    #[error("cannot write {}: {source}; canhub needs a state folder that it can write: free some space or mend its permissions, or choose another with --state-dir", .path.display())]
    State {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The networks' records cannot be read, for this reason, so nothing is written in their place.
    #[error(
        "{0}; canhub does not write over records that it could not read, and tries again: see `canhub doctor`"
    )]
    Unread(String),
}

impl Error {
    /// A kernel's refusal with what was tried.
    pub fn kernel(doing: String, source: KernelError) -> Self {
        Self::Kernel { doing, source }
    }

    /// Whether the world moved between the look and the step, so that looking again may succeed.
    pub fn is_race(&self) -> bool {
        matches!(self, Self::Kernel { source, .. } if matches!(source.refusal(), Refusal::Gone | Refusal::Exists | Refusal::Busy))
    }
}

fn advice(doing: &str, source: &KernelError) -> &'static str {
    match source.refusal() {
        Refusal::NotPermitted => {
            "; canhub needs CAP_NET_ADMIN and CAP_SYS_ADMIN in the host's user namespace: run it as root or by its systemd unit (rootless Docker cannot use can-gw)"
        }
        Refusal::NotSupported if doing.contains("rules") => {
            "; the kernel module can-gw is missing: `modprobe can-gw`, or install the package that brings it (Debian: the linux-image itself, Ubuntu: linux-modules-extra-$(uname -r))"
        }
        Refusal::NotSupported if doing.starts_with("configure") => {
            "; its driver cannot do all of these: `ip -details link show` lists what it knows; leave out what it does not"
        }
        Refusal::Other if doing.starts_with("configure") => {
            "; its driver refuses these: `ip -details link show` lists its clock and limits"
        }
        Refusal::NotSupported => {
            "; the kernel module vcan or vxcan is missing: `modprobe vcan vxcan`, or install the package that brings them (Debian: the linux-image itself, Ubuntu: linux-modules-extra-$(uname -r))"
        }
        _ => "",
    }
}
