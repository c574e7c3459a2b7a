//! Planning the hub: a vcan of ours, or the adapter that carries the bus.

use super::{
    Action, Blocks, Bus, Have, Plan, Problem, Scope, Want, links::Repair, links::repair, links::taken,
};
use crate::{
    adapter::Adapter,
    kernel::{BusState, Link},
    names::IfName,
    network::Hub,
};

/// The hub as an end of rules.
pub(super) struct HubEnd {
    /// The name that its interface has after the steps so far.
    pub(super) name: IfName,
    /// Its index, where it exists already.
    pub(super) index: Option<u32>,
    /// Whether a controller's error frames may come from it.
    pub(super) tells_errors: bool,
}

/// Plans the hub of one bus; `None`: the bus has none for now, and its members hear each other without.
pub(super) fn plan_hub(
    bus: &Bus,
    want: &Want,
    have: &Have,
    scope: Scope<'_>,
    plan: &mut Plan,
) -> Option<HubEnd> {
    match &bus.hub {
        Hub::Adapter(adapter) => plan_adapter(bus, adapter, want, have, scope, plan),
        Hub::Owned(name) | Hub::Shared(name) => {
            let own = have.own_hub(&bus.network, name.as_str());
            match (own, have.named(name.as_str())) {
                (Some(hub), named) => {
                    let rename = (hub.name != name.as_str()).then_some(name);
                    if rename.is_some() && named.is_some() {
                        plan.problems.push(bus.problem(None, Blocks::Nothing, taken(name)));
                    } else {
                        repair(bus, None, hub, Repair { rename, mtu: bus.mtu, alias: &bus.alias }, plan);
                    }
                    Some(HubEnd { name: name.clone(), index: Some(hub.index), tells_errors: false })
                }
                (None, Some(link)) if matches!(bus.hub, Hub::Shared(_)) => carrier(bus, link, plan),
                (None, Some(_)) => {
                    plan.problems.push(bus.problem(None, Blocks::Network, taken(name)));
                    None
                }
                (None, None) => {
                    let action =
                        Action::CreateHub { name: name.clone(), mtu: bus.mtu, alias: bus.alias.clone() };
                    plan.steps.push(bus.step(None, "the hub was missing", action));
                    Some(HubEnd { name: name.clone(), index: None, tells_errors: false })
                }
            }
        }
    }
}

/// The interfaces of the host that an adapter's marks fit.
pub fn carriers<'a>(adapter: &Adapter, have: &'a Have) -> Vec<&'a Link> {
    match adapter {
        Adapter::Name(name) => have.named(name.as_str()).into_iter().collect(),
        Adapter::Known { .. } => have
            .links
            .iter()
            .filter(|link| link.kind.is_can() && adapter.is(&link.name, have.identities.get(&link.name)))
            .collect(),
    }
}

fn plan_adapter(
    bus: &Bus,
    adapter: &Adapter,
    want: &Want,
    have: &Have,
    scope: Scope<'_>,
    plan: &mut Plan,
) -> Option<HubEnd> {
    match carriers(adapter, have)[..] {
        [link] => {
            let rival = want.buses.iter().find(|other| {
                let before = matches!(scope, Scope::Network(_)) || other.network < bus.network;
                let same = |other: &Adapter| carriers(other, have).iter().any(|one| one.index == link.index);
                other.network != bus.network
                    && before
                    && matches!(&other.hub, Hub::Adapter(other) if same(other))
            });
            if let Some(rival) = rival {
                let text = format!(
                    "adapter {} is already the bus of network {}: an adapter carries one bus; attach the containers to that one",
                    link.name,
                    rival.network.short()
                );
                plan.problems.push(bus.problem(None, Blocks::Network, text));
                return None;
            }
            carrier(bus, link, plan)
        }
        [] => {
            let blocks = if bus.adapter_wait { Blocks::Nothing } else { Blocks::Join };
            let problem = bus.problem(None, blocks, waiting(bus, adapter));
            plan.problems.push(Problem { awaits_adapter: true, ..problem });
            None
        }
        ref several => {
            let names: Vec<String> = several.iter().map(|link| describe(link, have)).collect();
            let text = format!(
                "adapter {adapter} is not one but {}: choose one by a mark that only it has",
                names.join(" and ")
            );
            plan.problems.push(bus.problem(None, Blocks::Creation, text));
            None
        }
    }
}

