//! `canhub attach` and `canhub detach`: any network namespace on a bus.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hyper::Method;
use serde::Deserialize;

use super::{
    Failed,
    ask::{self, AdminSocket},
    lines::{self, WIDTH, cut},
    options::OptionArgs,
};
use crate::{
    attachment::{AttachRequest, AttachmentStatus, WhichAttachment},
    names::{AttachmentId, IfName},
};

pub(super) const PATH: &str = "/v1/attachments";
/// Where `ip netns` keeps the namespaces that have names.
const IP_NETNS: &str = "/run/netns";

/// Put a network namespace on a bus, without Docker
///
/// The namespace gets a CAN interface, and hears and is heard like a container. It stays on the bus, whatever happens to
/// canhub, until it is detached, the namespace ends, or the host reboots. The same command twice changes nothing.
///
/// NETNS is a path (/run/netns/ecu1), a name of `ip netns` (ecu1), the ID of a process (4711), or the name of a running
/// Docker container. Of a Podman container: --netns $(podman inspect -f '{{.State.Pid}}' NAME)
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, verbatim_doc_comment)]
pub(super) struct Attach {
    #[command(subcommand)]
    command: Option<AttachCommand>,
    #[command(flatten)]
    new: New,
}

#[derive(Debug, Subcommand)]
enum AttachCommand {
    /// List what is attached, and what is wrong with it
    #[command(visible_alias = "list")]
    Ls(Ls),
}

#[derive(Debug, Args)]
struct New {
    /// The bus: a Docker network or one of `canhub bus create`
    #[arg(required = true, value_name = "BUS")]
    bus: Option<String>,
    /// The namespace: a path, a name of `ip netns`, a process ID, or a Docker container
    #[arg(long, required_unless_present = "surplus", value_name = "NETNS")]
    netns: Option<String>,
    /// Without it, clap takes a second word for a subcommand
    #[arg(hide = true)]
    surplus: Option<String>,
    /// The name of its interface [default: that of the bus, can0]
    #[arg(long, value_name = "NAME")]
    ifname: Option<IfName>,
    /// The ID by which to detach it [default: canhub makes one]
    #[arg(long)]
    id: Option<AttachmentId>,
    /// Its name in status, events and frames [default: that of the namespace]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    options: OptionArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: AdminSocket,
}

#[derive(Debug, Args)]
struct Ls {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: AdminSocket,
}

/// Take a network namespace off a bus
#[derive(Debug, Args)]
pub(super) struct Detach {
    /// The ID of the attachment; with --netns, the bus
    #[arg(value_name = "ID|BUS")]
    what: String,
    /// The namespace, as in `canhub attach`
    #[arg(long, value_name = "NETNS")]
    netns: Option<String>,
    /// The name of its interface, if it is on the bus more than once
    #[arg(long, value_name = "NAME", requires = "netns")]
    ifname: Option<IfName>,
    #[command(flatten)]
    socket: AdminSocket,
}

#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) attachment: AttachmentStatus,
}

#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    pub(super) attachments: Vec<AttachmentStatus>,
}

impl Attach {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self.command {
            Some(AttachCommand::Ls(ls)) => ls.run(),
            None => self.new.run(),
        }
    }
}

impl New {
    fn run(self) -> Result<(), Failed> {
        if let Some(word) = self.surplus {
            return Err(format!("{word}: name the namespace with --netns, as in --netns {word}").into());
        }
        let Namespace { path, container } = Namespace::find(&self.netns.unwrap_or_default())?;
        let asked = AttachRequest {
            bus: self.bus.unwrap_or_default(),
            bus_options: None,
            netns: path,
            ifname: self.ifname,
            id: self.id,
            name: self.name.or(container),
            options: self.options.into_raw()?,
        };
        let on = |bus: &str| ask::to_json(&AttachRequest { bus: bus.to_owned(), ..asked.clone() });
        let body = self.socket.send_about(&asked.bus, &Method::POST, PATH, on)?;
        ask::show(&body, self.json, |Answer { attachment }: &Answer| {
            let AttachmentStatus { name, bus, interface, id, .. } = attachment;
            format!("{name}: on {bus} as {interface}, attachment {id}\n")
        })?;
        Ok(())
    }
}

impl Ls {
    fn run(self) -> Result<(), Failed> {
        let body = self.socket.get(PATH)?;
        let Listed { attachments } =
            ask::show(&body, self.json, |listed: &Listed| table(&listed.attachments))?;
        match attachments.iter().all(|one| one.problems.is_empty()) {
            true => Ok(()),
            false => Err(Failed::Found),
        }
    }
}

impl Detach {
    pub(super) fn run(self) -> Result<(), Failed> {
        let Answer { attachment } = match self.netns {
            None => {
                let id = AttachmentId::try_from(self.what)?;
                let body = ask::to_json(&WhichAttachment::Id { id });
                ask::parsed(&self.socket.send(Method::DELETE, PATH, body)?)?
            }
            Some(netns) => {
                let (netns, ifname) = (Namespace::find(&netns)?.path, self.ifname);
                let on = |bus: &str| {
                    let (bus, netns, ifname) = (bus.to_owned(), netns.clone(), ifname.clone());
                    ask::to_json(&WhichAttachment::Place { bus, netns, ifname })
                };
                ask::parsed(&self.socket.send_about(&self.what, &Method::DELETE, PATH, on)?)?
            }
        };
        lines::print(&format!("{}: off {}\n", attachment.name, attachment.bus));
        Ok(())
    }
}

