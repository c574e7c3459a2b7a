//! Which bus a person means, and what the daemon knows about it.
//!
//! The aliases of canhub's links say which bus they belong to, and everybody can read them. What only the daemon knows,
//! it tells root: the names of networks and containers, and which adapter a hardware identity selects.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    kernel::{Kernel, Link, Linux, Rule},
    names::{EndpointId, NetworkId, meant},
    network::{Alias, Network},
    plan::owner,
    status::{BusStatus, Status},
    suggest::did_you_mean,
};

/// How long a network that was just created may have no name: the daemon learns it from Docker afterwards.
const NAME_PATIENCE: Duration = Duration::from_secs(3);
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// How the daemon is asked.
pub trait Daemon: Send {
    /// Its status.
    ///
    /// # Errors
    /// One sentence: why it cannot be had.
    fn status(&self) -> Result<Status, String>;

    /// The ID of the network that Docker calls so. `None`: there is none, or Docker cannot be asked. A managed plugin does
    /// not learn names, and any daemon only a moment after a network was created.
    fn network_id(&self, name: &str) -> Option<String>;
}

/// A bus that exists on this host.
pub struct Bus {
    network: NetworkId,
    name: String,
    hub: Option<String>,
    daemon: Arc<dyn Daemon + Sync>,
    unreachable: Option<String>,
}

/// What is known of a bus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    /// The network's name.
    name: Option<String>,
    /// The interface on the host, if there is one.
    hub: Option<String>,
}

impl Bus {
    /// The bus of this name: its network's name or ID, of which the first digits are enough, or its interface on the
    /// host.
    ///
    /// # Errors
    /// One sentence that lists the buses that exist.
    pub fn find(text: &str, daemon: Arc<dyn Daemon + Sync>) -> Result<Self, String> {
        let kernel = Linux::default();
        let links =
            kernel.links().map_err(|err| format!("the interfaces of this host cannot be listed: {err}"))?;
        // Without can-gw there are none, and without permission the daemon has to know.
        let rules: Vec<Rule> =
            kernel.rules().unwrap_or_default().into_iter().map(|status| status.rule).collect();
        let started = Instant::now();
        let (found, unreachable) = loop {
            let (told, unreachable) = match daemon.status() {
                Ok(status) => (status.buses, None),
                Err(why) => (Vec::new(), Some(why)),
            };
            let mut found = choose(text, known(&links, &rules, &told), unreachable.as_deref());
            if found.is_err()
                && let Some(id) = daemon.network_id(text)
                && let Ok((network, bus)) = choose(&id, known(&links, &rules, &told), None)
            {
                found = Ok((network, Known { name: Some(text.to_owned()), ..bus }));
            }
            if found.is_ok() || !told.iter().any(awaits_name) || started.elapsed() >= NAME_PATIENCE {
                break (found, unreachable);
            }
            sleep(ASK_AGAIN);
        };
        let (network, Known { name, hub }) = found?;
        let name = name.or_else(|| hub.clone()).unwrap_or_else(|| network.short().to_owned());
        Ok(Self { network, name, hub, daemon, unreachable })
    }

    /// Docker's ID.
    pub fn network(&self) -> &NetworkId {
        &self.network
    }

    /// The name of the network; if only the daemon knows it and does not tell, that of the hub.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface on the host, if there is one at the moment.
    pub fn hub(&self) -> Option<&str> {
        self.hub.as_deref()
    }

    /// What is missing because the daemon does not tell it: one sentence, for people.
    pub fn restriction(&self) -> Option<String> {
        let why = self.unreachable.as_ref()?;
        Some(format!(
            "containers are shown by the IDs of their endpoints, because canhub does not tell their names: {why}"
        ))
    }

    /// What the daemon says now about this bus.
    pub(super) fn ask(&self) -> Option<BusStatus> {
        self.question()()
    }

    /// The same, for another thread.
    pub(super) fn question(&self) -> impl FnOnce() -> Option<BusStatus> + Send + use<> {
        let (daemon, network) = (Arc::clone(&self.daemon), self.network.clone());
        move || daemon.status().ok()?.buses.into_iter().find(|bus| bus.network == network)
    }

    /// Whether the daemon can tell names.
    pub(super) fn is_told(&self) -> bool {
        self.unreachable.is_none()
    }
}

/// Whether the daemon has yet to learn its name.
fn awaits_name(bus: &BusStatus) -> bool {
    bus.network_name == bus.network.short()
}

