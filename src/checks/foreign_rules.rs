//! can-gw rules of other programs on canhub's interfaces.

use std::collections::BTreeMap;

use super::{Finding, Group};
use crate::{
    kernel::{Filter, Link, LinkKind, Rule, RuleFlags, RuleStatus},
    names::NetworkId,
    network::Alias,
    plan::is_ours,
    status::BusStatus,
};

const GROUP: Group = Group::Leftovers;

/// Foreign rules on our links.
pub fn look(links: &[Link], rules: &[RuleStatus], buses: &[BusStatus]) -> Vec<Finding> {
    let by_index: BTreeMap<u32, &Link> = links.iter().map(|link| (link.index, link)).collect();
    let mut foreign: Vec<Finding> = rules
        .iter()
        .filter_map(|status| {
            let (source, destination) =
                (by_index.get(&status.rule.source)?, by_index.get(&status.rule.destination)?);
            let is_foreign = is_foreign(source, destination, status.modifies, buses);
            is_foreign.then(|| of_rule(source, destination, status))
        })
        .collect();
    if foreign.is_empty() {
        foreign.push(Finding::pass(GROUP, "foreign-rules", "no foreign can-gw rules on canhub's interfaces"));
    }
    foreign
}

fn is_foreign(source: &Link, destination: &Link, modifies: bool, buses: &[BusStatus]) -> bool {
    if !is_ours(source) && !is_ours(destination) {
        return false;
    }
    let alias = |link: &Link| link.alias.as_deref().and_then(Alias::parse);
    // Without an alias, a link is ours by its index; the plan finds out whose it is.
    if [source, destination].into_iter().any(|link| is_ours(link) && alias(link).is_none()) {
        return false;
    }
    let bus_of = |link: &Link| -> Option<NetworkId> {
        let carried = |bus: &&BusStatus| {
            let adapter = bus.adapter.as_ref().map(|adapter| adapter.interface.as_str());
            bus.hub == link.name || adapter == Some(link.name.as_str())
        };
        alias(link).map(|alias| alias.network).or_else(|| Some(buses.iter().find(carried)?.network.clone()))
    };
    let (from, to) = (bus_of(source), bus_of(destination));
    // An adapter that is selected by identity and whose driver reports nothing looks like a foreign interface.
    let unknown = |network: &Option<NetworkId>| {
        let marked = |bus: &BusStatus| bus.hub.contains(':') && bus.adapter.is_none();
        buses.iter().any(|bus| Some(&bus.network) == network.as_ref() && marked(bus))
    };
    let one_bus = match (&from, &to) {
        (Some(from), Some(to)) => from == to,
        _ => unknown(&from) || unknown(&to),
    };
    let of_member = [source, destination]
        .into_iter()
        .any(|link| alias(link).is_some_and(|alias| alias.endpoint.is_some()));
    modifies || !one_bus || !of_member
}

/// What such a rule carries. can-gw forwards a frame once (all rules of canhub have a hop limit of one), so a rule
/// never picks up a frame that another rule delivered.
fn of_rule(source: &Link, destination: &Link, status: &RuleStatus) -> Finding {
    let (from, to) = (&source.name, &destination.name);
    let is_member = |link: &Link| link.kind == LinkKind::Vxcan && is_ours(link);
    let effect = match (is_member(source), is_member(destination)) {
        (true, true) => {
            format!("{to}'s container receives frames from {from}'s container twice, or from another bus")
        }
        (true, false) => format!("{to} receives a copy of every frame that {from}'s container sends"),
        (false, true) => {
            format!("{to}'s container receives a copy of every frame that is sent on {from} itself")
        }
        (false, false) => format!(
            "it carries only frames that programs on the host send on {from} or that its adapter receives: frames that canhub forwards to {from} go no further, and frames that reach {to} this way reach no container, because can-gw forwards a frame once"
        ),
    };
    let modifies = if status.modifies { "; it also modifies them" } else { "" };
    let sentence = format!("foreign can-gw rule from {from} to {to}: {effect}{modifies}");
    let finding = Finding::warning(GROUP, "foreign-rules", sentence).about(format!("{from} to {to}"));
    let finding = match [source, destination].into_iter().find(|link| !is_ours(link)) {
        Some(stranger) if !is_member(source) && !is_member(destination) => finding.hint(format!(
            "to put {} on the bus, create the network with `-o adapter={}`; to connect two buses, run a gateway in a container that is on both",
            stranger.name, stranger.name
        )),
        _ => finding,
    };
    match status.modifies {
        false => finding.by(delete(from, to, status.rule)),
        true => finding.hint(format!(
            "`cangw -L` shows the rule (-s {from} -d {to}); delete it with the same options and -D instead of -A"
        )),
    }
}

