//! Delay, loss and the like: on which end, and how they are healed.

use super::*;
use crate::kernel::{HOST_NAMESPACE, Netem, Qdisc};

/// A host with one bus of this network and one container for each of these options.
fn bus(options: &[(&str, &str)], own: &[&[(&str, &str)]]) -> (FakeKernel, Model) {
    let (kernel, mut model) = (FakeKernel::new(), Model::default());
    let network = network(1, options);
    for (number, own) in (16..).zip(own) {
        kernel.add_sandbox(sandbox(number));
        let shapes = shapes(own);
        model.put_endpoint(Endpoint { shapes, ..endpoint(number, &network) });
    }
    model.put_network(network);
    (kernel, model)
}

fn shapes(options: &[(&str, &str)]) -> Shapes {
    Shapes::parse(&options.iter().copied().collect()).unwrap()
}

fn end(kernel: &FakeKernel, number: u8) -> crate::kernel::Link {
    kernel.sandbox_links(&sandbox(number)).unwrap().unwrap().remove(0)
}

fn netem(qdisc: Option<Qdisc>) -> Option<Netem> {
    qdisc.and_then(|qdisc| qdisc.netem)
}

/// What happens to what a container sends, and to what it is to hear.
fn both(kernel: &FakeKernel, model: &Model, number: u8) -> (Option<Netem>, Option<Netem>) {
    (netem(end(kernel, number).qdisc), netem(host_end(kernel, model, number).qdisc))
}

/// The reasons of a heal, without those of aliases, which say that a network has options.
fn heals_qdiscs(kernel: &FakeKernel, model: &Model) -> Vec<&'static str> {
    let reasons = heals(kernel, model).into_iter();
    reasons.filter(|reason| *reason != Reason::LinkAlias.as_str()).collect()
}

#[test]
fn what_a_container_sends_is_shaped_on_its_end_and_what_it_is_to_hear_on_the_host() {
    let own: [&[_]; 4] =
        [&[], &[("loss", "0%")], &[("rx-loss", "20%")], &[("loss", "0%"), ("rx-delay", "0ms")]];
    let (kernel, model) = bus(&[("loss", "10%"), ("rx-delay", "5ms")], &own);
    heals(&kernel, &model);
    let of = |options: &[(&str, &str)]| {
        let shapes = shapes(options);
        (shapes.tx.netem(), shapes.rx.netem())
    };
    for (number, expected) in (16..).zip([
        of(&[("loss", "10%"), ("rx-delay", "5ms")]),
        of(&[("rx-delay", "5ms")]),
        of(&[("loss", "10%"), ("rx-delay", "5ms"), ("rx-loss", "20%")]),
        of(&[]),
    ]) {
        assert_eq!(both(&kernel, &model, number), expected, "container {number}");
    }
}

#[test]
fn a_shape_and_a_pace_share_the_end_of_a_container() {
    let (kernel, mut model) = bus(&[("rate", "500k"), ("delay", "5ms")], &[&[]]);
    heals(&kernel, &model);
    let qdisc = end(&kernel, 16).qdisc.unwrap();
    assert_eq!(qdisc.pace.map(|pace| pace.rate), Some(500_000));
    assert_eq!(qdisc.netem, shapes(&[("delay", "5ms")]).tx.netem());
    // One changes, the other stays.
    model.put_network(network(1, &[("rate", "500k"), ("delay", "6ms")]));
    assert_eq!(heals_qdiscs(&kernel, &model), ["the qdisc had the wrong shape"]);
    model.put_network(network(1, &[("rate", "250k"), ("delay", "6ms")]));
    assert_eq!(heals_qdiscs(&kernel, &model), ["the qdisc had the wrong rate"]);
    model.put_network(network(1, &[("delay", "6ms")]));
    assert_eq!(heals_qdiscs(&kernel, &model), ["the qdisc was not needed"]);
    assert_eq!(netem(end(&kernel, 16).qdisc), shapes(&[("delay", "6ms")]).tx.netem());
    model.put_network(network(1, &[("rate", "250k"), ("delay", "6ms")]));
    assert_eq!(heals_qdiscs(&kernel, &model), ["the qdisc was missing"]);
    model.put_network(network(1, &[("rate", "250k")]));
    assert_eq!(heals_qdiscs(&kernel, &model), ["the qdisc was not needed"]);
    assert_eq!(end(&kernel, 16).qdisc.unwrap().pace.map(|pace| pace.rate), Some(250_000));
}

