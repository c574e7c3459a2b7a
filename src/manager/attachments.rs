//! What is attached, and what is wrong with it.

use std::path::Path;

use super::{Manager, attach::unknown, collect::NAMESPACE_ENDED};
use crate::{
    attachment::AttachmentStatus,
    endpoint::Endpoint,
    error::{Error, Listed},
    model::Model,
    names::{AttachmentId, EndpointId},
    options::Naming,
    plan::{Have, Rules, Scope, Want},
};

impl Manager {
    /// All attachments, or one, with what differs from the desired state right now. May block for as long as the kernel does.
    ///
    /// # Errors
    /// If the kernel cannot be read. [`Code::UnknownAttachment`](crate::error::Code::UnknownAttachment) if that one does not exist.
    pub fn attachments(&self, id: Option<&AttachmentId>) -> Result<Vec<AttachmentStatus>, Error> {
        let (want, mut found) = {
            let model = self.model();
            let chosen: Vec<&Endpoint> = match id {
                Some(id) => vec![model.attachment(id).ok_or_else(|| unknown(id))?],
                None => model.attachments().collect(),
            };
            let outlined = |one: &&Endpoint| (one.id.clone(), outline(&model, one));
            (model.want(), chosen.iter().map(outlined).collect::<Vec<_>>())
        };
        let mut have = self.look_at_host(want.hubs())?;
        have.rules = Rules::Read(self.kernel.rules().map_err(Error::kernel(Listed::Rules))?);
        have.sandboxes = self.look_into(found.iter().map(|(_, status)| status.netns.as_path()).collect());
        for (endpoint, status) in &mut found {
            self.compare_attachment(&want, &mut have, endpoint, status);
        }
        Ok(found.into_iter().map(|(_, status)| status).collect())
    }

    fn compare_attachment(
        &self,
        want: &Want,
        have: &mut Have,
        endpoint: &EndpointId,
        status: &mut AttachmentStatus,
    ) {
        let mut members = want.buses.iter().flat_map(|bus| &bus.members);
        let is_dead =
            members.find(|member| member.endpoint == *endpoint).is_none_or(|member| member.is_dead(have));
        if is_dead {
            status.problems.push(NAMESPACE_ENDED.to_owned());
            return;
        }
        let plan = self.plan(want, have, Scope::Join(endpoint));
        let steps = plan.steps.iter().map(|step| format!("{} ({})", step.reason, step.action.interface()));
        // Those of the bus, such as an absent adapter, are not about this attachment.
        let problems = plan.problems.iter().filter(|problem| problem.endpoint.as_ref() == Some(endpoint));
        status.problems = steps.chain(problems.map(|problem| problem.text.clone())).collect();
        if let Some(end) = have.container_end(endpoint, &status.netns) {
            status.interface.clone_from(&end.name);
            status.mtu = end.mtu;
        }
    }

    /// The attachment with the name that its interface has, which only the kernel knows if it is numbered.
    pub(super) fn outline_of(&self, model: &Model, endpoint: &Endpoint) -> Result<AttachmentStatus, Error> {
        let mut status = outline(model, endpoint);
        if let Naming::Prefix(_) = endpoint.ifname {
            let links = self.kernel.links().map_err(Error::kernel(Listed::Links))?;
            let sandboxes = self.look_into([status.netns.as_path()].into());
            let have = Have { links, sandboxes, ..Have::default() };
            if let Some(end) = have.container_end(&endpoint.id, &status.netns) {
                status.interface.clone_from(&end.name);
            }
        }
        Ok(status)
    }
}

/// An attachment as far as the model knows it.
pub(super) fn outline(model: &Model, endpoint: &Endpoint) -> AttachmentStatus {
    let network = model.network(&endpoint.network);
    let attached = endpoint.attached.as_ref();
    AttachmentStatus {
        id: attached.map_or_else(|| (&endpoint.id).into(), |attached| attached.id.clone()),
        bus: model.network_name(&endpoint.network).to_owned(),
        netns: endpoint.sandbox().unwrap_or(Path::new("")).to_owned(),
        interface: endpoint.ifname.to_string(),
        mtu: network.map_or(0, |network| network.options.frames.mtu()),
        name: attached.map(|attached| attached.name.clone()).unwrap_or_default(),
        options: attached.map(|attached| attached.options.clone()).unwrap_or_default(),
        problems: Vec::new(),
    }
}
