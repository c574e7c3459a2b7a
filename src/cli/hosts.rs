//! `canhub hosts`: the other hosts of all spans.

use std::time::Duration;

use clap::{Args, Subcommand};
use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use super::{
    Failed,
    ask::{self, AdminSocket},
    lines::{self, WIDTH, cut, short, wrap},
};
use crate::{
    clock::roughly,
    status::{HostOnSpan, HostStatus, SpanProgram},
};

const PATH: &str = "/v1/hosts";

/// Show the other hosts of all spans
///
/// DELAY is the one-way delay of frames from that host: of half of them, and of 99 in 100. IN are frames from it, OUT
/// frames to it. LOST did not arrive, OLD arrived too late or waited too long. CLOCK is its clock minus this host's.
#[derive(Debug, Args)]
pub(super) struct Hosts {
    #[command(subcommand)]
    command: Option<HostsCommand>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: AdminSocket,
}

#[derive(Debug, Subcommand)]
enum HostsCommand {
    /// Forget a host that does not come back; it is listed again once it is heard
    Forget {
        /// Its name
        host: String,
        #[command(flatten)]
        socket: AdminSocket,
    },
}

#[derive(Debug, Deserialize)]
struct Answer {
    span: Option<SpanProgram>,
    hosts: Vec<HostOnSpan>,
}

impl Hosts {
    pub(super) fn run(self) -> Result<(), Failed> {
        if let Some(HostsCommand::Forget { host, socket }) = self.command {
            let body = json!({ "host": host }).to_string();
            socket.send(Method::DELETE, PATH, body.into_bytes())?;
            lines::print(&format!("{host}: forgotten\n"));
            return Ok(());
        }
        ask::show(&self.socket.get(PATH)?, self.json, table)?;
        Ok(())
    }
}

fn table(answer: &Answer) -> String {
    let Some(own) = &answer.span else {
        return "No network has a span. To make this host's bus one with other hosts':\n\
                \x20 docker network create -d canhub --ipam-driver null -o span=NAME NETWORK\n"
            .to_owned();
    };
    let mut text = program(own);
    for one in &own.refused {
        text += &wrap("! ", &format!("refused {}: {}", one.host, one.reason));
    }
    for one in &own.unreachable {
        text += &wrap("! ", &format!("cannot reach {}: {}", one.address, one.reason));
    }
    if answer.hosts.is_empty() {
        // In no fleet, the problem says what to do first.
        let next = own.host.as_ref().map(|_| "No other hosts yet. To invite one: canhub-span invite HOST\n");
        return text + next.unwrap_or_default();
    }
    text += &row(["HOST", "SPAN", "STATE", "DELAY", "IN", "OUT", "LOST", "OLD", "CLOCK"]);
    for HostOnSpan { span, host, .. } in &answer.hosts {
        let [lost, old] = [host.lost, host.too_old].map(short);
        let [inward, out] = [host.frames_in, host.frames_out].map(short);
        let clock = host.clock_offset_us.map_or("-".into(), clock);
        text +=
            &row([&host.name, span.as_str(), &state(host), &delay(host), &inward, &out, &lost, &old, &clock]);
    }
    text
}

/// `canhub-span`, in a line or two.
pub(super) fn program(own: &SpanProgram) -> String {
    let host = own.host.as_deref().map_or(String::new(), |host| format!(" as {host}"));
    match (own.running, &own.problem) {
        (true, None) => format!("canhub-span {}  running{host}\n", own.version.as_deref().unwrap_or("?")),
        (true, Some(why)) => wrap("! ", &format!("canhub-span is running{host}, but {why}")),
        (false, why) => wrap(
            "! ",
            &format!("canhub-span does not carry frames: {}", why.as_deref().unwrap_or("it does not answer")),
        ),
    }
}

/// `online 3 h`.
pub(super) fn state(host: &HostStatus) -> String {
    let since = roughly(Duration::from_secs(host.since_s));
    match (host.online, host.left, &host.heard) {
        (true, ..) => format!("online {since}"),
        (false, true, _) => format!("left {since}"),
        (false, false, None) => "never heard".into(),
        (false, false, Some(_)) => format!("offline {since}"),
    }
}

/// `0.3/1.2ms`, `9.1/45ms`: as many digits as matter, at most 10 characters.
pub(super) fn delay(host: &HostStatus) -> String {
    let millis = |us: u64| match us {
        0..9_950 => format!("{:.1}", us as f64 / 1e3),
        _ => format!("{:.0}", us as f64 / 1e3),
    };
    host.delay_us.map_or("-".into(), |delay| format!("{}/{}ms", millis(delay.p50), millis(delay.p99)))
}

/// `+0.3ms`, `-151ms`, `+3600s`, `-27h`: at most 6 characters, up to 11 years.
fn clock(offset_us: i64) -> String {
    let of = |unit_us: f64| offset_us as f64 / unit_us;
    match offset_us.unsigned_abs() {
        0..9_950 => format!("{:+.1}ms", of(1e3)),
        9_950..999_500 => format!("{:+.0}ms", of(1e3)),
        999_500..9_999_500_000 => format!("{:+.0}s", of(1e6)),
        9_999_500_000..3_598_200_000_000 => format!("{:+.0}h", of(3.6e9)),
        _ => format!("{:+.0}d", of(86.4e9)),
    }
}

