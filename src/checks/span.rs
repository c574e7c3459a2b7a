//! Spans: `canhub-span`, the span of each bus, and the other hosts. The same verdict for doctor and health.

use std::{collections::BTreeSet, time::Duration};

use super::{Finding, Group, Level};
use crate::{
    clock::roughly,
    span::{
        RENEW_DAYS,
        protocol::{Refused, Unreachable},
    },
    status::{BusStatus, HostStatus, SpanProgram, SpanStatus, Status},
};

const GROUP: Group = Group::Buses;
/// The name of the check of `canhub-span`.
const PROGRAM: &str = "canhub-span";
/// The name of the check of a bus' span.
const SPAN: &str = "span";
/// The name of the check of another host.
const HOST: &str = "span-host";
/// The name of the check of addresses in the settings of `canhub-span`.
const ADDRESS: &str = "span-address";
/// The name of the check of certificates.
const CERTIFICATE: &str = "span-certificate";
/// `canhub-span` reckons with the difference between two clocks, and logs do not: beyond this they cannot be compared.
const CLOCK_OFF_US: u64 = 50_000;

/// What to do about two adapters on one span.
const TWO_ADAPTERS: &str = "remove one of the adapters, or create the networks with `-o span-bridge=on` if they are on different wires";

/// All findings about spans; none if no network has one.
pub fn look(status: &Status) -> Vec<Finding> {
    let Some(own) = &status.span else { return Vec::new() };
    let mut findings = vec![program(own)];
    findings.extend(certificate(own));
    findings.extend(addresses(own, status));
    for (bus, span) in spans(status) {
        // What is wrong with it is known without canhub-span; that all is well is not.
        findings.extend(of_span(bus, span).into_iter().filter(|one| own.running || one.level != Level::Pass));
        if own.running {
            findings.extend(span.hosts.iter().flat_map(|host| of_host(bus, span, host)));
        }
    }
    findings
}

/// The verdict on `canhub-span` and the span of one bus.
pub fn span(own: &SpanProgram, bus: &BusStatus, span: &SpanStatus) -> Finding {
    let first = Some(program(own)).filter(|finding| finding.level != Level::Pass);
    let first = first.or_else(|| certificate(own));
    first.or_else(|| of_span(bus, span).into_iter().max_by_key(|finding| finding.level)).unwrap_or_else(
        || {
            Finding::pass(GROUP, SPAN, format!("span {}: canhub-span is running", span.name))
                .about(&bus.network_name)
        },
    )
}

/// The verdicts on the other hosts, by name: of each the worst one on any span.
pub fn hosts(status: &Status) -> Vec<(String, Finding)> {
    if status.span.is_none() {
        return Vec::new();
    }
    let on = |name: &str| {
        let found = spans(status).flat_map(|(bus, span)| {
            span.hosts.iter().filter(|host| host.name == name).flat_map(|host| of_host(bus, span, host))
        });
        found.max_by_key(|finding| finding.level)
    };
    let names: BTreeSet<&str> =
        spans(status).flat_map(|(_, span)| &span.hosts).map(|host| host.name.as_str()).collect();
    names.into_iter().filter_map(|name| Some((name.to_owned(), on(name)?))).collect()
}

fn spans(status: &Status) -> impl Iterator<Item = (&BusStatus, &SpanStatus)> {
    status.buses.iter().filter_map(|bus| Some((bus, bus.span.as_ref()?)))
}

