//! Plans the hub: a vcan of canhub, or the adapter.

use super::{
    Action, Blocks, Bus, Have, Plan, Problem, Reason, Scope, Want,
    links::{End, LinkWant, repair, taken},
};
use crate::{
    adapter::Adapter,
    kernel::{BusState, Link, LinkKind},
    names::IfName,
    network::Hub,
    pace::Rate,
};

/// The minimum length of an adapter's queue in frames if containers are paced. Each one is paced as if it were alone.
/// What several of them send at once, or what cannot be sent because other nodes use the bus, waits here until
/// [`crate::shares`] slows them down: four containers at 1 Mbit/s send about 29,000 frames per second, of which 7,400
/// leave.
const ADAPTER_QUEUE: u32 = 8192;

/// The hub as an end of rules.
pub(super) struct HubEnd {
    /// The name of its interface after the preceding steps.
    pub(super) name: IfName,
    pub(super) end: End,
    /// Whether a wire is behind it: it is not a vcan.
    pub(super) is_wire: bool,
}

impl HubEnd {
    fn vcan(name: &IfName, end: End) -> Self {
        Self { name: name.clone(), end, is_wire: false }
    }
}

/// Plans the hub of a bus; the members reach each other even without one.
pub(super) fn plan_hub(bus: &Bus, want: &Want, have: &Have, scope: Scope<'_>) -> (Option<HubEnd>, Plan) {
    match &bus.hub {
        Hub::Adapter(adapter) => plan_adapter(bus, adapter, want, have, scope),
        Hub::Owned(name) | Hub::Shared(name) => {
            let own = have.own_hub(&bus.network, name.as_str());
            match (own, have.named(name.as_str())) {
                (Some(hub), named) => {
                    let rename = (hub.name != name.as_str()).then_some(name);
                    let plan = match rename.is_some() && named.is_some() {
                        true => bus.problem(None, Blocks::Nothing, taken(name)).into(),
                        false => {
                            let wanted = LinkWant { rename, mtu: bus.mtu(), alias: &bus.alias };
                            repair(bus, None, hub, wanted).map(Plan::from).unwrap_or_default()
                        }
                    };
                    (Some(HubEnd::vcan(name, End::Stands(hub.index))), plan)
                }
                (None, Some(link)) if matches!(bus.hub, Hub::Shared(_)) => plan_carrier(bus, link),
                (None, Some(_)) => (None, bus.problem(None, Blocks::Network, taken(name)).into()),
                (None, None) => {
                    let action =
                        Action::CreateHub { name: name.clone(), mtu: bus.mtu(), alias: bus.alias.clone() };
                    let step = bus.step(None, Reason::HubMissing, action);
                    (Some(HubEnd::vcan(name, End::Planned)), step.into())
                }
            }
        }
    }
}

/// The host interfaces that match an adapter's selector.
pub fn carriers<'a>(adapter: &Adapter, have: &'a Have) -> Vec<&'a Link> {
    let identity = |link: &Link| have.identities.get(&link.name)?.as_ref().ok();
    match adapter {
        Adapter::Name(name) => have.named(name.as_str()).into_iter().collect(),
        Adapter::Known { .. } => have
            .links
            .iter()
            .filter(|link| link.kind.is_can() && adapter.is(&link.name, identity(link)))
            .collect(),
    }
}

/// The interface that carries a bus and is not canhub's: the adapter, if exactly one matches, or a shared interface.
pub fn carrier<'a>(hub: &Hub, have: &'a Have) -> Option<&'a Link> {
    match hub {
        Hub::Adapter(adapter) => match carriers(adapter, have)[..] {
            [link] => Some(link),
            _ => None,
        },
        Hub::Shared(name) => have.named(name.as_str()),
        Hub::Owned(_) => None,
    }
}

/// An interface that may be the adapter but whose identity could not be read, and why. Then it is unknown whether an
/// adapter without a match is missing.
pub fn unread_adapter<'a>(adapter: &Adapter, have: &'a Have) -> Option<(&'a str, &'a str)> {
    let mut identities = have.identities.iter().filter(|_| matches!(adapter, Adapter::Known { .. }));
    identities.find_map(|(name, identity)| Some((name.as_str(), identity.as_ref().err()?.as_str())))
}

fn plan_adapter(
    bus: &Bus,
    adapter: &Adapter,
    want: &Want,
    have: &Have,
    scope: Scope<'_>,
) -> (Option<HubEnd>, Plan) {
    let while_away = if bus.options.adapter_wait { Blocks::Nothing } else { Blocks::Join };
    let problem = match carriers(adapter, have)[..] {
        [link] => match conflicting_bus(bus, link, want, have, scope) {
            None => return plan_carrier(bus, link),
            Some(conflicting_bus) => {
                let text = format!(
                    "adapter {} is already the bus of network {}: connect the containers to that network",
                    link.name,
                    conflicting_bus.network.short()
                );
                bus.problem(None, Blocks::Network, text)
            }
        },
        [] => match unread_adapter(adapter, have) {
            Some((name, why)) => {
                let text = format!(
                    "adapter {adapter} not found, but the identity of {name} could not be read: {why}; retrying"
                );
                bus.problem(None, while_away, text)
            }
            None => Problem { awaits_adapter: true, ..bus.problem(None, while_away, waiting(bus, adapter)) },
        },
        ref several => {
            let names: Vec<String> = several.iter().map(|link| describe(link, have)).collect();
            let text = format!(
                "adapter {adapter} matches {}: select one of them by an identity that only it has",
                names.join(" and ")
            );
            bus.problem(None, Blocks::Creation, text)
        }
    };
    (None, problem.into())
}

