//! The systemd units: does canhub start at boot, and before Docker.

use std::fs;

use super::{Files, Finding, Group, Remedy};

/// The unit folders; the first match wins.
const FOLDERS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
const SERVICE: &str = "canhub.service";
const SOCKET: &str = "canhub.socket";
const DOCKER: &str = "docker.service";

/// The drop-in that orders canhub before Docker if its unit does not.
pub const ORDER_FILE: &str = "/etc/systemd/system/canhub.service.d/before-docker.conf";
/// Its content.
pub const ORDER_TEXT: &str =
    "# Docker starts its containers once canhub is ready.\n[Unit]\nBefore=docker.service\n";

/// Whether canhub is installed as a service.
pub fn is_installed(files: &Files) -> bool {
    is_there(files, SERVICE)
}

/// Whether Docker is installed as a service.
pub fn has_docker(files: &Files) -> bool {
    is_there(files, DOCKER)
}

/// Whether Docker starts at boot, or when somebody connects to its socket.
pub fn starts_docker(files: &Files) -> bool {
    [DOCKER, "docker.socket"].into_iter().any(|unit| is_there(files, unit) && is_enabled(files, unit))
}

/// The units to enable.
pub fn to_enable(files: &Files) -> &'static [&'static str] {
    if is_there(files, SOCKET) { &[SOCKET, SERVICE] } else { &[SERVICE] }
}

fn is_there(files: &Files, unit: &str) -> bool {
    FOLDERS.iter().any(|folder| files.has(format!("{folder}/{unit}")))
}

/// Checks the units; returns nothing if canhub is not installed as a service.
pub fn look(files: &Files) -> Vec<Finding> {
    if !is_installed(files) {
        return Vec::new();
    }
    let mut places = [SERVICE, SOCKET]
        .into_iter()
        .flat_map(|unit| [(unit, "/etc/systemd/system", ""), (unit, "/run/systemd/system", " --runtime")]);
    if let Some((unit, _, option)) = places.find(|(unit, folder, _)| is_masked(files, folder, unit)) {
        let sentence =
            format!("{unit} is masked, so canhub does not start and no container can start on a bus");
        let unmask = format!(
            "systemctl unmask{option} {SOCKET} {SERVICE} && systemctl enable --now {SOCKET} {SERVICE}"
        );
        return vec![Finding::error(Group::Docker, "unit-enabled", sentence).by(unmask)];
    }
    vec![enabled(files), ordered(files)]
}

fn enabled(files: &Files) -> Finding {
    let units = to_enable(files);
    let off: Vec<&str> = units.iter().copied().filter(|unit| !is_enabled(files, unit)).collect();
    let check = "unit-enabled";
    match off[..] {
        [] => Finding::pass(Group::Docker, check, "canhub starts at each boot"),
        ref off => {
            let sentence = format!(
                "{} not enabled: after a reboot canhub starts late or not at all, and Docker does not start containers that are on a bus",
                match off {
                    [one] => format!("{one} is"),
                    several => format!("{} are", several.join(" and ")),
                }
            );
            Finding::warning(Group::Docker, check, sentence)
                .by(format!("systemctl enable {}", units.join(" ")))
                .by_doctor(Remedy::Enable)
        }
    }
}

fn ordered(files: &Files) -> Finding {
    let before = setting(files, SERVICE, "Before=").any(|unit| unit == DOCKER);
    let after = setting(files, DOCKER, "After=").any(|unit| unit == SERVICE);
    let check = "unit-order";
    if before || after {
        return Finding::pass(Group::Docker, check, "canhub starts before Docker starts its containers");
    }
    let sentence = "canhub.service is not ordered before docker.service: at boot Docker may start containers before their buses exist";
    Finding::warning(Group::Docker, check, sentence)
        .by(format!(
            "mkdir -p /etc/systemd/system/canhub.service.d && printf '[Unit]\\nBefore=docker.service\\n' > {ORDER_FILE} && systemctl daemon-reload"
        ))
        .by_doctor(Remedy::Order)
}

fn is_masked(files: &Files, folder: &str, unit: &str) -> bool {
    fs::read_link(files.path(format!("{folder}/{unit}"))).is_ok_and(|to| to.ends_with("dev/null"))
}