#[test]
fn a_shape_is_restored_with_its_reason_and_taken_away_when_nobody_wants_it() {
    let (kernel, mut model) = bus(&[("loss", "10%"), ("rx-loss", "20%")], &[&[], &[]]);
    heals(&kernel, &model);
    let before = both(&kernel, &model, 16);
    let (inner, outer) = (end(&kernel, 16).index, host_end(&kernel, &model, 16).index);
    for (place, index) in [(sandbox(16), inner), (HOST_NAMESPACE.into(), outer)] {
        kernel.set_qdisc(&place, index, None);
        assert_eq!(heals_qdiscs(&kernel, &model), ["the qdisc was missing"]);
        kernel.set_qdisc(&place, index, Some("prio"));
        assert_eq!(heals_qdiscs(&kernel, &model), ["the qdisc was replaced"]);
        kernel.modify_qdisc(&place, index);
        assert_eq!(heals_qdiscs(&kernel, &model), ["the qdisc was replaced"]);
        kernel.netem(&place, index, Some(Netem { limit: 1, ..Netem::default() })).unwrap();
        assert_eq!(heals_qdiscs(&kernel, &model), ["the qdisc had the wrong shape"]);
        assert_eq!(both(&kernel, &model, 16), before);
    }
    model.put_network(network(1, &[]));
    assert_eq!(heals_qdiscs(&kernel, &model), ["the qdisc was not needed"; 4]);
    assert_eq!((end(&kernel, 16).qdisc, host_end(&kernel, &model, 16).qdisc), (None, None));
    kernel.set_qdisc(&sandbox(16), inner, Some("prio"));
    assert_eq!(heals_qdiscs(&kernel, &model), [""; 0], "a foreign one is nobody's business");
}

#[test]
fn a_modified_qdisc_of_canhub_is_removed_when_nothing_is_wanted() {
    let (kernel, mut model) = bus(&[("loss", "10%")], &[&[]]);
    heals(&kernel, &model);
    kernel.modify_qdisc(&sandbox(16), end(&kernel, 16).index);
    model.put_network(network(1, &[]));
    assert_eq!(heals_qdiscs(&kernel, &model), ["the qdisc was not needed"]);
    assert_eq!(end(&kernel, 16).qdisc, None);
}

#[test]
fn what_was_asked_for_and_is_not_known_stays_as_it_is() {
    let (kernel, mut model) = bus(&[("loss", "10%"), ("rx-loss", "20%")], &[&[], &[]]);
    heals(&kernel, &model);
    let before = both(&kernel, &model, 16);
    // Docker's API has yet to tell the network's options.
    model.put_network(Network { provisional: true, ..network(1, &[]) });
    assert_eq!(heals_qdiscs(&kernel, &model), [""; 0]);
    // Those of one container are lost, the network has none.
    model.put_network(network(1, &[]));
    let lost = Shapes { lost: true, ..Shapes::default() };
    model.put_endpoint(Endpoint { shapes: lost, ..endpoint(16, &network(1, &[])) });
    assert_eq!(heals_qdiscs(&kernel, &model), ["the qdisc was not needed"; 2], "of the other container");
    assert_eq!(both(&kernel, &model, 16), before);
}

#[test]
fn without_its_module_nothing_is_shaped_and_it_is_a_problem() {
    let (kernel, model) = bus(&[("loss", "10%")], &[&[]]);
    let want = model.want();
    let why = "this kernel has no sch_netem".to_owned();
    let have = Have { cannot_shape: Some(why.clone()), ..look(&kernel, &want) };
    let plan = plan(&want, &have, Scope::Everything);
    assert!(!plan.steps.iter().any(|step| matches!(step.action, Action::Netem { .. })));
    let [problem] = &plan.problems[..] else { panic!("{:?}", plan.problems) };
    assert_eq!((&problem.text, problem.blocks), (&why, Blocks::Nothing));
    let (kernel, model) = bus(&[], &[&[]]);
    let have = Have { cannot_shape: Some(why), ..look(&kernel, &model.want()) };
    assert_eq!(super::plan(&model.want(), &have, Scope::Everything).problems, []);
}

