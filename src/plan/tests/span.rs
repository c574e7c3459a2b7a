//! The span port: a member of the bus with both ends on the host.

use super::*;
use crate::kernel::{Filter, RuleFlags};

/// A host with one bus of two containers and a span port, with a hub according to these options.
fn spanned(options: &[(&str, &str)]) -> (FakeKernel, Model) {
    let (kernel, mut model) = (FakeKernel::new(), Model::default());
    let network = network(1, &[&[("span", "power")], options].concat());
    for number in 16..18 {
        kernel.add_sandbox(sandbox(number));
        model.put_endpoint(endpoint(number, &network));
    }
    model.put_network(network);
    (kernel, model)
}

fn ends(kernel: &FakeKernel) -> [crate::kernel::Link; 2] {
    let links = kernel.links().unwrap();
    ["cb0101010101", "cs0101010101"].map(|name| links.iter().find(|link| link.name == name).unwrap().clone())
}

#[test]
fn the_span_port_is_a_member_whatever_carries_the_bus() {
    for (options, adapter) in [
        (&[][..], None),
        (&[("frames", "classic")], None),
        (&[("adapter", "can0")], Some(LinkKind::Can)),
        (&[("adapter", "can0"), ("rate", "125k")], Some(LinkKind::Can)),
    ] {
        let (kernel, model) = spanned(options);
        adapter.iter().for_each(|kind| _ = kernel.add_foreign("can0", *kind));
        assert!(heals(&kernel, &model).contains(&"the pair was missing"), "{options:?}");
        let [outer, inner] = ends(&kernel);
        assert_eq!((outer.peer, inner.peer), (Some(inner.index), Some(outer.index)));
        assert_eq!(outer.mtu, if options == [("frames", "classic")] { 16 } else { 72 });
    }
}

#[test]
fn whatever_happens_to_it_is_healed_and_nothing_else_touched() {
    type Fault = fn(&FakeKernel, [crate::kernel::Link; 2]);
    let faults: [(&str, Fault, &str); 9] = [
        (
            "outer end deleted",
            |kernel, [outer, _]| kernel.delete_link(None, outer.index).unwrap(),
            "the pair was missing",
        ),
        (
            "inner end deleted",
            |kernel, [_, inner]| kernel.delete_link(None, inner.index).unwrap(),
            "the pair was missing",
        ),
        (
            "outer end down",
            |kernel, [outer, _]| change(kernel, &outer, |to| to.up = Some(false)),
            "the link was down",
        ),
        (
            "inner end down",
            |kernel, [_, inner]| change(kernel, &inner, |to| to.up = Some(false)),
            "the link was down",
        ),
        (
            "inner end renamed",
            |kernel, [_, inner]| change(kernel, &inner, |to| to.name = Some("other".parse().unwrap())),
            "the link had the wrong name",
        ),
        (
            "alias of the inner end removed",
            |kernel, [_, inner]| change(kernel, &inner, |to| to.alias = Some(String::new())),
            "the link's alias was missing",
        ),
        (
            "inner end moved into a container",
            |kernel, [_, inner]| kernel.move_link(inner.index, None, Some(&sandbox(99)), "x"),
            "the container end was moved away",
        ),
        (
            "outer end moved into a container",
            |kernel, [outer, _]| kernel.move_link(outer.index, None, Some(&sandbox(99)), "x"),
            "the host end was moved away",
        ),
        (
            "rules deleted",
            |kernel, [outer, _]| {
                let rules = kernel.rules().unwrap().into_iter().map(|status| status.rule);
                let of_it =
                    rules.filter(|rule| rule.source == outer.index || rule.destination == outer.index);
                kernel.delete_rules(&of_it.collect::<Vec<_>>()).unwrap();
            },
            "rules were missing",
        ),
    ];
    for (what, happens, reason) in faults {
        let (kernel, model) = spanned(&[]);
        heals(&kernel, &model);
        kernel.add_sandbox(sandbox(99));
        // The other host ends have no alias either: only the span port's own remains may go.
        for number in 16..18 {
            change(&kernel, &host_end(&kernel, &model, number), |to| to.alias = Some(String::new()));
        }
        let before = host_end(&kernel, &model, 16).index;
        happens(&kernel, ends(&kernel));
        let reasons = heals(&kernel, &model);
        assert!(reasons.contains(&reason), "{what}: {reasons:?}");
        assert_eq!(host_end(&kernel, &model, 16).index, before, "{what}");
    }
}

fn change(kernel: &FakeKernel, link: &crate::kernel::Link, change: impl FnOnce(&mut LinkChange)) {
    let mut to = LinkChange { up: Some(true), ..LinkChange::default() };
    change(&mut to);
    kernel.change_link(None, link.index, &to).unwrap();
}

#[test]
fn frames_for_other_hosts_keep_their_time_and_errors_stay_here() {
    let (kernel, model) = spanned(&[]);
    heals(&kernel, &model);
    let [outer, _] = ends(&kernel);
    let rules: Vec<Rule> = kernel.rules().unwrap().into_iter().map(|status| status.rule).collect();
    for rule in &rules {
        let stamped = rule.flags.contains(RuleFlags::SRC_TSTAMP);
        assert_eq!(stamped, rule.destination == outer.index, "{rule:?}");
        let crosses = rule.source == outer.index || rule.destination == outer.index;
        assert!(!(crosses && rule.filter == Filter::ERRORS), "{rule:?}");
    }
    // Two containers and the hub, classic and FD, both ways.
    assert_eq!(rules.iter().filter(|rule| rule.destination == outer.index).count(), 6);
}

#[test]
fn a_network_that_is_created_has_its_span_port_at_once() {
    let (kernel, model) = spanned(&[]);
    let id = model.networks().next().unwrap().id.clone();
    let want = model.want_of(&id);
    let have = Have { rules: Rules::NotRead, ..look(&kernel, &want) };
    let planned = plan(&want, &have, Scope::Network(&id));
    apply(&kernel, &planned.steps, |done| done.result.unwrap());
    assert_eq!(kernel.rules().unwrap().len(), 4, "between it and the hub");
    let have = Have { rules: Rules::NotRead, ..look(&kernel, &want) };
    assert_eq!(
        plan(&want, &have, Scope::Network(&id)),
        Plan::default(),
        "rules that may exist are not added again"
    );
    heals(&kernel, &model);
}

#[test]
fn with_the_option_goes_the_span_port() {
    let (kernel, mut model) = spanned(&[]);
    heals(&kernel, &model);
    model.put_network(network(1, &[]));
    assert!(heals(&kernel, &model).contains(&"link belongs to no known network or endpoint"));
    assert!(
        kernel
            .links()
            .unwrap()
            .iter()
            .all(|link| !link.name.starts_with("cs") && !link.name.starts_with("cb"))
    );
}

#[test]
fn a_foreign_interface_of_its_name_is_a_problem_that_blocks_nothing() {
    let (kernel, model) = spanned(&[]);
    let foreign = kernel.add_foreign("cs0101010101", LinkKind::Vcan);
    heal(&kernel, &model);
    let [problem] = &plan_all(&kernel, &model).problems[..] else { panic!("one") };
    assert_eq!(problem.blocks, Blocks::Nothing);
    assert!(problem.text.contains("cs0101010101 already exists and is not canhub's"), "{}", problem.text);
    kernel.delete_link(None, foreign).unwrap();
    assert_eq!(heals(&kernel, &model), ["the pair was missing", "rules were missing"]);
}
