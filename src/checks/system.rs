//! The kernel: its version, its modules, and limits that affect frames. Also the capabilities of this process.

use super::{Files, Finding, Group, modules};

/// The first version with can-gw rules for CAN FD.
const OLDEST: (u32, u32) = (5, 4);
/// `CAP_NET_ADMIN` and `CAP_SYS_ADMIN`, as bits of `CapEff`.
const CAPABILITIES: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];

/// All checks that need no waiting. `forwards`: a bus has containers, so the rules must exist now. `expects`: frames are
/// expected.
pub fn look(files: &Files, forwards: bool, expects: bool) -> Vec<Finding> {
    let mut findings = vec![kernel(files)];
    findings.extend(modules::look(files, forwards));
    findings.extend(expects.then(|| modules::for_expectations(files)).flatten());
    findings.extend(max_hops(files));
    findings
}

fn kernel(files: &Files) -> Finding {
    let release = modules::release(files);
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) < OLDEST => Finding::error(
            Group::System,
            "kernel",
            format!("Linux {release} is too old: can-gw supports CAN FD since {}.{}", OLDEST.0, OLDEST.1),
        )
        .hint("upgrade the kernel and reboot"),
        _ => Finding::pass(Group::System, "kernel", format!("Linux {release}")),
    }
}

/// The hop limit that can-gw was loaded with. canhub does not depend on it, because each of its rules has its own
/// limit.
fn max_hops(files: &Files) -> Option<Finding> {
    let hops = files.text("/sys/module/can_gw/parameters/max_hops")?;
    let check = "max-hops";
    Some(match hops.as_str() {
        "1" => Finding::pass(Group::System, check, "can-gw forwards a frame once (max_hops=1)"),
        _ => Finding::warning(
            Group::System,
            check,
            format!("can-gw was loaded with max_hops={hops}: canhub does not depend on it, but other can-gw rules can forward frames in loops, and back to their sender"),
        )
        .hint("remove the option from /etc/modprobe.d (`grep -r max_hops /etc/modprobe.d`) and reboot"),
    })
}

/// The name of the check of the capabilities.
pub const PRIVILEGES: &str = "privileges";

/// A line of `/proc/self/status`.
fn own(files: &Files, key: &str) -> Option<String> {
    let status = files.text("/proc/self/status")?;
    let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

/// The capabilities of this process, as bits.
pub(super) fn capabilities(files: &Files) -> Option<u64> {
    u64::from_str_radix(&own(files, "CapEff")?, 16).ok()
}

/// The capabilities that this process lacks to check everything.
pub fn lacking(files: &Files) -> Vec<&'static str> {
    let mask = capabilities(files).unwrap_or_default();
    CAPABILITIES.iter().filter(|(bit, _)| mask & (1 << bit) == 0).map(|(_, name)| *name).collect()
}

/// Whether this process can check everything, and can-gw takes rules from it.
pub fn privileges(files: &Files) -> Vec<Finding> {
    let missing = lacking(files);
    let check = PRIVILEGES;
    if is_mapped(files) {
        let sentence = format!(
            "this is a user namespace{}, as of an unprivileged LXC container or rootless Docker: the kernel takes can-gw rules only from root of the host",
            container(files).map(|name| format!(" ({name})")).unwrap_or_default()
        );
        return vec![Finding::error(Group::System, check, sentence).hint(
            "run Docker Engine and canhub on the host, in a virtual machine, or in a privileged container of LXC",
        )];
    }
    let warning = |why: &str| {
        let sentence = format!(
            "missing {}{why}: cannot inspect the interfaces inside containers, canhub's records and its admin socket",
            missing.join(" and ")
        );
        Finding::warning(Group::System, check, sentence)
    };
    let is_root = own(files, "Uid").is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"));
    vec![match (missing.is_empty(), is_root) {
        (true, _) => {
            Finding::pass(Group::System, check, "everything can be inspected (CAP_NET_ADMIN, CAP_SYS_ADMIN)")
        }
        (false, false) => warning("").hint("run `sudo canhub doctor`"),
        (false, true) => {
            let whose = container(files)
                .map_or("of this root".to_owned(), |name| format!("of root in this container ({name})"));
            warning(&format!(" among the capabilities {whose}"))
                .hint("run `sudo canhub doctor` on the host, or give the container these capabilities")
        }
    }]
}

