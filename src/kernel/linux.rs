//! The real kernel, over netlink.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, NetlinkSerializable};

use super::{
    ControllerChange, FrameSocket, Gauge, HOST_NAMESPACE, Identity, Inside, Kernel, KernelError, Link,
    LinkChange, LinkCounters, Namespace, Netem, Pace, PairSpec, Qdisc, Refusal, Result, Rule, RuleStatus,
    Sender, cangw, controller, counters, identity,
    link::{self, PairIndices},
    mark::Mark,
    module, namespace, netns, qdisc,
    socket::{RouteSocket, Sockets},
};
use crate::names::IfName;

/// How many indices to try if one is taken.
const INDEX_TRIES: u32 = 4;

/// The kernel this process runs on, in the namespace it was started in: no thread that uses it may be in another one.
#[derive(Debug, Clone, Default)]
pub struct Linux {
    mark: Mark,
    sockets: Arc<Sockets>,
}

impl Linux {
    /// The kernel as seen by the canhub of this driver name: links of a canhub with another name are foreign.
    pub fn new(instance: &str) -> Self {
        Self { mark: Mark::new(instance), ..Self::default() }
    }

    /// A link as this canhub sees it.
    pub(super) fn as_seen(&self, link: Link) -> Link {
        self.mark.read_one(link)
    }

    fn probe_gateway(&self) -> Result<()> {
        match self.sockets.with(|socket| socket.change(cangw::Request::Probe, 0)) {
            // can-gw's answer to a rule without interfaces.
            Err(err) if err.refusal() == Refusal::Gone => Ok(()),
            Err(err) => Err(err),
            Ok(()) => Err(KernelError::Unexpected("a rule without interfaces was accepted".into())),
        }
    }

    /// Changes links of the host or of a sandbox, and returns the first refusal.
    fn change(&self, sandbox: Option<&Path>, messages: Vec<RouteNetlinkMessage>) -> Result<()> {
        match sandbox {
            None => self.sockets.with(|socket| change_all(socket, messages)),
            Some(path) => change_inside(netns::open(path)?.ok_or(Errno::ENOENT)?, messages),
        }
    }

    fn create(&self, link: RouteNetlinkMessage) -> Result<()> {
        self.sockets.with(|socket| socket.change(link, NLM_F_CREATE | NLM_F_EXCL))
    }
}

impl Kernel for Linux {
    fn ensure_gateway(&self) -> Result<()> {
        match self.probe_gateway() {
            Err(err) if err.refusal() == Refusal::NotSupported => {
                module::request("can-gw");
                self.probe_gateway()
            }
            probed => probed,
        }
    }

    fn ensure_pairs(&self) -> Result<()> {
        match self.create(link::probe_pair()) {
            Err(err) if err.refusal() == Refusal::Other => Ok(()),
            Err(err) => Err(err),
            Ok(()) => Err(KernelError::Unexpected("a pair without a peer was accepted".into())),
        }
    }

    fn links(&self) -> Result<Vec<Link>> {
        let links = self.sockets.with(|socket| {
            let links = socket.dump(link::list(), link::parse)?;
            qdisc::complete(socket, links)
        });
        Ok(self.mark.read(links?))
    }

    fn link_named(&self, name: &IfName) -> Result<Option<Link>> {
        let found = self.sockets.with(|socket| socket.get_one(link::get(name), link::parse))?;
        Ok(self.mark.read(found.into_iter().collect()).pop())
    }

    fn counters(&self) -> Result<Vec<(u32, LinkCounters)>> {
        self.sockets.with(counters::all)
    }

    fn rules(&self) -> Result<Vec<RuleStatus>> {
        self.sockets.with(|socket| socket.dump(cangw::Request::List, cangw::parse_rule))
    }

    fn sandbox_links(&self, sandbox: &Path) -> Result<Option<Vec<Link>>> {
        let Some(namespace) = netns::open(sandbox)? else { return Ok(None) };
        let links = netns::run_in(namespace, || links_inside(|_, _| {}))?;
        Ok(Some(self.mark.read(links)))
    }

    /// One thread visits them one after another, so only one namespace is open at a time.
    fn look_into(&self, sandboxes: BTreeSet<&Path>) -> BTreeMap<PathBuf, Result<Option<Inside>>> {
        let look = || {
            let links = self.mark.read(links_inside(counters::complete)?);
            Ok(Inside { links, cookie: namespace::current_cookie() })
        };
        let looks = netns::run_in_each(sandboxes, look);
        looks.into_iter().map(|(path, inside)| (path.to_owned(), inside)).collect()
    }

    fn identities(&self) -> Result<Vec<(String, Result<Identity>)>> {
        let all = identity::read_all(Path::new("/sys/class/net"))?;
        Ok(all.into_iter().map(|(name, identity)| (name, identity.map_err(KernelError::from))).collect())
    }

    fn sandbox_exists(&self, sandbox: &Path) -> Result<bool> {
        netns::exists(sandbox)
    }

