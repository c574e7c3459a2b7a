//! The definition of a bus: each end receives every frame of every other end exactly once, classic and FD.

use canhub::kernel::{CANFD_MTU, Kernel, LinkChange, LinkKind, fake::Frame};

use super::rig::Rig;

impl Rig {
    /// Asserts that the hub and the host ends of these endpoints form one bus for both kinds of frames, and for error
    /// frames if it has no adapter.
    #[track_caller]
    pub fn assert_bus(&self, hub: &str, endpoints: &[&str]) {
        self.assert_frames(hub, endpoints, [true, true]);
    }

    /// Like [`Self::assert_bus`], for classic or FD frames as given; asserts that others are not carried.
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
        // If Docker has yet to move a container end and bring it up, the bus must be ready for it.
        let waiting: Vec<u32> = endpoints
            .iter()
            .filter_map(|id| self.link(&container_end(id)))
            .filter(|end| !end.up)
            .map(|end| end.index)
            .collect();
        self.bring(&waiting, true);
        let virtual_bus = self.link(hub).is_some_and(|hub| hub.kind == LinkKind::Vcan);
        for (source, index) in &ends {
            // The kernel itself delivers a frame to other sockets next to the sender's; an interface for classic frames
            // accepts no others.
            let sends_fd = self.link(source).is_some_and(|link| link.mtu >= CANFD_MTU);
            let frames = [
                (Frame::CLASSIC, true, classic),
                (Frame::FD, sends_fd, fd),
                (Frame::ERROR, true, virtual_bus || source == hub),
            ];
            for (frame, sent, carried) in frames {
                let heard = self.kernel.deliveries(*index, frame).heard;
                let hearing = ends.iter().filter(|end| carried || (sent && end.1 == *index));
                let wanted = hearing.map(|(_, end)| (*end, 1)).collect();
                assert_eq!(heard, wanted, "receivers of {frame:?} from {source}, among {ends:?}");
            }
        }
        self.bring(&waiting, false);
    }

    fn bring(&self, links: &[u32], up: bool) {
        let change = LinkChange { up: Some(up), ..LinkChange::default() };
        links.iter().for_each(|index| self.kernel.change_link(None, *index, &change).unwrap());
    }
}

/// The host end of an endpoint's pair.
pub fn host_end(endpoint: &str) -> String {
    format!("ch{}", &endpoint[..10])
}

/// The container end of an endpoint's pair, while it is on the host.
fn container_end(endpoint: &str) -> String {
    format!("cp{}", &endpoint[..10])
}

/// The default hub of a network.
pub fn hub(network: &str) -> String {
    format!("bus{}", &network[..12])
}
