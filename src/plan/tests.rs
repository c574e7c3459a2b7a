//! The planner against the kernel in memory: carrying out a plan yields the desired state, once and for all.

mod attached;
mod faults;
mod filters;
mod hubs;
mod imposed;
mod moved;
mod owners;
mod pace;
mod shapes;
mod span;
mod traffic;
mod unread;

use std::path::{Path, PathBuf};

use super::{have::other_end, *};
use crate::{
    apply::apply,
    endpoint::{Endpoint, Stage},
    kernel::{Inside, Kernel, LinkChange, LinkKind, Rule, fake::FakeKernel},
    model::Model,
    network::Network,
    options::RawOptions,
};

fn network(number: u8, options: &[(&str, &str)]) -> Network {
    let raw: RawOptions = options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    Network::new(format!("{number:02x}").repeat(32).try_into().unwrap(), raw).unwrap()
}

fn endpoint(number: u8, network: &Network) -> Endpoint {
    Endpoint {
        id: format!("{number:02x}").repeat(32).try_into().unwrap(),
        network: network.id.clone(),
        ifname: network.options.ifname.clone(),
        rate: None,
        filters: Filters::default(),
        shapes: Shapes::default(),
        stage: Stage::Joined { sandbox: sandbox(number) },
        attached: None,
        namespace: None,
    }
}

fn sandbox(number: u8) -> PathBuf {
    format!("/var/run/docker/netns/{number:012x}").into()
}

/// A host with `buses` networks of `members` containers each, and nothing created yet.
fn world(buses: u8, members: u8) -> (FakeKernel, Model) {
    let (kernel, mut model) = (FakeKernel::new(), Model::default());
    for bus in 0..buses {
        let network = network(bus, &[]);
        for member in 0..members {
            let number = 16 + bus * members + member;
            kernel.add_sandbox(sandbox(number));
            model.put_endpoint(endpoint(number, &network));
        }
        model.put_network(network);
    }
    (kernel, model)
}

fn look(kernel: &FakeKernel, want: &Want) -> Have {
    let rules = Rules::Read(kernel.rules().unwrap());
    let mut have = Have { links: kernel.links().unwrap(), rules, ..Have::default() };
    for member in want.buses.iter().flat_map(|bus| &bus.members) {
        let mut looks = kernel.look_into([member.sandbox.as_path()].into());
        let sandbox = match looks.remove(&member.sandbox).unwrap() {
            Ok(inside) => inside.map_or(Sandbox::Missing, Sandbox::Present),
            Err(err) => Sandbox::Unknown(err.to_string()),
        };
        have.sandboxes.insert(member.sandbox.clone(), sandbox);
    }
    have
}

fn plan_all(kernel: &FakeKernel, model: &Model) -> Plan {
    let want = model.want();
    plan(&want, &look(kernel, &want), Scope::Everything)
}

fn heal(kernel: &FakeKernel, model: &Model) -> Vec<Step> {
    let plan = plan_all(kernel, model);
    apply(kernel, &plan.steps, |done| done.result.unwrap_or_else(|err| panic!("{:?}: {err}", done.step)));
    plan.steps
}

/// The reasons of a heal. Afterwards nothing may be left to do, and every member must receive every other's frames
/// once.
fn heals(kernel: &FakeKernel, model: &Model) -> Vec<&'static str> {
    let steps = heal(kernel, model);
    let again = plan_all(kernel, model);
    assert_eq!(again.steps, [], "a second plan is empty");
    assert_bus_is_exact(kernel, model);
    steps.into_iter().map(|step| step.reason.as_str()).collect()
}

fn assert_bus_is_exact(kernel: &FakeKernel, model: &Model) {
    let want = model.want();
    let have = look(kernel, &want);
    for bus in &want.buses {
        for member in &bus.members {
            let Sandbox::Present(Inside { links: inside, .. }) = have.sandbox(&member.sandbox) else {
                continue;
            };
            let own: Vec<_> =
                inside.iter().filter(|link| link.alias.as_ref() == Some(&member.alias)).collect();
            if member.endpoint.is_span_port() {
                let named = |name: &IfName| own.iter().any(|link| link.name == name.as_str() && link.up);
                let both = [member.endpoint.host_end(), member.endpoint.container_end()];
                assert!(own.len() == 2 && both.iter().all(named), "{own:#?}");
                continue;
            }
            assert!(own.len() == 1 && own[0].up && member.ifname.accepts(&own[0].name), "{inside:#?}");
            let strays = inside.iter().filter(|link| is_ours(link) && other_end(link, &have.links).is_none());
            assert_eq!(strays.count(), 0, "an end without a peer was left: {inside:#?}");
        }
        traffic::assert_each_frame_reaches_everybody_once(kernel, bus, &have);
    }
}

