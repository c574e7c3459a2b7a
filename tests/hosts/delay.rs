//! How long frames take between members on two hosts: through canhub-span, and in the same minutes through a tunnel that sends
//! each frame in a datagram at once, in the clear, and through the least that TLS over TCP, and that the engine costs; between
//! buses of the same kind. There and back, by one clock.
//!
//! Figures, no test: `make bench` runs it. Goals are printed beside them.

use std::{thread::sleep, time::Duration};

use crate::support::{
    bus::{Bus, Member, until_joined},
    fleet::two,
    flow::Counted,
    guest::{Guest, Running},
    report::{Age, Heard, Sent},
    shell::{not_run, say},
};

/// Frames a second: one at a time, and a busy bus.
const RATES: [u32; 2] = [100, 1_000];
/// Of a second each, in turns, so that all see the same machine.
const ROUNDS: usize = 9;
const TUNNEL: u16 = 21_000;
/// The least of what else there is, by the command of its program.
const LEAST: [(&str, u16); 2] = [("floor", 21_001), ("engine", 21_002)];
/// How much longer than through the tunnel.
const P50_GOAL: f64 = 1.5;
const P99_GOAL: f64 = 2.0;

/// The hosts' buses of one kind.
struct Way {
    name: &'static str,
    buses: [Bus; 2],
    members: [Member; 2],
    /// What carries the frames, if canhub-span does not.
    _carriers: Vec<Running>,
}

impl Way {
    fn new(
        name: &'static str,
        hosts: &[Guest; 2],
        options: &[&str],
        carriers: impl Fn(&Bus, usize) -> Option<Running>,
    ) -> Self {
        let buses = [0, 1].map(|at: usize| Bus::new(&hosts[at], name, options));
        let carriers = [0, 1].into_iter().filter_map(|at: usize| carriers(&buses[at], at)).collect();
        let members = [buses[0].container(1), buses[1].container(2)];
        until_joined(&buses[0].hub(8), &buses[1].hub(9));
        Self { name, buses, members, _carriers: carriers }
    }
}

#[test]
fn through_a_span_beside_a_tunnel() {
    let (a, b) = two();
    let hosts = [a, b];
    let addresses = [0, 1].map(|at: usize| hosts[at].address());
    let span = Way::new("delay", &hosts, &["span=delay", "span-age=10s"], |_, _| None);
    let tunnel = Way::new("plain", &hosts, &[], |bus, at| {
        let (remote, local) = (format!("{}:{TUNNEL}", addresses[1 - at]), format!("0.0.0.0:{TUNNEL}"));
        Some(bus.host.start(&["/host/probe", "cannelloni", &bus.hub, "--remote", &remote, "--local", &local]))
    });
    let mut ways = vec![span, tunnel];
    if hosts[0].try_sh("test -e /host/delay").is_ok() {
        for (least, port) in LEAST {
            ways.push(Way::new(least, &hosts, &[], |bus, at| {
                let address = format!("{}:{port}", addresses[0]);
                let end = ["listen", "connect"][at];
                Some(bus.host.start(&["/host/delay", least, &bus.hub, "/var/lib/canhub-span", end, &address]))
            }));
        }
    } else {
        not_run(
            "what TLS over TCP and the engine cost at least",
            "its program was not built: make bench builds it",
        );
    }
    for rate in RATES {
        measure(&ways, rate);
    }
}

/// The first way is the span, the second the tunnel.
fn measure(ways: &[Way], rate: u32) {
    let names = [0, 1].map(|at: usize| (ways[0].buses[at].host.clone(), ways[0].buses[at].name.clone()));
    let count = || [0, 1].map(|from| Counted::settled(&names, from));
    let before = count();
    let mut figures: Vec<(Vec<Age>, u32)> = ways.iter().map(|_| Default::default()).collect();
    for _ in 0..ROUNDS {
        for (way, (ages, lost)) in ways.iter().zip(&mut figures) {
            let (age, missing) = round_trips(&way.members, rate);
            ages.extend(age);
            *lost += missing;
        }
    }
    let spread = |at: usize, of: fn(&Age) -> u64| {
        let mut all: Vec<u64> = figures[at].0.iter().map(of).collect();
        all.sort_unstable();
        [0, all.len() / 2, all.len().saturating_sub(1)].map(|nth| all.get(nth).copied().unwrap_or_default())
    };
    type Percentile = fn(&Age) -> u64;
    let goals: [(&str, f64, Percentile); 2] =
        [("p50", P50_GOAL, |age| age.p50_us), ("p99", P99_GOAL, |age| age.p99_us)];
    for (what, goal, of) in goals {
        let [_, tunnel, _] = spread(1, of);
        let shown: Vec<String> = (0..ways.len())
            .map(|at| {
                let [least, median, most] = spread(at, of);
                let ratio = median as f64 / tunnel as f64;
                format!("{} {median} us ({least} to {most}), ratio {ratio:.2}", ways[at].name)
            })
            .collect();
        let miss = if spread(0, of)[1] as f64 > goal * tunnel as f64 { ", above the goal" } else { "" };
        say(&format!("{rate} frames/s there and back, {what}: {} (goal {goal}){miss}", shown.join("; ")));
    }
    let lost: Vec<String> =
        ways.iter().zip(&figures).map(|(way, (_, lost))| format!("{} {lost}", way.name)).collect();
    let counted = count();
    let counted: u64 = (0..2).map(|from| counted[from].since(&before[from]).unwrap().sum()).sum();
    say(&format!(
        "{rate} frames/s: of {} no answer: {}; canhub-span counted {counted}",
        ROUNDS as u32 * rate,
        lost.join(", ")
    ));
}

/// Sends for a second to the other member, which answers. Returns how old the answers were, and how many are missing.
#[track_caller]
fn round_trips([from, to]: &[Member; 2], rate: u32) -> (Option<Age>, u32) {
    let answering = to.answer(from.number);
    let mut listening = from.listen(&["--only", &to.number.to_string()]);
    let sent: Sent = from.send(&format!("--stamp --rate {rate} --count {rate}")).end();
    sleep(Duration::from_millis(500));
    // It listens on while answers come: those that wait somewhere are late, not lost.
    listening.stop();
    let heard: Heard = listening.end();
    let answered: u32 = heard.streams.iter().map(|stream| stream.frames).sum();
    answering.finish().unwrap_or_else(|err| panic!("{err}"));
    (heard.age, sent.sent - answered)
}