fn program(own: &SpanProgram) -> Finding {
    let problem = own.problem.as_deref();
    if !own.running {
        let why = problem.unwrap_or("it does not answer");
        let sentence = format!(
            "canhub-span does not carry frames to other hosts: {why}; buses work on this host meanwhile"
        );
        return Finding::error(GROUP, PROGRAM, sentence).hint("see `systemctl status canhub-span`");
    }
    if let Some(why) = problem {
        let sentence = format!("canhub-span is running, but {why}");
        return Finding::error(GROUP, PROGRAM, sentence).hint("see `journalctl -u canhub-span`");
    }
    let version = own.version.as_deref().unwrap_or("unknown");
    if version != env!("CARGO_PKG_VERSION") {
        let sentence = format!(
            "canhub-span is version {version}, canhub is {}: restart it after the upgrade",
            env!("CARGO_PKG_VERSION")
        );
        return Finding::warning(GROUP, PROGRAM, sentence).by("systemctl restart canhub-span");
    }
    if !own.refused.is_empty() {
        let sentence = format!("canhub-span refuses {}", listed(&own.refused));
        return Finding::warning(GROUP, PROGRAM, sentence)
            .hint("`canhub-span invite` on a host with the fleet's CA makes an invitation for a host that belongs to it");
    }
    let host = own.host.as_deref().map_or(String::new(), |host| format!(" as {host}"));
    Finding::pass(GROUP, PROGRAM, format!("canhub-span {version} is running{host}"))
}

/// Addresses that are not reached, while a host is not online.
fn addresses(own: &SpanProgram, status: &Status) -> Vec<Finding> {
    if spans(status).flat_map(|(_, span)| &span.hosts).all(|host| host.online) {
        return Vec::new();
    }
    let finding = |one: &Unreachable| {
        let sentence = format!("canhub-span cannot reach another host at {}: {}", one.address, one.reason);
        Finding::warning(GROUP, ADDRESS, sentence).about(&one.address).hint(
            "see whether canhub-span runs and listens there, and whether a firewall is between; `connect` in /etc/canhub/span.toml has the addresses",
        )
    };
    own.unreachable.iter().map(finding).collect()
}

/// A certificate that expires soon, or has.
fn certificate(own: &SpanProgram) -> Option<Finding> {
    let host = own.host.as_deref().unwrap_or("this host");
    expiry(host, own.certificate_expires.as_deref(), own.certificate_expires_s)
}

fn expiry(host: &str, at: Option<&str>, seconds: Option<i64>) -> Option<Finding> {
    let (at, seconds) = (at?, seconds?);
    if seconds > RENEW_DAYS * 86_400 {
        return None;
    }
    let hint = format!("`canhub-span renew {host}` on the host with the fleet's CA makes a new one");
    let finding = match u64::try_from(seconds) {
        Ok(left) => {
            let left = roughly(Duration::from_secs(left));
            Finding::warning(
                GROUP,
                CERTIFICATE,
                format!("the certificate of {host} expires in {left}, at {at}"),
            )
        }
        Err(_) => {
            Finding::error(GROUP, CERTIFICATE, format!("the certificate of {host} has expired, at {at}"))
        }
    };
    Some(finding.about(host).hint(hint))
}

/// What is wrong with the span of a bus; one that passes if nothing is.
fn of_span(bus: &BusStatus, span: &SpanStatus) -> Vec<Finding> {
    let (name, network) = (&span.name, &bus.network_name);
    let mut findings = Vec::new();
    let found =
        |level, sentence: String| Finding { level, ..Finding::pass(GROUP, SPAN, sentence).about(network) };
    if let Some(problem) = &span.problem {
        let hint = match span.stopped {
            true => {
                "a loop: remove one of the two connections, and the span goes on by itself; a missing right: `canhub-span allow` on the host with the fleet's CA gives it"
            }
            false => "see `journalctl -u canhub-span`",
        };
        findings.push(found(Level::Error, format!("span {name}: {problem}")).hint(hint));
    } else if span.stopped {
        findings.push(
            found(Level::Error, format!("span {name} is stopped")).hint("see `journalctl -u canhub-span`"),
        );
    }
    if !span.refused.is_empty() {
        let sentence = format!("span {name} refuses {}", listed(&span.refused));
        let of_adapters =
            |one: &Refused| span.hosts.iter().any(|host| host.name == one.host && host.adapter.is_some());
        let hint = match bus.adapter.is_some() && !span.bridge && span.refused.iter().all(of_adapters) {
            true => TWO_ADAPTERS,
            false => "`canhub-span allow` on the host with the fleet's CA sets which spans a host may use",
        };
        findings.push(found(Level::Warning, sentence).hint(hint));
    }
    // canhub-span refuses it; unless it is too old to know the other's adapter.
    let adapters: Vec<&str> = span
        .hosts
        .iter()
        .filter(|host| host.online && host.adapter.is_some())
        .filter(|host| span.refused.iter().all(|one| one.host != host.name))
        .map(|host| host.name.as_str())
        .collect();
    if bus.adapter.is_some() && !adapters.is_empty() && !span.bridge && !span.stopped {
        let sentence = format!(
            "span {name} has an adapter here and on {}: on one wire, frames would go in circles",
            adapters.join(", ")
        );
        findings.push(found(Level::Error, sentence).hint(TWO_ADAPTERS));
    }
    if findings.is_empty() {
        let online = span.hosts.iter().filter(|host| host.online).count();
        let hosts = match span.hosts.len() {
            0 => "no other host has joined".to_owned(),
            1 => format!("{online} of 1 other host online"),
            all => format!("{online} of {all} other hosts online"),
        };
        let sentence = format!("span {name} of bus {network}: {hosts}");
        findings.push(found(Level::Pass, sentence));
    }
    findings
}

