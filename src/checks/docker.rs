//! The Docker Engine, its canhub networks, and containers that failed to start.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::timeout;

use super::{
    Files, Finding, Group, Level, modules,
    networks::{addresses, gives_addresses, of_rustycan, quoted},
    ports, units,
};
use crate::{
    docker::facts::{self, Engine, is_ours},
    network::Network,
};

/// Docker answers within milliseconds; longer than this means that it hangs.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Each stopped container takes a request of its own.
const TIME_LIMIT_LATE: Duration = Duration::from_secs(15);
const GROUP: Group = Group::Docker;

/// What to query.
#[derive(Debug, Clone)]
pub struct Docker {
    /// The API socket.
    pub socket: PathBuf,
    /// The driver name, without a tag.
    pub driver: String,
}

impl Docker {
    /// Whether the engine answers, and its version. `known`: the networks in canhub's records.
    async fn engine(&self, files: &Files, known: &[Network]) -> Finding {
        match limited(facts::engine(&self.socket)).await {
            Ok(engine) => {
                let rootless = limited(facts::is_rootless(&self.socket)).await.unwrap_or_default();
                out_of_reach(&engine, rootless, &modules::release(files))
                    .unwrap_or_else(|| of_version(&engine.version))
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound && is_unused(files, known) => {
                Finding::pass(GROUP, ENGINE, unused(&self.socket))
            }
            Err(err) => {
                let installed = units::has_docker(files);
                let other = if installed { None } else { other_engine(files, &err) };
                other.unwrap_or_else(|| silent(&self.socket, &err, installed))
            }
        }
    }

    /// Adds the containers of networks whose check may suggest to recreate them: only the view of a single network
    /// lists them.
    async fn with_members(&self, mut networks: Vec<facts::NetworkFacts>) -> Vec<facts::NetworkFacts> {
        for network in networks.iter_mut().filter(|network| gives_addresses(&self.driver, network)) {
            if let Ok(told) = limited(facts::network(&self.socket, &network.id)).await {
                *network = told;
            }
        }
        networks
    }

    /// Runs all checks. If the engine does not answer, that is the only finding.
    pub async fn look(&self, files: &Files, known: &[Network]) -> Vec<Finding> {
        let engine = self.engine(files, known).await;
        if engine.check != VERSION {
            return vec![engine];
        }
        let (networks, live_restore, late, unpublished) = tokio::join!(
            limited(facts::networks(&self.socket)),
            limited(facts::live_restore(&self.socket)),
            timeout(TIME_LIMIT_LATE, facts::late(&self.socket, &self.driver)),
            timeout(TIME_LIMIT_LATE, facts::unpublished(&self.socket, &self.driver)),
        );
        let mut findings = vec![engine];
        match networks {
            Ok(networks) => {
                let networks = self.with_members(networks).await;
                findings.extend(addresses(&self.driver, &networks));
                findings.extend(of_rustycan(&self.driver, &networks));
            }
            Err(err) => findings.push(unknown("null-ipam", "cannot list Docker's networks", &err)),
        }
        match late {
            Ok(Some(late)) => findings.extend(given_up(&late)),
            Ok(None) | Err(_) => {
                let sentence = "could not inspect stopped containers: Docker did not answer";
                findings.push(
                    Finding::warning(GROUP, "late-containers", sentence).hint("`docker ps --all` lists them"),
                );
            }
        }
        findings.extend(ports::of(unpublished.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))));
        match live_restore {
            Ok(false) => {}
            Ok(true) => {
                let plugins = limited(facts::plugins(&self.socket)).await.unwrap_or_default();
                let managed =
                    plugins.iter().any(|plugin| plugin.enabled && is_ours(&plugin.name, &self.driver));
                findings.push(restoring(managed || units_are_sound(files)));
            }
            Err(err) => findings.push(unknown("live-restore", "cannot read Docker's settings", &err)),
        }
        findings
    }
}

