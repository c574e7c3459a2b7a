//! What canhub relies on in a kernel, as cases that run on the kernel in memory (here) and on real ones (in the
//! guests). If the two differ, the one in memory is wrong, and so is every test of the planner.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use canhub::{
    kernel::{
        Cookie, Filter, Gauge, HOST_NAMESPACE, Kernel, Link, LinkChange, LinkKind, Netem, Pace, PairSpec,
        Refusal, Rule, RuleFlags,
    },
    names::IfName,
};

/// What a case may do to a host besides what canhub does.
pub trait Host {
    /// The kernel under test.
    fn kernel(&self) -> &dyn Kernel;
    /// Creates a sandbox, as Docker does.
    fn add_sandbox(&self, name: &str) -> PathBuf;
    /// Deletes a sandbox and everything in it.
    fn end_sandbox(&self, path: &Path);
}

fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

fn named(kernel: &dyn Kernel, name: &str) -> Option<Link> {
    kernel.links().unwrap().into_iter().find(|link| link.name == name)
}

fn inside(kernel: &dyn Kernel, sandbox: &Path) -> Vec<Link> {
    let links = kernel.sandbox_links(sandbox).unwrap().expect("the sandbox exists");
    links.into_iter().filter(|link| link.kind.is_can()).collect()
}

fn pair(kernel: &dyn Kernel, host: &str, end: &str, sandbox: Option<&Path>) -> canhub::kernel::Result<u32> {
    let (host, end) = (&name(host), &name(end));
    let made = kernel.create_pair(&PairSpec { host, end, sandbox, mtu: 72, alias: "canhub test" })?;
    Ok(made.host)
}

fn rule(source: u32, destination: u32) -> Rule {
    let (flags, filter) = (RuleFlags::IIF_TX_OK, Filter::default());
    Rule { source, destination, flags, filter, max_hops: Some(1) }
}

fn count(kernel: &dyn Kernel, rule: Rule) -> usize {
    kernel.rules().unwrap().iter().filter(|status| status.rule == rule).count()
}

fn cookie(kernel: &dyn Kernel, sandbox: &Path) -> Option<Cookie> {
    let inside = kernel.look_into([sandbox].into()).remove(sandbox).unwrap().unwrap();
    inside.expect("the sandbox exists").cookie
}

/// Each namespace has its own cookie for as long as it exists; a new one at the same path has a different one.
pub fn each_namespace_has_its_own_cookie_even_at_the_same_path(host: &dyn Host) {
    let kernel = host.kernel();
    let [one, two] = ["cks5", "cks6"].map(|name| host.add_sandbox(name));
    let before = [&one, &two].map(|path| cookie(kernel, path).expect("Linux 5.14 or later"));
    assert_ne!(before[0], before[1]);
    assert_eq!([&one, &two].map(|path| cookie(kernel, path)), before.map(Some));
    let found = kernel.namespace(&one).unwrap().map(|found| (found.cookie, found.is_host));
    assert_eq!(found, Some((Some(before[0]), false)));
    assert!(kernel.namespace(Path::new(HOST_NAMESPACE)).unwrap().is_some_and(|found| found.is_host));
    host.end_sandbox(&one);
    assert_eq!(kernel.look_into([one.as_path()].into()).remove(&one).unwrap().unwrap(), None);
    assert_eq!(kernel.namespace(&one).unwrap(), None);
    let one = host.add_sandbox("cks5");
    let after = cookie(kernel, &one).unwrap();
    assert!(!before.contains(&after), "{before:?} {after:?}");
    host.end_sandbox(&one);
    host.end_sandbox(&two);
}

