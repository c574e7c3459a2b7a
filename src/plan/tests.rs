//! The plan against the fake kernel: carrying it out gives what was wanted, once and for all.

mod traffic;

use std::path::PathBuf;

use proptest::prelude::*;

use super::{have::other_end, *};
use crate::{
    apply::apply,
    endpoint::{Endpoint, Stage},
    kernel::{Kernel, LinkKind, fake::FakeKernel},
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
        stage: Stage::Joined { sandbox: sandbox(number) },
    }
}

fn sandbox(number: u8) -> PathBuf {
    format!("/var/run/docker/netns/{number:012x}").into()
}

/// A host with `buses` networks of `members` containers each, nothing made yet.
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
        let sandbox = match kernel.sandbox_links(&member.sandbox) {
            Ok(links) => links.map_or(Sandbox::Missing, Sandbox::Present),
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

/// The reasons of a heal, after which nothing may be left to do and every member hears every other once.
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
            let Sandbox::Present(inside) = have.sandbox(&member.sandbox) else { continue };
            let own: Vec<_> =
                inside.iter().filter(|link| link.alias.as_ref() == Some(&member.alias)).collect();
            assert!(own.len() == 1 && own[0].up && member.ifname.accepts(&own[0].name), "{inside:#?}");
            let strays = inside.iter().filter(|link| is_ours(link) && other_end(link, &have.links).is_none());
            assert_eq!(strays.count(), 0, "an end that leads nowhere stayed: {inside:#?}");
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
fn a_bus_is_made_from_nothing() {
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
    // As the manager does for a pair that is not there yet: its rules cannot be there either.
    have.rules = Rules::NotRead;
    let plan = plan(&want, &have, Scope::Join(&joining.id));
    let kinds: Vec<&str> = plan.steps.iter().map(|step| step.reason.as_str()).collect();
    assert_eq!(kinds, ["the pair was missing", "rules were missing"]);
    let Action::AddRules { rules, .. } = &plan.steps[1].action else { panic!() };
    assert_eq!(rules.len(), 2 * 3 * 4, "to and from hub and three members, classic, FD and error frames");
    apply(&kernel, &plan.steps, |done| done.result.unwrap());
    assert_eq!(heals(&kernel, &model), Vec::<&str>::new(), "nothing was left to do");
}

#[test]
fn without_a_sandbox_a_join_makes_the_pair_for_docker_to_move_and_a_look_does_not() {
    let (kernel, mut model) = world(1, 1);
    heals(&kernel, &model);
    let network = model.networks().next().unwrap().clone();
    let joining = endpoint(99, &network);
    model.put_endpoint(joining.clone());
    model.await_docker(&joining.id);
    assert_eq!(plan_all(&kernel, &model).steps, [], "nowhere to put an end");
    let want = model.want();
    let steps = plan(&want, &look(&kernel, &want), Scope::Join(&joining.id)).steps;
    apply(&kernel, &steps, |done| done.result.unwrap());
    assert_eq!(plan_all(&kernel, &model).steps, [], "it waits for Docker");

    let end = kernel.links().unwrap().into_iter().find(|link| link.name.starts_with("cp")).unwrap();
    kernel.add_sandbox(sandbox(99));
    kernel.move_link(end.index, None, Some(&sandbox(99)), &end.name);
    assert_eq!(plan_all(&kernel, &model).steps, [], "Docker still looks for it by that name");
    kernel.move_link(end.index, Some(&sandbox(99)), Some(&sandbox(99)), "can1_0");
    assert_eq!(plan_all(&kernel, &model).steps, [], "Docker has yet to bring it up");
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    kernel.change_link(Some(&sandbox(99)), end.index, &up).unwrap();
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
fn an_end_that_was_moved_away_is_made_again() {
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
    assert_eq!(kernel.sandbox_links("/elsewhere".as_ref()).unwrap().unwrap(), [], "a pair dies as one");
}

#[test]
fn of_an_end_without_name_and_alias_nothing_stays_when_its_pair_is_made_again() {
    let (kernel, model) = world(1, 2);
    heals(&kernel, &model);
    kernel.add_sandbox("/elsewhere");
    let end = kernel.sandbox_links(&sandbox(16)).unwrap().unwrap()[0].index;
    let unknown =
        LinkChange { name: "mine".parse().ok(), alias: Some(String::new()), ..LinkChange::default() };
    kernel.change_link(Some(&sandbox(16)), end, &unknown).unwrap();
    kernel.move_link(host_end(&kernel, &model, 16).index, None, Some("/elsewhere".as_ref()), "stolen");
    heals(&kernel, &model);
    assert_eq!(kernel.sandbox_links("/elsewhere".as_ref()).unwrap().unwrap(), [], "a pair dies as one");
}

#[test]
fn an_end_of_another_bus_is_no_remnant_though_its_alias_is_gone() {
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
fn of_a_sandbox_that_cannot_be_read_nothing_is_made_deleted_or_changed() {
    let (kernel, model) = world(1, 3);
    heals(&kernel, &model);
    let broken = sandbox(16);
    let end = kernel.sandbox_links(&broken).unwrap().unwrap()[0].index;
    let down = LinkChange { up: Some(false), ..LinkChange::default() };
    kernel.change_link(Some(&broken), end, &down).unwrap();
    kernel.break_sandbox(&broken, Some(4));
    let plan = plan_all(&kernel, &model);
    assert_eq!(plan.steps, [], "its pair and the rules of its host end stay as they are");
    let [problem] = &plan.problems[..] else { panic!("{:?}", plan.problems) };
    assert_eq!(
        (problem.endpoint.as_ref(), problem.blocks),
        (model.endpoints().next().map(|e| &e.id), Blocks::Nothing)
    );
    assert!(problem.text.contains(broken.to_str().unwrap()), "{}", problem.text);

    // The host end can be seen, and the others are healed.
    kernel.change_link(None, host_end(&kernel, &model, 16).index, &down).unwrap();
    kernel.delete_link(None, host_end(&kernel, &model, 17).index).unwrap();
    let steps = heal(&kernel, &model);
    let reasons: Vec<&str> = steps.iter().map(|step| step.reason.as_str()).collect();
    assert_eq!(reasons, ["the link was down", "the pair was missing", "rules were missing"]);
    assert_eq!(plan_all(&kernel, &model).steps, []);

    // Where the pair is gone, none is made in a place that cannot be seen, nor on the host.
    kernel.delete_link(None, host_end(&kernel, &model, 16).index).unwrap();
    assert_eq!(plan_all(&kernel, &model).steps, []);
    kernel.break_sandbox(&broken, None);
    assert_eq!(heals(&kernel, &model), ["the pair was missing", "rules were missing"]);
}

#[test]
fn without_the_rules_links_are_healed_and_only_new_ends_get_rules() {
    let (kernel, model) = world(2, 3);
    heals(&kernel, &model);
    kernel.delete_link(None, host_end(&kernel, &model, 16).index).unwrap();
    let lost: Vec<_> = kernel.rules().unwrap().iter().map(|status| status.rule).take(5).collect();
    kernel.delete_rules(&lost).unwrap();
    let want = model.want();
    let unread = Have { rules: Rules::Unknown("torn".into()), ..look(&kernel, &want) };
    let plan = plan(&want, &unread, Scope::Everything);
    let reasons: Vec<&str> = plan.steps.iter().map(|step| step.reason.as_str()).collect();
    assert_eq!(reasons, ["the pair was missing", "rules were missing"]);
    assert!(!plan.acts_on_rules());
    assert_eq!(plan.problems.len(), 2, "one for each bus: {:?}", plan.problems);
    let standing = model.endpoints().last().unwrap().id.clone();
    let join = super::plan(&want, &unread, Scope::Join(&standing));
    assert!(matches!(&join.problems[..], [Problem { blocks: Blocks::Join, .. }]), "it would only guess");
    apply(&kernel, &plan.steps, |done| done.result.unwrap());
    heals(&kernel, &model);
}

#[test]
fn an_adapter_is_used_and_never_made_changed_or_deleted() {
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
fn a_foreign_interface_under_the_hubs_name_is_told_and_not_touched() {
    let (kernel, mut model) = world(0, 0);
    kernel.add_foreign("vcan7", LinkKind::Vcan);
    model.put_network(network(1, &[("hub", "vcan7")]));
    let plan = plan_all(&kernel, &model);
    assert_eq!(plan.steps, []);
    assert!(plan.problems[0].text.contains("adapter=vcan7"), "the way out is named");
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
fn what_nobody_wants_is_a_leftover_and_what_may_stay_is_not() {
    let (kernel, mut model) = world(1, 2);
    heals(&kernel, &model);
    let ids: Vec<EndpointId> = model.endpoints().map(|endpoint| endpoint.id.clone()).collect();
    let left = Endpoint { stage: Stage::Left, ..model.endpoint(&ids[0]).unwrap().clone() };
    model.put_endpoint(left);
    assert_eq!(plan_all(&kernel, &model).steps, [], "DeleteEndpoint will take it");
    model.remove_endpoint(&ids[0]);
    let steps = plan_all(&kernel, &model).steps;
    assert!(matches!(&steps[..], [Step { reason: Reason::Leftover, .. }]), "{steps:?}");
    let network = model.networks().next().unwrap().id.clone();
    model.remove_network(&network);
    heals(&kernel, &model);
    assert_eq!(kernel.links().unwrap().len(), 1, "eth0 stays");
    assert_eq!(kernel.rules().unwrap(), []);
}

/// Something that happens to a host.
#[derive(Debug, Clone)]
enum Fault {
    DeleteHostLink(prop::sample::Index),
    DeleteInside(prop::sample::Index),
    Down(prop::sample::Index),
    Rename(prop::sample::Index),
    Mtu(prop::sample::Index),
    NoAlias(prop::sample::Index),
    RenameInside(prop::sample::Index),
    NoAliasInside(prop::sample::Index),
    MoveAway(prop::sample::Index),
    DeleteRule(prop::sample::Index),
    DoubleRule(prop::sample::Index),
    FlushRules,
    EndSandbox(prop::sample::Index),
    EqualIndexInside(prop::sample::Index, prop::sample::Index),
    ModifyingRule(prop::sample::Index, prop::sample::Index),
    Leave(prop::sample::Index),
}

fn faults() -> impl Strategy<Value = Fault> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        at().prop_map(Fault::DeleteHostLink),
        at().prop_map(Fault::DeleteInside),
        at().prop_map(Fault::Down),
        at().prop_map(Fault::Rename),
        at().prop_map(Fault::Mtu),
        at().prop_map(Fault::NoAlias),
        at().prop_map(Fault::RenameInside),
        at().prop_map(Fault::NoAliasInside),
        at().prop_map(Fault::MoveAway),
        at().prop_map(Fault::DeleteRule),
        at().prop_map(Fault::DoubleRule),
        Just(Fault::FlushRules),
        at().prop_map(Fault::EndSandbox),
        (at(), at()).prop_map(|(inside, host)| Fault::EqualIndexInside(inside, host)),
        (at(), at()).prop_map(|(source, destination)| Fault::ModifyingRule(source, destination)),
        at().prop_map(Fault::Leave),
    ]
}

fn inject(kernel: &FakeKernel, model: &mut Model, fault: &Fault, serial: usize) {
    let own: Vec<_> = kernel.links().unwrap().into_iter().filter(is_ours).collect();
    let pick = |at: &prop::sample::Index| (!own.is_empty()).then(|| at.get(&own).index);
    let sandboxes: Vec<PathBuf> =
        model.endpoints().filter_map(|endpoint| Some(endpoint.sandbox()?.to_owned())).collect();
    let change = |at: &prop::sample::Index, change: LinkChange| {
        if let Some(index) = pick(at) {
            kernel.change_link(None, index, &change).unwrap();
        }
    };
    let none = LinkChange::default;
    match fault {
        Fault::DeleteHostLink(at) => {
            pick(at).iter().for_each(|index| kernel.delete_link(None, *index).unwrap())
        }
        Fault::DeleteInside(at) if !sandboxes.is_empty() => {
            let path = at.get(&sandboxes[..]);
            for link in kernel.sandbox_links(path).unwrap().into_iter().flatten() {
                kernel.delete_link(Some(path), link.index).unwrap();
            }
        }
        Fault::RenameInside(at) | Fault::NoAliasInside(at) if !sandboxes.is_empty() => {
            let path = at.get(&sandboxes[..]);
            let change = match fault {
                Fault::RenameInside(_) => LinkChange { name: format!("i{serial}").parse().ok(), ..none() },
                _ => LinkChange { alias: Some(String::new()), ..none() },
            };
            for link in kernel.sandbox_links(path).unwrap().into_iter().flatten() {
                kernel.change_link(Some(path), link.index, &change).unwrap();
            }
        }
        Fault::Down(at) => change(at, LinkChange { up: Some(false), ..none() }),
        Fault::Rename(at) => change(at, LinkChange { name: format!("r{serial}").parse().ok(), ..none() }),
        Fault::Mtu(at) => change(at, LinkChange { mtu: Some(16), ..none() }),
        Fault::NoAlias(at) => change(at, LinkChange { alias: Some(String::new()), ..none() }),
        Fault::MoveAway(at) => {
            if let Some(index) = pick(at) {
                kernel.move_link(index, None, Some("/elsewhere".as_ref()), &format!("m{serial}"));
            }
        }
        Fault::DeleteRule(at) | Fault::DoubleRule(at) => {
            let rules = kernel.rules().unwrap();
            if !rules.is_empty() {
                let rule = [at.get(&rules).rule];
                match fault {
                    Fault::DeleteRule(_) => kernel.delete_rules(&rule).unwrap(),
                    _ => kernel.add_rules(&rule).unwrap(),
                }
            }
        }
        Fault::FlushRules => {
            let rules: Vec<_> = kernel.rules().unwrap().iter().map(|status| status.rule).collect();
            kernel.delete_rules(&rules).unwrap();
        }
        Fault::EndSandbox(at) if !sandboxes.is_empty() => {
            let path: &PathBuf = at.get(&sandboxes);
            kernel.end_sandbox(path);
        }
        Fault::EqualIndexInside(at, host) if !sandboxes.is_empty() && !own.is_empty() => {
            let path: &PathBuf = at.get(&sandboxes);
            for link in kernel.sandbox_links(path).unwrap().into_iter().flatten().take(1) {
                kernel.renumber(path, link.index, host.get(&own).index);
            }
        }
        Fault::ModifyingRule(source, destination) => {
            if let (Some(source), Some(destination)) = (pick(source), pick(destination)) {
                kernel.add_modifying_rule(traffic::somebody_elses(source, destination));
            }
        }
        Fault::Leave(at) => {
            let ids: Vec<EndpointId> = model.endpoints().map(|endpoint| endpoint.id.clone()).collect();
            if !ids.is_empty() {
                model.remove_endpoint(at.get(&ids));
            }
        }
        Fault::DeleteInside(_)
        | Fault::RenameInside(_)
        | Fault::NoAliasInside(_)
        | Fault::EndSandbox(_)
        | Fault::EqualIndexInside(..) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_any_faults_one_plan_gives_what_is_wanted_and_touches_nothing_foreign(
        buses in 1u8..4, members in 0u8..6, max_hops in 1u8..=6, faults in prop::collection::vec(faults(), 0..24)
    ) {
        let (kernel, mut model) = world(buses, members);
        kernel.set_max_hops(max_hops);
        kernel.add_sandbox("/elsewhere");
        let foreign = [kernel.add_foreign("vcan0", LinkKind::Vcan), kernel.add_foreign("can0", LinkKind::Can)];
        heal(&kernel, &model);
        for (serial, fault) in faults.iter().enumerate() {
            inject(&kernel, &mut model, fault, serial);
        }
        // The witnesses: foreign links and foreign rules stand as they were.
        let rule = Rule { source: foreign[0], destination: foreign[1], ..RULE };
        kernel.add_rules(&[rule]).unwrap();
        let witnesses: Vec<_> = kernel.links().unwrap().into_iter().filter(|link| !is_ours(link)).collect();
        let modifying = || kernel.rules().unwrap().into_iter().filter(|status| status.modifies).map(|status| status.rule);
        let before: Vec<_> = modifying().collect();
        heals(&kernel, &model);
        let indices: Vec<u32> = kernel.links().unwrap().iter().map(|link| link.index).collect();
        let lives = |rule: &Rule| indices.contains(&rule.source) && indices.contains(&rule.destination);
        prop_assert_eq!(modifying().collect::<Vec<_>>(), before.into_iter().filter(lives).collect::<Vec<_>>());
        prop_assert_eq!(kernel.links().unwrap().into_iter().filter(|link| !is_ours(link)).collect::<Vec<_>>(), witnesses);
        prop_assert!(kernel.rules().unwrap().iter().any(|status| status.rule == rule));
    }

    #[test]
    fn a_failing_kernel_delays_and_does_not_derail(calls in 0u32..40, errno in prop::sample::select(vec![1, 12, 16, 17, 19, 105])) {
        let (kernel, model) = world(2, 3);
        let want = model.want();
        let have = look(&kernel, &want);
        kernel.fail_after(calls, errno);
        apply(&kernel, &plan(&want, &have, Scope::Everything).steps, |_| {});
        kernel.fail_after(u32::MAX, errno);
        heals(&kernel, &model);
    }
}

const RULE: Rule = Rule {
    source: 0,
    destination: 0,
    flags: crate::kernel::RuleFlags::empty(),
    filter: crate::kernel::Filter { id: 0, mask: 0 },
    max_hops: None,
};
