//! Docker, its networks and its containers.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, setns};
use serde_json::Value;
use socketcan::{CanFdSocket, Socket as _};

use super::{
    canhub::says,
    host::{Link, parse_links},
    member::Member,
    shell::{attempt, eventually, host_folder, run, sh, within},
};

/// The image of the tests: busybox, can-utils and the probe.
pub const IMAGE: &str = "can-tools";
const TOOLS: &str = "/usr/share/canhub-guest/can-tools.tar";

/// Runs `docker` with these arguments, which must succeed.
#[track_caller]
pub fn docker(args: &[&str]) -> String {
    run("docker", args)
}

/// Runs `docker` with these arguments. Returns its output or error.
pub fn try_docker(args: &[&str]) -> Result<String, String> {
    attempt("docker", args)
}

/// dockerd starts its containers before it answers: twenty took 130 s on a busy host.
pub const DOCKERD_PATIENCE: Duration = Duration::from_secs(300);

/// Kills dockerd as in a crash, and waits until the next one answers.
pub fn kill_dockerd() {
    run("systemctl", &["kill", "--signal=KILL", "docker"]);
    let started = within(DOCKERD_PATIENCE, || {
        // It restarts by itself after a pause; an explicit start skips the pause, and systemd's start counter.
        let _ = attempt("systemctl", &["reset-failed", "docker"]);
        attempt("systemctl", &["start", "docker"])
    });
    started.unwrap_or_else(|err| panic!("dockerd does not restart: {err}"));
}

/// Builds Docker's image from the machine's own tools, unless it exists and contains this very probe.
pub fn make_image() {
    make_image_of("docker");
}

/// The same for an engine with the commands of Docker.
pub fn make_image_of(engine: &str) {
    let probe = host_folder().join("probe");
    let meta = fs::metadata(&probe).unwrap_or_else(|err| panic!("{}: {err}", probe.display()));
    let version = format!("{}-{}", meta.mtime(), meta.size());
    let label = r#"{{index .Config.Labels "canhub.probe"}}"#;
    if attempt(engine, &["image", "inspect", "--format", label, IMAGE]).as_deref() == Ok(&version) {
        return;
    }
    let tar = "/var/tmp/canhub-e2e.tar";
    fs::copy(TOOLS, tar).unwrap_or_else(|err| panic!("{TOOLS}: {err}"));
    run("tar", &["--append", "--file", tar, "--directory", &host_folder().to_string_lossy(), "probe"]);
    run(engine, &["import", "--change", &format!("LABEL canhub.probe={version}"), tar, IMAGE]);
    let _ = fs::remove_file(tar);
}

/// A network of the driver under test.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Docker's ID.
    pub id: String,
}

impl Network {
    /// The hub that canhub created for this bus, if it exists.
    pub fn find_hub(&self) -> Option<Link> {
        let ours = format!("net={}", self.id);
        super::host::links()
            .into_iter()
            .find(|link| link.ifalias.contains(&ours) && !link.ifalias.contains(" ep="))
    }

    /// Its name; it must exist.
    #[track_caller]
    pub fn hub(&self) -> String {
        self.find_hub().unwrap_or_else(|| panic!("network {} has no hub on the host", self.name)).ifname
    }

    /// Connects a running container with these driver options.
    #[track_caller]
    pub fn connect(&self, container: &Container, options: &[&str]) {
        let options: Vec<&str> = options.iter().flat_map(|option| ["--driver-opt", option]).collect();
        docker(&[&["network", "connect"], &options[..], &[&self.name, &container.name]].concat());
        container.member("can0", 1);
    }

    /// Disconnects a container.
    #[track_caller]
    pub fn disconnect(&self, container: &Container) {
        docker(&["network", "disconnect", &self.name, &container.name]);
    }

    /// What `canhub status` says about it.
    #[track_caller]
    pub fn status(&self) -> Value {
        let status: Value = serde_json::from_str(&says("status --json")).expect("it is JSON");
        let buses = status["buses"].as_array().expect("there are buses");
        buses.iter().find(|one| one["network"] == self.id.as_str()).expect("the bus is known").clone()
    }

    /// The host as a member of this bus.
    #[track_caller]
    pub fn host(&self, number: u8) -> Member {
        Member::host(&self.hub(), number)
    }
}

/// A container, running or not.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its name or ID.
    pub name: String,
    /// The PID of its first process on the host.
    pub pid: u32,
}

impl Container {
    /// A container that Docker knows and that is running.
    #[track_caller]
    pub fn running(name: &str) -> Self {
        let pid = docker(&["inspect", "--format", "{{.State.Pid}}", name]);
        let pid = pid.parse().ok().filter(|pid| *pid > 0);
        Self { name: name.into(), pid: pid.unwrap_or_else(|| panic!("container {name} is not running")) }
    }

    /// Like [`Container::running`]; with the full ID, the kernel can be asked half a second earlier than Docker.
    #[track_caller]
    pub fn just_started(name: &str, id: &str) -> Self {
        let processes = format!("/sys/fs/cgroup/system.slice/docker-{id}.scope/cgroup.procs");
        let first = fs::read_to_string(processes).ok().and_then(|pids| pids.lines().next()?.parse().ok());
        first.map_or_else(|| Self::running(name), |pid| Self { name: name.into(), pid })
    }

    /// The ID of its only endpoint.
    #[track_caller]
    pub fn endpoint(&self) -> String {
        docker(&[
            "inspect",
            "--format",
            "{{range .NetworkSettings.Networks}}{{.EndpointID}}{{end}}",
            &self.name,
        ])
    }

    /// As a member of a bus, once its interface exists and is up.
    ///
    /// Before Docker 28 any name except `can0` is only set a moment after the start.
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

    /// Opens a socket inside.
    #[track_caller]
    pub fn socket(&self, interface: &str) -> CanFdSocket {
        let (namespace, interface) = (format!("/proc/{}/ns/net", self.pid), interface.to_owned());
        let open = move || {
            setns(File::open(namespace).expect("it runs"), CloneFlags::CLONE_NEWNET)
                .expect("root may enter it");
            CanFdSocket::open(&interface).expect("it has the interface")
        };
        thread::spawn(open).join().expect("it does not panic")
    }

    /// `tc qdisc` inside, because the image has no `tc`.
    #[track_caller]
    pub fn qdisc(&self, words: &str) -> String {
        sh(&format!("nsenter --net --target {} tc qdisc {words}", self.pid))
    }

    /// Asserts that its first process is still the same, and that Docker never restarted it.
    #[track_caller]
    pub fn assert_untouched(&self) {
        let alive = try_docker(&["inspect", "--format", "{{.State.Pid}} {{.RestartCount}}", &self.name]);
        assert_eq!(alive, Ok(format!("{} 0", self.pid)), "{}: its first process stays the same", self.name);
    }

    /// Its interfaces.
    pub fn links(&self) -> Vec<Link> {
        parse_links(&self.run(&["ip", "-j", "link"]))
    }

    /// The names of its CAN interfaces, sorted.
    pub fn can_links(&self) -> Vec<String> {
        let mut links = self.links();
        links.retain(|link| link.link_type == "can");
        let mut names = names(&links);
        names.sort();
        names
    }

    /// Runs a command inside, which must succeed.
    #[track_caller]
    pub fn run(&self, command: &[&str]) -> String {
        Member::inside(&self.name, self.pid, "", 0).run(command)
    }

    /// The host end of the pair whose other end has this name in this container.
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
