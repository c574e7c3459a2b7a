//! Which interfaces belong to a bus, who is behind each of them, and what they are called.
//!
//! Fed with all links at first and with each change then. An interface that was removed is remembered, because its last
//! frames may still be queued; indices of canhub's links are derived from IDs, so they are not used for another member.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::attribution::{Place, Source};
use crate::{
    frames::{Sender, bus::containers},
    kernel::{Link, LinkKind, LinkNews},
    names::{EndpointId, NetworkId, SpanName},
    network::Alias,
    status::BusStatus,
};

/// How long a container that was just started may have no name: Docker's API knows it only when it runs.
const NAME_PATIENCE: Duration = Duration::from_secs(3);

/// The interfaces of one bus.
#[derive(Debug)]
pub(super) struct Interfaces {
    network: NetworkId,
    /// The name of the hub, if it is not canhub's own.
    hub_name: Option<String>,
    /// All CAN interfaces of the host.
    links: BTreeMap<u32, Link>,
    places: HashMap<u32, Place>,
    /// Host ends of members with `allow-tx` or `allow-rx`.
    filtered: HashSet<u32>,
    /// The hub while it exists.
    hub: Option<u32>,
    members: Vec<Member>,
    /// Whether the daemon tells names.
    named: bool,
}

#[derive(Debug)]
struct Member {
    endpoint: EndpointId,
    name: Option<Arc<str>>,
    /// The start of its ID, used until then.
    short: Arc<str>,
    since: Instant,
    /// Its host end was removed: nobody will tell its name if it has none.
    gone: bool,
}

impl Interfaces {
    pub(super) fn new(network: NetworkId, hub_name: Option<String>, named: bool) -> Self {
        Self {
            network,
            hub_name,
            links: BTreeMap::new(),
            places: HashMap::new(),
            filtered: HashSet::new(),
            hub: None,
            members: Vec::new(),
            named,
        }
    }

    /// Takes note of what became of links. Returns whether the hub may have changed.
    pub(super) fn learn(&mut self, news: LinkNews, now: Instant) -> bool {
        match news {
            LinkNews::All(links) => {
                self.links.clear();
                self.hub = None;
                for member in &mut self.members {
                    member.gone = true;
                }
                for link in links {
                    self.add(link, now);
                }
                true
            }
            LinkNews::Changed(link) => self.add(*link, now),
            LinkNews::Removed(index) => {
                self.links.remove(&index);
                if let Some(Place::Member(member)) = self.place(index)
                    && let Some(member) = self.members.get_mut(member)
                {
                    member.gone = true;
                }
                let was_hub = self.hub == Some(index);
                self.hub = self.hub.filter(|hub| *hub != index);
                was_hub
            }
        }
    }

    fn add(&mut self, link: Link, now: Instant) -> bool {
        if !link.kind.is_can() {
            return false;
        }
        let alias = link.alias.as_deref().and_then(Alias::parse);
        let has_lists = |alias: &Alias| alias.lists || alias.endpoint.as_ref().is_some_and(|one| one.lists);
        if alias.as_ref().is_some_and(has_lists) {
            self.filtered.insert(link.index);
        }
        let place = match alias {
            Some(alias) if alias.network != self.network => None,
            Some(alias) => match alias.endpoint {
                // Until Docker moves it away, the container end is here too; that of a span port always is.
                Some(endpoint) if link.name == endpoint.id.container_end().as_str() => None,
                Some(endpoint) if endpoint.id.is_span_port() => {
                    let span = alias.options.get("span").and_then(|name| name.parse::<SpanName>().ok());
                    let member = self.member(endpoint.id, now);
                    self.members[member].name = span.map(|span| span.member().into());
                    Some(Place::Member(member))
                }
                Some(endpoint) => Some(Place::Member(self.member(endpoint.id, now))),
                None => Some(Place::VirtualHub),
            },
            None if self.hub_name.as_ref() == Some(&link.name) => Some(match link.kind {
                LinkKind::Vcan => Place::VirtualHub,
                _ => Place::Adapter,
            }),
            None => None,
        };
        let (index, was_hub) = (link.index, self.hub == Some(link.index));
        let is_hub = matches!(place, Some(Place::VirtualHub | Place::Adapter));
        match place {
            Some(place) => self.places.insert(index, place),
            None => self.places.remove(&index),
        };
        if is_hub {
            self.hub = Some(index);
        } else if was_hub {
            self.hub = None;
        }
        self.links.insert(index, link);
        is_hub || was_hub
    }

