//! Errors, grouped by what can be done about them.

use std::{fmt, io, path::PathBuf};

use serde::Serialize;

use crate::{
    checks::{Files, modules},
    kernel::{KernelError, Refusal},
    plan::Action,
};

/// Why a request failed. The text is shown to the user of `docker`: one sentence that names what was tried, on what,
/// why it failed, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request itself is invalid; retrying does not help.
    #[error("{0}")]
    Refused(String),
    /// The bus is not available in the current state of the host; someone must fix that first.
    #[error("network {network}: {text}")]
    Blocked {
        /// The network's name or short id.
        network: String,
        /// What is wrong and what to do.
        text: String,
    },
    /// Another program needs to know why, and gets a code with the text.
    #[error("{text}")]
    Coded {
        /// Why.
        code: Code,
        /// One sentence.
        text: String,
    },
    /// A kernel call failed.
    #[error("cannot {operation}: {source}{advice}")]
    Kernel {
        /// What was tried, on what.
        operation: Operation,
        /// The errno.
        source: KernelError,
        /// What to do about it, as the end of the sentence; empty if there is no general advice.
        advice: String,
    },
    /// A record could not be written to the state folder.
    #[error("cannot write {}: {source}; free some space, fix the permissions, restart canhub if someone deleted the folder, or choose another folder with --state-dir", .path.display())]
    State {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The networks' records cannot be read, for this reason, so they are not overwritten.
    #[error(
        "{0}; canhub does not overwrite records that it cannot read, and keeps retrying: see `canhub doctor`"
    )]
    Unread(String),
}

/// Why a bus or an attachment was refused, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// There is no such bus, or it is not clear which is meant.
    UnknownBus,
    /// There is no such attachment. Whoever wants it gone has what they want.
    UnknownAttachment,
    /// One of this name or ID exists, and is another.
    Exists,
    /// The interface name is taken in the namespace.
    Taken,
    /// The bus has members.
    InUse,
}

impl Code {
    /// The error with this code.
    pub(crate) fn because(self, text: impl Into<String>) -> Error {
        Error::Coded { code: self, text: text.into() }
    }
}

impl Error {
    /// The error of an operation, for `map_err`. If a module may be missing, looks on disk for it.
    pub fn kernel(operation: impl Into<Operation>) -> impl FnOnce(KernelError) -> Self {
        let operation = operation.into();
        move |source| {
            let advice = operation.advice(source.refusal(), &Files::default());
            Self::Kernel { operation, source, advice }
        }
    }

    /// Whether the kernel lacks the module.
    pub fn lacks_module(&self) -> bool {
        matches!(self, Self::Kernel { source, .. } if source.refusal() == Refusal::NotSupported)
    }

    /// Whether something changed between reading and acting, so that retrying may succeed.
    pub fn is_race(&self) -> bool {
        matches!(self, Self::Kernel { source, .. } if matches!(source.refusal(), Refusal::Gone | Refusal::Exists | Refusal::Busy))
    }
}

/// A kernel operation, as named in errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Making sure that can-gw is loaded.
    UseGateway,
    /// Making sure that containers can be connected.
    MakePairs,
    /// Making sure that frames can be delayed, lost, duplicated and corrupted.
    ShapeFrames,
    /// Reading something.
    List(Listed),
    /// A step of a plan.
    Carry(Box<Action>),
}

/// What is being listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// The host's interfaces.
    Links,
    /// The interfaces inside a container.
    ContainerLinks,
    /// The host's can-gw rules.
    Rules,
}

impl From<Listed> for Operation {
    fn from(listed: Listed) -> Self {
        Self::List(listed)
    }
}

impl From<Action> for Operation {
    fn from(action: Action) -> Self {
        Self::Carry(Box::new(action))
    }
}

impl fmt::Display for Operation {
    /// The operation, in words that follow "cannot".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UseGateway => f.write_str("use can-gw rules"),
            Self::MakePairs => f.write_str("give containers CAN interfaces"),
            Self::ShapeFrames => f.write_str("delay, lose, duplicate or corrupt frames"),
            Self::List(Listed::Links) => f.write_str("list interfaces"),
            Self::List(Listed::ContainerLinks) => f.write_str("list the container's interfaces"),
            Self::List(Listed::Rules) => f.write_str("list can-gw rules"),
            Self::Carry(action) => action.fmt(f),
        }
    }
}