/// A vcan is created up, with its MTU, its alias and an index that only canhub uses; its name is then taken.
pub fn a_vcan_is_made_ready_and_only_once(host: &dyn Host) {
    let kernel = host.kernel();
    let index = kernel.create_vcan(&name("ckv0"), 72, "canhub test").unwrap();
    let link = named(kernel, "ckv0").unwrap();
    assert_eq!((link.index, link.kind, link.mtu, link.up), (index, LinkKind::Vcan, 72, true));
    assert_eq!(link.alias.as_deref(), Some("canhub test"));
    assert!(index >= canhub::kernel::OWN_INDEX_BASE);
    let again = kernel.create_vcan(&name("ckv0"), 72, "canhub test").unwrap_err();
    assert_eq!(again.refusal(), Refusal::Exists, "{again}");
    kernel.delete_link(None, index).unwrap();
    kernel.delete_link(None, index).expect("a missing object is not an error");
    assert_eq!(named(kernel, "ckv0"), None);
}

/// Each end of a pair has the other's index; inside it is up and ready; host indices are even, the others odd.
pub fn a_pair_is_made_inside_a_sandbox(host: &dyn Host) {
    let kernel = host.kernel();
    let sandbox = host.add_sandbox("ck-pair");
    let index = pair(kernel, "ckp0", "can0", Some(&sandbox)).unwrap();
    let (outer, inner) = (named(kernel, "ckp0").unwrap(), inside(kernel, &sandbox).remove(0));
    assert_eq!((outer.index, outer.peer, inner.peer), (index, Some(inner.index), Some(index)));
    assert_eq!((inner.name.as_str(), inner.kind, inner.mtu, inner.up), ("can0", LinkKind::Vxcan, 72, true));
    assert_eq!(inner.alias.as_deref(), Some("canhub test"));
    assert_eq!((outer.index % 2, inner.index % 2), (0, 1));
    host.end_sandbox(&sandbox);
}

/// The host's namespace is a sandbox like any other: both ends of a pair are there, up, and can be changed and paced.
pub fn a_pair_is_made_with_both_ends_on_the_host(host: &dyn Host) {
    let (kernel, here) = (host.kernel(), Path::new(HOST_NAMESPACE));
    assert!(kernel.sandbox_exists(here).unwrap());
    let index = pair(kernel, "ckh0", "ckh1", Some(here)).unwrap();
    let (outer, inner) = (named(kernel, "ckh0").unwrap(), named(kernel, "ckh1").unwrap());
    assert_eq!((outer.index, outer.peer, inner.peer), (index, Some(inner.index), Some(index)));
    assert!(outer.up && inner.up && outer.index % 2 == 0 && inner.index % 2 == 1);
    let seen = |name: &str| inside(kernel, here).into_iter().find(|link| link.name == name);
    assert_eq!(seen("ckh1").map(|link| link.index), Some(inner.index));

    kernel
        .change_link(
            Some(here),
            inner.index,
            &LinkChange { mtu: Some(16), up: Some(true), ..LinkChange::default() },
        )
        .unwrap();
    let pace = Pace { rate: 500_000, classic: 17, fd: 89, burst: 620 };
    kernel.pace(here, inner.index, Some(pace)).unwrap();
    let changed = seen("ckh1").unwrap();
    assert_eq!((changed.mtu, changed.up, changed.qdisc.and_then(|qdisc| qdisc.pace)), (16, true, Some(pace)));
    kernel.delete_link(Some(here), inner.index).unwrap();
    assert_eq!((named(kernel, "ckh0"), seen("ckh1")), (None, None));
}

/// If Docker moves the container end, both ends are on the host, and the container end is down.
pub fn a_pair_is_made_for_docker_to_move(host: &dyn Host) {
    let kernel = host.kernel();
    let index = pair(kernel, "ckd0", "ckd0p", None).unwrap();
    let end = named(kernel, "ckd0p").unwrap();
    assert_eq!((end.peer, end.up), (Some(index), false));
    kernel.delete_link(None, end.index).unwrap();
    assert_eq!(named(kernel, "ckd0"), None, "both ends of a pair are deleted together");
}