/// The result, or an error on timeout.
pub(super) async fn limited<T>(asked: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(TIME_LIMIT, asked).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

const VERSION: &str = "engine-version";
/// The name of the check if the engine cannot be used.
const ENGINE: &str = "engine";

/// An engine that answers, and whose containers canhub cannot give interfaces.
fn out_of_reach(engine: &Engine, rootless: bool, release: &str) -> Option<Finding> {
    let Engine { version, kernel_version, platform, components } = engine;
    let error = |sentence: String| Finding::error(GROUP, ENGINE, sentence);
    if components.iter().any(|component| component.name.starts_with("Podman")) {
        let sentence =
            format!("Podman {version} answers in place of Docker, and has no network plugins of Docker");
        return Some(error(sentence).hint(
            "`canhub attach` connects containers of Podman to a bus; canhub's networks need Docker Engine",
        ));
    }
    if !kernel_version.is_empty() && kernel_version != release {
        let name = if platform.name.is_empty() { "Docker Engine" } else { &platform.name };
        let sentence = format!(
            "{name} ({version}) runs on another kernel ({kernel_version}) than canhub ({release}), in a virtual machine: canhub cannot reach its containers"
        );
        return Some(error(sentence).hint(
            "install Docker Engine on this machine in place of Docker Desktop, or canhub where the engine runs",
        ));
    }
    rootless.then(|| {
        let sentence = format!(
            "Docker Engine {version} is rootless: the kernel takes can-gw rules only from root of the host"
        );
        error(sentence).hint("use Docker Engine as root: rootless Docker is not supported")
    })
}

/// Where others than Docker Engine as root have their sockets: folders with one folder per user, the path in it, and whose
/// it is.
const OTHERS: [(&str, &str, &str); 3] = [
    ("/run/user", "docker.sock", "rootless Docker"),
    ("/home", ".docker/desktop/docker.sock", "Docker Desktop"),
    ("/run/user", "podman/podman.sock", "Podman"),
];

/// There is no Docker Engine where it should be, but something else that people take for it.
fn other_engine(files: &Files, err: &io::Error) -> Option<Finding> {
    if !matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
        return None;
    }
    let find = |(folder, path, whose): &(&str, &str, &'static str)| {
        let mut paths = files.names(folder).into_iter().map(|user| format!("{folder}/{user}/{path}"));
        paths.find(|path| files.has(path)).map(|path| (path, *whose))
    };
    let (path, whose) = OTHERS.iter().find_map(find)?;
    let sentence = format!(
        "no Docker Engine runs as root, only {whose} ({path}), whose containers canhub's driver cannot reach"
    );
    let hint = match whose {
        "Podman" => {
            "`canhub attach` connects containers of Podman to a bus; canhub's networks need Docker Engine"
        }
        _ => "install and start Docker Engine as root, and choose it with `docker context use default`",
    };
    Some(Finding::error(GROUP, ENGINE, sentence).hint(hint))
}

fn of_version(version: &str) -> Finding {
    let mut numbers =
        version.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let warning =
        |why: &str| Finding::warning(GROUP, VERSION, format!("Docker Engine {version} answers, but {why}"));
    match (next(), next(), next()) {
        // Built from a branch.
        _ if !version.starts_with(|c: char| c.is_ascii_digit()) => {
            Finding::pass(GROUP, VERSION, format!("Docker Engine {version} answers"))
        }
        // moby#51522, fixed by #51534; ed10b98506.
        (29, 0, 0..=2) => warning(
            "29.0.0 to 29.0.2 have bugs with plugin networks: a container on a bridge and a bus may fail to start, or crash dockerd",
        )
        .hint("upgrade Docker Engine to 29.0.3 or newer"),
        (0..=19, ..) | (20, 0..=9, _) => {
            warning("canhub is not tested with releases before 20.10").hint("upgrade Docker Engine to 28 or newer")
        }
        (20..=27, ..) => Finding::pass(
            GROUP,
            VERSION,
            format!(
                "Docker Engine {version} answers; with engines before 28, interface names that do not end in 0 are set a moment after the container starts"
            ),
        ),
        _ => Finding::pass(GROUP, VERSION, format!("Docker Engine {version} answers")),
    }
}

