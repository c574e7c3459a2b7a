//! The engine, its networks of ours, and containers that it gave up on.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::timeout;

use super::{
    Files, Finding, Group, Level,
    networks::{addresses, of_rustycan, quoted},
    units,
};
use crate::docker::facts;

/// Docker answers within milliseconds; one that takes longer than this hangs.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Each container that is down is asked about by itself.
const TIME_LIMIT_LATE: Duration = Duration::from_secs(15);
const GROUP: Group = Group::Docker;

/// What to ask, and about whom.
#[derive(Debug, Clone)]
pub struct Docker {
    /// The API's socket.
    pub socket: PathBuf,
    /// Our driver's name, without a tag.
    pub driver: String,
}

impl Docker {
    /// Whether the engine answers, and which it is: the one thing that canhub's own health wants to know.
    pub async fn engine(&self, files: &Files) -> Finding {
        match limited(facts::engine(&self.socket)).await {
            Ok(engine) => of_version(&engine.version),
            Err(err) => silent(&self.socket, &err, units::has_docker(files)),
        }
    }

    /// All that there is to ask. Where the engine does not answer, that alone is told.
    pub async fn look(&self, files: &Files) -> Vec<Finding> {
        let engine = self.engine(files).await;
        if engine.check != VERSION {
            return vec![engine];
        }
        let (networks, live_restore, late) = tokio::join!(
            limited(facts::networks(&self.socket)),
            limited(facts::live_restore(&self.socket)),
            timeout(TIME_LIMIT_LATE, facts::late(&self.socket, &self.driver)),
        );
        let mut findings = vec![engine];
        match networks {
            Ok(networks) => {
                findings.extend(addresses(&self.driver, &networks));
                findings.extend(of_rustycan(&self.driver, &networks));
            }
            Err(err) => findings.push(unknown("null-ipam", "Docker's networks cannot be listed", &err)),
        }
        match late {
            Ok(Some(late)) => findings.extend(given_up(&late)),
            Ok(None) | Err(_) => {
                let sentence = "containers that are down could not be looked at: Docker does not tell";
                findings.push(Finding::warning(GROUP, "late-containers", sentence).by("docker ps --all"));
            }
        }
        match live_restore {
            Ok(false) => {}
            Ok(true) => {
                let plugins = limited(facts::plugins(&self.socket)).await.unwrap_or_default();
                let managed =
                    plugins.iter().any(|plugin| plugin.enabled && is_ours(&plugin.name, &self.driver));
                findings.push(restoring(managed || units_are_sound(files)));
            }
            Err(err) => findings.push(unknown("live-restore", "Docker's settings cannot be read", &err)),
        }
        findings
    }
}

/// Whether a network's driver is ours: by its name, or as a managed plugin's `name:tag`, of whatever registry.
pub fn is_ours(driver: &str, ours: &str) -> bool {
    let name = driver.rsplit('/').next().unwrap_or(driver);
    name.split(':').next() == Some(ours)
}