fn host_end(kernel: &FakeKernel, model: &Model, number: u8) -> crate::kernel::Link {
    let want = model.want();
    let id = format!("{number:02x}").repeat(32).try_into().unwrap();
    look(kernel, &want).host_end(&id).unwrap().clone()
}

#[test]
fn a_bus_is_created_from_nothing() {
    let (kernel, model) = world(2, 3);
    let reasons = heals(&kernel, &model);
    assert_eq!(reasons.iter().filter(|reason| **reason == "the hub was missing").count(), 2);
    assert_eq!(reasons.iter().filter(|reason| **reason == "the pair was missing").count(), 6);
    let inside = kernel.sandbox_links(&sandbox(16)).unwrap().unwrap();
    assert_eq!(inside.iter().map(|link| link.name.as_str()).collect::<Vec<_>>(), ["can0"]);
    assert!(inside[0].up && inside[0].mtu == 72);
}

#[test]
fn a_join_plans_its_own_endpoint_and_the_rules_to_the_others() {
    let (kernel, mut model) = world(1, 3);
    heals(&kernel, &model);
    let network = model.networks().next().unwrap().clone();
    let joining = endpoint(99, &network);
    kernel.add_sandbox(sandbox(99));
    model.put_endpoint(joining.clone());
    let want = model.want();
    let mut have = look(&kernel, &want);
    // Like the manager for a pair that does not exist yet: its rules cannot exist either.
    have.rules = Rules::NotRead;
    let plan = plan(&want, &have, Scope::Join(&joining.id));
    let kinds: Vec<&str> = plan.steps.iter().map(|step| step.reason.as_str()).collect();
    assert_eq!(kinds, ["the pair was missing", "rules were missing"]);
    let Action::AddRules { rules, .. } = &plan.steps[1].action else { panic!() };
    assert_eq!(rules.len(), 2 * 3 * 4, "to and from hub and three members, classic, FD and error frames");
    apply(&kernel, &plan.steps, |done| done.result.unwrap());
    assert_eq!(heals(&kernel, &model), Vec::<&str>::new(), "nothing left to do");
}

#[test]
fn a_join_repairs_no_other_member() {
    let (kernel, mut model) = world(1, 2);
    heals(&kernel, &model);
    kernel.delete_link(None, host_end(&kernel, &model, 16).index).unwrap();
    let down = LinkChange { up: Some(false), ..LinkChange::default() };
    kernel.change_link(None, host_end(&kernel, &model, 17).index, &down).unwrap();
    let joining = endpoint(99, model.networks().next().unwrap());
    kernel.add_sandbox(sandbox(99));
    model.put_endpoint(joining.clone());
    let want = model.want();
    let steps = plan(&want, &look(&kernel, &want), Scope::Join(&joining.id)).steps;
    let reasons: Vec<&str> = steps.iter().map(|step| step.reason.as_str()).collect();
    assert_eq!(reasons, ["the pair was missing", "rules were missing"], "Docker waits for this one only");
    assert_eq!(steps[0].endpoint.as_ref(), Some(&joining.id));
    let Action::AddRules { rules, .. } = &steps[1].action else { panic!("{steps:?}") };
    let (own, gone) = (joining.id.host_end(), model.endpoints().next().unwrap().id.host_end());
    assert!(rules.iter().all(|rule| rule.source == own || rule.destination == own), "{rules:?}");
    assert!(rules.iter().all(|rule| rule.source != gone && rule.destination != gone), "it has no end");
}

