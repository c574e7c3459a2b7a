//! Ends that were moved away, and the remnants of their pairs.

use super::*;

#[test]
fn an_end_that_was_moved_away_is_recreated() {
    let (kernel, model) = world(1, 2);
    heals(&kernel, &model);
    kernel.add_sandbox("/elsewhere");
    let end = host_end(&kernel, &model, 16).index;
    kernel.move_link(end, None, Some("/elsewhere".as_ref()), "stolen");
    assert_eq!(
        heals(&kernel, &model),
        ["the host end was moved away", "the pair was missing", "rules were missing"]
    );
    let inside = kernel.sandbox_links(&sandbox(17)).unwrap().unwrap()[0].index;
    kernel.move_link(inside, Some(&sandbox(17)), Some("/elsewhere".as_ref()), "stolen2");
    assert_eq!(
        heals(&kernel, &model),
        ["the container end was moved away", "the pair was missing", "rules were missing"]
    );
    assert_eq!(
        kernel.sandbox_links("/elsewhere".as_ref()).unwrap().unwrap(),
        [],
        "both ends of a pair are deleted together"
    );
}

#[test]
fn a_remnant_without_name_and_alias_is_removed_when_the_pair_is_recreated() {
    let (kernel, model) = world(1, 2);
    heals(&kernel, &model);
    kernel.add_sandbox("/elsewhere");
    let end = kernel.sandbox_links(&sandbox(16)).unwrap().unwrap()[0].index;
    let unknown =
        LinkChange { name: "mine".parse().ok(), alias: Some(String::new()), ..LinkChange::default() };
    kernel.change_link(Some(&sandbox(16)), end, &unknown).unwrap();
    kernel.move_link(host_end(&kernel, &model, 16).index, None, Some("/elsewhere".as_ref()), "stolen");
    heals(&kernel, &model);
    assert_eq!(
        kernel.sandbox_links("/elsewhere".as_ref()).unwrap().unwrap(),
        [],
        "both ends of a pair are deleted together"
    );
}

#[test]
fn an_end_of_another_bus_without_alias_is_not_a_remnant() {
    let (kernel, mut model) = world(0, 0);
    kernel.add_sandbox(sandbox(16));
    for number in [1, 2] {
        let bus =
            network(number, &[("vxcan.dev", "v"), ("vxcan.id", &number.to_string()), ("vxcan.peer", "can")]);
        let member =
            Endpoint { stage: Stage::Joined { sandbox: sandbox(16) }, ..endpoint(number + 32, &bus) };
        model.put_endpoint(member);
        model.put_network(bus);
        heal(&kernel, &model);
    }
    let named = |name: &str| {
        let links = kernel.sandbox_links(&sandbox(16)).unwrap().unwrap();
        links.into_iter().find(|link| link.name == name).unwrap()
    };
    let no_alias = LinkChange { alias: Some(String::new()), ..LinkChange::default() };
    let other = named("can0").index;
    kernel.change_link(Some(&sandbox(16)), other, &no_alias).unwrap();
    kernel.delete_link(Some(&sandbox(16)), named("can1").index).unwrap();
    heals(&kernel, &model);
    assert_eq!((named("can0").index, named("can1").up), (other, true));
}

#[test]
fn an_end_whose_name_is_taken_is_not_renamed_until_it_is_free() {
    let (kernel, model) = world(1, 1);
    heals(&kernel, &model);
    let end = host_end(&kernel, &model, 16);
    let rename = |name: &str| LinkChange { name: name.parse().ok(), ..LinkChange::default() };
    kernel.change_link(None, end.index, &rename("mine")).unwrap();
    let taken = kernel.add_foreign(&end.name, LinkKind::Vcan);
    assert_eq!(heals(&kernel, &model), ["the link was down"], "the kernel would refuse the name");
    kernel.delete_link(None, taken).unwrap();
    assert_eq!(heals(&kernel, &model), ["the link had the wrong name"]);
}

#[test]
fn a_container_end_gets_its_name_back_beside_other_links_unless_one_of_them_has_it() {
    let (kernel, model) = world(1, 1);
    heals(&kernel, &model);
    let beside = |name: &str| {
        let other = kernel.add_foreign("other", LinkKind::Vcan);
        kernel.move_link(other, None, Some(&sandbox(16)), name);
        other
    };
    let rename = |name: &str| {
        let inside = inside(&kernel, 16);
        let end = inside.iter().find(|link| is_ours(link)).unwrap().index;
        let change = LinkChange { name: name.parse().ok(), ..LinkChange::default() };
        kernel.change_link(Some(&sandbox(16)), end, &change).unwrap();
    };
    beside("eth0");
    rename("mine");
    assert_eq!(heals_within(&kernel, &model), ["the link had the wrong name"]);
    rename("mine");
    let taken = beside("can0");
    assert_eq!(heals_within(&kernel, &model), ["the link was down"], "the kernel would refuse the name");
    kernel.delete_link(Some(&sandbox(16)), taken).unwrap();
    assert_eq!(heals_within(&kernel, &model), ["the link had the wrong name"]);
}

fn inside(kernel: &FakeKernel, number: u8) -> Vec<crate::kernel::Link> {
    kernel.sandbox_links(&sandbox(number)).unwrap().unwrap()
}

/// As `heals`, where the container has links of its own.
fn heals_within(kernel: &FakeKernel, model: &Model) -> Vec<&'static str> {
    let steps = heal(kernel, model);
    assert_eq!(plan_all(kernel, model).steps, [], "a second plan is empty");
    steps.into_iter().map(|step| step.reason.as_str()).collect()
}
