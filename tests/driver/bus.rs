//! What makes a bus: each end hears each other end exactly once, classic and FD.

use super::rig::Rig;

impl Rig {
    /// That the hub and the host ends of these endpoints form one bus for both kinds of frame.
    #[track_caller]
    pub fn assert_bus(&self, hub: &str, endpoints: &[&str]) {
        self.assert_frames(hub, endpoints, [true, true]);
    }

    /// As [`Self::assert_bus`], for classic and for FD frames as said; of the others none is carried.
    #[track_caller]
    pub fn assert_frames(&self, hub: &str, endpoints: &[&str], [classic, fd]: [bool; 2]) {
        let names = endpoints.iter().map(|id| host_end(id)).chain([hub.to_owned()]);
        let ends: Vec<(String, u32)> = names
            .map(|name| {
                let link = self.link(&name).unwrap_or_else(|| panic!("{name} is missing: {:?}", self.ours()));
                assert!(link.up, "{link:?}");
                (name, link.index)
            })
            .collect();
        for (source, index) in &ends {
            for (kind, carried) in [("classic", classic), ("FD", fd)] {
                let heard = self.kernel.deliveries(*index, kind == "FD");
                let others = ends.iter().filter(|end| end.1 != *index && carried);
                let wanted = others.map(|(_, other)| (*other, 1)).collect();
                assert_eq!(heard, wanted, "who hears {kind} frames of {source}, among {ends:?}");
            }
        }
    }
}

/// The host end of an endpoint's pair.
pub fn host_end(endpoint: &str) -> String {
    format!("ch{}", &endpoint[..10])
}

/// The hub of a network that was given none by name.
pub fn hub(network: &str) -> String {
    format!("bus{}", &network[..12])
}
