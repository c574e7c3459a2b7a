//! Hubs: adapters and other interfaces that canhub did not create.

use super::*;

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