fn row([host, span, state, delay, inward, out, lost, old, clock]: [&str; 9]) -> String {
    let line = format!(
        "{:<12} {:<10} {state:<14} {delay:>10} {inward:>5} {out:>5} {lost:>5} {old:>5} {clock:>6}",
        cut(host, 12),
        cut(span, 10),
    );
    cut(line.trim_end(), WIDTH) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::protocol::{Delay, Refused, Unreachable};

    fn answer(running: bool) -> Answer {
        let host = |name: &str, online: bool, heard: bool| {
            let delay = online.then(|| json!({"p50": 250, "p99": 1240, "max": 5000}));
            json!({
                "span": "powertrain", "network": "a1".repeat(32), "network_name": "body", "name": name, "online": online,
                "since": "", "since_s": 7300, "heard": heard.then_some(""), "left": false, "path": "192.0.2.2",
                "adapter": null, "frames": "fd", "version": "0.1.0", "delay_us": delay, "frames_in": 123_456, "frames_out": 7,
                "lost": 3, "too_old": 1, "refused": 0, "duplicates": 0, "looped": 0,
                "clock_offset_us": online.then_some(-1500), "clock_uncertainty_us": null, "certificate_expires": null,
                "certificate_expires_s": null,
            })
        };
        serde_json::from_value(json!({
            "span": {
                "running": running, "since": null, "problem": (!running).then_some("it is not running: start it"),
                "version": "0.1.0", "host": "bench-a", "certificate_expires": null, "certificate_expires_s": null,
                "refused": [], "unreachable": [],
            },
            "hosts": [host("bench-b", true, true), host("bench-c", false, true), host("bench-d", false, false)],
        }))
        .unwrap()
    }

    #[test]
    fn each_host_has_a_line() {
        assert_eq!(
            table(&answer(true)),
            "canhub-span 0.1.0  running as bench-a\n\
             HOST         SPAN       STATE               DELAY    IN   OUT  LOST   OLD  CLOCK\n\
             bench-b      powertrain online 2 h      0.2/1.2ms  123k     7     3     1 -1.5ms\n\
             bench-c      powertrain offline 2 h             -  123k     7     3     1      -\n\
             bench-d      powertrain never heard             -  123k     7     3     1      -\n"
        );
        let gone = table(&answer(false));
        assert!(gone.starts_with("! canhub-span does not carry frames: it is not running"), "{gone}");
        assert!(gone.lines().all(|line| line.chars().count() <= WIDTH), "{gone}");
    }

    #[test]
    fn who_is_refused_and_what_is_not_reached_is_told_with_the_reason() {
        let mut answer = answer(true);
        let own = answer.span.as_mut().unwrap();
        own.refused =
            vec![Refused { host: "192.0.2.7".into(), reason: "it has no certificate of a fleet".into() }];
        let reason = "Connection refused (os error 111)".into();
        own.unreachable = vec![Unreachable { address: "192.0.2.3:7447".into(), reason }];
        let text = table(&answer);
        let lines: Vec<&str> = text.lines().skip(1).take(2).collect();
        assert_eq!(
            lines,
            [
                "! refused 192.0.2.7: it has no certificate of a fleet",
                "! cannot reach 192.0.2.3:7447: Connection refused (os error 111)"
            ]
        );
    }

    #[test]
    fn large_delays_and_clocks_that_are_far_off_fit_into_their_columns() {
        for (offset_us, expected) in [
            (0, "+0.0ms"),
            (-9_949, "-9.9ms"),
            (9_950, "+10ms"),
            (-151_291, "-151ms"),
            (999_500, "+1s"),
            (-3_600_000_000, "-3600s"),
            (97_200_000_000, "+27h"),
            (-3_598_200_000_000, "-42d"),
        ] {
            assert_eq!(clock(offset_us), expected);
        }
        let mut slow = answer(true);
        let host = &mut slow.hosts[0].host;
        (host.clock_offset_us, host.since_s) = (Some(-151_291), 7_199);
        host.delay_us = Some(Delay { p50: 39_240, p99: 12_345_678, max: 12_345_678 });
        let text = table(&slow);
        assert!(
            text.contains(
                "bench-b      powertrain online 119 min 39/12346ms  123k     7     3     1 -151ms\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn without_spans_or_hosts_the_next_step_is_shown() {
        let alone = Answer { hosts: Vec::new(), ..answer(true) };
        assert!(table(&alone).contains("canhub-span invite HOST"));
        let mut in_no_fleet = Answer { hosts: Vec::new(), ..answer(true) };
        in_no_fleet.span.as_mut().unwrap().host = None;
        assert!(!table(&in_no_fleet).contains("invite"));
        assert!(table(&Answer { span: None, ..alone }).contains("-o span=NAME"));
    }
}