/// The `cangw` command that deletes a rule.
fn delete(from: &str, to: &str, rule: Rule) -> String {
    let mut words = format!("cangw -D -s {from} -d {to}");
    let flags = [
        (RuleFlags::FD, " -X"),
        (RuleFlags::ECHO, " -e"),
        (RuleFlags::SRC_TSTAMP, " -t"),
        (RuleFlags::IIF_TX_OK, " -i"),
    ];
    flags.iter().filter(|(flag, _)| rule.flags.contains(*flag)).for_each(|(_, word)| words.push_str(word));
    if rule.filter != Filter::default() {
        words.push_str(&format!(" -f {:X}:{:X}", rule.filter.id, rule.filter.mask));
    }
    if let Some(hops) = rule.max_hops {
        words.push_str(&format!(" -l {hops}"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Level;

    fn link(index: u32, name: &str, alias: Option<&str>) -> Link {
        Link {
            index,
            name: name.into(),
            kind: if name.starts_with("ch") { LinkKind::Vxcan } else { LinkKind::Vcan },
            mtu: 72,
            up: true,
            alias: alias.map(str::to_owned),
            peer: None,
            txqueuelen: 1000,
            controller: None,
            qdisc: None,
            counters: None,
        }
    }

    #[test]
    fn only_rules_between_members_of_one_bus_are_ours() {
        let net = "a1".repeat(32);
        let hub = format!("canhub net={net} name=can0 frames=fd");
        let end = |id: &str| format!("{hub} ep={} if=can0", id.repeat(32));
        let links = [
            link(1, "vcan7", Some(&hub)),
            link(2, "ch2", Some(&end("b2"))),
            link(3, "ch3", Some(&end("c3"))),
            link(4, "foreign", None),
            link(5, "stranger", Some("uplink")),
        ];
        let rule = |source, destination, modifies| RuleStatus {
            rule: Rule {
                source,
                destination,
                flags: RuleFlags::ECHO | RuleFlags::FD,
                filter: Filter { id: 0x123, mask: 0x7ff },
                max_hops: Some(1),
            },
            handled: 0,
            dropped: 0,
            modifies,
        };
        let ours = [rule(1, 2, false), rule(2, 1, false), rule(2, 3, false), rule(4, 5, false)];
        let [sound] = &look(&links, &ours, &[])[..] else { panic!("one") };
        assert_eq!(sound.level, Level::Pass);
        for (rule, why) in [
            (rule(1, 4, false), "from our hub to a foreign link"),
            (rule(4, 2, false), "from a foreign link to a member"),
            (rule(2, 3, true), "it modifies frames"),
        ] {
            let findings = look(&links, &[rule], &[]);
            assert_eq!((findings[0].level, findings[0].is_fixable()), (Level::Warning, false), "{why}");
        }
        let between_hubs = look(&links, &[rule(1, 4, false)], &[]).remove(0);
        assert!(
            between_hubs.sentence.contains("carries only frames that programs on the host send on vcan7")
        );
        assert!(!between_hubs.sentence.contains("twice"), "{}", between_hubs.sentence);
        assert!(between_hubs.hint.is_some_and(|hint| hint.contains("-o adapter=foreign")));
        let to_member = look(&links, &[rule(4, 2, false)], &[]).remove(0);
        assert!(to_member.sentence.contains("ch2's container receives a copy"), "{}", to_member.sentence);
        let modifying = look(&links, &[rule(2, 3, true)], &[]).remove(0);
        assert!(modifying.fix.is_none() && modifying.hint.is_some_and(|hint| hint.contains("-s ch2 -d ch3")));
        let foreign = look(&links, &[rule(1, 4, false)], &[]).remove(0);
        assert_eq!(foreign.fix.as_deref(), Some("cangw -D -s vcan7 -d foreign -X -e -f 123:7FF -l 1"));
    }
}