/// Whether nobody would miss Docker: it does not start at boot, and no bus is one of its networks.
fn is_unused(files: &Files, known: &[Network]) -> bool {
    !units::starts_docker(files) && known.iter().all(|network| network.id.is_made())
}

/// Why it is no problem that Docker's socket does not exist.
pub fn unused(socket: &Path) -> String {
    format!("Docker is not used: there is no {}, and no bus is a network of Docker's", socket.display())
}

fn silent(socket: &Path, err: &io::Error, installed: bool) -> Finding {
    let shown = socket.display();
    let error = |sentence: String| Finding::error(GROUP, ENGINE, sentence);
    match err.kind() {
        io::ErrorKind::PermissionDenied => Finding::warning(
            GROUP,
            "engine",
            format!("cannot inspect Docker's networks and containers: no permission to open {shown}"),
        )
        .hint("run `sudo canhub doctor`"),
        io::ErrorKind::TimedOut => error(format!(
            "Docker does not answer on {shown} within {} s: it hangs or is still starting",
            TIME_LIMIT.as_secs()
        ))
        .hint("see `systemctl status docker` and `journalctl -u docker -n 50`"),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused if installed => error(format!(
            "Docker is not running (no process listens on {shown}), so no container can join a bus"
        ))
        // Only starting the socket unit creates the socket, even if dockerd runs without it.
        .by("systemctl restart docker.socket docker.service"),
        io::ErrorKind::NotFound => error(format!("no Docker at {shown}"))
            .hint("install Docker Engine, or name its socket with --docker-socket"),
        _ => error(format!("Docker fails on {shown}: {err}")).hint("see `journalctl -u docker -n 50`"),
    }
}

fn unknown(check: &str, what: &str, err: &io::Error) -> Finding {
    Finding::warning(GROUP, check, format!("{what}: {err}")).hint("see `journalctl -u docker -n 50`")
}

fn given_up(late: &[String]) -> Vec<Finding> {
    let check = "late-containers";
    if late.is_empty() {
        return vec![Finding::pass(
            GROUP,
            check,
            "no container failed to start because canhub was not running",
        )];
    }
    let finding = |name: &String| {
        let sentence = format!(
            "container {name} is down: canhub was not running when Docker tried to start it, and Docker does not retry"
        );
        Finding::error(GROUP, check, sentence).about(name).by(format!("docker start {}", quoted(name)))
    };
    late.iter().map(finding).collect()
}

fn units_are_sound(files: &Files) -> bool {
    units::look(files).iter().all(|unit| unit.level == Level::Pass)
}