    fn member(&mut self, endpoint: EndpointId, now: Instant) -> usize {
        if let Some(known) = self.members.iter().position(|member| member.endpoint == endpoint) {
            self.members[known].gone = false;
            return known;
        }
        let short = endpoint.short().into();
        self.members.push(Member { endpoint, name: None, short, since: now, gone: false });
        self.members.len() - 1
    }

    /// Takes over what the daemon says. Returns whether the hub may have changed.
    pub(super) fn name(&mut self, bus: &BusStatus, now: Instant) -> bool {
        self.name_members(&containers(bus));
        let hub_name = bus.interface();
        if self.hub.is_some() || self.hub_name.as_deref() == Some(hub_name) {
            return false;
        }
        self.hub_name = Some(hub_name.to_owned());
        let hub = self.links.values().find(|link| link.name == hub_name).cloned();
        hub.is_some_and(|hub| self.add(hub, now))
    }

    /// Also those that have a name: containers are renamed.
    fn name_members(&mut self, names: &BTreeMap<&EndpointId, &str>) {
        for member in self.members.iter_mut().filter(|member| !member.endpoint.is_span_port()) {
            if let Some(name) =
                names.get(&member.endpoint).filter(|name| member.name.as_deref() != Some(**name))
            {
                member.name = Some(Arc::from(*name));
            }
        }
    }

    /// What the interface of this index is on the bus; `None` if it is not on it.
    pub(super) fn place(&self, index: u32) -> Option<Place> {
        self.places.get(&index).copied()
    }

    /// Whether the interface of this index is known, on this bus or not.
    pub(super) fn is_known(&self, index: u32) -> bool {
        self.places.contains_key(&index) || self.links.contains_key(&index)
    }

    /// Whether the interface of this index is that of a member of which not all frames may be on the bus.
    pub(super) fn is_filtered(&self, index: u32) -> bool {
        self.filtered.contains(&index) && matches!(self.place(index), Some(Place::Member(_)))
    }

    /// Whether the interface of this index exists.
    pub(super) fn exists(&self, index: u32) -> bool {
        self.links.contains_key(&index)
    }

    /// The hub while it exists.
    pub(super) fn hub(&self) -> Option<(Place, &Link)> {
        let hub = self.hub?;
        Some((self.place(hub)?, self.links.get(&hub)?))
    }

    /// Whether the daemon has something to tell that is not known here.
    pub(super) fn has_questions(&self) -> bool {
        self.hub.is_none() || self.members.iter().any(|member| member.name.is_none() && !member.gone)
    }

    /// Whether a name will probably be told soon, so that frames should wait for it.
    pub(super) fn awaits_name(&self, source: Source, now: Instant) -> bool {
        let Source::Member(member) = source else { return false };
        self.named
            && self.members.get(member).is_some_and(|member| {
                member.name.is_none()
                    && !member.gone
                    && now.saturating_duration_since(member.since) < NAME_PATIENCE
            })
    }

    /// From now on frames do not wait for names.
    pub(super) fn stop_waiting(&mut self) {
        self.named = false;
    }

    /// The sender as people know it.
    pub(super) fn sender(&self, source: Source) -> Sender {
        match source {
            Source::Host => Sender::Host,
            Source::Wire => Sender::Wire,
            Source::Unknown => Sender::Unknown,
            Source::Member(member) => match self.members.get(member) {
                Some(member) => Sender::Member(member.name.as_ref().unwrap_or(&member.short).clone()),
                None => Sender::Unknown,
            },
        }
    }

