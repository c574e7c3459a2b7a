//! How long frames take between members on two hosts: through canhub-span, and in the same minutes through a tunnel that sends
//! each frame in a datagram at once, in the clear, between buses of the same kind. There and back, by one clock.
//!
//! Figures, no test: `make bench` runs it. Goals are printed beside them.

use std::{thread::sleep, time::Duration};

use crate::support::{
    bus::{Bus, Member, until_joined},
    fleet::two,
    guest::Running,
    report::{Age, Heard, Sent},
    shell::say,
};

/// Frames a second: one at a time, and a busy bus.
const RATES: [u32; 2] = [100, 1_000];
/// Of a second each, in turns, so that both see the same machine.
const ROUNDS: usize = 9;
const PORT: u16 = 21_000;
/// How much longer than through the tunnel.
const P50_GOAL: f64 = 1.5;
const P99_GOAL: f64 = 2.0;

#[test]
fn through_a_span_beside_a_tunnel() {
    let (a, b) = two();
    let spanned = [&a, &b].map(|host| Bus::new(host, "delay", &["span=delay", "span-age=10s"]));
    let plain = [&a, &b].map(|host| Bus::new(host, "plain", &[]));
    let addresses = [&a, &b].map(|host| host.address());
    let _tunnel = [(&plain[0], &addresses[1]), (&plain[1], &addresses[0])].map(|(bus, other)| {
        let (remote, local) = (format!("{other}:{PORT}"), format!("0.0.0.0:{PORT}"));
        bus.host.start(&["/host/probe", "cannelloni", &bus.hub, "--remote", &remote, "--local", &local])
    });
    let ways = [&spanned, &plain].map(|buses| [buses[0].container(1), buses[1].container(2)]);
    for buses in [&spanned, &plain] {
        until_joined(&buses[0].hub(8), &buses[1].hub(9));
    }
    for rate in RATES {
        let mut figures = [Vec::new(), Vec::new()];
        let mut lost = [0, 0];
        for _ in 0..ROUNDS {
            for (way, (figures, lost)) in ways.iter().zip(figures.iter_mut().zip(&mut lost)) {
                let (age, missing) = round_trips(way, rate);
                figures.extend(age);
                *lost += missing;
            }
        }
        let median = |at: usize, of: fn(&Age) -> u64| {
            let mut all: Vec<u64> = figures[at].iter().map(of).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        let [p50, p99] =
            [|age: &Age| age.p50_us, |age: &Age| age.p99_us].map(|of| [median(0, of), median(1, of)]);
        let ratio = |[span, tunnel]: [u64; 2]| span as f64 / tunnel as f64;
        let miss = if ratio(p50) > P50_GOAL || ratio(p99) > P99_GOAL { ", above the goal" } else { "" };
        say(&format!(
            "{rate} frames/s there and back: p50 {} us, through a tunnel {} us, ratio {:.2} (goal {P50_GOAL}); \
             p99 {} us, {} us, {:.2} (goal {P99_GOAL}){miss}; lost {lost:?}",
            p50[0],
            p50[1],
            ratio(p50),
            p99[0],
            p99[1],
            ratio(p99),
        ));
    }
}

/// Sends for a second to the other member, which answers. Returns how old the answers were, and how many are missing.
#[track_caller]
fn round_trips([from, to]: &[Member; 2], rate: u32) -> (Option<Age>, u32) {
    let mut answering = to.answer(from.number);
    let mut listening = from.listen(&["--only", &to.number.to_string()]);
    let sent: Sent = from.send(&format!("--stamp --rate {rate} --count {rate}")).end();
    sleep(Duration::from_millis(500));
    [&mut answering, &mut listening].into_iter().for_each(Running::stop);
    let heard: Heard = listening.end();
    let answered: u32 = heard.streams.iter().map(|stream| stream.frames).sum();
    answering.finish().unwrap_or_else(|err| panic!("{err}"));
    (heard.age, sent.sent - answered)
}