/// Another bus that already uses the adapter.
fn conflicting_bus<'a>(
    bus: &Bus,
    link: &Link,
    want: &'a Want,
    have: &Have,
    scope: Scope<'_>,
) -> Option<&'a Bus> {
    let same = |other: &Adapter| carriers(other, have).iter().any(|one| one.index == link.index);
    want.buses.iter().find(|other| {
        let before = matches!(scope, Scope::Network(_)) || other.network < bus.network;
        other.network != bus.network && before && matches!(&other.hub, Hub::Adapter(other) if same(other))
    })
}

fn waiting(bus: &Bus, adapter: &Adapter) -> String {
    match bus.options.adapter_wait {
        true => format!(
            "waiting for adapter {adapter}: not found; containers reach each other in the meantime, and the adapter joins the bus when it appears (`ip -br link` lists the interfaces)"
        ),
        false => format!(
            "adapter {adapter} not found: plug it in, or check its name with `ip -br link`, then start the container again (with adapter-wait=on containers start without it)"
        ),
    }
}

/// Plans an interface that canhub did not create as the hub, configured as requested.
fn plan_carrier(bus: &Bus, link: &Link) -> (Option<HubEnd>, Plan) {
    let name = &link.name;
    if !link.kind.is_can() {
        let text = format!(
            "adapter {name} is not a CAN interface: choose one that `ip link show type can` (or `type vcan`) lists"
        );
        return (None, bus.problem(None, Blocks::Network, text).into());
    }
    let mut change = match bus.options.settings.change_for(link) {
        Ok(change) => change,
        Err(why) => {
            return (None, bus.problem(None, Blocks::Creation, format!("adapter {why}")).into());
        }
    };
    let brings_up = bus.options.settings.configures();
    let as_requested = change.is_empty() && (link.up || !brings_up);
    let paced = matches!(bus.hub, Hub::Adapter(_)) && bus.options.rate != Some(Rate::Off);
    let short = link.kind == LinkKind::Can && link.txqueuelen < ADAPTER_QUEUE;
    if paced && short && bus.options.settings.txqueuelen.is_none() {
        change.txqueuelen = Some(ADAPTER_QUEUE);
    }
    let mut plan = Plan::default();
    if !as_requested || !change.is_empty() {
        let reason = match link.up {
            _ if as_requested => Reason::AdapterQueue,
            true => Reason::AdapterSettings,
            false => Reason::AdapterDown,
        };
        let up = brings_up || link.up;
        let action = Action::Configure { index: link.index, name: name.clone(), change, up };
        plan.steps.push(bus.step(None, reason, action));
    }
    if !brings_up && !link.up {
        plan.problems.push(down(bus, link));
    }
    plan.problems.extend(troubled(bus, link));
    let is_wire = link.kind != LinkKind::Vcan;
    let hub = name.parse().ok().map(|name| HubEnd { name, end: End::Stands(link.index), is_wire });
    (hub, plan)
}

fn down(bus: &Bus, link: &Link) -> Problem {
    let name = &link.name;
    let (text, fix) = match &link.controller {
        Some(controller) if controller.timing.is_none() => {
            let fix = format!("ip link set {name} up type can bitrate 500000");
            let text = format!(
                "adapter {name} is down and has no bitrate, so its frames do not reach the bus: create the network with -o bitrate=500000 (or the bitrate of your bus), or run `{fix}`"
            );
            (text, fix)
        }
        _ => {
            let fix = format!("ip link set {name} up");
            let text = format!(
                "adapter {name} is down, so its frames do not reach the bus: bring it up with `{fix}`"
            );
            (text, fix)
        }
    };
    Problem { fix: Some(fix), ..bus.problem(None, Blocks::Nothing, text) }
}

/// What is wrong on the bus, explained for a first encounter.
fn troubled(bus: &Bus, link: &Link) -> Option<Problem> {
    let (name, controller) = (&link.name, link.controller.as_ref()?);
    if !link.up {
        return None;
    }
    let usual = "common causes are a bitrate mismatch, missing termination (120 ohms at both ends), swapped or broken wires, or no other node on the bus";
    let (text, fix) = match controller.state {
        BusState::ErrorPassive => {
            (format!("adapter {name} is error-passive: nearly all of its frames fail; {usual}"), None)
        }
        BusState::BusOff if controller.restart_ms == 0 => {
            let fix = format!("ip link set {name} down && ip link set {name} up");
            let text = format!(
                "adapter {name} is bus-off: its controller left the bus after too many errors, and is not restarted automatically; {usual}; once that is fixed, run `{fix}`, or create the network with -o restart-ms=100"
            );
            (text, Some(fix))
        }
        BusState::BusOff => {
            let text = format!(
                "adapter {name} is bus-off: its controller left the bus after too many errors; the kernel restarts it after {} ms; {usual}",
                controller.restart_ms
            );
            (text, None)
        }
        _ => return None,
    };
    Some(Problem { fix, ..bus.problem(None, Blocks::Nothing, text) })
}

/// An interface with all its selectors.
fn describe(link: &Link, have: &Have) -> String {
    let Some(Ok(identity)) = have.identities.get(&link.name) else { return link.name.clone() };
    let usb = identity.usb.as_ref().map(|usb| match &usb.serial {
        Some(serial) => format!("usb:{}:{}:{serial}", usb.vendor, usb.product),
        None => format!("usb:{}:{}", usb.vendor, usb.product),
    });
    let path = identity.path.as_ref().map(|path| format!("path:{path}"));
    let channel = identity.channel;
    let marks: Vec<String> =
        [usb, path].into_iter().flatten().map(|mark| format!("{mark}#{channel}")).collect();
    format!("{} ({})", link.name, marks.join(" or "))
}