/// The containers on a bus by their endpoints, as far as their names are known.
pub(super) fn containers(bus: &BusStatus) -> BTreeMap<&EndpointId, &str> {
    bus.members.iter().filter_map(|member| Some((&member.endpoint, member.container.as_deref()?))).collect()
}

/// All buses that the daemon or the links know.
fn known(links: &[Link], rules: &[Rule], told: &[BusStatus]) -> BTreeMap<NetworkId, Known> {
    let mut buses: BTreeMap<NetworkId, Known> = BTreeMap::new();
    for (link, alias) in links.iter().filter_map(|link| Some((link, Alias::parse(link.alias.as_deref()?)?))) {
        let bus = buses.entry(alias.network.clone()).or_default();
        if alias.endpoint.is_none() {
            bus.hub = Some(link.name.clone());
        } else if bus.hub.is_none() {
            bus.hub = hub_by_alias(links, alias).or_else(|| hub_by_rules(links, rules, link.index));
        }
    }
    for status in told {
        let bus = buses.entry(status.network.clone()).or_default();
        bus.name = Some(status.network_name.clone());
        if links.iter().any(|link| link.name == status.interface()) {
            bus.hub = Some(status.interface().to_owned());
        }
    }
    buses
}

/// The hub that the alias of a member names, if it exists.
fn hub_by_alias(links: &[Link], alias: Alias) -> Option<String> {
    let hub = Network::new(alias.network, alias.options).ok()?.hub();
    let name = hub.name()?.as_str();
    links.iter().find(|link| link.name == name).map(|link| link.name.clone())
}

/// The hub that a host end sends to: the one destination of its rules that is no host end itself.
fn hub_by_rules(links: &[Link], rules: &[Rule], host_end: u32) -> Option<String> {
    let targets: BTreeSet<u32> =
        rules.iter().filter(|rule| rule.source == host_end).map(|rule| rule.destination).collect();
    let mut hubs = links.iter().filter(|link| targets.contains(&link.index) && owner(link).is_none());
    hubs.next().map(|link| link.name.clone())
}

fn choose(
    text: &str,
    mut buses: BTreeMap<NetworkId, Known>,
    unreachable: Option<&str>,
) -> Result<(NetworkId, Known), String> {
    let all: Vec<(&NetworkId, &Known)> = buses.iter().collect();
    let is_named = |(_, bus): (_, &Known)| bus.name.as_deref() == Some(text);
    let has_hub = |(_, bus): (_, &Known)| bus.hub.as_deref() == Some(text);
    let meant = meant(text, &all, |(network, _)| network, is_named, has_hub);
    let meant: Vec<NetworkId> = meant.into_iter().map(|(network, _)| network.clone()).collect();
    match &meant[..] {
        [network] => {
            let bus = buses.remove(network).unwrap_or_default();
            Ok((network.clone(), bus))
        }
        [] => Err(unknown(text, &buses, unreachable)),
        several => {
            let ids: Vec<&str> = several.iter().map(NetworkId::short).collect();
            Err(format!("{text:?} means more than one bus: say which by its ID, {}", ids.join(" or ")))
        }
    }
}