/// A namespace that somebody named.
struct Namespace {
    path: PathBuf,
    /// The container whose it is, if it was named so.
    container: Option<String>,
}

impl Namespace {
    fn find(word: &str) -> Result<Self, String> {
        let at = |path: PathBuf| Self { path, container: None };
        if word.contains('/') {
            return std::path::absolute(word)
                .map(at)
                .map_err(|err| format!("cannot read the path {word}: {err}"));
        }
        if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(at(format!("/proc/{word}/ns/net").into()));
        }
        let named = Path::new(IP_NETNS).join(word);
        if !word.is_empty() && named.exists() {
            return Ok(at(named));
        }
        match ask::sandbox(word) {
            Some(path) => Ok(Self { path, container: Some(word.to_owned()) }),
            None => Err(format!(
                "--netns {word}: it is neither a name of `ip netns` nor a running Docker container; a path (/run/netns/NAME) or a process ID is possible too"
            )),
        }
    }
}

/// So long are the IDs that canhub makes.
const ID: usize = 16;

fn table(all: &[AttachmentStatus]) -> String {
    if all.is_empty() {
        return "Nothing is attached. To put a network namespace on a bus: canhub attach BUS --netns NETNS\n"
            .to_owned();
    }
    let mut text = row(["ID", "BUS", "NAME", "INTERFACE", "NETNS"]);
    for one in all {
        let netns = one.netns.display().to_string();
        text += &row([one.id.as_ref(), &one.bus, &one.name, &one.interface, &netns]);
        for problem in &one.problems {
            text += &lines::wrap("  ! ", problem);
        }
    }
    text
}

/// IDs are never cut: `canhub detach` needs them. The long ones of engines have a line of their own.
fn row([id, bus, name, interface, netns]: [&str; 5]) -> String {
    let line =
        |id: &str| format!("{id:<ID$} {:<14} {:<14} {interface:<9} {netns}", cut(bus, 14), cut(name, 14));
    let (above, line) = match id.len() > ID {
        true => (format!("{id}\n"), line("")),
        false => (String::new(), line(id)),
    };
    above + &cut(line.trim_end(), WIDTH) + "\n"
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn a_namespace_is_a_path_or_a_process_before_it_is_a_name() {
        let path = |word: &str| Namespace::find(word).unwrap().path;
        assert_eq!(path("/run/netns/ecu1"), Path::new("/run/netns/ecu1"));
        assert_eq!(path("4711"), Path::new("/proc/4711/ns/net"));
        assert!(path("./ecu1").is_absolute());
        for word in ["", "no-such-container-of-anybody"] {
            let why = Namespace::find(word).err().unwrap();
            assert!(why.contains("neither a name of `ip netns` nor"), "{why}");
        }
    }

    #[test]
    fn bad_values_are_bad_usage_with_one_sentence() {
        for (args, words) in [
            (&["attach", "body"][..], "--netns"),
            (&["attach", "--netns", "1"], "BUS"),
            (&["attach", "body", "--netns", "1", "--ifname", "sixteen-bytes-xx"], "the kernel allows 15"),
            (&["attach", "body", "--netns", "1", "--id", "a b"], "letters, digits, -, _ or ."),
            (&["attach", "body", "--netns", "1", "-o", "rate"], "KEY=VALUE"),
            (&["detach", "body", "--ifname", "can0"], "--netns"),
        ] {
            let err = Cli::try_parse_from([&["canhub"], args].concat()).unwrap_err();
            assert_eq!(err.exit_code(), 2);
            assert!(err.to_string().contains(words), "{args:?}: {err}");
        }
        Cli::try_parse_from(["canhub", "attach", "ls"]).unwrap();
        // A forgotten --netns.
        let cli = Cli::try_parse_from(["canhub", "attach", "body", "ecu1"]).unwrap();
        let failed = match cli.command {
            crate::cli::Command::Attach(attach) => attach.run().unwrap_err(),
            other => panic!("{other:?}"),
        };
        assert!(failed.why().unwrap().contains("--netns ecu1"), "{failed:?}");
    }

    #[test]
    fn a_table_stays_in_80_columns_and_shows_whole_ids() {
        let one = AttachmentStatus {
            id: "podman-0123456789abcdef".to_owned().try_into().unwrap(),
            bus: "x".repeat(60),
            netns: "/run/user/1000/netns/netns-01234567-89ab-cdef".into(),
            interface: "can0".into(),
            mtu: 72,
            name: "y".repeat(60),
            options: Default::default(),
            problems: vec!["a rule was missing (rules)".into()],
        };
        let text = table(&[one]);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(
            text.contains("\npodman-0123456789abcdef\n      ") && text.contains("! a rule was missing"),
            "{text}"
        );
        assert!(table(&[]).contains("canhub attach BUS"));
    }
}