fn waiting(bus: &Bus, adapter: &Adapter) -> String {
    match bus.adapter_wait {
        true => format!(
            "waiting for adapter {adapter}: it is not there; containers hear each other meanwhile, and it joins the bus when it is plugged in (`ip -br link` lists what there is)"
        ),
        false => format!(
            "adapter {adapter} is not there: plug it in, or check its name with `ip -br link`, and start the container again (adapter-wait=on would let it start and wait)"
        ),
    }
}

/// An interface of somebody else's as the hub: set up as far as was asked for.
fn carrier(bus: &Bus, link: &Link, plan: &mut Plan) -> Option<HubEnd> {
    let name = &link.name;
    if !link.kind.is_can() {
        let text = format!(
            "adapter {name} is not a CAN interface: name one that `ip link show type can` or `type vcan` lists"
        );
        plan.problems.push(bus.problem(None, Blocks::Network, text));
        return None;
    }
    match bus.settings.change_for(link) {
        Err(why) => {
            plan.problems.push(bus.problem(None, Blocks::Creation, format!("adapter {why}")));
            return None;
        }
        Ok(change) => {
            let up = bus.settings.configures();
            if !change.is_empty() || (up && !link.up) {
                let reason = match link.up {
                    true => "the adapter was not set up as asked",
                    false => "the adapter was not set up and up",
                };
                let up = up || link.up;
                let action = Action::Configure { index: link.index, name: name.clone(), change, up };
                plan.steps.push(bus.step(None, reason, action));
            } else if !link.up {
                plan.problems.push(bus.problem(None, Blocks::Nothing, down(link)));
            }
        }
    }
    if let Some(text) = troubled(link) {
        plan.problems.push(bus.problem(None, Blocks::Nothing, text));
    }
    let name = name.parse().ok()?;
    Some(HubEnd { name, index: Some(link.index), tells_errors: true })
}

fn down(link: &Link) -> String {
    let name = &link.name;
    match &link.controller {
        Some(controller) if controller.timing.is_none() => format!(
            "adapter {name} is down and has no bitrate, so its frames do not reach the bus: create the network with -o bitrate=500000 (or whatever the wire has), or run `ip link set {name} up type can bitrate 500000`"
        ),
        _ => format!(
            "adapter {name} is down, so its frames do not reach the bus: bring it up with `ip link set {name} up`"
        ),
    }
}

/// What is wrong on the wire, in words for somebody who has not met it before.
fn troubled(link: &Link) -> Option<String> {
    let (name, controller) = (&link.name, link.controller.as_ref()?);
    if !link.up {
        return None;
    }
    let usual = "the usual causes are another bitrate than the others on the wire, missing termination (120 ohms at both ends), swapped or open wires, or nobody else on the wire";
    match controller.state {
        BusState::ErrorPassive => {
            Some(format!("adapter {name} is error-passive: nearly all of its frames fail; {usual}"))
        }
        BusState::BusOff if controller.restart_ms == 0 => Some(format!(
            "adapter {name} is bus-off: it met so many errors that it left the wire, and nothing restarts it; {usual}; then run `ip link set {name} down && ip link set {name} up`, or create the network with -o restart-ms=100"
        )),
        BusState::BusOff => Some(format!(
            "adapter {name} is bus-off: it met so many errors that it left the wire; the kernel restarts it after {} ms; {usual}",
            controller.restart_ms
        )),
        _ => None,
    }
}

/// An interface with all that it may be chosen by.
fn describe(link: &Link, have: &Have) -> String {
    let Some(identity) = have.identities.get(&link.name) else { return link.name.clone() };
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