#[test]
fn only_the_end_that_docker_moves_arrives_without_its_shape() {
    let (kernel, model) = bus(&[("loss", "10%"), ("rx-loss", "20%")], &[&[]]);
    heals(&kernel, &model);
    let (inner, outer) = (end(&kernel, 16).index, host_end(&kernel, &model, 16).index);
    for (awaited, of_container) in [(true, Reason::EndArrived), (false, Reason::QdiscMissing)] {
        kernel.set_qdisc(&sandbox(16), inner, None);
        kernel.set_qdisc(HOST_NAMESPACE.as_ref(), outer, None);
        let mut want = model.want();
        want.buses[0].members[0].awaited = awaited;
        let plan = plan(&want, &look(&kernel, &want), Scope::Everything);
        let reason_on = |wanted| {
            plan.steps.iter().find_map(|step| match step.action {
                Action::Netem { end, .. } if end == wanted => Some(step.reason),
                _ => None,
            })
        };
        assert_eq!(reason_on(PairEnd::Container), Some(of_container));
        assert_eq!(reason_on(PairEnd::Host), Some(Reason::QdiscMissing));
    }
}

#[test]
fn a_paced_end_that_docker_moves_arrives_without_its_shape() {
    let (kernel, mut model) = bus(&[("rate", "500k")], &[&[]]);
    heals(&kernel, &model);
    model.put_network(network(1, &[("rate", "500k"), ("loss", "10%")]));
    for (awaited, reason) in [(true, Reason::EndArrived), (false, Reason::QdiscMissing)] {
        let mut want = model.want();
        want.buses[0].members[0].awaited = awaited;
        let plan = plan(&want, &look(&kernel, &want), Scope::Everything);
        let shaped = plan.steps.iter().find(|step| matches!(step.action, Action::Netem { .. })).unwrap();
        assert_eq!(shaped.reason, reason);
    }
}

#[test]
fn without_its_module_an_end_that_exists_is_not_shaped_and_what_is_not_wanted_still_goes() {
    let (kernel, mut model) = bus(&[("loss", "10%"), ("rx-loss", "20%")], &[&[]]);
    heals(&kernel, &model);
    let lacking = |model: &Model| {
        let want = model.want();
        let have = Have { cannot_shape: Some("no sch_netem".to_owned()), ..look(&kernel, &want) };
        let steps = plan(&want, &have, Scope::Everything).steps.into_iter();
        steps.filter(|step| matches!(step.action, Action::Netem { .. })).count()
    };
    let (inner, outer) = (end(&kernel, 16).index, host_end(&kernel, &model, 16).index);
    for (place, index) in [(sandbox(16), inner), (HOST_NAMESPACE.into(), outer)] {
        kernel.netem(&place, index, Some(Netem { limit: 1, ..Netem::default() })).unwrap();
    }
    assert_eq!(lacking(&model), 0);
    model.put_network(network(1, &[]));
    assert_eq!(lacking(&model), 2);
}

#[test]
fn a_missing_module_is_a_problem_of_a_bus_that_shapes_either_way_and_of_no_other() {
    for (options, own, problems) in [
        (&[("loss", "10%")][..], &[][..], 1),
        (&[("rx-loss", "10%")], &[], 1),
        (&[], &[("rx-delay", "1ms")], 1),
        (&[("loss", "0%")], &[], 0),
        (&[("rx-loss", "10%")], &[("rx-loss", "0%")], 0),
    ] {
        let (kernel, model) = bus(options, &[own]);
        let have = Have { cannot_shape: Some("no sch_netem".to_owned()), ..look(&kernel, &model.want()) };
        let plan = plan(&model.want(), &have, Scope::Everything);
        assert_eq!(plan.problems.len(), problems, "{options:?} {own:?}");
    }
}
