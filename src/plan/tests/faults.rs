//! Property tests: whatever happened to a host, one plan restores the desired state.

use proptest::prelude::*;

use super::*;

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
    fn after_any_faults_one_plan_restores_the_desired_state_and_touches_nothing_foreign(
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
        // Foreign links and rules are unchanged.
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
    fn kernel_errors_delay_healing_but_do_not_break_it(calls in 0u32..40, errno in prop::sample::select(vec![1, 12, 16, 17, 19, 105])) {
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
