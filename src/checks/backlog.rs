//! The kernel's backlog: the queue of each CPU in which frames wait, and whether it is long enough for the largest bus.

use std::{thread::sleep, time::Duration};

use super::{Files, Finding, Group, Remedy};
use crate::status::{LossCause, Status};

/// The name of the check.
pub const BACKLOG: &str = "backlog";
/// The limit.
pub const FILE: &str = "/proc/sys/net/core/netdev_max_backlog";
/// The kernel's default, which is enough for three containers on a bus.
const DEFAULT: u32 = 1000;
/// What `plugin/sysctl.conf` sets: enough for a bus of 64 containers.
pub const RECOMMENDED: u32 = 20_000;
/// The longest burst of one sender: a J1939 transfer sends 255 frames in one softirq.
const BURST: u32 = 255;
/// Where settings for the boot are read from.
const AT_BOOT: [&str; 5] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];
const KEY: &str = "net.core.netdev_max_backlog";

/// The bus with the most receivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Largest {
    name: String,
    /// A frame of one member goes to the others and to the host.
    containers: u32,
}

impl Largest {
    /// The largest bus; `None` if no container is on one.
    pub fn of(status: &Status) -> Option<Self> {
        let size = |bus: &crate::status::BusStatus| u32::try_from(bus.joined().count()).unwrap_or(u32::MAX);
        let largest = status.buses.iter().max_by_key(|bus| size(bus))?;
        let containers = size(largest);
        (containers > 0).then(|| Self { name: largest.network_name.clone(), containers })
    }
}

/// What canhub itself knows of drops since the boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Witness {
    /// Frames of buses that were lost because the backlog was full.
    lost: u64,
    /// It has been running since the boot, so buses have lost no others.
    since_boot: bool,
}

/// canhub starts before Docker, and a boot may take this many seconds.
const BOOT: u64 = 300;

impl Witness {
    /// From the daemon's status.
    pub fn of(status: &Status, files: &Files) -> Self {
        let losses = status.buses.iter().flat_map(|bus| &bus.losses);
        let backlog = losses.filter(|loss| loss.cause == LossCause::Backlog).map(|loss| loss.frames);
        let uptime = files.text("/proc/uptime");
        let uptime = uptime.and_then(|text| text.split('.').next()?.parse::<u64>().ok());
        let since_boot = uptime.is_some_and(|uptime| uptime.saturating_sub(status.uptime_s) < BOOT);
        Self { lost: backlog.sum(), since_boot }
    }
}

/// The limit now.
pub fn limit(files: &Files) -> Option<u32> {
    files.text(FILE)?.parse().ok()
}

/// The longest burst that is certain to reach this many receivers, in frames.
fn guaranteed(limit: u32, receivers: u32) -> u32 {
    limit.saturating_add(1) / receivers.max(1)
}

/// The maximum number of containers on a bus on which no burst loses frames.
fn fits(limit: u32) -> u32 {
    guaranteed(limit, BURST)
}

/// The limit that is enough for a bus with this many receivers.
fn enough(receivers: u32) -> u32 {
    BURST.saturating_mul(receivers).next_multiple_of(1000).max(RECOMMENDED)
}

/// The backlog and its drops, sampled twice with this interval.
pub fn look(files: &Files, apart: Duration, largest: Option<&Largest>, witness: Witness) -> Vec<Finding> {
    let Some(limit) = limit(files) else { return Vec::new() };
    let before = softnet_drops(files);
    sleep(apart);
    let after = softnet_drops(files);
    let lost = after.saturating_sub(before);
    let size = enough(largest.map_or(1, |largest| largest.containers));
    let raised = |sentence: String| {
        let size = if size > limit { size } else { limit.saturating_mul(2) };
        let finding = Finding::warning(Group::System, BACKLOG, sentence)
            .by(format!("sysctl -w {KEY}={size}"))
            .by_doctor(Remedy::RaiseBacklog(size));
        match kept_at_boot(files, size) {
            None => finding.hint(to_keep(size)),
            Some(_) => finding,
        }
    };
    let small = largest.filter(|largest| guaranteed(limit, largest.containers) < BURST);
    vec![if lost > 0 {
        raised(format!(
            "the kernel dropped {lost} packets in the last second because its backlog was full ({KEY}={limit}): bursts of frames are lost without an error to the sender"
        ))
    } else if let Some(Largest { name, containers }) = small {
        raised(format!(
            "{KEY}={limit} is too small for bus {name}: of a burst, only {} frames are certain to reach its {containers} containers and the host, and a J1939 transfer sends {BURST}; the kernel drops the rest without an error to the sender",
            guaranteed(limit, *containers)
        ))
    } else if limit < DEFAULT {
        raised(format!(
            "{KEY} is only {limit} (default {DEFAULT}): enough for {} containers on a bus; on a larger one the kernel drops frames of a burst without an error to the sender",
            fits(limit)
        ))
    } else if after > 0 && (witness.lost > 0 || !witness.since_boot) {
        let Witness { lost, since_boot } = witness;
        let unseen = if since_boot { "" } else { "; canhub has not been running all that time" };
        let sentence = format!(
            "the kernel has dropped {after} packets of all interfaces since the boot because its backlog was full, {lost} of them known to be frames of buses{unseen}"
        );
        if limit < size {
            raised(sentence)
        } else {
            let hint = format!(
                "{KEY}={limit} is enough for the buses of this host: it may have been raised since, or other interfaces are busy"
            );
            Finding::warning(Group::System, BACKLOG, sentence).hint(hint)
        }
    } else {
        let dropped = match after {
            0 => "none dropped".to_owned(),
            after => format!("{after} were dropped since boot, none of them frames of a bus"),
        };
        let sentence = format!(
            "kernel backlog of {limit} packets, enough for {} containers on a bus; {dropped}",
            fits(limit)
        );
        Finding::pass(Group::System, BACKLOG, sentence)
    }]
}

