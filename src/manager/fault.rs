//! Lets faults on purpose begin and end.
//!
//! Each changes the desired state, and the steps that this adds to the plan are carried out at once, under the model's lock.
//! What else differs at that moment is a defect, and left to the reconcile loop.

mod frames;
mod shown;

use std::{collections::BTreeSet, time::Duration};

use tracing::{info, warn};

use super::{Manager, named::find};
use crate::{
    endpoint::Endpoint,
    error::{Error, Operation},
    events::{Event, Kind},
    fault::{Effect, Fault, Request, Which},
    kernel::since_boot,
    model::Model,
    names::{EndpointId, NetworkId, is_called},
    plan::{Member, Scope, Step, Want, plan},
    status::FaultStatus,
};
use frames::members;
pub(super) use shown::Shown;

impl Manager {
    pub(super) fn load_faults(&self) {
        let mut model = self.model.lock();
        let faults = self.store.load_faults().unwrap_or_else(|why| {
            warn!("{why}");
            Default::default()
        });
        model.set_faults(faults);
        let known: BTreeSet<NetworkId> = model.networks().map(|network| network.id.clone()).collect();
        let gone = model.remove_faults(|fault| !known.contains(&fault.network));
        if let left @ 1.. = model.faults().all().len() {
            info!(
                faults = left,
                forgotten = gone.len(),
                "faults on purpose from before the restart are still in effect"
            );
        }
        self.show_faults(&model);
    }

    /// Lets a fault begin.
    ///
    /// # Errors
    /// One sentence. Nothing is left of it then.
    pub fn fault(&self, asked: Request) -> Result<FaultStatus, Error> {
        let is_unnamed = |model: &Model| {
            let nameless = |endpoint: &Endpoint| model.container_name(&endpoint.id).is_none();
            model.networks().any(|network| network.name.is_none()) || model.endpoints().any(nameless)
        };
        if asked.effects.iter().any(|effect| matches!(effect, Effect::Shape { .. })) {
            self.kernel.ensure_netem().map_err(Error::kernel(Operation::ShapeFrames))?;
        }
        let target = || target(&self.model.lock(), &asked.bus, asked.member.as_deref());
        let (network, member) = self.soon(is_unnamed, target).map_err(Error::Refused)?;
        let (member, endpoint) = member.unzip();

        let mut model = self.model.lock();
        let before = model.want();
        let began = since_boot();
        let ends = asked.lasts.map(|lasts| began + lasts);
        let (effects, label) = (asked.effects, asked.label);
        let fault = Fault { id: 0, network, member, endpoint, effects, began, ends, label };
        let fault = model.add_fault(fault).map_err(Error::Refused)?;
        if let Err(why) = fit(&model.want(), &fault.network) {
            model.remove_faults(|other| other.id == fault.id);
            return Err(Error::Refused(why));
        }
        // Recorded before anything is done: what is done must end, whatever happens to this process.
        let begun = self.store.save_faults(model.faults()).and_then(|()| {
            self.tell_programs(&model, &fault, Effect::first_frame);
            self.impose(&mut model, &fault.network, &before)
        });
        if let Err(err) = begun {
            let before = model.want();
            model.remove_faults(|other| other.id == fault.id);
            self.withdraw(&mut model, &fault.network, &before);
            return Err(err);
        }
        self.show_faults(&model);
        let status = self.fault_status(&model, &fault);
        self.tell_of(&model, &fault, Kind::FaultBegan, status.reason.clone());
        Ok(status)
    }

