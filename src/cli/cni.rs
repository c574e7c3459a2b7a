//! `canhub-cni`: this program, when a container runtime calls it by this name as a CNI plugin.

use std::{env, path::Path, process::ExitCode};

use hyper::body::Bytes;
use serde_json::Value;

use super::{Failed, ask::AdminSocket, attachments, complain, lines};
use crate::{
    attachment::AttachRequest,
    cni::{self, Attachment, Call, Conf, Error},
    names::AttachmentId,
};

/// The name of the program; in a configuration: `"type": "canhub-cni"`.
const NAME: &str = "canhub-cni";

/// Whether this process was started as the CNI plugin.
pub(super) fn is_called() -> bool {
    let program = env::args_os().next();
    program.is_some_and(|program| Path::new(&program).file_name().is_some_and(|name| name == NAME))
}

/// Does what the environment and stdin ask for, and prints the result or the error on stdout, as JSON.
pub(super) fn run() -> ExitCode {
    let mut version = None;
    match answer(&mut version) {
        Ok(result) => {
            if let Some(result) = result {
                lines::print(&format!("{result:#}\n"));
            }
            ExitCode::SUCCESS
        }
        Err(err) => {
            lines::print(&format!("{:#}\n", err.printed(version.as_deref())));
            ExitCode::FAILURE
        }
    }
}

/// `version` is that of the configuration, once it is known.
fn answer(version: &mut Option<String>) -> Result<Option<Value>, Error> {
    let call = Call::read(|name| env::var(name).ok())?;
    if call == Call::Version {
        return Ok(Some(cni::versions()));
    }
    let text = attachments::stdin()
        .map_err(|err| Error::new(Error::IO, format!("cannot read the network configuration: {err}")))?;
    let conf = Conf::parse(version.insert(Conf::version(&text)?).clone(), &text)?;
    let canhub = AdminSocket::from_env();
    match call {
        Call::Add(container) => add(&canhub, &conf, &container).map(Some),
        Call::Del(container) => del(&canhub, &conf, &container).map(|()| None),
        Call::Check(container) => check(&canhub, &conf, &container).map(|()| None),
        Call::Status => {
            canhub.get("/v1/ready").map(|_: Bytes| None).map_err(|err| refused(Error::UNAVAILABLE, err))
        }
        Call::Gc => gc(&canhub, &conf).map(|()| None),
        Call::Version => Ok(Some(cni::versions())),
    }
}

fn add(canhub: &AdminSocket, conf: &Conf, container: &Attachment) -> Result<Value, Error> {
    let netns = container.netns.clone().unwrap_or_default();
    let asked = AttachRequest {
        bus: conf.bus.clone(),
        bus_options: Some(conf.options.clone()),
        netns: netns.clone(),
        ifname: conf.ifname(&container.ifname),
        id: Some(id(conf, container)?),
        name: Some(container.name.clone()),
        options: conf.container_options.clone(),
    };
    let attached = canhub.attach(&asked).map_err(|err| refused(Error::REFUSED, err))?;
    let netns = netns.to_string_lossy();
    Ok(cni::added(&conf.version, conf.before.as_ref(), &attached.interface, &netns, attached.mtu))
}

fn id(conf: &Conf, container: &Attachment) -> Result<AttachmentId, Error> {
    container.id(&conf.network()).try_into().map_err(|why: String| Error::new(Error::CONFIG, why))
}

/// Works without canhub: it finds out by itself that the namespace is gone, also at its next start.
fn del(canhub: &AdminSocket, conf: &Conf, container: &Attachment) -> Result<(), Error> {
    match canhub.detach(id(conf, container)?) {
        Err(Failed::Unreachable { why, .. }) => {
            complain(&format!("{why}; the connection ends with the container's namespace"));
            Ok(())
        }
        done => done.map_err(|err| refused(Error::REFUSED, err)),
    }
}

fn check(canhub: &AdminSocket, conf: &Conf, container: &Attachment) -> Result<(), Error> {
    let (name, bus) = (&container.name, &conf.bus);
    let found = canhub.attachment(&id(conf, container)?).map_err(|err| refused(Error::REFUSED, err))?;
    let Some(found) = found else {
        let why = format!("{name} is not attached to bus {bus}: add it again");
        return Err(Error::new(Error::NOT_ATTACHED, why));
    };
    let interface = &found.interface;
    if !conf.before.as_ref().is_some_and(|before| cni::interface_of(before, interface)) {
        let why = format!(
            "prevResult has no interface {interface}, which {name} has on bus {bus}: pass the result of ADD, or add it again"
        );
        return Err(Error::new(Error::NOT_ATTACHED, why));
    }
    match found.problems.is_empty() {
        true => Ok(()),
        false => Err(Error::new(Error::PROBLEM, found.problems.join("; "))),
    }
}

fn gc(canhub: &AdminSocket, conf: &Conf) -> Result<(), Error> {
    if conf.valid.is_none() {
        let why = "GC: the configuration has no cni.dev/valid-attachments, so nothing was detached";
        return Err(Error::new(Error::CONFIG, why));
    }
    let all = canhub.attachments().map_err(|err| refused(Error::REFUSED, err))?;
    let stale = all.into_iter().filter(|one| conf.is_stale(one.id.as_ref()));
    // One that cannot be detached does not keep the others.
    let complaints: Vec<Failed> = stale.filter_map(|one| canhub.detach(one.id).err()).collect();
    complaints.into_iter().next().map_or(Ok(()), |err| Err(refused(Error::REFUSED, err)))
}

/// canhub's own sentence. Whatever the call, the runtime may try again later if canhub cannot be reached.
fn refused(code: u32, failed: Failed) -> Error {
    match failed {
        Failed::Unreachable { why, .. } if code == Error::REFUSED => Error::new(Error::LATER, why),
        failed => Error::new(code, failed.why().unwrap_or("canhub refused").to_owned()),
    }
}