    fn namespace(&self, sandbox: &Path) -> Result<Option<Namespace>> {
        let Some(found) = netns::open(sandbox)? else { return Ok(None) };
        let is_host = netns::is_at(&found, Path::new(HOST_NAMESPACE))?;
        let cookie = netns::run_in(found, || Ok(namespace::current_cookie()))?;
        Ok(Some(Namespace { cookie, is_host }))
    }

    fn create_vcan(&self, name: &IfName, mtu: u32, alias: &str) -> Result<u32> {
        let index = with_free_index(|attempt| {
            let index = link::hub_index(name, attempt);
            self.create(link::new_vcan(name, index, mtu)).map(|()| index)
        })?;
        let marked = LinkChange { alias: Some(self.mark.write(alias)), ..LinkChange::default() };
        let set_up = self.change(None, link::set(index, &marked));
        undo_on_error(set_up, || self.delete_link(None, index))?;
        Ok(index)
    }

    fn create_pair(&self, pair: &PairSpec<'_>) -> Result<PairIndices> {
        let namespace = match pair.sandbox {
            Some(path) => Some(netns::open(path)?.ok_or(Errno::ENOENT)?),
            None => None,
        };
        let fd = namespace.as_ref().map(|namespace| namespace.as_fd().as_raw_fd());
        let indices = with_free_index(|attempt| {
            let indices = PairIndices::for_name(pair.host, attempt);
            self.create(link::new_pair(pair, indices, fd)).map(|()| indices)
        })?;
        let ready =
            LinkChange { alias: Some(self.mark.write(pair.alias)), up: Some(true), ..LinkChange::default() };
        // The end brought up last can send at once; the other one only after the kernel's linkwatch has run. A
        // container's first instruction may be a send, so its end comes last. On the host, Docker brings it up.
        let set_up = || {
            self.change(None, link::set(indices.host, &ready))?;
            match namespace {
                Some(namespace) => change_inside(namespace, link::set(indices.end, &ready)),
                None => self.change(None, link::set(indices.end, &LinkChange { up: None, ..ready })),
            }
        };
        undo_on_error(set_up(), || self.delete_link(None, indices.host))?;
        Ok(indices)
    }

    fn change_link(&self, sandbox: Option<&Path>, index: u32, change: &LinkChange) -> Result<()> {
        let alias = change.alias.as_deref().map(|alias| self.mark.write(alias));
        self.change(sandbox, link::set(index, &LinkChange { alias, ..change.clone() }))
    }

    fn configure(&self, index: u32, change: &ControllerChange, up: bool) -> Result<()> {
        let is_up = self.links()?.iter().any(|link| link.index == index && link.up);
        // The first refusal has the reason; even then the link is brought up, if allowed.
        let messages = controller::configure(index, change, is_up, up);
        self.sockets.with(|socket| change_all(socket, messages))
    }

    fn pace(&self, sandbox: &Path, index: u32, pace: Option<Pace>) -> Result<()> {
        change_qdiscs(sandbox, index, move |found| (pace, found.and_then(|qdisc| qdisc.netem)))
    }

    fn netem(&self, sandbox: &Path, index: u32, netem: Option<Netem>) -> Result<()> {
        change_qdiscs(sandbox, index, move |found| (found.and_then(|qdisc| qdisc.pace), netem))
    }

    fn ensure_netem(&self) -> Result<()> {
        let probe = qdisc::Request::ProbeNetem;
        match self.sockets.with(|socket| socket.change(probe, probe.flags())) {
            Err(err) if is_no_match(&err) => Ok(()),
            probed => probed.map_err(without_qdisc),
        }
    }

    fn gauge(&self, adapter: u32, ends: &[u32]) -> Result<Gauge> {
        let links = || std::iter::once(adapter).chain(ends.iter().copied());
        let (queues, counts) = self.sockets.with(|socket| {
            let get = qdisc::Request::Get(adapter);
            let queues = socket.get([get], get.flags() | NLM_F_ECHO, qdisc::parse)?;
            Ok((queues, socket.get(links().map(counters::Request::Get), 0, counters::parse)?))
        })?;
        let count =
            |index: u32| counts.iter().find(|(counted, _)| *counted == index).map(|(_, counters)| counters);
        let queue = queues.iter().find(|queue| queue.link == adapter).ok_or(Errno::ENODEV)?;
        let sent = count(adapter).ok_or(Errno::ENODEV)?.tx_packets;
        let from = ends.iter().map(|end| count(*end).map(|counters| counters.rx_packets)).collect();
        Ok(Gauge { queued: queue.queued, sent, from })
    }

    fn delete_link(&self, sandbox: Option<&Path>, index: u32) -> Result<()> {
        match self.change(sandbox, vec![link::delete(index)]) {
            Err(err) if err.refusal() == Refusal::Gone => Ok(()),
            deleted => deleted,
        }
    }