impl Operation {
    /// What to do about a refusal; empty if there is no general advice.
    fn advice(&self, refusal: Refusal, files: &Files) -> String {
        let action = match self {
            Self::Carry(action) => Some(&**action),
            Self::UseGateway | Self::MakePairs | Self::ShapeFrames | Self::List(_) => None,
        };
        let advice = match (refusal, action) {
            (Refusal::NotPermitted, _) => {
                "; canhub needs CAP_NET_ADMIN and CAP_SYS_ADMIN in the initial user namespace: run it as root or from its systemd unit (rootless Docker is not supported)"
            }
            (Refusal::NotSupported, Some(Action::Configure { .. })) => {
                "; the driver does not support all of these settings: see `ip -details link show`, and remove those that it lacks"
            }
            (Refusal::Other, Some(Action::Configure { .. })) => {
                "; the driver rejected these settings: `ip -details link show` lists its clock and limits"
            }
            (Refusal::NotSupported, _) => {
                let missing = modules::missing(files, self.needs());
                return missing.map(|missing| format!("; {missing}")).unwrap_or_default();
            }
            _ => "",
        };
        advice.to_owned()
    }

    /// The kernel modules without which it is not supported.
    fn needs(&self) -> &'static [&'static str] {
        let action = match self {
            Self::UseGateway | Self::List(Listed::Rules) => return &["can-gw"],
            Self::MakePairs => return &["vxcan"],
            Self::ShapeFrames => return &["sch_netem"],
            Self::List(Listed::Links | Listed::ContainerLinks) => return &[],
            Self::Carry(action) => &**action,
        };
        match action {
            Action::AddRules { .. } | Action::DeleteRules(_) => &["can-gw"],
            Action::CreateHub { .. } => &["vcan"],
            Action::CreatePair { .. } => &["vxcan"],
            Action::Pace { .. } => &["sch_tbf"],
            Action::Netem { .. } => &["sch_netem"],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::ControllerChange;

    const EPERM: i32 = 1;
    const EINTR: i32 = 4;
    const ERANGE: i32 = 34;
    const EOPNOTSUPP: i32 = 95;

    /// On a kernel with a list of modules that has none of them.
    fn error(operation: impl Into<Operation>, errno: i32) -> String {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::under(dir.path())
            .with("/proc/sys/kernel/osrelease", "6.6.1+rpt-rpi-v8")
            .with("/lib/modules/6.6.1+rpt-rpi-v8/modules.dep", "");
        let (operation, source) = (operation.into(), KernelError::from(io::Error::from_raw_os_error(errno)));
        let advice = operation.advice(source.refusal(), &files);
        Error::Kernel { operation, source, advice }.to_string()
    }

    #[test]
    fn advice_depends_on_the_operation_and_the_errno() {
        let name = || "can0".to_owned();
        let make = || Action::CreateHub { name: "can0".parse().unwrap(), mtu: 72, alias: String::new() };
        let set_up =
            || Action::Configure { index: 3, name: name(), change: ControllerChange::default(), up: true };
        for (said, advice) in [
            (error(Operation::UseGateway, EOPNOTSUPP), "this kernel (6.6.1+rpt-rpi-v8) has no can-gw, so"),
            (error(Action::DeleteRules(Vec::new()), EOPNOTSUPP), "has no can-gw, so"),
            (error(Operation::MakePairs, EOPNOTSUPP), "have vxcan since September 2026: run `apt update"),
            (error(Operation::ShapeFrames, EOPNOTSUPP), "has no sch_netem, so"),
            (error(make(), EOPNOTSUPP), "has no vcan, so canhub cannot create buses"),
            (error(set_up(), EOPNOTSUPP), "does not support all of these settings"),
            (error(set_up(), ERANGE), "the driver rejected these settings"),
            (error(Listed::Links, EPERM), "CAP_NET_ADMIN"),
        ] {
            assert!(said.contains(advice), "{advice:?} is not in {said:?}");
        }
        // A name in the text does not determine the operation.
        let rules = Action::Delete { sandbox: None, index: 3, name: "rules".into() };
        assert!(!error(rules, EOPNOTSUPP).contains("this kernel"));
        assert_eq!(
            error(Listed::Links, EINTR),
            "cannot list interfaces: Interrupted system call (os error 4)"
        );
    }
}