/// What is wrong with another host on one span, or that it is online.
fn of_host(bus: &BusStatus, span: &SpanStatus, host: &HostStatus) -> Vec<Finding> {
    let (name, on) = (&host.name, &span.name);
    let found =
        |level, sentence: String| Finding { level, ..Finding::pass(GROUP, HOST, sentence).about(name) };
    if !host.online {
        let ago = roughly(Duration::from_secs(host.since_s));
        let sentence = match (&host.heard, host.left) {
            (_, true) => format!("host {name} left the fleet {ago} ago"),
            (None, false) => format!("host {name} has never been heard on span {on}"),
            (Some(heard), false) => {
                format!("host {name} is offline on span {on} for {ago}, last heard at {heard}")
            }
        };
        let hint = format!(
            "see whether {name} runs and the network reaches it, and `systemctl status canhub-span` there; `canhub hosts forget {name}` if it does not come back"
        );
        return vec![found(Level::Warning, sentence).hint(hint)];
    }
    let mut findings: Vec<Finding> =
        expiry(name, host.certificate_expires.as_deref(), host.certificate_expires_s).into_iter().collect();
    if let Some(off) = host.clock_offset_us.filter(|off| off.unsigned_abs() > CLOCK_OFF_US) {
        let sentence = format!(
            "the clocks of this host and {name} differ by {:.1} ms: times in logs and records of the two cannot be compared (ages of frames are right all the same)",
            off as f64 / 1e3
        );
        findings.push(
            found(Level::Warning, sentence)
                .hint("synchronize both, for example with `systemctl enable --now systemd-timesyncd`"),
        );
    }
    if let Some(delay) = host.delay_us.filter(|delay| delay.p99 >= u64::from(span.age_ms) * 1000) {
        let sentence = format!(
            "frames from {name} take {:.1} ms (99 of 100), which is more than span-age={}ms of bus {}, so they are dropped as too old",
            delay.p99 as f64 / 1e3,
            span.age_ms,
            bus.network_name
        );
        findings.push(
            found(Level::Warning, sentence)
                .hint("create the network with a larger span-age, or look for what slows the path down"),
        );
    }
    let frames = if bus.frames == "classic" { "classic" } else { "fd" };
    if let Some(other) = host.frames.map(|frames| frames.as_str()).filter(|other| *other != frames) {
        let sentence = format!(
            "bus {} carries {frames} frames here and {other} frames on {name}: FD frames reach only one of them",
            bus.network_name
        );
        findings
            .push(found(Level::Warning, sentence).hint("create both networks with the same option frames"));
    }
    let here = env!("CARGO_PKG_VERSION");
    if let Some(there) = host.version.as_deref().filter(|there| *there != here) {
        let sentence = format!("canhub-span is version {there} on {name}, and canhub is {here} here");
        findings.push(found(Level::Warning, sentence).hint("install the same version on all hosts"));
    }
    if findings.is_empty() {
        findings.push(found(Level::Pass, format!("host {name} is online on span {on}")));
    }
    findings
}

