//! The pace of container ends: the desired one, and how it is healed.

use std::collections::BTreeMap;

use super::*;
use crate::{
    kernel::{Controller, ControllerChange, Identity, Pace},
    pace::Rate,
};

/// An adapter that its operator has brought up with this bitrate.
fn plug(kernel: &FakeKernel, bitrate: Option<u32>) -> u32 {
    let index = kernel.plug(Identity::default(), Controller::default());
    if let Some(bitrate) = bitrate {
        set_bitrate(kernel, index, bitrate);
    }
    index
}

fn set_bitrate(kernel: &FakeKernel, index: u32, bitrate: u32) {
    let change = ControllerChange { timing: Some((bitrate, None)), ..ControllerChange::default() };
    kernel.configure(index, &change, true).unwrap();
}

/// A host with one bus and one container for each of these rates.
fn bus(options: &[(&str, &str)], rates: &[Option<Rate>]) -> (FakeKernel, Model) {
    let (kernel, mut model) = (FakeKernel::new(), Model::default());
    let network = network(1, options);
    for (number, rate) in (16..).zip(rates) {
        kernel.add_sandbox(sandbox(number));
        model.put_endpoint(Endpoint { rate: *rate, ..endpoint(number, &network) });
    }
    model.put_network(network);
    (kernel, model)
}

fn end(kernel: &FakeKernel, number: u8) -> crate::kernel::Link {
    kernel.sandbox_links(&sandbox(number)).unwrap().unwrap().remove(0)
}

fn pace(kernel: &FakeKernel, number: u8) -> Option<Pace> {
    end(kernel, number).qdisc.and_then(|qdisc| qdisc.pace)
}

fn rates(kernel: &FakeKernel, members: usize) -> Vec<Option<u32>> {
    (16..).take(members).map(|number| pace(kernel, number).map(|pace| pace.rate)).collect()
}

#[test]
fn containers_get_the_pace_of_the_adapter_or_the_requested_one() {
    let asked = [None, Some(Rate::Off), Some(Rate::Bits(125_000)), Some(Rate::Bits(1_000_000))];
    for (options, bitrate, expected) in [
        (&[("adapter", "can0")][..], Some(500_000), [Some(500_000), None, Some(125_000), Some(500_000)]),
        // As requested, even before it is configured.
        (
            &[("adapter", "can0"), ("bitrate", "250000")],
            Some(500_000),
            [Some(250_000), None, Some(125_000), Some(250_000)],
        ),
        (
            &[("adapter", "can0"), ("rate", "100k")],
            Some(500_000),
            [Some(100_000), None, Some(125_000), Some(500_000)],
        ),
        (&[("adapter", "can0"), ("rate", "off")], Some(500_000), [None, None, Some(125_000), Some(500_000)]),
        // Down and without a bitrate: only explicit rates are paced.
        (&[("adapter", "can0")], None, [None, None, Some(125_000), Some(1_000_000)]),
        (&[], Some(500_000), [None, None, Some(125_000), Some(1_000_000)]),
        (&[("rate", "10k")], Some(500_000), [Some(10_000), None, Some(125_000), Some(1_000_000)]),
    ] {
        let (kernel, model) = bus(options, &asked);
        plug(&kernel, bitrate);
        heal(&kernel, &model);
        assert_eq!(rates(&kernel, 4), expected, "{options:?}");
        assert_eq!(plan_all(&kernel, &model).steps, [], "a second plan is empty: {options:?}");
    }
}

#[test]
fn a_changed_pace_is_restored_with_its_reason() {
    let (kernel, model) = bus(&[("adapter", "can0")], &[None, None]);
    let adapter = plug(&kernel, Some(500_000));
    heals(&kernel, &model);
    let (index, wanted) = (end(&kernel, 16).index, pace(&kernel, 16));
    let other = wanted.map(|pace| Pace { rate: 8_000, ..pace });

    kernel.set_qdisc(&sandbox(16), index, None);
    assert_eq!(heals(&kernel, &model), [Reason::QdiscMissing.as_str()]);
    kernel.set_qdisc(&sandbox(16), index, Some("netem"));
    assert_eq!(heals(&kernel, &model), [Reason::QdiscReplaced.as_str()]);
    kernel.set_qdisc(&sandbox(16), index, Some("tbf"));
    assert_eq!(heals(&kernel, &model), [Reason::QdiscReplaced.as_str()]);
    kernel.pace(&sandbox(16), index, other).unwrap();
    assert_eq!(heals(&kernel, &model), [Reason::QdiscRate.as_str()]);
    assert_eq!(pace(&kernel, 16), wanted);

    set_bitrate(&kernel, adapter, 125_000);
    assert_eq!(heals(&kernel, &model), [Reason::QdiscRate.as_str(); 2], "the rate follows the adapter");
    assert_eq!(rates(&kernel, 2), [Some(125_000); 2]);
}

#[test]
fn without_its_adapter_a_bus_keeps_its_pace_and_follows_the_next_adapter() {
    let (kernel, model) = bus(&[("adapter", "can0")], &[None]);
    let adapter = plug(&kernel, Some(500_000));
    heals(&kernel, &model);
    kernel.delete_link(None, adapter).unwrap();
    assert_eq!(heals(&kernel, &model), [""; 0]);
    assert_eq!(rates(&kernel, 1), [Some(500_000)]);
    let adapter = plug(&kernel, None);
    heal(&kernel, &model);
    assert_eq!(rates(&kernel, 1), [Some(500_000)], "it has no bitrate yet");
    set_bitrate(&kernel, adapter, 250_000);
    assert_eq!(heals(&kernel, &model), [Reason::QdiscRate.as_str()]);
    assert_eq!(rates(&kernel, 1), [Some(250_000)]);
}

