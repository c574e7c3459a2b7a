//! The faults in effect, as they are shown to anybody at any time, without waiting for the model.

use std::time::SystemTime;

use parking_lot::Mutex;

use crate::{
    clock::{TimesOfDay, rfc3339},
    fault::Fault,
    kernel::since_boot,
    model::Model,
    status::FaultStatus,
};

/// Faults with the names of their networks.
#[derive(Debug, Default)]
pub(in crate::manager) struct Shown {
    faults: Mutex<Vec<(Fault, String)>>,
    times: TimesOfDay,
}

impl Shown {
    /// Those of the model are in effect now.
    pub(super) fn set(&self, model: &Model) {
        let named = |fault: &Fault| (fault.clone(), model.network_name(&fault.network).to_owned());
        *self.faults.lock() = model.faults().all().iter().map(named).collect();
    }

    pub(super) fn all(&self) -> Vec<FaultStatus> {
        self.faults.lock().iter().map(|(fault, bus)| self.status(fault, bus)).collect()
    }

    /// What can be why frames of this container, or of anybody, are missing on a bus, which is meant by its name or the
    /// start of its ID.
    pub(super) fn that_explain(&self, bus: &str, container: Option<&str>) -> Vec<FaultStatus> {
        let faults = self.faults.lock();
        let on_it = faults.iter().filter(|(fault, name)| name == bus || fault.network.begins(bus));
        let explain = on_it.filter(|(fault, _)| fault.explains(container));
        explain.map(|(fault, name)| self.status(fault, name)).collect()
    }

    /// A fault on the bus of this name, with its times by the clock as it is set now.
    pub(super) fn status(&self, fault: &Fault, bus: &str) -> FaultStatus {
        let (now, wall) = (since_boot(), SystemTime::now());
        let time = |point| rfc3339(self.times.of(point, now, wall));
        let until = fault.ends.map(time);
        FaultStatus {
            id: fault.id,
            network: fault.network.clone(),
            network_name: bus.to_owned(),
            member: fault.member.clone(),
            effects: fault.effects.iter().map(ToString::to_string).collect(),
            since: time(fault.began),
            reason: fault.sentence(bus, until.as_deref()),
            until,
            label: fault.label.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_found_by_the_name_or_the_id_of_its_bus_and_its_member() {
        let fault = Fault {
            id: 1,
            network: "a1".repeat(32).try_into().unwrap(),
            member: Some("door".into()),
            endpoint: None,
            effects: vec!["cut".parse().unwrap()],
            began: since_boot(),
            ends: None,
            label: None,
        };
        let shown = Shown::default();
        *shown.faults.lock() = vec![(fault, "body".into())];
        let id = "a1".repeat(6);
        for (bus, container, is_found) in [
            ("body", Some("door"), true),
            ("body", None, true),
            (&*id, Some("door"), true),
            ("body", Some("lock"), false),
            ("seat", Some("door"), false),
        ] {
            assert_eq!(
                shown.that_explain(bus, container).len(),
                usize::from(is_found),
                "{bus} {container:?}"
            );
        }
    }
}