/// The warning at start-up: neither the sandboxed service nor a managed plugin can raise the limit.
pub fn at_start(files: &Files, managed: bool) -> Option<String> {
    let limit = limit(files).filter(|limit| *limit < RECOMMENDED)?;
    let who = match managed {
        true => format!(
            "a managed plugin cannot raise it, so on the host run: sysctl -w {KEY}={RECOMMENDED}; {}",
            to_keep(RECOMMENDED)
        ),
        false => "`canhub doctor --fix` raises it".to_owned(),
    };
    Some(format!(
        "{KEY}={limit} is enough for {} containers on a bus; on a larger one bursts lose frames: {who}",
        fits(limit)
    ))
}

/// Raises the limit, and never lowers it.
///
/// # Errors
/// The kernel's error.
pub fn raise(files: &Files, size: u32) -> Result<(), String> {
    if limit(files).is_some_and(|limit| limit >= size) {
        return Ok(());
    }
    std::fs::write(files.path(FILE), format!("{size}\n")).map_err(|err| format!("cannot write {FILE}: {err}"))
}

/// Whether the limit is also set at boot, or how to do that.
pub fn after_reboot(files: &Files, size: u32) -> String {
    match kept_at_boot(files, size) {
        Some(file) => format!("{file} sets it at boot"),
        None => to_keep(size),
    }
}

fn to_keep(size: u32) -> String {
    format!("to keep it across reboots, `echo {KEY}={size} > /etc/sysctl.d/60-canhub.conf`")
}

/// The file that sets at least this much at boot. A file replaces those of its name in later folders, and of all names the
/// last one wins.
fn kept_at_boot(files: &Files, size: u32) -> Option<String> {
    let mut seen = std::collections::BTreeMap::new();
    for folder in AT_BOOT {
        for name in files.names(folder).into_iter().filter(|name| name.ends_with(".conf")) {
            seen.entry(name.clone()).or_insert_with(|| format!("{folder}/{name}"));
        }
    }
    let set = |path: &String| -> Option<u32> {
        let text = files.text(path)?;
        let mut values = text.lines().filter_map(|line| {
            let (key, value) = line.trim().trim_start_matches('-').split_once('=')?;
            (key.trim().replace('/', ".") == KEY).then(|| value.trim().parse().ok()).flatten()
        });
        values.next_back()
    };
    let (path, value) =
        seen.into_values().filter_map(|path| set(&path).map(|value| (path, value))).next_back()?;
    (value >= size).then_some(path)
}

