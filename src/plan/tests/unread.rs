//! Parts of the kernel that could not be read.

use super::*;

#[test]
fn an_unreadable_sandbox_is_left_alone() {
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

    // The host end is visible, and the others are healed.
    kernel.change_link(None, host_end(&kernel, &model, 16).index, &down).unwrap();
    kernel.delete_link(None, host_end(&kernel, &model, 17).index).unwrap();
    let steps = heal(&kernel, &model);
    let reasons: Vec<&str> = steps.iter().map(|step| step.reason.as_str()).collect();
    assert_eq!(reasons, ["the link was down", "the pair was missing", "rules were missing"]);
    assert_eq!(plan_all(&kernel, &model).steps, []);

    // If the pair is gone, none is created in a sandbox that cannot be read, nor on the host.
    kernel.delete_link(None, host_end(&kernel, &model, 16).index).unwrap();
    assert_eq!(plan_all(&kernel, &model).steps, []);
    kernel.break_sandbox(&broken, None);
    assert_eq!(heals(&kernel, &model), ["the pair was missing", "rules were missing"]);
}

#[test]
fn with_unreadable_rules_links_are_healed_and_only_new_ends_get_rules() {
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
    assert!(matches!(&join.problems[..], [Problem { blocks: Blocks::Join, .. }]), "it would have to guess");
    apply(&kernel, &plan.steps, |done| done.result.unwrap());
    heals(&kernel, &model);
}

#[test]
fn a_plan_acts_on_rules_if_it_deletes_some_or_adds_some_between_existing_ends() {
    let (kernel, model) = world(1, 2);
    assert!(!plan_all(&kernel, &model).acts_on_rules(), "the ends are created first, so no rule can exist");
    heals(&kernel, &model);
    assert!(!plan_all(&kernel, &model).acts_on_rules());
    let one = [kernel.rules().unwrap()[0].rule];
    kernel.delete_rules(&one).unwrap();
    assert!(plan_all(&kernel, &model).acts_on_rules(), "one is missing, or the dump missed it");
    heals(&kernel, &model);
    kernel.add_rules(&one).unwrap();
    assert!(plan_all(&kernel, &model).acts_on_rules(), "one is there twice, or the dump had it twice");
}
