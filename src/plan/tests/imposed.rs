//! Faults on purpose: they are in place while they last, and afterwards nothing is left of them.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    fault::Fault,
    kernel::{Link, fake::Frame},
};

fn fault(bus: u8, member: Option<u8>, effect: &str) -> Fault {
    Fault {
        id: 0,
        network: network(bus, &[]).id,
        member: member.map(|number| format!("{number:02x}").repeat(32)),
        endpoint: None,
        effects: vec![effect.parse().unwrap()],
        began: Duration::ZERO,
        ends: None,
        label: None,
    }
}

/// Who hears a frame of this member: the host, or the other members of a bus of three.
fn heard(kernel: &FakeKernel, model: &Model, member: u8) -> Vec<u8> {
    let (want, network) = (model.want(), network(0, &[]));
    let have = look(kernel, &want);
    let index = |number: u8| have.host_end(&endpoint(number, &network).id).unwrap().index;
    let heard = kernel.deliveries(index(member), Frame::CLASSIC).heard;
    let others = [16, 17, 18].into_iter().filter(|other| *other != member);
    assert!(heard.values().all(|times| *times == 1), "{heard:?}");
    others.filter(|other| heard.contains_key(&index(*other))).collect()
}

/// How many ends have a netem.
fn netems(kernel: &FakeKernel, model: &Model) -> usize {
    let have = look(kernel, &model.want());
    let inside = have.sandboxes.values().flat_map(|sandbox| match sandbox {
        Sandbox::Present(inside) => &inside.links[..],
        Sandbox::Missing | Sandbox::Unknown(_) => &[],
    });
    let netem = |link: &&Link| link.qdisc.as_ref().is_some_and(|qdisc| qdisc.netem.is_some());
    have.links.iter().chain(inside).filter(netem).count()
}

fn is_up(kernel: &FakeKernel, number: u8) -> bool {
    kernel.sandbox_links(&sandbox(number)).unwrap().unwrap()[0].up
}

#[test]
fn a_member_that_is_cut_off_neither_hears_nor_is_heard_and_the_others_are_untouched() {
    let (kernel, mut model) = world(2, 3);
    heal(&kernel, &model);
    let before = kernel.rules().unwrap().len();
    model.add_fault(fault(0, Some(17), "cut")).unwrap();
    let steps = heal(&kernel, &model);
    assert_eq!(steps.iter().map(|step| step.reason).collect::<Vec<_>>(), [Reason::FaultUndone]);
    assert_eq!(plan_all(&kernel, &model).steps, []);
    assert_eq!((heard(&kernel, &model, 17), heard(&kernel, &model, 16)), (vec![], vec![18]));
    assert!(is_up(&kernel, 17));
    model.remove_faults(|_| true);
    assert_eq!(heals(&kernel, &model), ["rules were missing"]);
    assert_eq!(kernel.rules().unwrap().len(), before);
}

#[test]
fn a_member_that_is_down_stays_down_until_the_fault_ends() {
    let (kernel, mut model) = world(1, 3);
    heal(&kernel, &model);
    model.add_fault(fault(0, Some(16), "down")).unwrap();
    heal(&kernel, &model);
    assert_eq!(plan_all(&kernel, &model).steps, [], "nobody heals it");
    assert!(!is_up(&kernel, 16) && is_up(&kernel, 17));
    // Somebody in the container brings it up.
    let index = kernel.sandbox_links(&sandbox(16)).unwrap().unwrap()[0].index;
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    kernel.change_link(Some(&sandbox(16)), index, &up).unwrap();
    assert_eq!(heal(&kernel, &model)[0].reason, Reason::FaultUndone);
    assert!(!is_up(&kernel, 16));
    model.remove_faults(|_| true);
    assert_eq!(heals(&kernel, &model), ["the link was down", "rules were missing"]);
}

#[test]
fn a_bus_that_is_cut_has_no_rules_and_a_container_that_is_started_again_is_still_cut() {
    let (kernel, mut model) = world(1, 3);
    model.add_fault(fault(0, None, "cut")).unwrap();
    heal(&kernel, &model);
    assert_eq!(kernel.rules().unwrap(), []);
    model.remove_faults(|_| true);
    model.add_fault(Fault { member: Some("door".into()), ..fault(0, None, "cut") }).unwrap();
    heals(&kernel, &model);
    let id = endpoint(18, &network(0, &[])).id;
    assert!(!model.name_container(&id, "lock") && model.name_container(&id, "door"));
    heal(&kernel, &model);
    assert_eq!(heard(&kernel, &model, 16), [17]);
}

#[test]
fn a_shape_of_a_fault_wins_over_the_one_of_the_options_and_leaves_it_as_it_was() {
    let (kernel, mut model) = world(1, 3);
    let shaped = network(0, &[("loss", "1%"), ("delay", "5ms")]);
    model.put_network(shaped);
    heal(&kernel, &model);
    let (before, loss) = (look(&kernel, &model.want()), |model: &Model| {
        model.want().buses[0].members.iter().map(|member| member.shapes.words().unwrap()).collect::<Vec<_>>()
    });
    model.add_fault(fault(0, Some(17), "loss=100%")).unwrap();
    model.add_fault(fault(0, Some(17), "rx-loss=0%")).unwrap();
    heal(&kernel, &model);
    assert_eq!(plan_all(&kernel, &model).steps, []);
    assert_eq!(loss(&model), ["delay=5ms loss=1%", "delay=5ms loss=100%", "delay=5ms loss=1%"]);
    model.remove_faults(|_| true);
    heal(&kernel, &model);
    assert_eq!(look(&kernel, &model.want()), before);
    assert_eq!(netems(&kernel, &model), 3);
}

#[test]
fn one_bus_is_planned_alone_when_a_fault_begins() {
    let (kernel, mut model) = world(2, 2);
    heal(&kernel, &model);
    kernel.delete_rules(&kernel.rules().unwrap().iter().map(|one| one.rule).collect::<Vec<_>>()).unwrap();
    let leftover =
        kernel.create_vcan(&"vcan-left".parse().unwrap(), 72, &network(7, &[]).hub_alias()).unwrap();
    model.add_fault(fault(1, Some(18), "down")).unwrap();
    let want = model.want();
    let plan = plan(&want, &look(&kernel, &want), Scope::Bus(&network(1, &[]).id));
    assert!(plan.steps.iter().all(|step| step.network == Some(network(1, &[]).id)), "{plan:#?}");
    assert!(plan.steps.iter().any(|step| step.reason == Reason::FaultUndone), "{plan:#?}");
    kernel.delete_link(None, leftover).unwrap();
}

proptest! {
    #[test]
    fn whatever_faults_come_and_go_the_bus_is_exact_when_all_have_ended(
        faults in prop::collection::vec((prop::option::of(16..19_u8), 0..5_usize, any::<bool>()), 1..12),
    ) {
        let (kernel, mut model) = world(1, 3);
        heal(&kernel, &model);
        for (member, effect, ends) in faults {
            if ends {
                let first = model.faults().all().first().map(|fault| fault.id);
                model.remove_faults(|fault| Some(fault.id) == first);
            } else {
                model.add_fault(fault(0, member, ["cut", "down", "bus-off", "loss=5%", "rx-delay=2ms"][effect])).unwrap();
            }
            heal(&kernel, &model);
            prop_assert_eq!(plan_all(&kernel, &model).steps, []);
        }
        model.remove_faults(|_| true);
        heals(&kernel, &model);
        prop_assert_eq!(netems(&kernel, &model), 0);
    }
}