/// `bench-c (it is revoked) and 2 more`.
fn listed(refused: &[Refused]) -> String {
    const NAMED: usize = 3;
    let first: Vec<String> =
        refused.iter().take(NAMED).map(|one| format!("{} ({})", one.host, one.reason)).collect();
    match refused.len().saturating_sub(first.len()) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A status with one bus on a span with host `b`, changed at these paths.
    fn status(changes: &[(&str, Value)]) -> Status {
        let count = json!({"handled": 0, "dropped": 0});
        let host = json!({
            "name": "b", "online": true, "since": "2026-11-27T12:00:00.000Z", "since_s": 90, "heard": "2026-11-27T12:01:00.000Z",
            "left": false, "path": "192.0.2.2", "adapter": null, "frames": "fd", "version": env!("CARGO_PKG_VERSION"),
            "delay_us": {"p50": 300, "p99": 900, "max": 2000}, "frames_in": 1, "frames_out": 1, "lost": 0, "too_old": 0,
            "refused": 0, "duplicates": 0, "looped": 0, "clock_offset_us": 12, "clock_uncertainty_us": 40,
            "certificate_expires": "2027-11-27T12:00:00.000Z", "certificate_expires_s": 31_536_000,
        });
        let span = json!({
            "name": "power", "interface": "csa1", "age_ms": 100, "bridge": false, "rate": null, "heals": 0,
            "problem": null, "stopped": false, "refused": [], "missed": 0, "lost_at_port": 0, "held_back": 0,
            "write_errors": 0,
            "too_old": {}, "frames_sent": 0, "hosts": [host], "frames_in": count, "frames_out": count,
        });
        let bus = json!({
            "network": "a1".repeat(32), "network_name": "body", "hub": "vcan7", "adapter": null, "owner": "owned",
            "frames": "fd", "heal": true, "steps": [], "problems": [], "heals": 0, "frames_in": count,
            "frames_out": count, "members": [], "span": span,
        });
        let own = json!({
            "running": true, "since": null, "problem": null, "version": env!("CARGO_PKG_VERSION"), "host": "a",
            "certificate_expires": "2027-11-27T12:00:00.000Z", "certificate_expires_s": 31_536_000, "refused": [],
            "unreachable": [],
        });
        let mut status = json!({
            "version": "0", "since": "", "uptime_s": 0, "ready": true, "heal": true, "audit_age_s": 1.0, "leftovers": 0,
            "late": [], "span": own, "buses": [bus],
        });
        for (path, value) in changes {
            *status.pointer_mut(path).unwrap() = value.clone();
        }
        serde_json::from_value(status).unwrap()
    }

    fn verdict(status: &Status) -> Finding {
        let bus = &status.buses[0];
        span(status.span.as_ref().unwrap(), bus, bus.span.as_ref().unwrap())
    }

    #[test]
    fn a_span_with_a_host_online_passes() {
        let well = status(&[]);
        assert!(look(&well).iter().all(|finding| finding.level == Level::Pass), "{:#?}", look(&well));
        assert_eq!(verdict(&well).level, Level::Pass);
        assert_eq!(hosts(&well)[0].0, "b");
        assert_eq!(look(&Status { span: None, ..well }), []);
    }

    #[test]
    fn each_fault_has_its_check_level_and_words() {
        const OWN: &str = "/span";
        const BUS: &str = "/buses/0/span";
        const B: &str = "/buses/0/span/hosts/0";
        let refused = json!([{"host": "c", "reason": "it is revoked"}]);
        let adapter = json!({"interface": "can0", "state": "error-active", "bitrate": null, "tx_errors": null,
            "rx_errors": null, "bus_offs": 0, "restarts": 0});
        for (at, change, check, level, words) in [
            (
                OWN,
                &[("running", json!(false)), ("problem", json!("it is not running"))][..],
                PROGRAM,
                Level::Error,
                "it is not running; buses work on this host",
            ),
            (
                OWN,
                &[("problem", json!("it has no certificate"))],
                PROGRAM,
                Level::Error,
                "but it has no certificate",
            ),
            (OWN, &[("version", json!("9.9.9"))], PROGRAM, Level::Warning, "version 9.9.9"),
            (OWN, &[("refused", refused.clone())], PROGRAM, Level::Warning, "c (it is revoked)"),
            (
                OWN,
                &[("certificate_expires_s", json!(86_400 * 29))],
                CERTIFICATE,
                Level::Warning,
                "certificate of a expires in 29 days",
            ),
            (
                B,
                &[("certificate_expires_s", json!(-5))],
                CERTIFICATE,
                Level::Error,
                "certificate of b has expired",
            ),
            (
                BUS,
                &[("stopped", json!(true)), ("problem", json!("two adapters"))],
                SPAN,
                Level::Error,
                "span power: two adapters",
            ),
            (BUS, &[("refused", refused)], SPAN, Level::Warning, "span power refuses c (it is revoked)"),
            (B, &[("online", json!(false))], HOST, Level::Warning, "offline on span power for 90 s"),
            (
                B,
                &[("online", json!(false)), ("heard", json!(null))],
                HOST,
                Level::Warning,
                "never been heard",
            ),
            (B, &[("online", json!(false)), ("left", json!(true))], HOST, Level::Warning, "left the fleet"),
            (B, &[("clock_offset_us", json!(-51_000))], HOST, Level::Warning, "differ by -51.0 ms"),
            (
                B,
                &[("delay_us", json!({"p50": 1, "p99": 100_000, "max": 1}))],
                HOST,
                Level::Warning,
                "more than span-age=100ms",
            ),
            (
                B,
                &[("frames", json!("classic"))],
                HOST,
                Level::Warning,
                "carries fd frames here and classic frames on b",
            ),
            (B, &[("version", json!("9.9.9"))], HOST, Level::Warning, "version 9.9.9 on b"),
        ] {
            let changes: Vec<(String, Value)> =
                change.iter().map(|(key, value)| (format!("{at}/{key}"), value.clone())).collect();
            let changes: Vec<(&str, Value)> =
                changes.iter().map(|(path, value)| (path.as_str(), value.clone())).collect();
            let found = look(&status(&changes));
            let wrong: Vec<&Finding> = found.iter().filter(|finding| finding.level != Level::Pass).collect();
            let [wrong] = wrong[..] else { panic!("{change:?}: {found:#?}") };
            assert_eq!((wrong.check.as_str(), wrong.level), (check, level), "{change:?}");
            assert!(wrong.sentence.contains(words), "{words:?} is not in {wrong:?}");
            assert!(wrong.fix.is_some() || wrong.hint.is_some(), "{wrong:?}");
        }
        let reason = json!([{"address": "192.0.2.3:7447", "reason": "Connection refused"}]);
        let away = [("/span/unreachable", reason), ("/buses/0/span/hosts/0/online", json!(false))];
        let found = look(&status(&away));
        let told = found.iter().find(|finding| finding.check == ADDRESS).expect("why b is offline");
        assert!(told.sentence.ends_with("at 192.0.2.3:7447: Connection refused"), "{told:?}");
        assert!(look(&status(&away[..1])).iter().all(|finding| finding.level == Level::Pass), "b called");
        let gone = status(&[("/span/running", json!(false)), ("/buses/0/span/hosts", json!([]))]);
        assert!(look(&gone).iter().all(|finding| finding.level == Level::Error), "{:#?}", look(&gone));
        let alone = status(&[("/buses/0/span/hosts", json!([]))]);
        assert!(look(&alone).iter().any(|finding| finding.sentence.contains("no other host has joined")));
        let two = [("/buses/0/adapter", adapter), ("/buses/0/span/hosts/0/adapter", json!("can1"))];
        let refused = ("/buses/0/span/refused", json!([{"host": "b", "reason": "two adapters on one bus"}]));
        let told: Vec<Finding> = look(&status(&[two[0].clone(), two[1].clone(), refused]))
            .into_iter()
            .filter(|finding| finding.level != Level::Pass)
            .collect();
        let [told] = &told[..] else { panic!("told more than once: {told:#?}") };
        assert_eq!(told.hint.as_deref(), Some(TWO_ADAPTERS));
        assert!(verdict(&status(&two)).sentence.contains("has an adapter here and on b"));
        let bridged = [two[0].clone(), two[1].clone(), ("/buses/0/span/bridge", json!(true))];
        assert_eq!(verdict(&status(&bridged)).level, Level::Pass);
    }
}