    /// The members that are on the bus.
    pub(super) fn senders(&self) -> Vec<Sender> {
        let mut senders: Vec<Sender> = self
            .links
            .keys()
            .filter_map(|index| match self.place(*index)? {
                Place::Member(member) => Some(self.sender(Source::Member(member))),
                _ => None,
            })
            .collect();
        senders.sort();
        senders.dedup();
        senders
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fake::new_link;

    const BODY: &str = "canhub net=b0d1 hub=vcan-body name=can0 frames=fd";

    fn interfaces(links: Vec<Link>) -> Interfaces {
        let mut all = Interfaces::new("b0d1".to_owned().try_into().unwrap(), Some("can0".into()), true);
        all.learn(LinkNews::All(links), Instant::now());
        all
    }

    fn member(index: u32, network: &str, endpoint: &str) -> Link {
        let alias = format!("canhub net={network} name=can0 frames=fd ep={endpoint} if=can0");
        new_link(index, &format!("ch{endpoint}"), LinkKind::Vxcan, 72, &alias)
    }

    #[test]
    fn only_the_interfaces_of_the_bus_have_a_place_on_it() {
        let mut all = interfaces(vec![
            new_link(1, "vcan-body", LinkKind::Vcan, 72, BODY),
            member(2, "b0d1", "e1"),
            member(3, "c0de", "e2"),
            new_link(4, "vcan9", LinkKind::Vcan, 72, ""),
            Link { name: "cpe1".into(), ..member(5, "b0d1", "e1") },
        ]);
        let places: Vec<_> = (1..=5).map(|index| all.place(index)).collect();
        assert_eq!(places, [Some(Place::VirtualHub), Some(Place::Member(0)), None, None, None]);
        assert_eq!(all.sender(Source::Member(0)), Sender::Member("e1".into()));
        assert_eq!(all.hub().map(|(place, hub)| (place, hub.index)), Some((Place::VirtualHub, 1)));

        all.learn(LinkNews::Removed(2), Instant::now());
        assert_eq!(all.place(2), Some(Place::Member(0)), "its last frames may be queued");
        assert_eq!(all.senders(), []);
        all.learn(LinkNews::Changed(Box::new(member(2, "b0d1", "e1"))), Instant::now());
        assert_eq!(all.members.len(), 1, "the pair was healed");
    }

    #[test]
    fn frames_of_other_hosts_come_through_the_span_port() {
        let alias = "canhub net=b0d1 name=can0 frames=fd span=power ep=span";
        let end = |index, name| new_link(index, name, LinkKind::Vxcan, 72, alias);
        let all = interfaces(vec![end(2, "cbb0d1"), end(3, "csb0d1")]);
        assert_eq!([2, 3].map(|index| all.place(index)), [Some(Place::Member(0)), None]);
        assert_eq!(all.sender(Source::Member(0)), Sender::Member("(span power)".into()));
        assert!(!all.awaits_name(Source::Member(0), Instant::now()));
    }

    #[test]
    fn a_container_that_is_renamed_sends_under_its_new_name() {
        let mut all = interfaces(vec![member(2, "b0d1", "e1")]);
        let endpoint = all.members[0].endpoint.clone();
        for name in ["door", "gate"] {
            all.name_members(&BTreeMap::from([(&endpoint, name)]));
            assert_eq!(all.sender(Source::Member(0)), Sender::Member(name.into()));
        }
        all.name_members(&BTreeMap::new());
        assert_eq!(all.sender(Source::Member(0)), Sender::Member("gate".into()), "no answer is no new name");
    }

    #[test]
    fn an_adapter_that_is_replugged_is_the_hub_again() {
        let adapter = |index| Box::new(new_link(index, "can0", LinkKind::Can, 72, ""));
        let mut all = interfaces(vec![*adapter(7)]);
        let hub = |all: &Interfaces| all.hub().map(|(place, link)| (place, link.index));
        assert_eq!(hub(&all), Some((Place::Adapter, 7)));
        assert!(all.learn(LinkNews::Removed(7), Instant::now()));
        assert_eq!(hub(&all), None);
        assert!(all.has_questions());
        assert!(all.learn(LinkNews::Changed(adapter(8)), Instant::now()));
        assert_eq!(hub(&all), Some((Place::Adapter, 8)));
    }

    #[test]
    fn frames_wait_for_the_name_of_a_container_that_was_just_started() {
        let mut all = interfaces(vec![member(2, "b0d1", "e1")]);
        let start = Instant::now();
        assert!(all.awaits_name(Source::Member(0), start));
        assert!(!all.awaits_name(Source::Member(0), start + NAME_PATIENCE));
        assert!(!all.awaits_name(Source::Host, start));
        all.learn(LinkNews::Removed(2), start);
        assert!(!all.awaits_name(Source::Member(0), start), "it has ended");
        all.learn(LinkNews::Changed(Box::new(member(2, "b0d1", "e1"))), start);
        assert!(all.awaits_name(Source::Member(0), start), "its pair was healed");
        assert!(!Interfaces { named: false, ..all }.awaits_name(Source::Member(0), start));
    }
}
