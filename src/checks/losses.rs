//! Lost frames: how many, whose, why, and what to do. Health reports those of the last minutes, doctor all of them.

use super::{Finding, Group};
use crate::{
    clock::roughly,
    status::{BusStatus, Loss, LossCause},
};

use std::time::Duration;

/// The name of the check.
const CHECK: &str = "dropped-frames";
/// Without a loss for this long, a bus is healthy again.
const QUIET: Duration = Duration::from_secs(120);
/// This many ends are named per cause.
const NAMED: usize = 4;

/// The frames that a bus is losing: those whose number grew lately.
pub fn losing(bus: &BusStatus) -> Option<Finding> {
    // That an adapter is away is its own component's news.
    let lately = |loss: &&Loss| {
        loss.cause != LossCause::Away && loss.last_seen_s.is_some_and(|ago| ago < QUIET.as_secs())
    };
    finding(bus, bus.losses.iter().filter(lately).collect(), "loses")
}

/// All frames that a bus has lost, as far as canhub knows.
pub fn lost(bus: &BusStatus) -> Option<Finding> {
    finding(bus, bus.losses.iter().collect(), "has lost")
}

fn finding(bus: &BusStatus, losses: Vec<&Loss>, verb: &str) -> Option<Finding> {
    let total: u64 = losses.iter().map(|loss| loss.frames).sum();
    let of_cause =
        |cause| -> Vec<&Loss> { losses.iter().copied().filter(|loss| loss.cause == cause).collect() };
    let causes: Vec<(LossCause, Vec<&Loss>)> = LossCause::ALL
        .into_iter()
        .map(|cause| (cause, of_cause(cause)))
        .filter(|(_, of)| !of.is_empty())
        .collect();
    let (main, _) = causes.iter().max_by_key(|(_, of)| of.iter().map(|loss| loss.frames).sum::<u64>())?;
    let parts: Vec<String> =
        causes.iter().map(|(cause, of)| format!("{} ({})", named(of), cause.sentence())).collect();
    let name = &bus.network_name;
    let sentence =
        format!("bus {name} {verb} frames, {total} so far: {}; {}", parts.join(", "), when(&losses));
    let hint = match main {
        LossCause::Backlog => "raise net.core.netdev_max_backlog (`canhub doctor --fix`), put fewer containers on the bus, or let senders pause within bursts".to_owned(),
        LossCause::Rule => format!("`ip -statistics link show {}` and the journal show whether an interface was down; a sender that is faster than the adapter's wire overflows its queue", bus.interface()),
        LossCause::Down => "the journal shows what took the interface down: `journalctl -u canhub -g healed`".to_owned(),
        LossCause::Qdisc => "let the sender wait when a write fails with ENOBUFS, or create the network with a higher rate".to_owned(),
        LossCause::Away => format!("plug in adapter {}; what containers send meanwhile reaches only each other", bus.hub),
        LossCause::Adapter => format!("see `ip -details -statistics link show {}`", bus.interface()),
    };
    Some(Finding::warning(Group::Buses, CHECK, sentence).about(name).hint(hint))
}

/// `39 to door, 77 from lock`.
fn named(losses: &[&Loss]) -> String {
    let one = |loss: &&Loss| format!("{} {} {}", loss.frames, loss.direction.preposition(), loss.who());
    let first: Vec<String> = losses.iter().take(NAMED).map(one).collect();
    match losses.len().saturating_sub(first.len()) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

fn when(losses: &[&Loss]) -> String {
    let last = losses.iter().filter(|loss| loss.last_seen.is_some()).min_by_key(|loss| loss.last_seen_s);
    match last {
        Some(Loss { last_seen: Some(at), last_seen_s, .. }) => {
            let ago = roughly(Duration::from_secs(last_seen_s.unwrap_or_default()));
            format!("last seen at {at}, {ago} ago")
        }
        _ => "before canhub started".to_owned(),
    }
}
