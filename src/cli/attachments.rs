//! What the plugins for other container engines ask of the daemon: to attach a network namespace to a bus, and to detach it.

use std::{
    io::{self, Read},
    thread::sleep,
    time::{Duration, Instant},
};

use hyper::{Method, body::Bytes};

use super::{
    Failed,
    ask::{self, AdminSocket},
    attach::{Answer, Listed, PATH},
};
use crate::{
    attachment::{AttachRequest, AttachmentStatus, WhichAttachment},
    names::AttachmentId,
};

/// canhub restarts within a second. Engines wait longer for their plugins.
const RESTART: Duration = Duration::from_secs(5);
/// How often the daemon is tried meanwhile.
const PAUSE: Duration = Duration::from_millis(200);

/// More bytes than any request of an engine has.
const STDIN_MAX: u64 = 1 << 20;

impl AdminSocket {
    /// Attaches a namespace. Attached already, it is returned as it is.
    pub(super) fn attach(&self, asked: &AttachRequest) -> Result<AttachmentStatus, Failed> {
        let body = patiently(|| self.send(Method::POST, PATH, ask::to_json(asked)))?;
        let Answer { attachment } = ask::parsed(&body)?;
        Ok(attachment)
    }

    /// Detaches; what is not attached is fine.
    pub(super) fn detach(&self, id: AttachmentId) -> Result<(), Failed> {
        let body: Bytes = ask::to_json(&WhichAttachment::Id { id }).into();
        patiently(|| self.answer_whatever(Method::DELETE, PATH, body.clone()))?.found().map(|_| ())
    }

    /// The attachment with this ID, if there is one.
    pub(super) fn attachment(&self, id: &AttachmentId) -> Result<Option<AttachmentStatus>, Failed> {
        let answer = self.answer_whatever(Method::GET, &format!("{PATH}?id={id}"), Bytes::new())?;
        let Some(body) = answer.found()? else { return Ok(None) };
        let Listed { attachments } = ask::parsed(&body)?;
        Ok(attachments.into_iter().next())
    }

    /// All attachments.
    pub(super) fn attachments(&self) -> Result<Vec<AttachmentStatus>, Failed> {
        let Listed { attachments } = ask::parsed(&self.get(PATH)?)?;
        Ok(attachments)
    }
}

/// Waits for a daemon that restarts.
fn patiently<T>(mut ask: impl FnMut() -> Result<T, Failed>) -> Result<T, Failed> {
    let started = Instant::now();
    loop {
        match ask() {
            Err(Failed::Unreachable { .. }) if started.elapsed() < RESTART => sleep(PAUSE),
            answered => return answered,
        }
    }
}

/// What the engine writes to a plugin's stdin.
pub(super) fn stdin() -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    io::stdin().lock().take(STDIN_MAX).read_to_end(&mut text)?;
    Ok(text)
}