fn is_enabled(files: &Files, unit: &str) -> bool {
    FOLDERS.iter().any(|folder| {
        let names = files.names(folder).into_iter();
        let mut wants = names.filter(|name| name.ends_with(".wants") || name.ends_with(".requires"));
        wants.any(|name| files.has(format!("{folder}/{name}/{unit}")))
    })
}

/// The words of a setting in a unit and its drop-ins. Dependencies only add up: a drop-in cannot remove one.
fn setting<'a>(files: &'a Files, unit: &'a str, key: &'a str) -> impl Iterator<Item = String> + 'a {
    let main = FOLDERS.iter().find_map(|folder| files.text(format!("{folder}/{unit}")));
    let drop_ins = FOLDERS.iter().flat_map(move |folder| {
        let folder = format!("{folder}/{unit}.d");
        let names = files.names(&folder).into_iter().filter(|name| name.ends_with(".conf"));
        names.filter_map(|name| files.text(format!("{folder}/{name}"))).collect::<Vec<_>>()
    });
    main.into_iter().chain(drop_ins).flat_map(move |text| {
        let values = text.lines().filter_map(|line| line.trim().strip_prefix(key).map(str::to_owned));
        values
            .collect::<Vec<_>>()
            .into_iter()
            .flat_map(|value| value.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Level;

    const UNIT: &str = include_str!("../../plugin/systemd/canhub.service.in");
    const WANTS: &str = "/etc/systemd/system/multi-user.target.wants/canhub.service";
    const SOCKETS: &str = "/etc/systemd/system/sockets.target.wants/canhub.socket";

    fn installed(dir: &tempfile::TempDir) -> Files {
        Files::under(dir.path())
            .with("/usr/local/lib/systemd/system/canhub.service", UNIT)
            .with("/usr/local/lib/systemd/system/canhub.socket", "")
    }

    fn levels(files: &Files) -> Vec<(String, Level)> {
        look(files).into_iter().map(|finding| (finding.check, finding.level)).collect()
    }

    #[test]
    fn the_installed_and_enabled_unit_passes() {
        let dir = tempfile::tempdir().unwrap();
        let files = installed(&dir).with(WANTS, "").with(SOCKETS, "");
        let pass = |check: &str| (check.to_owned(), Level::Pass);
        assert_eq!(levels(&files), [pass("unit-enabled"), pass("unit-order")]);
        assert!(look(&Files::under(dir.path().join("elsewhere"))).is_empty(), "no service, no words");
    }

    #[test]
    fn a_disabled_unit_is_a_warning_that_fix_resolves() {
        let dir = tempfile::tempdir().unwrap();
        let files = installed(&dir).with(WANTS, "");
        let enabled = look(&files).remove(0);
        assert_eq!((enabled.level, enabled.remedy.clone()), (Level::Warning, Some(Remedy::Enable)));
        assert!(enabled.sentence.starts_with("canhub.socket is not enabled"), "{}", enabled.sentence);
        assert_eq!(enabled.fix.as_deref(), Some("systemctl enable canhub.socket canhub.service"));
    }

    #[test]
    fn an_override_without_the_order_is_a_warning_until_a_drop_in_adds_it() {
        let dir = tempfile::tempdir().unwrap();
        let loose = UNIT.replace("Before=docker.service", "");
        let files = installed(&dir).with("/etc/systemd/system/canhub.service", &loose);
        assert_eq!(look(&files)[1].level, Level::Warning);
        let files = files.with(ORDER_FILE, ORDER_TEXT);
        assert_eq!(look(&files)[1].level, Level::Pass);
        fs::remove_file(files.path(ORDER_FILE)).unwrap();
        assert_eq!(look(&files)[1].level, Level::Warning);
        let files = files.with(
            "/etc/systemd/system/docker.service.d/can.conf",
            "[Unit]\nAfter=a.service canhub.service\n",
        );
        assert_eq!(look(&files)[1].level, Level::Pass);
    }

    #[test]
    fn a_masked_unit_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let files = installed(&dir).with("/etc/systemd/system/other.service", "");
        std::os::unix::fs::symlink("/dev/null", files.path("/etc/systemd/system/canhub.socket")).unwrap();
        let [finding] = &look(&files)[..] else { panic!("one finding") };
        assert!(finding.level == Level::Error && finding.sentence.contains("canhub.socket is masked"));
    }
}