/// Whether root here is another user of the host: `user_namespaces(7)`.
fn is_mapped(files: &Files) -> bool {
    let map = files.text("/proc/self/uid_map").unwrap_or_default();
    !map.is_empty() && !map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// What kind of container this is, if it is one.
fn container(files: &Files) -> Option<String> {
    // Written by systemd, from what the manager of the container says.
    let told = files.text("/run/systemd/container").filter(|name| !name.is_empty());
    told.or_else(|| files.has("/.dockerenv").then(|| "docker".to_owned()))
        .or_else(|| files.has("/run/.containerenv").then(|| "podman".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Level;

    fn files(dir: &tempfile::TempDir) -> Files {
        Files::under(dir.path())
    }

    #[test]
    fn an_old_kernel_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        for (release, level) in [
            ("4.19.0-27-amd64", Level::Error),
            ("5.3.0", Level::Error),
            ("5.4.0", Level::Pass),
            ("7.2.7-um", Level::Pass),
            ("strange", Level::Pass),
        ] {
            let finding = kernel(&files(&dir).with("/proc/sys/kernel/osrelease", release));
            assert_eq!(finding.level, level, "{release}");
            assert!(finding.sentence.contains(release));
        }
    }

    #[test]
    fn an_unusual_hop_limit_is_reported_and_the_default_passes() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(max_hops(&files(&dir)), None, "can-gw is not loaded");
        let of =
            |hops: &str| max_hops(&files(&dir).with("/sys/module/can_gw/parameters/max_hops", hops)).unwrap();
        assert_eq!(of("1\n").level, Level::Pass);
        let odd = of("2\n");
        assert_eq!((odd.level, odd.is_fixable()), (Level::Warning, false));
        assert!(odd.sentence.contains("max_hops=2"));
    }

    #[test]
    fn without_root_the_missing_checks_are_reported() {
        let dir = tempfile::tempdir().unwrap();
        let of = |mask: &str| {
            privileges(&files(&dir).with("/proc/self/status", &format!("Name:\tx\nCapEff:\t{mask}\n")))
                .remove(0)
        };
        assert_eq!(of("000001ffffffffff").level, Level::Pass);
        let partly = of("0000000000001000");
        assert_eq!(partly.level, Level::Warning);
        assert!(partly.sentence.contains("missing CAP_SYS_ADMIN:"), "{}", partly.sentence);
        assert!(of("0").sentence.contains("CAP_NET_ADMIN and CAP_SYS_ADMIN"));
    }

    #[test]
    fn a_container_that_cannot_have_buses_is_told_so() {
        let of = |status: &str, map: &str| {
            let dir = tempfile::tempdir().unwrap();
            let machine = files(&dir)
                .with("/proc/self/status", status)
                .with("/proc/self/uid_map", map)
                .with("/run/systemd/container", "lxc\n");
            privileges(&machine).remove(0)
        };
        let (all, none) = ("Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n", "Uid:\t0\t0\t0\t0\nCapEff:\t0\n");
        let host = "         0          0 4294967295\n";
        assert_eq!(of(all, host).level, Level::Pass);
        let unprivileged = of(all, "         0     100000      65536\n");
        assert_eq!(unprivileged.level, Level::Error);
        assert!(unprivileged.sentence.contains("user namespace (lxc)"), "{}", unprivileged.sentence);
        let bounded = of(none, host);
        assert_eq!(bounded.level, Level::Warning);
        assert!(bounded.sentence.contains("of root in this container (lxc)"), "{}", bounded.sentence);
        assert!(bounded.hint.is_some_and(|hint| hint.contains("on the host")));
    }
}