/// Deleting either end, or the sandbox, deletes the pair and its rules.
pub fn a_pair_and_its_rules_die_as_one(host: &dyn Host) {
    let kernel = host.kernel();
    let hub = kernel.create_vcan(&name("ckv1"), 72, "canhub test").unwrap();
    let sandbox = host.add_sandbox("ck-dies");
    for way in ["host end", "container end", "sandbox"] {
        let index = pair(kernel, "cke0", "can0", Some(&sandbox)).unwrap();
        kernel.add_rules(&[rule(index, hub), rule(hub, index)]).unwrap();
        assert_eq!(count(kernel, rule(index, hub)), 1);
        match way {
            "host end" => kernel.delete_link(None, index).unwrap(),
            "container end" => kernel.delete_link(Some(&sandbox), inside(kernel, &sandbox)[0].index).unwrap(),
            _ => host.end_sandbox(&sandbox),
        }
        assert_eq!(named(kernel, "cke0"), None, "{way}");
        assert_eq!((count(kernel, rule(index, hub)), count(kernel, rule(hub, index))), (0, 0), "{way}");
    }
    assert_eq!(kernel.sandbox_links(&sandbox).unwrap(), None);
    kernel.delete_link(None, hub).unwrap();
}

/// Equal rules are accepted, listed and removed one by one.
pub fn equal_rules_are_not_refused(host: &dyn Host) {
    let kernel = host.kernel();
    let (a, b) = (
        kernel.create_vcan(&name("ckr0"), 72, "canhub test").unwrap(),
        kernel.create_vcan(&name("ckr1"), 72, "canhub test").unwrap(),
    );
    kernel.add_rules(&[rule(a, b), rule(a, b), rule(b, a)]).unwrap();
    assert_eq!((count(kernel, rule(a, b)), count(kernel, rule(b, a))), (2, 1));
    kernel.delete_rules(&[rule(a, b)]).unwrap();
    assert_eq!((count(kernel, rule(a, b)), count(kernel, rule(b, a))), (1, 1));
    kernel.delete_rules(&[rule(a, b), rule(a, b)]).expect("a missing object is not an error");
    let filtered = Rule { filter: Filter::ERRORS, flags: RuleFlags::ECHO, ..rule(b, a) };
    kernel.add_rules(&[filtered]).unwrap();
    assert_eq!(count(kernel, filtered), 1, "filter and flags are reported as written");
    assert_eq!(count(kernel, rule(b, a)), 1, "and are another rule");
    kernel.delete_link(None, a).unwrap();
    kernel.delete_link(None, b).unwrap();
}

/// A rule needs two existing CAN interfaces; the other rules of its batch are added all the same.
pub fn a_rule_without_its_interfaces_is_refused(host: &dyn Host) {
    let kernel = host.kernel();
    let (a, b) = (
        kernel.create_vcan(&name("ckr2"), 72, "canhub test").unwrap(),
        kernel.create_vcan(&name("ckr3"), 72, "canhub test").unwrap(),
    );
    let ethernet =
        kernel.links().unwrap().into_iter().find(|link| link.kind == LinkKind::Other).unwrap().index;
    for destination in [0x7ff_fff0, ethernet] {
        let refused = kernel.add_rules(&[rule(a, destination)]).unwrap_err();
        assert_eq!(refused.refusal(), Refusal::Gone, "{refused}");
    }
    assert!(kernel.add_rules(&[rule(a, 0x7ff_fff0), rule(a, b)]).is_err());
    assert_eq!(count(kernel, rule(a, b)), 1);
    kernel.delete_link(None, a).unwrap();
    kernel.delete_link(None, b).unwrap();
}

