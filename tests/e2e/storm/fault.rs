//! A single fault.

use std::fmt;

use super::fleet::Fleet;
use crate::support::{
    dice::Dice,
    host::{gateway_is_a_module, ip_batch_by, rules},
    shell::sh,
    strangers::{NAMESPACE, Strangers},
};

/// What happens to a link.
#[derive(Debug, Clone, Copy)]
pub enum Harm {
    Deleted,
    Down,
    Renamed,
    Mtu,
    Alias,
    MovedAway,
}

/// The location of a link.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    Host,
    Container(u32),
}

/// A fault.
#[derive(Debug, Clone)]
pub enum Fault {
    Link { place: Place, name: String, harm: Harm },
    RuleDeleted(String),
    RuleDoubled(String),
    Flushed,
    Unloaded,
}

const OF_HOST_ENDS: [Harm; 6] =
    [Harm::Deleted, Harm::Down, Harm::Renamed, Harm::Mtu, Harm::Alias, Harm::MovedAway];
const OF_OTHERS: [Harm; 5] = [Harm::Deleted, Harm::Down, Harm::Renamed, Harm::Mtu, Harm::Alias];

impl Fault {
    /// Any fault of any part of the fleet.
    pub fn of(fleet: &Fleet, dice: &mut Dice) -> Self {
        let ecu = dice.pick(&fleet.ecus);
        let seat = dice.pick(&ecu.seats);
        // Weighted, as there are many ends and few hubs.
        match dice.below(20) {
            0..8 => Self::link(Place::Host, seat.host_end(), *dice.pick(&OF_HOST_ENDS)),
            8..14 => Self::link(Place::Container(ecu.pid), seat.interface(), *dice.pick(&OF_OTHERS)),
            14..16 => Self::link(Place::Host, (*dice.pick(fleet.hubs())).into(), *dice.pick(&OF_OTHERS)),
            16..19 => Self::of_rules(dice),
            _ if gateway_is_a_module() => Self::Unloaded,
            _ => Self::Flushed,
        }
    }

    fn link(place: Place, name: String, harm: Harm) -> Self {
        Self::Link { place, name, harm }
    }

    fn of_rules(dice: &mut Dice) -> Self {
        let mut rules = rules();
        rules.retain(|rule| !Strangers::own_rule(rule));
        match dice.below(5) {
            at @ 0..4 if !rules.is_empty() => {
                let rule = dice.pick(&rules).clone();
                if at < 2 { Self::RuleDeleted(rule) } else { Self::RuleDoubled(rule) }
            }
            _ => Self::Flushed,
        }
    }

    /// A shell command that causes it, and fails if its target does not exist at the moment.
    fn line(&self, number: usize) -> String {
        match self {
            Self::Link { place, name, harm } => {
                let set = |what: &str| format!("link set {name} {what}");
                let steps = match harm {
                    Harm::Deleted => vec![format!("link del {name}")],
                    Harm::Down => vec![set("down")],
                    // Before Linux 6.2 a link can only be renamed while it is down.
                    Harm::Renamed => vec![set("down"), set(&format!("name stray{number}"))],
                    Harm::Mtu => vec![set("down"), set("mtu 16")],
                    Harm::Alias => vec![set(r#"alias """#)],
                    Harm::MovedAway => vec![set(&format!("netns {NAMESPACE}"))],
                };
                let enter = match place {
                    Place::Host => String::new(),
                    Place::Container(pid) => format!("nsenter --net --target {pid}"),
                };
                ip_batch_by(&enter, &steps.iter().map(String::as_str).collect::<Vec<_>>())
            }
            Self::RuleDeleted(rule) => rule.replace("cangw -A", "cangw -D"),
            Self::RuleDoubled(rule) => rule.clone(),
            Self::Flushed => format!("cangw -F && {}", Strangers::ADD_RULE),
            Self::Unloaded => format!("rmmod can_gw && modprobe can-gw && {}", Strangers::ADD_RULE),
        }
    }
}

/// Causes all at once, numbered from `first`, faster than they can be healed. Returns those that hit something.
pub fn strike(burst: Vec<Fault>, first: usize) -> Vec<String> {
    let line = |(number, fault): (usize, &Fault)| format!("{{ {}; }} && echo {number}", fault.line(number));
    let lines: Vec<String> = (first..).zip(&burst).map(line).collect();
    let hits = sh(&format!("exec 2>/dev/null\n{}\ntrue", lines.join("\n")));
    let hits: Vec<&str> = hits.lines().collect();
    let events = (first..).zip(&burst).map(|(number, fault)| (number.to_string(), fault));
    let hit = events.filter(|(number, _)| hits.contains(&&**number));
    hit.map(|(number, fault)| format!("{number}: {fault}")).collect()
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link { place: Place::Host, name, harm } => write!(f, "{name}: {harm:?}"),
            Self::Link { place: Place::Container(pid), name, harm } => {
                write!(f, "{name} in the container of process {pid}: {harm:?}")
            }
            Self::RuleDeleted(rule) => write!(f, "deleted: {rule}"),
            Self::RuleDoubled(rule) => write!(f, "doubled: {rule}"),
            Self::Flushed => f.write_str("all rules flushed"),
            Self::Unloaded => f.write_str("can-gw unloaded and loaded again"),
        }
    }
}