fn unknown(text: &str, buses: &BTreeMap<NetworkId, Known>, unreachable: Option<&str>) -> String {
    let describe = |(network, bus): (&NetworkId, &Known)| match (&bus.name, &bus.hub) {
        (Some(name), Some(hub)) => format!("{name} (hub {hub})"),
        (Some(name), None) => format!("{name} (no hub at the moment)"),
        (None, Some(hub)) => format!("the bus of {hub}"),
        (None, None) => format!("network {}", network.short()),
    };
    let names = buses.values().flat_map(|bus| [bus.name.as_deref(), bus.hub.as_deref()]).flatten();
    let hint = did_you_mean(text, &names.collect::<Vec<_>>());
    let known: Vec<String> = buses.iter().map(describe).collect();
    let known = match &known[..] {
        [] => "this host has no buses; create one with `docker network create --driver canhub`".to_owned(),
        known => format!("known are {}", known.join(", ")),
    };
    let why = unreachable
        .map(|why| format!(". canhub does not tell the names of networks: {why}"))
        .unwrap_or_default();
    format!("no bus is called {text:?}{hint}: {known}{why}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kernel::{Filter, LinkKind, RuleFlags, fake::new_link},
        network::Ownership,
    };

    const BODY: &str = "b0d1b0d1b0d1b0d1";
    const WIRE: &str = "c0dec0dec0dec0de";

    fn links() -> Vec<Link> {
        let member = |network: &str, endpoint: &str, hub: &str| {
            format!("canhub net={network}{hub} name=can0 frames=fd ep={endpoint} if=can0 sb=123")
        };
        vec![
            new_link(
                1,
                "vcan-body",
                LinkKind::Vcan,
                72,
                &format!("canhub net={BODY} hub=vcan-body name=can0 frames=fd"),
            ),
            new_link(2, "ch1", LinkKind::Vxcan, 72, &member(BODY, "e1", " hub=vcan-body")),
            new_link(3, "can0", LinkKind::Can, 72, ""),
            new_link(4, "ch2", LinkKind::Vxcan, 72, &member(WIRE, "e2", " adapter=can0")),
        ]
    }

    fn find(
        text: &str,
        links: &[Link],
        rules: &[Rule],
        told: &[BusStatus],
    ) -> Result<(String, Known), String> {
        let found = choose(text, known(links, rules, told), told.is_empty().then_some("run it as root"))?;
        Ok((found.0.to_string(), found.1))
    }

    fn status(network: &str, name: &str, hub: &str) -> BusStatus {
        BusStatus {
            network: network.to_owned().try_into().unwrap(),
            network_name: name.into(),
            hub: hub.into(),
            adapter: None,
            waiting: false,
            owner: Ownership::Owned,
            frames: "fd".into(),
            heal: true,
            steps: Vec::new(),
            leftovers: Vec::new(),
            problems: Vec::new(),
            adapter_problems: Vec::new(),
            fixes: BTreeMap::new(),
            blocked: false,
            rules: 0,
            heals: 0,
            losses: Vec::new(),
            traffic: Default::default(),
            members: Vec::new(),
            span: None,
        }
    }

    #[test]
    fn a_bus_is_found_by_its_hub_and_by_its_id_without_the_daemon() {
        for (text, network, hub) in [
            ("vcan-body", BODY, "vcan-body"),
            ("b0d1b", BODY, "vcan-body"),
            ("can0", WIRE, "can0"),
            (WIRE, WIRE, "can0"),
        ] {
            let (found, bus) = find(text, &links(), &[], &[]).unwrap();
            assert_eq!((&*found, bus.hub.as_deref(), bus.name), (network, Some(hub), None), "{text}");
        }
        let why = find("body", &links(), &[], &[]).unwrap_err();
        assert!(
            why.contains("known are the bus of vcan-body, the bus of can0") && why.contains("root"),
            "{why}"
        );
    }

    #[test]
    fn the_daemon_adds_names() {
        let told = [status(BODY, "body", "vcan-body"), status(WIRE, "power", "serial=123")];
        let (network, bus) = find("body", &links(), &[], &told).unwrap();
        assert_eq!((&*network, bus.name.as_deref()), (BODY, Some("body")));
        assert_eq!(
            find("power", &links(), &[], &told).unwrap().1.hub.as_deref(),
            Some("can0"),
            "from the alias"
        );
        let why = find("bodi", &links(), &[], &told).unwrap_err();
        assert!(why.contains("did you mean body?") && why.contains("power (hub can0)"), "{why}");
    }

    #[test]
    fn an_adapter_that_is_selected_by_its_identity_is_found_by_the_rules() {
        let mut links = links();
        links[3].alias = Some(format!("canhub net={WIRE} name=can0 frames=fd more ep=e2 if=can0"));
        let rule = |source, destination| Rule {
            source,
            destination,
            flags: RuleFlags::empty(),
            filter: Filter::default(),
            max_hops: Some(1),
        };
        assert_eq!(find("can0", &links, &[rule(4, 2), rule(4, 3)], &[]).unwrap().0, WIRE);
        assert!(find("can0", &links, &[], &[]).is_err());
    }

    #[test]
    fn two_networks_of_one_name_are_told_apart_by_their_ids() {
        let told = [status(BODY, "bus", "vcan-body"), status(WIRE, "bus", "can0")];
        let why = find("bus", &links(), &[], &told).unwrap_err();
        assert!(why.contains(BODY.get(..12).unwrap()) && why.contains(WIRE.get(..12).unwrap()), "{why}");
    }

    #[test]
    fn a_host_without_buses_is_told_how_to_create_one() {
        assert!(find("body", &[], &[], &[]).unwrap_err().contains("docker network create"));
    }
}