    /// Ends faults, and returns them.
    ///
    /// # Errors
    /// One sentence, if there is none such.
    pub fn clear_faults(&self, which: &Which) -> Result<Vec<FaultStatus>, Error> {
        let mut model = self.model.lock();
        let network = match &which.bus {
            Some(bus) => Some(
                find(&model, bus).map_err(|unknown| Error::Refused(unknown.advice(&model, bus)))?.id.clone(),
            ),
            None => None,
        };
        let named = |fault: &Fault, member: &str| {
            let is_it =
                |endpoint: &Endpoint| is_called(member, &endpoint.id, model.container_name(&endpoint.id));
            let meant = |endpoint: &&Endpoint| endpoint.network == fault.network && is_it(endpoint);
            fault.member.as_deref() == Some(member)
                || model.endpoints().filter(meant).any(|endpoint| {
                    fault.member.is_some() && fault.is_about(&endpoint.id, model.container_name(&endpoint.id))
                })
        };
        let is_meant = |fault: &Fault| {
            which.id.is_none_or(|id| id == fault.id)
                && network.as_ref().is_none_or(|network| *network == fault.network)
                && which.member.as_deref().is_none_or(|member| named(fault, member))
        };
        let meant: BTreeSet<u64> =
            model.faults().all().iter().filter(|fault| is_meant(fault)).map(|fault| fault.id).collect();
        if meant.is_empty() && *which != Which::default() {
            return Err(Error::Refused(
                "there is no such fault, or not any more: `canhub fault list` shows those in effect"
                    .to_owned(),
            ));
        }
        Ok(self.take_away(&mut model, "it was cleared", |fault| meant.contains(&fault.id)))
    }

    /// Ends the faults whose time is over.
    pub(crate) fn end_faults(&self) {
        let now = since_boot();
        let mut model = self.model.lock();
        if model.faults().next_end().is_some_and(|end| end <= now) {
            self.take_away(&mut model, "its time is over", |fault| fault.is_over(now));
        }
    }

    /// How soon the next one ends; zero if it is late, `None` if there is none that ends by itself.
    pub(crate) fn next_fault_ends_in(&self) -> Option<Duration> {
        let model = self.model.lock();
        let lasts = !model.faults().all().is_empty();
        let end = model.faults().next_end().map(|end| end.saturating_sub(since_boot()));
        end.or(lasts.then_some(Duration::MAX))
    }

    /// The faults in effect, as shown. Never waits for the model.
    pub fn faults(&self) -> Vec<FaultStatus> {
        self.faults.all()
    }

    /// Why frames of this container, or of anybody, can be missing on a bus on purpose: the end of a sentence.
    pub fn on_purpose(&self, bus: &str, container: Option<&str>) -> String {
        let faults = self.faults.that_explain(bus, container);
        faults.iter().fold(String::new(), |all, fault| format!("{all}; {}", fault.reason))
    }

    /// A fault began or ended: shows it, and wakes the task that looks after it.
    fn show_faults(&self, model: &Model) {
        self.faults.set(model);
        self.signals.change_faults();
    }

    fn fault_status(&self, model: &Model, fault: &Fault) -> FaultStatus {
        self.faults.status(fault, model.network_name(&fault.network))
    }

    /// Containers that faults are about have names now, or others than `before`: they were started again, or renamed.
    pub(super) fn follow_names(&self, model: &mut Model, before: &Want) {
        let faulty: BTreeSet<NetworkId> =
            model.faults().all().iter().map(|fault| fault.network.clone()).collect();
        for network in &faulty {
            if let Err(err) = self.impose(model, network, before) {
                warn!(network = network.short(), %err, "a fault on purpose is not in effect for a container that was started again; the reconcile loop will retry");
            }
        }
        if let Err(err) = self.store.save_faults(model.faults()) {
            warn!(%err, "faults on purpose could not be recorded with the new name of their container");
        }
        self.show_faults(model);
    }

    /// A network was deleted, and with it all that was done to it.
    pub(super) fn forget_faults(&self, model: &mut Model, network: &NetworkId) {
        if model.faults().all().iter().any(|fault| fault.network == *network) {
            self.take_away(model, "its network was deleted", |fault| fault.network == *network);
        }
    }

    fn take_away(
        &self,
        model: &mut Model,
        why: &str,
        mut is_it: impl FnMut(&Fault) -> bool,
    ) -> Vec<FaultStatus> {
        let before = model.want();
        let gone = model.remove_faults(|fault| is_it(fault));
        for network in gone.iter().map(|fault| &fault.network).collect::<BTreeSet<_>>() {
            self.withdraw(model, network, &before);
        }
        for fault in &gone {
            self.tell_programs(model, fault, Effect::last_frame);
            let what = self.fault_status(model, fault).reason;
            self.tell_of(model, fault, Kind::FaultEnded, format!("{why}: {what}"));
        }
        self.show_faults(model);
        gone.iter().map(|fault| self.fault_status(model, fault)).collect()
    }