#[test]
fn a_classic_bus_forwards_no_fd_frames_and_has_their_mtu() {
    let (kernel, mut model) = world(0, 0);
    let bus = network(1, &[("frames", "classic")]);
    kernel.add_sandbox(sandbox(16));
    model.put_endpoint(endpoint(16, &bus));
    model.put_network(bus);
    heals(&kernel, &model);
    let rules = kernel.rules().unwrap();
    assert!(!rules.is_empty());
    assert!(rules.iter().all(|status| !status.rule.flags.contains(crate::kernel::RuleFlags::FD)));
    assert_eq!(kernel.sandbox_links(&sandbox(16)).unwrap().unwrap()[0].mtu, 16);
}

#[test]
fn a_link_that_is_up_with_the_wrong_mtu_is_healed_too() {
    let (kernel, model) = world(1, 1);
    heals(&kernel, &model);
    let end = host_end(&kernel, &model, 16).index;
    for change in [
        LinkChange { mtu: Some(16), ..LinkChange::default() },
        LinkChange { up: Some(true), ..LinkChange::default() },
    ] {
        kernel.change_link(None, end, &change).unwrap();
    }
    assert_eq!(heals(&kernel, &model), ["the link had the wrong MTU"]);
}

#[test]
fn without_a_sandbox_only_a_join_creates_the_pair_for_docker_to_move() {
    let (kernel, mut model) = world(1, 1);
    heals(&kernel, &model);
    let network = model.networks().next().unwrap().clone();
    let joining = endpoint(99, &network);
    model.put_endpoint(joining.clone());
    model.await_docker(&joining.id);
    assert_eq!(plan_all(&kernel, &model).steps, [], "there is no place for an end");
    let want = model.want();
    let steps = plan(&want, &look(&kernel, &want), Scope::Join(&joining.id)).steps;
    apply(&kernel, &steps, |done| done.result.unwrap());
    assert_eq!(plan_all(&kernel, &model).steps, [], "it waits for Docker");
    let has_arrived = || {
        let want = model.want();
        let member = want.buses[0].members.iter().find(|member| member.endpoint == joining.id).unwrap();
        member.has_arrived(&look(&kernel, &want))
    };
    assert!(!has_arrived());

    let end = kernel.links().unwrap().into_iter().find(|link| link.name.starts_with("cp")).unwrap();
    kernel.add_sandbox(sandbox(99));
    kernel.move_link(end.index, None, Some(&sandbox(99)), &end.name);
    assert_eq!(plan_all(&kernel, &model).steps, [], "Docker still looks it up by that name");
    assert!(!has_arrived());
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    kernel.change_link(Some(&sandbox(99)), end.index, &up).unwrap();
    assert!(!has_arrived(), "Docker has yet to rename it");
    let down = LinkChange { up: Some(false), ..LinkChange::default() };
    kernel.change_link(Some(&sandbox(99)), end.index, &down).unwrap();
    kernel.move_link(end.index, Some(&sandbox(99)), Some(&sandbox(99)), "can1_0");
    assert_eq!(plan_all(&kernel, &model).steps, [], "Docker has yet to bring it up");
    assert!(!has_arrived());
    kernel.change_link(Some(&sandbox(99)), end.index, &up).unwrap();
    assert!(has_arrived());
    assert_eq!(heals(&kernel, &model), ["the link had the wrong name"]);
    assert_eq!(kernel.sandbox_links(&sandbox(99)).unwrap().unwrap()[0].name, "can0");
}