    fn add_rules(&self, rules: &[Rule]) -> Result<()> {
        if rules.is_empty() {
            return Ok(());
        }
        let messages = || rules.iter().copied().map(cangw::Request::Add);
        let add = || self.sockets.with(|socket| socket.changes(messages(), 0));
        let mut refused = add()?;
        // Without can-gw all are refused, so repeating the request adds none twice.
        if refused.len() == rules.len() && refused[0].1.refusal() == Refusal::NotSupported {
            self.ensure_gateway()?;
            refused = add()?;
        }
        refused.pop().map_or(Ok(()), |(_, err)| Err(err))
    }

    fn delete_rules(&self, rules: &[Rule]) -> Result<()> {
        // Both indices zero is the kernel's "flush everything", including foreign rules.
        let named = rules.iter().copied().filter(|rule| rule.source != 0 && rule.destination != 0);
        let messages = named.map(cangw::Request::Delete);
        let refused = self.sockets.with(|socket| socket.changes(messages, 0))?;
        let is_gone = |err: &KernelError| {
            // gw.c returns EINVAL if no rule is equal, ENODEV if an interface is gone.
            is_no_match(err) || matches!(err.refusal(), Refusal::Gone | Refusal::NotSupported)
        };
        refused.into_iter().map(|(_, err)| err).find(|err| !is_gone(err)).map_or(Ok(()), Err)
    }

    fn sender(&self, sandbox: Option<&Path>, index: u32, looped: bool) -> Result<Box<dyn Sender>> {
        let open = move || FrameSocket::for_sending(index, looped);
        let socket = match sandbox {
            None => open()?,
            Some(path) => netns::run_in(netns::open(path)?.ok_or(Errno::ENOENT)?, open)?,
        };
        Ok(Box::new(socket))
    }
}

/// Changes the qdiscs of a link in a sandbox to what follows from those that it has.
fn change_qdiscs(
    sandbox: &Path,
    index: u32,
    wanted: impl FnOnce(Option<&Qdisc>) -> (Option<Pace>, Option<Netem>) + Send + 'static,
) -> Result<()> {
    let sandbox = netns::open(sandbox)?.ok_or(Errno::ENOENT)?;
    netns::run_in(sandbox, move || {
        let mut socket = RouteSocket::open()?;
        let found = qdisc::of_link(&socket.dump(qdisc::Request::List, qdisc::parse)?, index);
        let (pace, netem) = wanted(found.as_ref());
        for request in qdisc::requests(index, found.as_ref(), pace, netem) {
            let done = socket.change(request, request.flags());
            done.map_err(|err| if request.creates() { without_qdisc(err) } else { err })?;
        }
        Ok(())
    })
}

/// "Specified qdisc kind is unknown": neither built in nor found by modprobe.
fn without_qdisc(err: KernelError) -> KernelError {
    match err {
        KernelError::Refused { errno, words } if is_missing(&errno) => {
            KernelError::Refused { errno: Errno::EOPNOTSUPP.into(), words }
        }
        err => err,
    }
}

fn change_inside(sandbox: OwnedFd, messages: Vec<RouteNetlinkMessage>) -> Result<()> {
    netns::run_in(sandbox, || change_all(&mut RouteSocket::open()?, messages))
}

/// All links of the current thread's namespace, with their qdiscs, and with what `complete` adds.
fn links_inside(complete: impl FnOnce(&mut RouteSocket, &mut [Link])) -> Result<Vec<Link>> {
    let mut socket = RouteSocket::open()?;
    let mut links = socket.dump(link::list(), link::parse)?;
    complete(&mut socket, &mut links);
    qdisc::complete(&mut socket, links)
}

/// `EINVAL`: nothing matches the request.
fn is_no_match(err: &KernelError) -> bool {
    matches!(err, KernelError::Refused { errno, .. } if errno.raw_os_error() == Some(Errno::EINVAL as i32))
}

fn is_missing(errno: &std::io::Error) -> bool {
    errno.raw_os_error() == Some(Errno::ENOENT as i32)
}

fn change_all<M: NetlinkSerializable>(
    socket: &mut RouteSocket,
    messages: impl IntoIterator<Item = M>,
) -> Result<()> {
    match socket.changes(messages, 0)?.into_iter().next() {
        None => Ok(()),
        Some((_, err)) => Err(err),
    }
}

/// `EEXIST` means that the name or the index is taken; only the index can be chosen again.
fn with_free_index<T>(create: impl Fn(u32) -> Result<T>) -> Result<T> {
    let taken = |result: &Result<T>| matches!(result, Err(err) if err.refusal() == Refusal::Exists);
    (1..INDEX_TRIES).fold(create(0), |result, attempt| if taken(&result) { create(attempt) } else { result })
}

/// Leaves nothing half-created: if the second step fails, the first one is undone.
fn undo_on_error<T>(step: Result<T>, undo: impl FnOnce() -> Result<()>) -> Result<T> {
    step.map_err(|err| match undo() {
        Ok(()) => err,
        Err(undone) => KernelError::Unexpected(format!("{err}, and taking it back failed: {undone}")),
    })
}