/// With live-restore, dockerd calls canhub for each container when it starts, and waits 15 s for each call that is not
/// answered.
fn restoring(in_time: bool) -> Finding {
    let check = "live-restore";
    match in_time {
        true => Finding::pass(
            GROUP,
            check,
            "live-restore is on: containers and their buses keep running while dockerd restarts",
        ),
        false => Finding::warning(
            GROUP,
            check,
            "live-restore is on, and canhub may start after Docker: dockerd then waits 15 s for each running container on a bus before it is up",
        )
        .by("systemctl enable canhub.socket canhub.service"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::NetworkId;

    #[test]
    fn docker_versions_with_relevant_bugs_are_reported() {
        for (version, level) in [
            ("19.03.15", Level::Warning),
            ("20.10.24+dfsg1", Level::Pass),
            ("26.1.5", Level::Pass),
            ("28.5.2", Level::Pass),
            ("29.0.0", Level::Warning),
            ("29.0.1-rc.1", Level::Warning),
            ("29.0.3", Level::Pass),
            ("29.7.2", Level::Pass),
            ("master-dockerproject", Level::Pass),
        ] {
            let finding = of_version(version);
            assert_eq!(finding.level, level, "{version}");
            assert!(finding.sentence.contains(version) && finding.check == VERSION);
        }
    }

    #[test]
    fn an_engine_whose_containers_cannot_be_reached_is_reported() {
        let of = |told: &str, rootless| {
            let engine: Engine = serde_json::from_str(told).unwrap();
            out_of_reach(&engine, rootless, "6.12.1-amd64").map(|finding| finding.sentence)
        };
        let same = r#"{"Version":"28.5.2","KernelVersion":"6.12.1-amd64","Platform":{"Name":""},"Components":[{"Name":"Engine"}]}"#;
        assert_eq!(of(same, false), None);
        assert_eq!(of(r#"{"Version":"28.5.2"}"#, false), None);
        assert!(of(same, true).unwrap().contains("is rootless"));
        let desktop = r#"{"Version":"28.5.2","KernelVersion":"6.10.14-linuxkit","Platform":{"Name":"Docker Desktop 4.47.0 (206054)"}}"#;
        let told = of(desktop, false).unwrap();
        assert!(told.starts_with("Docker Desktop 4.47.0") && told.contains("6.10.14-linuxkit"), "{told}");
        let podman =
            r#"{"Version":"5.4.2","KernelVersion":"6.12.1-amd64","Components":[{"Name":"Podman Engine"}]}"#;
        assert!(of(podman, false).unwrap().contains("Podman 5.4.2"));
    }

    #[test]
    fn without_docker_engine_what_people_take_for_it_is_named() {
        let none = io::Error::from(io::ErrorKind::NotFound);
        for (path, words) in [
            ("/run/user/1000/docker.sock", "rootless Docker"),
            ("/home/ann/.docker/desktop/docker.sock", "Docker Desktop"),
            ("/run/user/1000/podman/podman.sock", "Podman"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let files = Files::under(dir.path());
            assert_eq!(other_engine(&files, &none), None);
            let files = files.with(path, "");
            let sentence = other_engine(&files, &none).unwrap().sentence;
            assert!(sentence.contains(words) && sentence.contains(path), "{sentence}");
            assert_eq!(other_engine(&files, &io::ErrorKind::TimedOut.into()), None);
        }
    }

    #[test]
    fn each_reason_why_docker_does_not_answer_has_its_own_sentence() {
        let of =
            |kind: io::ErrorKind, installed| silent(Path::new("/run/docker.sock"), &kind.into(), installed);
        assert_eq!(
            of(io::ErrorKind::NotFound, true).fix.as_deref(),
            Some("systemctl restart docker.socket docker.service")
        );
        assert!(of(io::ErrorKind::NotFound, false).hint.is_some_and(|hint| hint.contains("--docker-socket")));
        assert!(of(io::ErrorKind::TimedOut, true).sentence.contains("within 5 s"));
        let hidden = of(io::ErrorKind::PermissionDenied, true);
        assert!(hidden.level == Level::Warning && hidden.sentence.contains("cannot inspect"));
    }

    #[tokio::test]
    async fn a_missing_docker_is_a_single_finding() {
        let dir = tempfile::tempdir().unwrap();
        let docker = Docker { socket: dir.path().join("docker.sock"), driver: "canhub".into() };
        let one = async |known: &[Network]| {
            let [finding] = &docker.look(&Files::under(dir.path()), known).await[..] else { panic!("one") };
            assert_eq!(finding.check, "engine");
            (finding.level, finding.sentence.contains("Docker is not used"))
        };
        let network = |id: NetworkId| Network::new(id, Default::default()).unwrap();
        let of_docker = network("a1".repeat(32).try_into().unwrap());
        assert_eq!(one(&[of_docker]).await, (Level::Error, false));
        assert_eq!(one(&[network(7.into())]).await, (Level::Pass, true));
        let wants = dir.path().join("etc/systemd/system/sockets.target.wants");
        std::fs::create_dir_all(&wants).unwrap();
        for unit in [wants.join("docker.socket"), dir.path().join("etc/systemd/system/docker.socket")] {
            std::fs::write(unit, "").unwrap();
        }
        assert_eq!(one(&[]).await, (Level::Error, false), "it should run");
    }

    #[test]
    fn each_container_that_docker_failed_to_start_is_named() {
        assert_eq!(given_up(&[])[0].level, Level::Pass);
        let two = given_up(&["ecu1".into(), "ecu2".into()]);
        assert_eq!(two.len(), 2);
        assert_eq!((two[1].level, two[1].fix.as_deref()), (Level::Error, Some("docker start ecu2")));
    }
}
