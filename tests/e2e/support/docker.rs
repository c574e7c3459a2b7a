//! Docker, its networks and its containers.

use std::{fs, os::unix::fs::MetadataExt, time::Duration};

use super::{
    host::{Link, parse_links},
    member::Member,
    shell::{attempt, eventually, host_folder, run, within},
};

/// The image of the tests: busybox, can-utils and the probe.
pub const IMAGE: &str = "can-tools";
const TOOLS: &str = "/usr/share/canhub-guest/can-tools.tar";

/// `docker` with these arguments, which has to succeed.
#[track_caller]
pub fn docker(args: &[&str]) -> String {
    run("docker", args)
}

/// `docker` with these arguments, or its complaint.
pub fn try_docker(args: &[&str]) -> Result<String, String> {
    attempt("docker", args)
}

/// dockerd starts its containers before it answers: twenty took 130 s on a guest whose neighbours were busy.
const DOCKERD_PATIENCE: Duration = Duration::from_secs(300);

/// Kills dockerd as a crash would, and waits until another one answers.
pub fn kill_dockerd() {
    run("systemctl", &["kill", "--signal=KILL", "docker"]);
    let started = within(DOCKERD_PATIENCE, || {
        // It restarts by itself after a pause; asking for it leaves the pause out, and systemd's count of starts too.
        let _ = attempt("systemctl", &["reset-failed", "docker"]);
        attempt("systemctl", &["start", "docker"])
    });
    started.unwrap_or_else(|err| panic!("dockerd does not come up again: {err}"));
}

/// Makes the image from the machine's own tools, unless it is there and holds this very probe.
pub fn make_image() {
    let probe = host_folder().join("probe");
    let meta = fs::metadata(&probe).unwrap_or_else(|err| panic!("{}: {err}", probe.display()));
    let version = format!("{}-{}", meta.mtime(), meta.size());
    let label = r#"{{index .Config.Labels "canhub.probe"}}"#;
    if try_docker(&["image", "inspect", "--format", label, IMAGE]).as_deref() == Ok(&version) {
        return;
    }
    let tar = "/var/tmp/canhub-e2e.tar";
    fs::copy(TOOLS, tar).unwrap_or_else(|err| panic!("{TOOLS}: {err}"));
    run("tar", &["--append", "--file", tar, "--directory", &host_folder().to_string_lossy(), "probe"]);
    docker(&["import", "--change", &format!("LABEL canhub.probe={version}"), tar, IMAGE]);
    let _ = fs::remove_file(tar);
}

/// A network of the driver under test.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Docker's id.
    pub id: String,
}

impl Network {
    /// The host's interface of this bus that canhub made, if it stands.
    pub fn find_hub(&self) -> Option<Link> {
        let ours = format!("net={}", self.id);
        super::host::links()
            .into_iter()
            .find(|link| link.ifalias.contains(&ours) && !link.ifalias.contains(" ep="))
    }

    /// Its name; it has to stand.
    #[track_caller]
    pub fn hub(&self) -> String {
        self.find_hub().unwrap_or_else(|| panic!("network {} has no hub on the host", self.name)).ifname
    }

    /// The host as a member of this bus.
    #[track_caller]
    pub fn host(&self, number: u8) -> Member {
        Member::host(&self.hub(), number)
    }
}

/// A container that runs, or did.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its name or id.
    pub name: String,
    /// Its first process, in the host's eyes.
    pub pid: u32,
}

impl Container {
    /// A container that Docker knows and that runs.
    #[track_caller]
    pub fn running(name: &str) -> Self {
        let pid = docker(&["inspect", "--format", "{{.State.Pid}}", name]);
        let pid = pid.parse().ok().filter(|pid| *pid > 0);
        Self { name: name.into(), pid: pid.unwrap_or_else(|| panic!("container {name} does not run")) }
    }

    /// As [`Container::running`]; with its whole id the kernel tells, half a second sooner than Docker.
    #[track_caller]
    pub fn just_started(name: &str, id: &str) -> Self {
        let processes = format!("/sys/fs/cgroup/system.slice/docker-{id}.scope/cgroup.procs");
        let first = fs::read_to_string(processes).ok().and_then(|pids| pids.lines().next()?.parse().ok());
        first.map_or_else(|| Self::running(name), |pid| Self { name: name.into(), pid })
    }

    /// As a member of a bus, once its interface is there and up.
    ///
    /// Before Docker 28 any name but `can0` comes only a moment after the start.
    #[track_caller]
    pub fn member(&self, interface: &str, number: u8) -> Member {
        eventually(&format!("{} gets {interface}", self.name), || {
            let links = self.links();
            match links.iter().find(|link| link.ifname == interface) {
                Some(link) if link.is_up() => Ok(()),
                _ => Err(format!("it has {:?}", names(&links))),
            }
        });
        Member::inside(&self.name, self.pid, interface, number)
    }

    /// Its first process is the one that it had, and Docker never restarted it.
    #[track_caller]
    pub fn assert_untouched(&self) {
        let alive = try_docker(&["inspect", "--format", "{{.State.Pid}} {{.RestartCount}}", &self.name]);
        assert_eq!(alive, Ok(format!("{} 0", self.pid)), "{}: its first process stays the same", self.name);
    }

    /// Its interfaces.
    pub fn links(&self) -> Vec<Link> {
        parse_links(&self.run(&["ip", "-j", "link"]))
    }

    /// The names of its CAN interfaces, in order of the alphabet.
    pub fn can_links(&self) -> Vec<String> {
        let mut links = self.links();
        links.retain(|link| link.link_type == "can");
        let mut names = names(&links);
        names.sort();
        names
    }

    /// Runs a command inside that has to succeed.
    #[track_caller]
    pub fn run(&self, command: &[&str]) -> String {
        Member::inside(&self.name, self.pid, "", 0).run(command)
    }

    /// The link on the host whose other end is in this container under that name.
    #[track_caller]
    pub fn host_end(&self, interface: &str) -> Link {
        let links = self.links();
        let inside = links.iter().find(|link| link.ifname == interface);
        let inside = inside.unwrap_or_else(|| panic!("{} has {:?}", self.name, names(&links)));
        let host = super::host::links().into_iter().find(|link| link.ifalias == inside.ifalias);
        host.unwrap_or_else(|| panic!("no host end has the alias {:?}", inside.ifalias))
    }
}

/// The names of links.
pub fn names(links: &[Link]) -> Vec<String> {
    links.iter().map(|link| link.ifname.clone()).collect()
}
