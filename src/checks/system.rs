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

/// The capabilities that this process lacks to check everything.
pub fn lacking(files: &Files) -> Vec<&'static str> {
    let status = files.text("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    CAPABILITIES.iter().filter(|(bit, _)| mask & (1 << bit) == 0).map(|(_, name)| *name).collect()
}

/// Whether this process can check everything.
pub fn privileges(files: &Files) -> Vec<Finding> {
    let missing = lacking(files);
    let check = PRIVILEGES;
    vec![if missing.is_empty() {
        Finding::pass(Group::System, check, "everything can be inspected (CAP_NET_ADMIN, CAP_SYS_ADMIN)")
    } else {
        let sentence = format!(
            "missing {}: cannot inspect the interfaces inside containers, canhub's records and its admin socket",
            missing.join(" and ")
        );
        Finding::warning(Group::System, check, sentence).hint("run `sudo canhub doctor`")
    }]
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
}