#[test]
fn each_fault_is_healed_with_its_reason() {
    let (kernel, model) = world(2, 3);
    heals(&kernel, &model);
    let set = |change: LinkChange, index| kernel.change_link(None, index, &change).unwrap();
    let hub = |model: &Model| {
        kernel
            .links()
            .unwrap()
            .into_iter()
            .find(|link| link.name == model.networks().next().unwrap().hub().to_string())
            .unwrap()
    };

    kernel.delete_link(None, host_end(&kernel, &model, 18).index).unwrap();
    let interfaces: Vec<_> =
        plan_all(&kernel, &model).steps.iter().map(|step| step.action.interface().to_owned()).collect();
    let end = model.endpoints().nth(2).unwrap().id.host_end();
    assert_eq!(interfaces, [end.as_str(), end.as_str()], "the rules of the new end, not of its neighbours");
    assert_eq!(heals(&kernel, &model), ["the pair was missing", "rules were missing"]);
    let inside = kernel.sandbox_links(&sandbox(17)).unwrap().unwrap()[0].index;
    kernel.delete_link(Some(&sandbox(17)), inside).unwrap();
    assert_eq!(heals(&kernel, &model), ["the pair was missing", "rules were missing"]);
    kernel.delete_link(None, hub(&model).index).unwrap();
    assert_eq!(heals(&kernel, &model), ["the hub was missing", "rules were missing"]);

    set(LinkChange { up: Some(false), ..LinkChange::default() }, hub(&model).index);
    assert_eq!(heals(&kernel, &model), ["the link was down"]);
    set(LinkChange { name: Some("other".parse().unwrap()), ..LinkChange::default() }, hub(&model).index);
    assert_eq!(heals(&kernel, &model), ["the link had the wrong name"]);
    let end = host_end(&kernel, &model, 18).index;
    set(LinkChange { mtu: Some(16), name: Some("x".parse().unwrap()), ..LinkChange::default() }, end);
    assert_eq!(heals(&kernel, &model), ["the link had the wrong name"]);
    assert_eq!(host_end(&kernel, &model, 18).mtu, 72);
    set(LinkChange { alias: Some(String::new()), ..LinkChange::default() }, end);
    assert_eq!(heals(&kernel, &model), ["the link's alias was missing"]);
    let inside = kernel.sandbox_links(&sandbox(17)).unwrap().unwrap()[0].index;
    kernel
        .change_link(
            Some(&sandbox(17)),
            inside,
            &LinkChange { name: Some("eth9".parse().unwrap()), up: Some(false), ..LinkChange::default() },
        )
        .unwrap();
    assert_eq!(heals(&kernel, &model), ["the link had the wrong name"]);

    let rules: Vec<_> = kernel.rules().unwrap().iter().map(|status| status.rule).collect();
    kernel.add_rules(&rules[3..5]).unwrap();
    assert_eq!(heals(&kernel, &model), ["rules delivered frames twice"]);
    kernel.delete_rules(&rules).unwrap();
    assert_eq!(heals(&kernel, &model).len(), 2, "one step for each bus");
}

#[test]
fn two_names_for_one_container_do_not_collide() {
    let (kernel, mut model) = world(0, 0);
    kernel.add_sandbox(sandbox(16));
    for (number, prefix) in [(1, "can"), (2, "can")] {
        let bus =
            network(number, &[("vxcan.dev", "v"), ("vxcan.id", &number.to_string()), ("vxcan.peer", prefix)]);
        let mut member = endpoint(number + 32, &bus);
        member.stage = Stage::Joined { sandbox: sandbox(16) };
        model.put_endpoint(member);
        model.put_network(bus);
        heal(&kernel, &model);
    }
    let mut names: Vec<_> =
        kernel.sandbox_links(&sandbox(16)).unwrap().unwrap().into_iter().map(|link| link.name).collect();
    names.sort();
    assert_eq!(names, ["can0", "can1"]);
}

#[test]
fn unneeded_links_are_leftovers_and_tolerated_ones_are_not() {
    let (kernel, mut model) = world(1, 2);
    heals(&kernel, &model);
    let ids: Vec<EndpointId> = model.endpoints().map(|endpoint| endpoint.id.clone()).collect();
    let left = Endpoint { stage: Stage::Left, ..model.endpoint(&ids[0]).unwrap().clone() };
    model.put_endpoint(left);
    assert_eq!(plan_all(&kernel, &model).steps, [], "DeleteEndpoint will delete it");
    model.remove_endpoint(&ids[0]);
    let steps = plan_all(&kernel, &model).steps;
    assert!(matches!(&steps[..], [Step { reason: Reason::Leftover, .. }]), "{steps:?}");
    let network = model.networks().next().unwrap().id.clone();
    assert_eq!(steps[0].network.as_ref(), Some(&network), "it is listed with its bus");
    model.remove_network(&network);
    heals(&kernel, &model);
    assert_eq!(kernel.links().unwrap().len(), 1, "eth0 stays");
    assert_eq!(kernel.rules().unwrap(), []);
}