    /// Takes back what a fault did that the model no longer has. What fails is left to the reconcile loop.
    fn withdraw(&self, model: &mut Model, network: &NetworkId, before: &Want) {
        if let Err(err) = self.impose(model, network, before) {
            warn!(network = network.short(), %err, "a fault on purpose could not be undone completely; the reconcile loop will finish it");
            self.signals.want_look();
        }
        if let Err(err) = self.store.save_faults(model.faults()) {
            warn!(%err, "a fault on purpose has ended, and its record could not be removed; it still ends with its time");
        }
    }

    /// Carries out the steps that the plan for a bus has now and had not for `before`.
    fn impose(&self, model: &mut Model, network: &NetworkId, before: &Want) -> Result<(), Error> {
        let want = model.want();
        let members = |want: &Want| -> Vec<Member> {
            want.buses
                .iter()
                .filter(|bus| bus.network == *network)
                .flat_map(|bus| bus.members.clone())
                .collect()
        };
        let (old, new) = (members(before), members(&want));
        let changed: Vec<_> = new
            .iter()
            .filter(|member| {
                !old.iter().any(|old| old.endpoint == member.endpoint && old.imposed == member.imposed)
            })
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let shapes =
            |members: &[Member]| -> Vec<_> { members.iter().map(|member| member.imposed.shapes).collect() };
        let mut have = match shapes(&old) == shapes(&new) {
            true => {
                let mut have = self.look_at_rules(&want)?;
                have.sandboxes =
                    self.look_into(changed.iter().map(|member| member.sandbox.as_path()).collect());
                have
            }
            // What a shape has dropped so far is counted as dropped on purpose before it changes.
            false => self.look(&want)?,
        };
        let planned = self.plan(&want, &mut have, Scope::Bus(network));
        let already = plan(before, &have, Scope::Bus(network));
        let steps: Vec<Step> =
            planned.steps.into_iter().filter(|step| !already.steps.contains(step)).collect();
        let mut failed = Ok(());
        self.carry_out(model, &steps, |_, done| {
            if let Err(err) = done.result
                && failed.is_ok()
            {
                failed = Err(err);
            }
        });
        failed
    }

    fn tell_of(&self, model: &Model, fault: &Fault, kind: Kind, reason: String) {
        let endpoint: Option<EndpointId> = fault
            .member
            .is_some()
            .then(|| members(model, fault).next().map(|endpoint| endpoint.id.clone()))
            .flatten();
        self.events.tell(Event {
            endpoint,
            container: fault.member.clone(),
            fault: Some(fault.id),
            reason: Some(reason.into()),
            ..Event::of_network(kind, model, &fault.network)
        });
    }
}

/// Whether the shapes of all members fit together with what they had.
fn fit(want: &Want, network: &NetworkId) -> Result<(), String> {
    let bus = want.buses.iter().filter(|bus| bus.network == *network);
    bus.flat_map(|bus| &bus.members).try_for_each(|member| member.shapes.check())
}

/// The network that somebody means; and the name by which its member is remembered, with its endpoint.
fn target(
    model: &Model,
    bus: &str,
    member: Option<&str>,
) -> Result<(NetworkId, Option<(String, EndpointId)>), String> {
    let network = find(model, bus).map_err(|unknown| unknown.advice(model, bus))?.id.clone();
    let Some(member) = member else { return Ok((network, None)) };
    let joined =
        || model.members_of(&network).map(|endpoint| (&endpoint.id, model.container_name(&endpoint.id)));
    let meant: Vec<_> = joined().filter(|(id, name)| is_called(member, id, *name)).collect();
    match meant[..] {
        [(id, name)] => Ok((network.clone(), Some((name.unwrap_or(id.as_ref()).to_owned(), id.clone())))),
        [_, _, ..] => Err(format!("{member} means several members of bus {bus}: use the ID of an endpoint")),
        [] => {
            let names: Vec<&str> = joined().map(|(id, name)| name.unwrap_or(id.short())).take(5).collect();
            let names = match names[..] {
                [] => "it has none".to_owned(),
                _ => format!("it has {}", names.join(", ")),
            };
            Err(format!("bus {bus} has no member {member}; {names}"))
        }
    }
}