/// A rule whose frames would never pass is refused: with a hop limit of 0 or above can-gw's, or from an interface to itself
/// without `IIF_TX_OK` (since Linux 6.3).
pub fn a_rule_that_could_pass_nothing_is_refused(host: &dyn Host) {
    let kernel = host.kernel();
    let (a, b) = (
        kernel.create_vcan(&name("ckr4"), 72, "canhub test").unwrap(),
        kernel.create_vcan(&name("ckr5"), 72, "canhub test").unwrap(),
    );
    let with_hops = |hops| Rule { max_hops: Some(hops), ..rule(a, b) };
    for refused in [with_hops(0), with_hops(200), Rule { flags: RuleFlags::empty(), ..rule(a, a) }] {
        assert!(kernel.add_rules(&[refused]).is_err(), "{refused:?}");
        assert_eq!(count(kernel, refused), 0, "{refused:?}");
    }
    kernel.add_rules(&[rule(a, a)]).unwrap();
    assert_eq!(count(kernel, rule(a, a)), 1);
    kernel.delete_link(None, a).unwrap();
    kernel.delete_link(None, b).unwrap();
}

/// An MTU that is none of CAN's is refused, and so is a pace without a burst; what was set stays.
pub fn a_change_that_is_refused_changes_nothing(host: &dyn Host) {
    let kernel = host.kernel();
    let sandbox = host.add_sandbox("ck-mtu");
    let index = pair(kernel, "cku0", "can0", Some(&sandbox)).unwrap();
    for mtu in [0, 15, 20, 73, 4000] {
        let change = LinkChange { mtu: Some(mtu), ..LinkChange::default() };
        assert!(kernel.change_link(None, index, &change).is_err(), "{mtu}");
        assert_eq!(named(kernel, "cku0").unwrap().mtu, 72, "{mtu}");
    }
    let end = inside(kernel, &sandbox)[0].index;
    let good = Pace { rate: 125_000, classic: 17, fd: 31, burst: 72 };
    kernel.pace(&sandbox, end, Some(good)).unwrap();
    assert!(kernel.pace(&sandbox, end, Some(Pace { burst: 0, ..good })).is_err());
    let pace = inside(kernel, &sandbox)[0].qdisc.clone().and_then(|qdisc| qdisc.pace);
    assert_eq!(pace, Some(good));
    host.end_sandbox(&sandbox);
}

/// Name, MTU, alias and state can change on a link that is up; its index and its rules stay.
pub fn a_link_that_is_up_can_be_changed(host: &dyn Host) {
    let kernel = host.kernel();
    let sandbox = host.add_sandbox("ck-change");
    let index = pair(kernel, "ckc0", "can0", Some(&sandbox)).unwrap();
    let hub = kernel.create_vcan(&name("ckv2"), 72, "canhub test").unwrap();
    kernel.add_rules(&[rule(index, hub)]).unwrap();
    let change = LinkChange {
        name: Some(name("ckc1")),
        mtu: Some(16),
        alias: Some("canhub other".into()),
        up: Some(true),
    };
    kernel.change_link(None, index, &change).unwrap();
    let link = named(kernel, "ckc1").unwrap();
    assert_eq!((link.index, link.mtu, link.up), (index, 16, true));
    assert_eq!(link.alias.as_deref(), Some("canhub other"));
    assert_eq!(count(kernel, rule(index, hub)), 1);

    let end = inside(kernel, &sandbox)[0].index;
    kernel
        .change_link(
            Some(&sandbox),
            end,
            &LinkChange { name: Some(name("can5")), up: Some(false), ..LinkChange::default() },
        )
        .unwrap();
    assert_eq!((inside(kernel, &sandbox)[0].name.as_str(), inside(kernel, &sandbox)[0].up), ("can5", false));
    let taken = LinkChange { name: Some(name("ckv2")), ..LinkChange::default() };
    assert_eq!(kernel.change_link(None, index, &taken).unwrap_err().refusal(), Refusal::Exists);
    assert_eq!(kernel.change_link(None, 0x7ff_fff0, &change).unwrap_err().refusal(), Refusal::Gone);
    host.end_sandbox(&sandbox);
    kernel.delete_link(None, hub).unwrap();
}