/// The second column of each CPU's line, in hexadecimal.
fn softnet_drops(files: &Files) -> u64 {
    let text = files.text("/proc/net/softnet_stat").unwrap_or_default();
    let column = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    text.lines().filter_map(column).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Level;

    fn with(dir: &tempfile::TempDir, limit: u32, dropped: &str) -> Files {
        Files::under(dir.path()).with(FILE, &format!("{limit}\n")).with(
            "/proc/net/softnet_stat",
            &format!("00000a01 {dropped} 00000000\n0000ffff 00000001 00000000\n"),
        )
    }

    fn bus(containers: u32) -> Option<Largest> {
        (containers > 0).then(|| Largest { name: "body".into(), containers })
    }

    const ALL_TIME: Witness = Witness { lost: 0, since_boot: true };

    fn found(files: &Files, containers: u32) -> Finding {
        look(files, Duration::ZERO, bus(containers).as_ref(), ALL_TIME).remove(0)
    }

    #[test]
    fn the_largest_bus_decides_what_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        // Measured: a J1939 transfer passes with three containers and fails with four.
        for (limit, containers, level) in [
            (1000, 0, Level::Pass),
            (1000, 3, Level::Pass),
            (1000, 4, Level::Warning),
            (10, 0, Level::Warning),
            (20_000, 64, Level::Pass),
            (20_000, 78, Level::Pass),
            (20_000, 79, Level::Warning),
        ] {
            let finding = found(&with(&dir, limit, "00000000"), containers);
            assert_eq!(finding.level, level, "{limit} and {containers}: {finding:?}");
        }
        let small = found(&with(&dir, 1000, "00000000"), 4);
        assert!(
            small.sentence.contains("only 250 frames are certain to reach its 4 containers"),
            "{small:?}"
        );
        assert_eq!(small.remedy, Some(Remedy::RaiseBacklog(20_000)));
        assert_eq!(found(&with(&dir, 1000, "00000000"), 100).remedy, Some(Remedy::RaiseBacklog(26_000)));
        let plain = found(&with(&dir, 1000, "0000000f"), 3);
        assert!(
            plain.sentence.ends_with("16 were dropped since boot, none of them frames of a bus"),
            "{plain:?}"
        );
    }

    #[test]
    fn drops_of_now_are_a_warning_whatever_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        for (limit, size) in [(1000, 20_000), (30_000, 60_000)] {
            let files = with(&dir, limit, "00000000");
            let path = files.path("/proc/net/softnet_stat");
            let losing = std::thread::spawn(move || {
                sleep(Duration::from_millis(100));
                std::fs::write(path, "00000a01 00000010 00000000\n").unwrap();
            });
            let growing = look(&files, Duration::from_millis(400), None, ALL_TIME).remove(0);
            losing.join().unwrap();
            assert!(growing.sentence.contains("dropped 15 packets"), "{}", growing.sentence);
            assert_eq!(growing.remedy, Some(Remedy::RaiseBacklog(size)));
        }
    }

    #[test]
    fn drops_since_the_boot_are_a_warning_unless_canhub_knows_that_no_bus_lost_any() {
        let dir = tempfile::tempdir().unwrap();
        let of = |limit, lost, since_boot| {
            let files = with(&dir, limit, "0000000f");
            look(&files, Duration::ZERO, None, Witness { lost, since_boot }).remove(0)
        };
        assert_eq!(of(1000, 0, true).level, Level::Pass);
        let lost = of(1000, 12, true);
        assert!(
            lost.sentence.contains("dropped 16 packets")
                && lost.sentence.ends_with("12 of them known to be frames of buses"),
            "{lost:?}"
        );
        assert_eq!(lost.remedy, Some(Remedy::RaiseBacklog(20_000)));
        let unseen = of(20_000, 0, false);
        assert!(unseen.sentence.ends_with("not been running all that time"), "{unseen:?}");
        assert!(unseen.remedy.is_none() && unseen.hint.is_some(), "{unseen:?}");
    }

    #[test]
    fn a_canhub_that_started_with_the_machine_has_seen_all() {
        let dir = tempfile::tempdir().unwrap();
        let status = |uptime: u64| -> Status {
            serde_json::from_value(serde_json::json!({
                "version": "0", "since": "", "uptime_s": uptime, "ready": true, "heal": true, "audit_age_s": 1.0,
                "buses": [], "leftovers": 0, "late": [],
            }))
            .unwrap()
        };
        let files = Files::under(dir.path()).with("/proc/uptime", "4000.25 3000.00\n");
        assert!(Witness::of(&status(3900), &files).since_boot);
        assert!(!Witness::of(&status(100), &files).since_boot);
    }

    #[test]
    fn it_is_raised_and_never_lowered() {
        let dir = tempfile::tempdir().unwrap();
        for (limit, after) in [(1000, 20_000), (50_000, 50_000)] {
            let files = with(&dir, limit, "0");
            raise(&files, 20_000).unwrap();
            assert_eq!(super::limit(&files), Some(after));
        }
    }

    #[test]
    fn the_file_that_make_install_brings_keeps_it_over_a_reboot() {
        let dir = tempfile::tempdir().unwrap();
        let files = with(&dir, 1000, "0");
        assert!(after_reboot(&files, 20_000).contains("> /etc/sysctl.d/60-canhub.conf"));
        let files =
            files.with("/usr/local/lib/sysctl.d/10-canhub.conf", include_str!("../../plugin/sysctl.conf"));
        assert_eq!(after_reboot(&files, 20_000), "/usr/local/lib/sysctl.d/10-canhub.conf sets it at boot");
        assert!(found(&files, 4).hint.is_none());
        // The administrator's own file comes later.
        let files = files.with("/etc/sysctl.d/50-own.conf", "net.core.netdev_max_backlog=5000");
        assert!(after_reboot(&files, 20_000).starts_with("to keep it"));
        // Under the same name it replaces the file.
        let files = Files::under(dir.path())
            .with("/etc/sysctl.d/50-own.conf", "")
            .with("/etc/sysctl.d/10-canhub.conf", "");
        assert!(after_reboot(&files, 20_000).starts_with("to keep it"));
    }

    #[test]
    fn a_small_limit_is_told_at_start_with_who_can_raise_it() {
        let dir = tempfile::tempdir().unwrap();
        let small = with(&dir, 1000, "0");
        let told = at_start(&small, true).unwrap();
        assert!(told.contains("enough for 3 containers") && told.contains("managed plugin cannot"), "{told}");
        assert!(at_start(&small, false).unwrap().contains("doctor --fix"));
        assert_eq!(at_start(&with(&dir, 20_000, "0"), true), None);
    }
}
