//! The span ports that `canhub-span` is told.

use super::Manager;
use crate::{
    kernel::LinkKind,
    model::Model,
    names::EndpointId,
    network::Hub,
    options::Frames,
    pace::Wire,
    plan::{Bus, Have, Want, carrier},
    span::protocol::{self, Port},
};

impl Manager {
    /// Finds the span ports of this host, and what carries their buses.
    pub(crate) fn note_spans(&self, model: &Model, want: &Want, have: &Have) {
        self.spans.set_ports(want.buses.iter().filter_map(|bus| port(model, bus, have)).collect());
    }
}

fn port(model: &Model, bus: &Bus, have: &Have) -> Option<Port> {
    let span = bus.options.span.as_ref()?;
    let link = carrier(&bus.hub, have);
    // A vcan that somebody made and that canhub shares is no wire.
    let adapter = match &bus.hub {
        Hub::Adapter(adapter) => Some(link.map_or_else(|| adapter.to_string(), |link| link.name.clone())),
        Hub::Shared(_) => link.filter(|link| link.kind == LinkKind::Can).map(|link| link.name.clone()),
        Hub::Owned(_) => None,
    };
    let wire = adapter.as_ref().and_then(|_| Wire::of(&bus.options.settings, link));
    Some(Port {
        span: span.name.clone(),
        network: bus.network.clone(),
        network_name: model.network_name(&bus.network).to_owned(),
        interface: EndpointId::of_span_port(&bus.network).container_end(),
        frames: match bus.options.frames {
            Frames::Classic => protocol::Frames::Classic,
            // No can-gw forwards XL frames.
            Frames::Fd | Frames::Xl => protocol::Frames::Fd,
        },
        age_ms: span.age_ms(),
        adapter,
        bridge: span.bridge,
        bitrate: wire.map(|wire| wire.bitrate),
        dbitrate: wire.and_then(|wire| wire.dbitrate),
    })
}
