//! Hubs: adapters and other interfaces that canhub did not create.

use super::*;
use crate::kernel::{BusState, Controller, Identity, Timing};

#[test]
fn an_adapter_is_used_but_never_created_changed_or_deleted() {
    let (kernel, mut model) = world(0, 0);
    let bus = network(1, &[("adapter", "can0")]);
    kernel.add_sandbox(sandbox(16));
    model.put_endpoint(endpoint(16, &bus));
    model.put_network(bus);
    let plan = plan_all(&kernel, &model);
    assert_eq!(plan.problems[0].blocks, Blocks::Nothing, "containers may wait for it");
    assert!(!plan.steps.iter().any(|step| matches!(step.action, Action::CreateHub { .. })), "never faked");

    let index = kernel.add_foreign("can0", LinkKind::Can);
    heals(&kernel, &model);
    let errors =
        kernel.rules().unwrap().into_iter().filter(|status| status.rule.filter != Default::default());
    assert_eq!(
        errors.map(|status| status.rule.source).collect::<Vec<_>>(),
        [index],
        "error frames reach the member"
    );
    kernel
        .change_link(None, index, &LinkChange { up: Some(false), mtu: Some(16), ..LinkChange::default() })
        .unwrap();
    let plan = plan_all(&kernel, &model);
    assert!(plan.steps.is_empty() && plan.problems[0].text.contains("is down"), "{plan:?}");
}

#[test]
fn an_interface_that_is_not_can_is_refused() {
    let (kernel, mut model) = world(0, 0);
    model.put_network(network(1, &[("adapter", "eth0")]));
    let plan = plan_all(&kernel, &model);
    assert_eq!(plan.problems[0].blocks, Blocks::Network);
    assert!(plan.problems[0].text.contains("eth0 is not a CAN interface"));
}

#[test]
fn a_foreign_interface_with_the_hubs_name_is_reported_and_not_touched() {
    let (kernel, mut model) = world(0, 0);
    kernel.add_foreign("vcan7", LinkKind::Vcan);
    model.put_network(network(1, &[("hub", "vcan7")]));
    let plan = plan_all(&kernel, &model);
    assert_eq!(plan.steps, []);
    assert!(plan.problems[0].text.contains("adapter=vcan7"), "the fix is named");
}

#[test]
fn a_shared_hub_that_exists_is_used_as_it_is() {
    let (kernel, mut model) = world(0, 0);
    let index = kernel.add_foreign("vcan7", LinkKind::Vcan);
    let before = kernel.links().unwrap();
    let bus = network(1, &[("vxcan.dev", "vcan"), ("vxcan.id", "7")]);
    kernel.add_sandbox(sandbox(16));
    model.put_endpoint(endpoint(16, &bus));
    model.put_network(bus);
    assert_eq!(heals(&kernel, &model), ["the pair was missing", "rules were missing"]);
    assert_eq!(plan_all(&kernel, &model).problems, []);
    let links = kernel.links().unwrap();
    assert!(before.iter().all(|link| links.contains(link)), "not changed, not even its alias");
    assert!(kernel.rules().unwrap().iter().any(|status| status.rule.source == index));
}

#[test]
fn an_adapter_is_the_bus_of_one_network_and_the_others_are_told_whose() {
    let (kernel, mut model) = world(0, 0);
    kernel.add_foreign("can0", LinkKind::Can);
    let [first, second] = [1, 2].map(|number| network(number, &[("adapter", "can0")]));
    model.put_network(first.clone());
    model.put_network(second.clone());
    let refused = |scope| {
        let want = model.want();
        let problems = plan(&want, &look(&kernel, &want), scope).problems;
        let [Problem { network, blocks: Blocks::Network, .. }] = &problems[..] else {
            panic!("{problems:?}")
        };
        network.clone()
    };
    assert_eq!(refused(Scope::Everything), second.id, "the same one at every look");
    assert_eq!(refused(Scope::Network(&second.id)), second.id);
    // Whoever is created while another has the adapter is refused, whatever its id.
    assert_eq!(refused(Scope::Network(&first.id)), first.id);
}

#[test]
fn problems_of_an_adapter_have_the_command_that_fixes_them() {
    let fix = |up: bool, controller: Controller| {
        let (kernel, mut model) = world(0, 0);
        let index = kernel.plug(Identity::default(), controller);
        let change = LinkChange { up: Some(up), ..LinkChange::default() };
        kernel.change_link(None, index, &change).unwrap();
        model.put_network(network(1, &[("adapter", "can0")]));
        let problems = plan_all(&kernel, &model).problems;
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        if let Some(fix) = &problem.fix {
            assert!(problem.text.contains(&format!("`{fix}`")), "{problem:?}");
        }
        problem.fix.clone()
    };
    let timing = Some(Timing { bitrate: 500_000, ..Timing::default() });
    let off =
        |restart_ms| Controller { state: BusState::BusOff, timing, restart_ms, ..Controller::default() };
    let new = "ip link set can0 up type can bitrate 500000";
    assert_eq!(fix(false, Controller::default()).as_deref(), Some(new));
    let set_up = Controller { timing, ..Controller::default() };
    assert_eq!(fix(false, set_up).as_deref(), Some("ip link set can0 up"), "it has a bitrate");
    assert_eq!(fix(true, off(0)).as_deref(), Some("ip link set can0 down && ip link set can0 up"));
    assert_eq!(fix(true, off(100)), None, "the kernel restarts it");
    let passive = Controller { state: BusState::ErrorPassive, timing, ..Controller::default() };
    assert_eq!(fix(true, passive), None, "the cause is on the wire");
}
