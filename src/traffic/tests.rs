use super::*;
use crate::{
    endpoint::{Endpoint, Stage},
    kernel::{Controller, Filter, History, LinkKind, OWN_INDEX_BASE, RuleFlags, RuleStatus, fake::new_link},
    model::Model,
    network::Network,
    options::RawOptions,
};

fn network(options: &[(&str, &str)]) -> Network {
    let raw: RawOptions = options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    Network::new("a1".repeat(32).try_into().unwrap(), raw).unwrap()
}

fn id(number: u8) -> EndpointId {
    format!("{number:02x}").repeat(32).try_into().unwrap()
}

/// A bus with a hub and these members.
fn want(members: &[u8]) -> Want {
    let (mut model, network) = (Model::default(), network(&[("hub", "vcan7")]));
    for member in members {
        let stage = Stage::Joined { sandbox: "/x".into() };
        let ifname = network.options.ifname.clone();
        model.put_endpoint(Endpoint {
            id: id(*member),
            network: network.id.clone(),
            ifname,
            rate: None,
            filters: crate::filters::Filters::default(),
            shapes: crate::shape::Shapes::default(),
            stage,
            attached: None,
            namespace: None,
        });
    }
    model.put_network(network);
    model.want()
}

fn link(index: u32, name: &str, kind: LinkKind) -> Link {
    Link { alias: None, ..new_link(index, name, kind, 72, "") }
}

const HUB: u32 = OWN_INDEX_BASE + 1000;

/// The index of a member's host end, in its first, second, … life.
fn at(member: u8, life: u32) -> u32 {
    OWN_INDEX_BASE + 2 * (u32::from(member) + 100 * life)
}

/// The hub and these host ends, with rules of (from, to, flags, handled, dropped).
fn have(members: &[(u8, u32)], rules: &[(u32, u32, RuleFlags, u32, u32)]) -> Have {
    let ends = members
        .iter()
        .map(|(member, life)| link(at(*member, *life), id(*member).host_end().as_str(), LinkKind::Vxcan));
    let rule =
        |&(source, destination, flags, handled, dropped): &(u32, u32, RuleFlags, u32, u32)| RuleStatus {
            rule: Rule { source, destination, flags, filter: Filter::default(), max_hops: Some(1) },
            handled,
            dropped,
            modifies: false,
        };
    Have {
        links: ends.chain([link(HUB, "vcan7", LinkKind::Vcan)]).collect(),
        rules: crate::plan::Rules::Read(rules.iter().map(rule).collect()),
        ..Have::default()
    }
}

const CLASSIC: RuleFlags = RuleFlags::empty();

/// Totals that process one dump after another.
struct Fed {
    totals: Totals,
    clock: Instant,
}

impl Fed {
    fn new() -> Self {
        Self { totals: Totals::default(), clock: Instant::now() }
    }

    fn feed(&mut self, want: &Want, have: &Have) {
        let begun = self.clock;
        self.clock += Duration::from_secs(1);
        self.totals.feed(want, have, begun..self.clock);
    }

    fn frames_in(&self, member: u8) -> (u64, u64) {
        let Count { handled, dropped } = self.totals.of(&End::Member(id(member))).frames_in;
        (handled, dropped)
    }

    fn frames_out(&self, member: u8) -> (u64, u64) {
        let Count { handled, dropped } = self.totals.of(&End::Member(id(member))).frames_out;
        (handled, dropped)
    }
}

#[test]
fn a_frame_counts_once_out_and_once_per_receiver_in() {
    let mut fed = Fed::new();
    let [one, two, three] = [at(1, 0), at(2, 0), at(3, 0)];
    let rules = [
        (one, two, CLASSIC, 10, 0),
        (one, two, RuleFlags::FD, 5, 0),
        // This one joined later, and was down for a while.
        (one, three, CLASSIC, 4, 2),
        (three, one, CLASSIC, 7, 0),
        (HUB, one, CLASSIC, 1, 0),
    ];
    fed.feed(&want(&[1, 2, 3]), &have(&[(1, 0), (2, 0), (3, 0)], &rules));
    assert_eq!((fed.frames_in(1), fed.frames_out(1)), ((8, 0), (15, 2)));
    assert_eq!((fed.frames_in(3), fed.frames_out(3)), ((4, 2), (7, 0)));
    let hub = fed.totals.of(&End::Hub("a1".repeat(32).try_into().unwrap()));
    assert_eq!((hub.frames_out.handled, hub.frames_in.handled), (1, 0));
    assert_eq!(fed.frames_in(9), (0, 0));
}

#[test]
fn totals_of_a_receiver_stay_when_the_sender_leaves() {
    let mut fed = Fed::new();
    let rules = [(at(1, 0), at(2, 0), CLASSIC, 30, 4), (at(3, 0), at(2, 0), CLASSIC, 5, 0)];
    fed.feed(&want(&[1, 2, 3]), &have(&[(1, 0), (2, 0), (3, 0)], &rules));
    fed.feed(&want(&[2, 3]), &have(&[(2, 0), (3, 0)], &[(at(3, 0), at(2, 0), CLASSIC, 6, 0)]));
    assert_eq!(fed.frames_in(2), (36, 4));
    assert_eq!(fed.frames_in(1), (0, 0), "a member that left is forgotten");
    // A new one with the same endpoint ID would start from zero.
    fed.feed(&want(&[1, 2, 3]), &have(&[(1, 1), (2, 0), (3, 0)], &[(at(1, 1), at(2, 0), CLASSIC, 1, 0)]));
    assert_eq!((fed.frames_in(2), fed.frames_out(1)), ((37, 4), (1, 0)));
}