/// An answer, or an error also when none comes in time.
pub(super) async fn limited<T>(asked: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(TIME_LIMIT, asked).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

const VERSION: &str = "engine-version";

fn of_version(version: &str) -> Finding {
    let mut numbers =
        version.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let warning =
        |why: &str| Finding::warning(GROUP, VERSION, format!("Docker Engine {version} answers, but {why}"));
    match (next(), next(), next()) {
        // One that somebody built of a branch.
        _ if !version.starts_with(|c: char| c.is_ascii_digit()) => {
            Finding::pass(GROUP, VERSION, format!("Docker Engine {version} answers"))
        }
        // moby#51522, fixed by #51534; ed10b98506.
        (29, 0, 0..=2) => warning(
            "29.0.0 to 29.0.2 have bugs with networks of plugins: a container on a bridge and a bus may not start, or take dockerd with it",
        )
        .by("upgrade Docker Engine to 29.0.3 or newer"),
        (0..=19, ..) | (20, 0..=9, _) => {
            warning("it is older than 20.10, with which canhub was never tried").by("upgrade Docker Engine")
        }
        (20..=27, ..) => Finding::pass(
            GROUP,
            VERSION,
            format!(
                "Docker Engine {version} answers; before 28, names of interfaces that do not end in 0 come a moment late"
            ),
        ),
        _ => Finding::pass(GROUP, VERSION, format!("Docker Engine {version} answers")),
    }
}

fn silent(socket: &Path, err: &io::Error, installed: bool) -> Finding {
    let shown = socket.display();
    let error = |sentence: String| Finding::error(GROUP, "engine", sentence);
    match err.kind() {
        io::ErrorKind::PermissionDenied => Finding::warning(
            GROUP,
            "engine",
            format!(
                "Docker's networks and containers cannot be seen: {shown} is for root and the group docker"
            ),
        )
        .by("sudo canhub doctor"),
        io::ErrorKind::TimedOut => error(format!(
            "Docker does not answer on {shown} within {} s: it hangs, or is busy with its start",
            TIME_LIMIT.as_secs()
        ))
        .by("systemctl status docker; journalctl -u docker -n 50"),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused if installed => {
            error(format!("Docker does not run (nobody answers on {shown}), so no container gets a bus"))
                .by("systemctl start docker")
        }
        io::ErrorKind::NotFound => error(format!(
            "there is no Docker at {shown}: install Docker Engine, or name its socket with --docker-socket"
        ))
        .by("canhub doctor --docker-socket PATH"),
        _ => error(format!("Docker does not answer properly on {shown}: {err}"))
            .by("journalctl -u docker -n 50"),
    }
}

fn unknown(check: &str, what: &str, err: &io::Error) -> Finding {
    Finding::warning(GROUP, check, format!("{what}: {err}")).by("journalctl -u docker -n 50")
}

fn given_up(late: &[String]) -> Vec<Finding> {
    let check = "late-containers";
    if late.is_empty() {
        return vec![Finding::pass(GROUP, check, "no container waits for canhub in vain")];
    }
    let finding = |name: &String| {
        let sentence = format!(
            "container {name} is down and stays so: Docker gave up on it because canhub was not there when it was started"
        );
        Finding::error(GROUP, check, sentence).about(name).by(format!("docker start {}", quoted(name)))
    };
    late.iter().map(finding).collect()
}

fn units_are_sound(files: &Files) -> bool {
    units::look(files).iter().all(|unit| unit.level == Level::Pass)
}

/// Live-restore asks canhub about each container when dockerd starts, and waits 15 s for each answer that does not come.
fn restoring(in_time: bool) -> Finding {
    let check = "live-restore";
    match in_time {
        true => Finding::pass(
            GROUP,
            check,
            "live-restore is on: containers go on while dockerd restarts, and so do their buses",
        ),
        false => Finding::warning(
            GROUP,
            check,
            "live-restore is on, and canhub may come after Docker: then dockerd waits 15 s for each running container on a bus before it is up",
        )
        .by("systemctl enable canhub.socket canhub.service"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_with_bugs_that_matter_are_named() {
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
    fn drivers_of_ours_are_known_under_each_of_their_names() {
        for ours in ["canhub", "canhub:latest", "registry.example/garage/canhub:1.2"] {
            assert!(is_ours(ours, "canhub"), "{ours}");
        }
        for other in ["bridge", "canhub2", "canhub2:latest", "rustyvxcan"] {
            assert!(!is_ours(other, "canhub"), "{other}");
        }
    }

    #[test]
    fn each_silence_of_docker_has_its_own_words() {
        let of =
            |kind: io::ErrorKind, installed| silent(Path::new("/run/docker.sock"), &kind.into(), installed);
        assert_eq!(of(io::ErrorKind::NotFound, true).fix.as_deref(), Some("systemctl start docker"));
        assert!(of(io::ErrorKind::NotFound, false).sentence.contains("--docker-socket"));
        assert!(of(io::ErrorKind::TimedOut, true).sentence.contains("within 5 s"));
        let hidden = of(io::ErrorKind::PermissionDenied, true);
        assert!(hidden.level == Level::Warning && hidden.sentence.contains("cannot be seen"));
    }

    #[tokio::test]
    async fn a_docker_that_is_not_there_is_one_finding() {
        let dir = tempfile::tempdir().unwrap();
        let docker = Docker { socket: dir.path().join("docker.sock"), driver: "canhub".into() };
        let [finding] = &docker.look(&Files::under(dir.path())).await[..] else { panic!("one") };
        assert_eq!((finding.check.as_str(), finding.level), ("engine", Level::Error));
    }

    #[test]
    fn each_container_that_docker_gave_up_on_is_named() {
        assert_eq!(given_up(&[])[0].level, Level::Pass);
        let two = given_up(&["ecu1".into(), "ecu2".into()]);
        assert_eq!(two.len(), 2);
        assert_eq!((two[1].level, two[1].fix.as_deref()), (Level::Error, Some("docker start ecu2")));
    }
}