/// A pace is reported as it was set, can be changed in place, and replaces any other qdisc; the default can be restored,
/// and foreign qdiscs stay.
pub fn a_pace_is_set_changed_and_taken_away(host: &dyn Host) {
    let kernel = host.kernel();
    let sandbox = host.add_sandbox("ck-pace");
    pair(kernel, "ckq0", "can0", Some(&sandbox)).unwrap();
    let index = inside(kernel, &sandbox)[0].index;
    let pace = || inside(kernel, &sandbox)[0].qdisc.clone().and_then(|qdisc| qdisc.pace);
    assert_eq!(pace(), None);
    kernel.pace(&sandbox, index, None).expect("none is there already");
    for rate in [500_000, 10_000, 1_000_000, 83_328] {
        let wanted = Pace { rate, classic: 17, fd: 31, burst: 72 };
        kernel.pace(&sandbox, index, Some(wanted)).unwrap();
        assert_eq!(pace(), Some(wanted));
    }
    kernel.pace(&sandbox, index, None).unwrap();
    assert_eq!(inside(kernel, &sandbox)[0].qdisc, None);
    let gone = kernel.pace(&sandbox, 0x7ff_fff0, Some(Pace { rate: 8, classic: 17, fd: 31, burst: 72 }));
    assert_eq!(gone.unwrap_err().refusal(), Refusal::Gone);
    host.end_sandbox(&sandbox);
    let gone = kernel.pace(&sandbox, index, Some(Pace { rate: 8, classic: 17, fd: 31, burst: 72 }));
    assert_eq!(gone.unwrap_err().refusal(), Refusal::Gone);
}

/// netem is reported as it was set, beside a pace and without one, on both ends of a pair; neither disturbs the other.
pub fn netem_is_set_changed_and_taken_away_with_and_without_a_pace(host: &dyn Host) {
    let kernel = host.kernel();
    kernel.ensure_netem().unwrap();
    let sandbox = host.add_sandbox("ck-netem");
    let here = Path::new(HOST_NAMESPACE);
    let outer = pair(kernel, "ckm0", "can0", Some(&sandbox)).unwrap();
    let index = inside(kernel, &sandbox)[0].index;
    let pace = Pace { rate: 500_000, classic: 17, fd: 31, burst: 72 };
    let (slow, lossy) = (
        Netem { delay: Duration::from_micros(2_500), limit: 16_384, ..Netem::default() },
        Netem {
            delay: Duration::from_secs(10),
            jitter: Duration::from_secs(2),
            limit: 96_000,
            loss: 1 << 30,
            duplicate: u32::MAX,
            corrupt: 1,
        },
    );
    let of = |link: &Link| link.qdisc.as_ref().map(|qdisc| (qdisc.pace, qdisc.netem));
    let check = |wanted: (Option<Pace>, Option<Netem>)| {
        let wanted = (wanted != (None, None)).then_some(wanted);
        assert_eq!(inside(kernel, &sandbox)[0].qdisc.as_ref().map(|qdisc| qdisc.ours), wanted.map(|_| true));
        assert_eq!(of(&inside(kernel, &sandbox)[0]), wanted);
    };
    // Each of the two is set, changed and ended while the other one is there, and while it is not.
    let states = [None, Some(slow), Some(lossy)];
    for other in [None, Some(Pace { rate: 83_328, ..pace }), Some(pace)] {
        kernel.pace(&sandbox, index, other).unwrap();
        for netem in states.into_iter().chain(states) {
            kernel.netem(&sandbox, index, netem).unwrap();
            check((other, netem));
        }
        for next in [None, Some(pace), Some(Pace { rate: 8_000, ..pace }), None, other] {
            kernel.pace(&sandbox, index, next).unwrap();
            check((next, Some(lossy)));
        }
        kernel.netem(&sandbox, index, None).unwrap();
        check((other, None));
    }
    kernel.netem(here, outer, Some(slow)).unwrap();
    assert_eq!(of(&named(kernel, "ckm0").unwrap()), Some((None, Some(slow))));
    kernel.netem(here, outer, None).unwrap();
    assert_eq!(named(kernel, "ckm0").unwrap().qdisc, None);
    assert_eq!(kernel.netem(&sandbox, 0x7ff_fff0, Some(slow)).unwrap_err().refusal(), Refusal::Gone);
    host.end_sandbox(&sandbox);
    assert_eq!(kernel.netem(&sandbox, index, Some(slow)).unwrap_err().refusal(), Refusal::Gone);
}