#[test]
fn a_wrapping_counter_keeps_counting() {
    let (want, mut fed) = (want(&[1, 2]), Fed::new());
    let with = |handled, dropped| have(&[(1, 0), (2, 0)], &[(at(1, 0), at(2, 0), CLASSIC, handled, dropped)]);
    fed.feed(&want, &with(u32::MAX - 9, u32::MAX));
    fed.feed(&want, &with(20, 4));
    let before = u64::from(u32::MAX);
    assert_eq!(fed.frames_in(2), (before + 21, before + 5));
    fed.feed(&want, &with(20, 4));
    assert_eq!(fed.frames_in(2), (before + 21, before + 5), "nothing is counted twice");
}

#[test]
fn a_healed_pair_keeps_its_totals() {
    let (want, mut fed) = (want(&[1, 2]), Fed::new());
    fed.feed(&want, &have(&[(1, 0), (2, 0)], &[(at(1, 0), at(2, 0), CLASSIC, 100, 0)]));
    // The dump that finds it missing, then one with the new pair.
    fed.feed(&want, &have(&[(2, 0)], &[]));
    assert_eq!((fed.frames_out(1), fed.frames_in(2)), ((100, 0), (100, 0)));
    fed.feed(&want, &have(&[(1, 1), (2, 0)], &[(at(1, 1), at(2, 0), CLASSIC, 150, 0)]));
    assert_eq!((fed.frames_out(1), fed.frames_in(2)), ((250, 0), (250, 0)));
}

#[test]
fn a_recreated_rule_starts_at_zero_and_totals_keep_counting() {
    let (want, mut fed) = (want(&[1, 2]), Fed::new());
    let with = |handled| have(&[(1, 0), (2, 0)], &[(at(1, 0), at(2, 0), CLASSIC, handled, 0)]);
    fed.feed(&want, &with(100));
    fed.feed(&want, &with(40));
    assert_eq!(fed.frames_in(2), (140, 0));
}

#[test]
fn a_rule_that_a_dump_misses_is_not_counted_again() {
    let (want, mut fed) = (want(&[1, 2]), Fed::new());
    let with = |handled| have(&[(1, 0), (2, 0)], &[(at(1, 0), at(2, 0), CLASSIC, handled, 0)]);
    fed.feed(&want, &with(1_000_000));
    fed.feed(&want, &have(&[(1, 0), (2, 0)], &[]));
    fed.feed(&want, &with(1_000_001));
    assert_eq!(fed.frames_in(2), (1_000_001, 0));
}

#[test]
fn a_duplicate_rule_counts_as_the_older_one() {
    let (want, mut fed) = (want(&[1, 2]), Fed::new());
    let rule = |handled| (at(1, 0), at(2, 0), CLASSIC, handled, 0);
    fed.feed(&want, &have(&[(1, 0), (2, 0)], &[rule(10)]));
    fed.feed(&want, &have(&[(1, 0), (2, 0)], &[rule(3), rule(13)]));
    fed.feed(&want, &have(&[(1, 0), (2, 0)], &[rule(14)]));
    assert_eq!(fed.frames_in(2), (14, 0));
}

#[test]
fn a_dump_that_overlaps_a_newer_one_is_ignored() {
    let (want, mut totals) = (want(&[1, 2]), Totals::default());
    let with = |handled| have(&[(1, 0), (2, 0)], &[(at(1, 0), at(2, 0), CLASSIC, handled, 0)]);
    let start = Instant::now();
    let second = |second| start + Duration::from_secs(second);
    totals.feed(&want, &with(50), second(2)..second(3));
    totals.feed(&want, &with(40), second(1)..second(4));
    let frames = totals.of(&End::Member(id(2))).frames_in.handled;
    assert_eq!((frames, totals.age(second(5))), (50, Some(Duration::from_secs(2))));
    totals.feed(&want, &with(60), second(4)..second(5));
    assert_eq!(totals.of(&End::Member(id(2))).frames_in.handled, 60);
}

#[test]
fn a_replugged_adapter_keeps_its_totals() {
    let network = network(&[("adapter", "can0")]);
    let mut model = Model::default();
    model.put_network(network.clone());
    let with = |index, bus_off, restarts| {
        let history = History { bus_off, restarts };
        let controller = Some(Box::new(Controller { history, ..Controller::default() }));
        Have { links: vec![Link { controller, ..link(index, "can0", LinkKind::Can) }], ..Have::default() }
    };
    let mut fed = Fed::new();
    for (have, bus_offs, restarts) in [
        (with(5, 2, 1), 2, 1),
        (with(5, 3, 1), 3, 1),
        (Have::default(), 3, 1),
        (with(6, 0, 0), 3, 1),
        (with(6, 1, 1), 4, 2),
        (with(7, 9, 9), 13, 11),
    ] {
        fed.feed(&model.want(), &have);
        assert_eq!(fed.totals.faults(&network.id), Faults { bus_offs, restarts });
    }
}
