//! Carries out plans: the only code that asks the kernel for changes.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    kernel::{HOST_NAMESPACE, Kernel, PairSpec},
    model::Model,
    names::IfName,
    plan::{Action, NamedRule, PairEnd, Step},
};

/// The result of a step.
pub struct StepResult<'a> {
    /// The step.
    pub step: &'a Step,
    /// Whether it succeeded.
    pub result: Result<(), Error>,
    /// Its duration.
    pub took: Duration,
}

/// A repair that was made on request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// The network it was made for; `None` for a leftover that belongs to none.
    pub network_name: Option<String>,
    /// The interface or file.
    pub interface: String,
    /// What was wrong.
    pub reason: String,
    /// The repair.
    pub did: String,
    /// Why it failed.
    pub err: Option<String>,
}

impl Repair {
    /// The repair of one step.
    pub(crate) fn new(model: &Model, done: &StepResult<'_>) -> Self {
        let Step { network, reason, action, .. } = done.step;
        Self {
            network_name: network.as_ref().map(|id| model.network_name(id).to_owned()),
            interface: action.interface().to_owned(),
            reason: reason.to_string(),
            did: action.to_string(),
            err: done.result.as_ref().err().map(ToString::to_string),
        }
    }
}

/// Carries out steps in order, and calls `done` for each. A failed step does not stop the others.
///
/// Rules whose end does not exist are left out: the end is not due yet or could not be created, and then the earlier
/// step has already reported the failure. A step without rules left is skipped.
pub fn apply(kernel: &dyn Kernel, steps: &[Step], mut done: impl FnMut(StepResult<'_>)) {
    let mut made = Made::default();
    for step in steps {
        let Some(step) = within_reach(step, &made) else { continue };
        let started = Instant::now();
        let result = carry_out(kernel, &step.action, &mut made);
        let result = result.map_err(|err| Error::kernel(step.action.clone())(err));
        done(StepResult { step: &step, result, took: started.elapsed() });
    }
}

/// What the steps so far have created.
#[derive(Default)]
struct Made {
    /// The index of each hub and host end, by name.
    ends: BTreeMap<IfName, u32>,
    /// The index of each container end, by the name of its host end.
    beyond: BTreeMap<IfName, u32>,
}

fn within_reach<'a>(step: &'a Step, made: &Made) -> Option<Cow<'a, Step>> {
    let (rules, ends) = match &step.action {
        Action::AddRules { rules, ends } => (rules, ends),
        // The pair could not be created, and the earlier step has reported that.
        Action::Pace { index: None, host, .. } if !made.beyond.contains_key(host) => return None,
        Action::Netem { index: None, host, .. } if !made.beyond.contains_key(host) => return None,
        _ => return Some(Cow::Borrowed(step)),
    };
    let stands = |name: &IfName| made.ends.contains_key(name) || ends.contains_key(name);
    let ready = |rule: &&NamedRule| stands(&rule.source) && stands(&rule.destination);
    if rules.iter().all(|rule| ready(&rule)) {
        return Some(Cow::Borrowed(step));
    }
    let rules: Vec<NamedRule> = rules.iter().filter(ready).cloned().collect();
    if rules.is_empty() {
        return None;
    }
    let Step { network, endpoint, reason, .. } = step.clone();
    Some(Cow::Owned(Step {
        network,
        endpoint,
        reason,
        action: Action::AddRules { rules, ends: ends.clone() },
    }))
}

fn carry_out(kernel: &dyn Kernel, action: &Action, made: &mut Made) -> crate::kernel::Result<()> {
    match action {
        Action::CreateHub { name, mtu, alias } => {
            made.ends.insert(name.clone(), kernel.create_vcan(name, *mtu, alias)?);
            Ok(())
        }
        Action::CreatePair { host, end, sandbox, mtu, alias } => {
            let pair = PairSpec { host, end, sandbox: sandbox.as_deref(), mtu: *mtu, alias };
            let indices = kernel.create_pair(&pair)?;
            made.ends.insert(host.clone(), indices.host);
            made.beyond.insert(host.clone(), indices.end);
            Ok(())
        }
        Action::Change { sandbox, index, change, .. } => {
            kernel.change_link(sandbox.as_deref(), *index, change)
        }
        Action::Configure { index, change, up, .. } => kernel.configure(*index, change, *up),
        Action::Pace { sandbox, host, index, pace, .. } => {
            let Some(index) = index.or_else(|| made.beyond.get(host).copied()) else { return Ok(()) };
            kernel.pace(sandbox, index, *pace)
        }
        Action::Netem { sandbox, host, end, index, netem, .. } => {
            let (sandbox, made) = match end {
                PairEnd::Container => (sandbox.as_path(), &made.beyond),
                PairEnd::Host => (Path::new(HOST_NAMESPACE), &made.ends),
            };
            let Some(index) = index.or_else(|| made.get(host).copied()) else { return Ok(()) };
            kernel.netem(sandbox, index, *netem)
        }
        Action::Delete { sandbox, index, .. } => kernel.delete_link(sandbox.as_deref(), *index),
        Action::DeleteRules(rules) => kernel.delete_rules(rules),
        Action::AddRules { rules, ends } => {
            let index = |name: &IfName| made.ends.get(name).or_else(|| ends.get(name)).copied();
            let between =
                |rule: &NamedRule| Some(rule.between(index(&rule.source)?, index(&rule.destination)?));
            kernel.add_rules(&rules.iter().filter_map(between).collect::<Vec<_>>())
        }
    }
}