/// The counters of an adapter and of ends can be read; a deleted end has none, and without the adapter there is an error.
pub fn a_queue_and_its_senders_are_counted(host: &dyn Host) {
    let kernel = host.kernel();
    let hub = kernel.create_vcan(&name("ckg0"), 72, "canhub test").unwrap();
    let sandbox = host.add_sandbox("ck-gauge");
    let index = pair(kernel, "ckg1", "can0", Some(&sandbox)).unwrap();
    let gauge = kernel.gauge(hub, &[index, 0x7ff_fff0]).unwrap();
    assert_eq!(gauge, Gauge { queued: 0, sent: 0, from: vec![Some(0), None] });
    let many: Vec<u32> = std::iter::repeat_n(index, 300).collect();
    assert_eq!(kernel.gauge(hub, &many).unwrap().from, vec![Some(0); 300]);
    assert_eq!(kernel.gauge(0x7ff_fff0, &[index]).unwrap_err().refusal(), Refusal::Gone);
    host.end_sandbox(&sandbox);
    kernel.delete_link(None, hub).unwrap();
}

/// A pair that cannot be created leaves nothing behind: without a sandbox, or with a name taken on either side.
pub fn a_pair_that_cannot_be_made_leaves_nothing(host: &dyn Host) {
    let kernel = host.kernel();
    let nowhere = Path::new("/run/canhub-no-such-sandbox");
    assert_eq!(kernel.sandbox_links(nowhere).unwrap(), None);
    assert_eq!(pair(kernel, "ckn0", "can0", Some(nowhere)).unwrap_err().refusal(), Refusal::Gone);
    let sandbox = host.add_sandbox("ck-taken");
    pair(kernel, "ckn1", "can0", Some(&sandbox)).unwrap();
    assert_eq!(pair(kernel, "ckn2", "can0", Some(&sandbox)).unwrap_err().refusal(), Refusal::Exists);
    assert_eq!(pair(kernel, "ckn1", "can1", Some(&sandbox)).unwrap_err().refusal(), Refusal::Exists);
    let left: Vec<String> = kernel
        .links()
        .unwrap()
        .into_iter()
        .map(|link| link.name)
        .filter(|name| name.starts_with("ckn"))
        .collect();
    assert_eq!(left, ["ckn1"]);
    assert_eq!(inside(kernel, &sandbox).len(), 1);
    host.end_sandbox(&sandbox);
}

/// Declares one test per case, on the host that `$new` creates.
#[macro_export]
macro_rules! kernel_cases {
    ($new:expr) => {
        $crate::kernel_cases! { $new;
            a_vcan_is_made_ready_and_only_once, a_pair_is_made_inside_a_sandbox,
            a_pair_is_made_with_both_ends_on_the_host,
            a_pair_is_made_for_docker_to_move, a_pair_and_its_rules_die_as_one,
            equal_rules_are_not_refused, a_rule_without_its_interfaces_is_refused,
            a_link_that_is_up_can_be_changed, a_pace_is_set_changed_and_taken_away,
            netem_is_set_changed_and_taken_away_with_and_without_a_pace,
            a_queue_and_its_senders_are_counted, a_pair_that_cannot_be_made_leaves_nothing,
            each_namespace_has_its_own_cookie_even_at_the_same_path,
            a_rule_that_could_pass_nothing_is_refused, a_change_that_is_refused_changes_nothing
        }
    };
    ($new:expr; $($case:ident),+) => {
        $(#[test] fn $case() { cases::$case(&$new) })+
    };
}