#[test]
fn a_foreign_qdisc_stays_if_there_is_no_pace() {
    let (kernel, mut model) = bus(&[], &[None]);
    heals(&kernel, &model);
    kernel.set_qdisc(&sandbox(16), end(&kernel, 16).index, Some("netem"));
    assert_eq!(heals(&kernel, &model), [""; 0]);
    // Like after a lost record, whose options come from Docker later.
    let paced = network(1, &[("rate", "125k")]);
    model.put_network(paced);
    let reasons = heals(&kernel, &model);
    assert!(reasons.contains(&Reason::QdiscReplaced.as_str()), "{reasons:?}");
    model.put_network(network(1, &[]));
    let reasons = heals(&kernel, &model);
    assert!(reasons.contains(&Reason::QdiscUnwanted.as_str()), "{reasons:?}");
    assert_eq!(end(&kernel, 16).qdisc, None);
}

#[test]
fn an_end_that_docker_moves_is_paced_once_it_is_in_the_container() {
    let (kernel, mut model) = bus(&[("rate", "125k")], &[None]);
    kernel.end_sandbox(&sandbox(16));
    let id = model.endpoints().next().unwrap().id.clone();
    let want = model.want();
    let plan = plan(&want, &look(&kernel, &want), Scope::Join(&id));
    model.await_docker(&id);
    apply(&kernel, &plan.steps, |done| done.result.unwrap());
    assert!(!plan.steps.iter().any(|step| matches!(step.action, Action::Pace { .. })), "{plan:?}");
    assert_eq!(heal(&kernel, &model), []);

    kernel.add_sandbox(sandbox(16));
    let beside = kernel.links().unwrap().into_iter().find(|link| link.name == id.container_end().as_str());
    kernel.move_link(beside.unwrap().index, None, Some(&sandbox(16)), id.container_end().as_str());
    let reasons: Vec<_> = heal(&kernel, &model).into_iter().map(|step| step.reason).collect();
    assert_eq!(reasons, [Reason::EndArrived]);
    assert_eq!(rates(&kernel, 1), [Some(125_000)]);
}

#[test]
fn a_share_of_the_adapter_overrides_the_rate() {
    let (kernel, mut model) = bus(&[("adapter", "can0")], &[None, Some(Rate::Bits(100_000))]);
    plug(&kernel, Some(500_000));
    heals(&kernel, &model);
    let ids: Vec<_> = model.endpoints().map(|endpoint| endpoint.id.clone()).collect();
    model.set_shares(ids.iter().map(|id| (id.clone(), 200_000)).collect());
    assert_eq!(heals(&kernel, &model), [Reason::QdiscRate.as_str()]);
    assert_eq!(rates(&kernel, 2), [Some(200_000), Some(100_000)], "a share is never more than was asked for");
    model.set_shares(BTreeMap::new());
    heals(&kernel, &model);
    assert_eq!(rates(&kernel, 2), [Some(500_000), Some(100_000)]);
}

#[test]
fn a_rate_above_the_bitrate_is_refused_and_later_a_problem() {
    let (kernel, model) = bus(&[("adapter", "can0"), ("rate", "600k")], &[Some(Rate::Bits(700_000))]);
    let index = plug(&kernel, Some(500_000));
    let want = model.want();
    let problems = plan(&want, &look(&kernel, &want), Scope::Network(&want.buses[0].network)).problems;
    let words = |problem: &Problem, rate: &str| {
        problem.text.contains(rate) && problem.text.contains("500000 bit/s of adapter can0")
    };
    assert!(
        problems.iter().any(|problem| problem.blocks == Blocks::Creation && words(problem, "rate=600000"))
    );
    heal(&kernel, &model);
    let problems = plan_all(&kernel, &model).problems;
    assert!(
        problems.iter().any(|problem| problem.blocks == Blocks::Nothing && words(problem, "rate=700000"))
    );
    assert_eq!(rates(&kernel, 1), [Some(500_000)], "the maximum is that of the adapter");
    set_bitrate(&kernel, index, 800_000);
    heal(&kernel, &model);
    assert_eq!((rates(&kernel, 1), plan_all(&kernel, &model).problems), (vec![Some(700_000)], vec![]));
}

#[test]
fn a_missing_module_is_a_problem_and_not_a_step() {
    let (kernel, model) = bus(&[("rate", "125k")], &[None, None]);
    let want = model.want();
    let why = "this kernel has no sch_tbf".to_owned();
    let have = Have { cannot_pace: Some(why.clone()), ..look(&kernel, &want) };
    let plan = plan(&want, &have, Scope::Everything);
    assert!(!plan.steps.iter().any(|step| matches!(step.action, Action::Pace { .. })), "{plan:?}");
    let [problem] = &plan.problems[..] else { panic!("{plan:?}") };
    assert!(problem.text.starts_with(&why) && problem.text.contains("rate=off"), "{problem:?}");
    assert_eq!(problem.blocks, Blocks::Nothing);
}

#[test]
fn the_queue_of_an_adapter_is_lengthened_unless_its_length_is_set() {
    for (options, expected) in [
        (&[("adapter", "can0")][..], 8192),
        (&[("adapter", "can0"), ("bitrate", "500000")], 8192),
        (&[("adapter", "can0"), ("txqueuelen", "20")], 20),
        (&[("adapter", "can0"), ("rate", "off")], 10),
    ] {
        let (kernel, model) = bus(options, &[]);
        plug(&kernel, Some(500_000));
        heals(&kernel, &model);
        let adapter = kernel.links().unwrap().into_iter().find(|link| link.name == "can0").unwrap();
        assert_eq!(adapter.txqueuelen, expected, "{options:?}");
    }
}
