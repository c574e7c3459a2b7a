//! What other programs or an earlier canhub left behind: sockets, records of another plugin, rules, links.

use std::path::{Path, PathBuf};

use super::{Files, Finding, Group, Remedy};
use crate::{
    http::socket::{Probe, probe},
    network::Network,
    rustycan4docker,
    status::Status,
};

const GROUP: Group = Group::Leftovers;
/// The name of the check for sockets.
pub const SOCKETS: &str = "stale-socket";
/// The name of the check for the other plugin's file.
pub const RUSTYCAN: &str = "rustycan4docker";

/// Stale sockets. `plugin` and `admin` are ours; other sockets in the folder of `plugin` are not.
pub async fn sockets(plugin: &Path, admin: &Path) -> Vec<Finding> {
    let folder = plugin.parent().unwrap_or(Path::new("/"));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "sock")).collect();
    paths.sort();
    paths.push(admin.to_owned());
    let (mut stale, mut hidden) = (Vec::new(), Vec::new());
    for path in &paths {
        match probe(path).await {
            Probe::Stale => stale.push(of_socket(path, plugin, admin)),
            Probe::Unknown(_) => hidden.push(path.display().to_string()),
            Probe::Served | Probe::NotASocket | Probe::Absent => {}
        }
    }
    if !hidden.is_empty() {
        let sentence = format!("cannot tell whether {} is in use: permission denied", hidden.join(", "));
        stale.push(Finding::warning(GROUP, SOCKETS, sentence).hint("run `sudo canhub doctor`"));
    }
    if stale.is_empty() {
        stale.push(Finding::pass(GROUP, SOCKETS, "no stale plugin sockets"));
    }
    stale
}

fn of_socket(path: &Path, plugin: &Path, admin: &Path) -> Finding {
    let shown = path.display().to_string();
    let remove = format!("rm {shown}");
    if path == admin {
        let sentence = format!("stale admin socket {shown}: no process listens on it");
        return Finding::warning(GROUP, SOCKETS, sentence)
            .about(shown)
            .by(remove)
            .by_doctor(Remedy::RemoveSocket(path.to_owned()));
    }
    let sentence = format!(
        "stale plugin socket {shown}: no process listens on it, and Docker waits 15 s for it on every `docker volume` command"
    );
    let finding = Finding::warning(GROUP, SOCKETS, sentence).about(shown).by(remove);
    if path == plugin { finding.by_doctor(Remedy::RemoveSocket(path.to_owned())) } else { finding }
}

/// rustycan4docker's records, unless canhub has imported all of them. `known` are canhub's own networks.
///
/// Doctor cannot import while canhub is `running`: canhub must be stopped first.
pub fn rustycan(files: &Files, known: &[Network], running: bool) -> Vec<Finding> {
    let on_host = format!("{}/{}", rustycan4docker::FOLDER, rustycan4docker::FILE);
    let plugins = "/var/lib/docker/plugins";
    if files.hides(&on_host) {
        let sentence = format!("cannot look for rustycan4docker's networks in {on_host}: permission denied");
        return vec![Finding::warning(GROUP, RUSTYCAN, sentence).hint("run `sudo canhub doctor`")];
    }
    let in_plugins = files.names(plugins).into_iter().map(|id| format!("{plugins}/{id}/rootfs{on_host}"));
    let paths: Vec<String> = std::iter::once(on_host.clone()).chain(in_plugins).collect();
    let mut findings: Vec<Finding> = paths
        .iter()
        .filter_map(|path| {
            let networks = rustycan4docker::parse(&files.text(path)?).ok()?;
            let waiting: Vec<String> = networks
                .iter()
                .filter(|network| rustycan4docker::known(network, known).is_none())
                .map(|network| network.hub().to_string())
                .collect();
            let sentence = match waiting.len() {
                0 => return None,
                _ => format!(
                    "rustycan4docker has networks that canhub has not imported: buses on {}",
                    waiting.join(", ")
                ),
            };
            let import = format!(
                "{} && canhub import rustycan4docker {path} && {}",
                rustycan4docker::STOP,
                rustycan4docker::START
            );
            let finding = Finding::warning(GROUP, RUSTYCAN, sentence).about(path).by(import);
            Some(if running { finding } else { finding.by_doctor(Remedy::Import(path.into())) })
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::pass(GROUP, RUSTYCAN, "no rustycan4docker networks left to import"));
    }
    findings
}

/// Links of canhub that belong to no known network or endpoint.
pub fn links(status: &Status) -> Finding {
    match status.leftovers + status.buses.iter().map(|bus| bus.leftovers.len()).sum::<usize>() {
        0 => Finding::pass(GROUP, "leftover-links", "no leftover canhub interfaces"),
        count => {
            let sentence = match count {
                1 => "1 leftover canhub interface belongs to no known container or network".to_owned(),
                several => {
                    format!("{several} leftover canhub interfaces belong to no known container or network")
                }
            };
            Finding::warning(GROUP, "leftover-links", sentence)
                .by("canhub doctor --fix")
                .by_doctor(Remedy::Heal)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Level;

    #[tokio::test]
    async fn stale_sockets_are_reported_and_only_ours_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let [sound] = &sockets(&at("canhub.sock"), &at("admin")).await[..] else { panic!("one") };
        assert_eq!(sound.level, Level::Pass);
        for name in ["canhub.sock", "other.sock", "admin"] {
            drop(std::os::unix::net::UnixListener::bind(at(name)).unwrap());
        }
        let live = std::os::unix::net::UnixListener::bind(at("live.sock")).unwrap();
        let stale = sockets(&at("canhub.sock"), &at("admin")).await;
        drop(live);
        let remedies: Vec<_> = stale.iter().map(|finding| finding.remedy.clone()).collect();
        let remove = |name| Some(Remedy::RemoveSocket(at(name)));
        assert_eq!(remedies, [remove("canhub.sock"), None, remove("admin")], "{stale:#?}");
        assert!(stale[0].sentence.contains("15 s") && stale[2].sentence.contains("admin socket"));
        assert_eq!(stale[1].fix, Some(format!("rm {}", at("other.sock").display())));
    }

    #[test]
    fn networks_of_rustycan4docker_are_reported_until_imported() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::under(dir.path());
        assert_eq!(rustycan(&files, &[], false)[0].level, Level::Pass);
        let text = r#"{"aa11": {"device": "vcan", "peer": "vcanp", "canid": "0"}}"#;
        let path = "/var/lib/docker/network/files/rustycan4docker-networks.json";
        let files = files.with(path, text);
        let found = rustycan(&files, &[], false).remove(0);
        assert_eq!(
            (found.level, found.remedy.clone(), found.subject.as_deref()),
            (Level::Warning, Some(Remedy::Import(path.into())), Some(path))
        );
        assert!(found.sentence.contains("vcan0"), "{}", found.sentence);
        assert_eq!(rustycan(&files, &rustycan4docker::parse(text).unwrap(), false)[0].level, Level::Pass);

        // A running canhub owns its state file; the command stops it first.
        let beside = rustycan(&files, &[], true).remove(0);
        assert!(!beside.is_fixable());
        assert_eq!(beside.fix, found.fix);
        assert!(found.fix.is_some_and(|fix| fix.starts_with(rustycan4docker::STOP)));
    }
}
