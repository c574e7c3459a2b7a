//! The task that runs the health checks.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::time::{sleep, sleep_until, timeout};

use super::{
    Health, Watch,
    board::{Board, Change, CheckResult, Key},
    facts::containers,
    policy::Policy,
    slot::Slot,
    survey::{lacking, take_in},
};
use crate::{
    checks::{Finding, Group, docker::unused, records},
    docker,
    error::Error,
    events::{Event, Events, FeedItem, Kind, Reader},
    manager::{Handle, Manager},
    names::NetworkId,
    network::Ownership,
    status::BusStatus,
};

/// A check that fails for the first time is repeated this soon. Also the minimum interval between two checks.
const SOON: Duration = Duration::from_secs(1);
/// How soon to check again what was too early to tell.
const EARLY: Duration = Duration::from_secs(5);
/// Each check is followed by a pause of at least this multiple of its duration.
const REST_FACTOR: u32 = 4;

/// One thread per check that may hang: while it hangs, no second one is started.
#[derive(Default)]
pub(super) struct Slots {
    survey: Slot,
    records: Slot,
}

pub(super) struct Monitor {
    pub(super) health: Arc<Health>,
    pub(super) manager: Handle,
    pub(super) watch: Watch,
    pub(super) policy: Policy,
    pub(super) started: Instant,
    pub(super) slots: Slots,
}

impl Monitor {
    /// Each at its own pace: a Docker that hangs does not delay the recovery of a bus.
    pub(super) async fn run(self, trouble: Reader) {
        tokio::join!(self.watch_buses(trouble), self.watch_records(), self.watch_docker());
    }

    async fn watch_buses(&self, mut trouble: Reader) {
        loop {
            // One check covers everything that happened before it.
            trouble.skip();
            let took = self.look_at_buses().await;
            let due =
                tokio::time::Instant::now() + self.pause(|key| !matches!(key, Key::State | Key::Docker));
            let well = self.health.board.lock().is_well();
            sleep((took * REST_FACTOR).max(self.soon())).await;
            tokio::select! {
                () = sleep_until(due) => {}
                // Someone may be waiting for the recovery.
                () = self.manager.signals().audit_done(), if !well => {}
                () = until_trouble(&mut trouble) => {}
            }
        }
    }

    async fn watch_records(&self) {
        loop {
            self.look_at_records().await;
            sleep(self.pause(|key| *key == Key::State)).await;
        }
    }

    async fn watch_docker(&self) {
        loop {
            self.look_at_docker().await;
            sleep(self.pause(|key| *key == Key::Docker)).await;
        }
    }

    fn soon(&self) -> Duration {
        SOON.min(self.policy.interval)
    }

    /// The time until the next check of these.
    fn pause(&self, of: impl Fn(&Key) -> bool) -> Duration {
        let board = self.health.board.lock();
        if board.suspects(&of) {
            self.soon()
        } else if board.is_early(&of) {
            EARLY.min(self.policy.interval)
        } else {
            self.policy.interval
        }
    }

    /// Returns how long canhub itself was busy with it.
    async fn look_at_buses(&self) -> Duration {
        let modules = self.watch.modules.clone();
        let begun = Instant::now();
        let survey = move |manager: &Manager| {
            let status = manager.status()?;
            Ok::<_, Error>((lacking(&status, &modules), manager.startup_validation(), status))
        };
        let surveyed = self.slots.survey.work(&self.manager, self.policy.time_limit, survey).await;
        let took = begun.elapsed();
        *self.health.looked.lock() = Instant::now();
        {
            let mut facts = self.health.facts.lock();
            facts.containers = match &surveyed {
                Some(Ok((_, validation, status))) => {
                    facts.startup_validation.clone_from(validation);
                    Some(containers(status))
                }
                _ => None,
            };
        }
        self.record(|board, now, changes| match &surveyed {
            Some(Ok((lacking, _, status))) => take_in(board, status, lacking.clone(), took, now, changes),
            failed => {
                let why = match failed {
                    Some(Err(err)) => blind(err),
                    _ => late("the kernel", self.policy.time_limit),
                };
                let sentence =
                    format!("{}; the state of the buses has been unknown since then", why.sentence);
                changes.extend(board.record(Key::Kernel, "kernel", CheckResult::Found(why), Some(took), now));
                for (key, name) in board.surveyed() {
                    let unseen = Finding::error(Group::Buses, "bus", sentence.clone());
                    changes.extend(board.record(key, &name, CheckResult::Found(unseen), Some(took), now));
                }
            }
        });
        self.manager.events().counters().checked("kernel", took);
        let Some(Ok((.., status))) = surveyed else { return Duration::ZERO };
        let has_adapter = |bus: &BusStatus| bus.owner == Ownership::Adapter;
        for (kind, any) in
            [("bus", !status.buses.is_empty()), ("adapter", status.buses.iter().any(has_adapter))]
        {
            if any {
                self.manager.events().counters().checked(kind, took);
            }
        }
        took
    }

    async fn look_at_records(&self) {
        let begun = Instant::now();
        let look = |manager: &Manager| (records::of_daemon(&manager.records()), manager.state_free_bytes());
        let found = self.slots.records.work(&self.manager, self.policy.time_limit, look).await;
        let (found, free) =
            found.unwrap_or_else(|| (late("the disk of the state folder", self.policy.time_limit), None));
        self.health.facts.lock().state_free_bytes = free;
        self.found("state", Key::State, CheckResult::Found(found), begun.elapsed());
    }

    async fn look_at_docker(&self) {
        let begun = Instant::now();
        let outcome = match &self.watch.docker {
            None => {
                let why =
                    "canhub has no access to Docker's API here (managed plugin), so Docker is not watched";
                CheckResult::Unwatched(why.to_owned())
            }
            Some(socket) => {
                let asked = timeout(self.policy.time_limit, docker::ping(socket)).await;
                let (version, problem) = match asked {
                    Ok(Ok(version)) => (version, None),
                    Ok(Err(err)) if err.kind() == io::ErrorKind::NotFound && self.is_docker_unused() => {
                        self.health.facts.lock().docker_version = None;
                        let why = CheckResult::Unwatched(unused(socket));
                        self.found("docker", Key::Docker, why, begun.elapsed());
                        return;
                    }
                    Ok(Err(err)) => {
                        (None, Some(format!("Docker does not answer on {}: {err}", socket.display())))
                    }
                    Err(_) => (None, Some(late("Docker", self.policy.time_limit).sentence)),
                };
                self.health.facts.lock().docker_version = version;
                match problem {
                    None => CheckResult::Found(Finding::pass(Group::Docker, "docker-api", "Docker answers")),
                    Some(why)
                        if self.started.elapsed() < self.watch.docker_grace
                            && self.health.board.lock().is_early(|key| *key == Key::Docker) =>
                    {
                        CheckResult::TooEarly(format!("{why}; it starts after canhub"))
                    }
                    Some(why) => {
                        let why = format!(
                            "{why}; buses of running containers keep working, but no container can start or stop"
                        );
                        CheckResult::Found(
                            Finding::error(Group::Docker, "docker-api", why)
                                .hint("see `systemctl status docker`"),
                        )
                    }
                }
            }
        };
        self.found("docker", Key::Docker, outcome, begun.elapsed());
    }

    /// Whether all buses are known, and none is a network of Docker's.
    fn is_docker_unused(&self) -> bool {
        let board = self.health.board.lock();
        let is_of_docker = |key: &Key| matches!(key, Key::Bus(id) if !id.is_made());
        board.is_settled(&Key::Kernel) && !board.has(is_of_docker)
    }

    fn found(&self, name: &'static str, key: Key, outcome: CheckResult, took: Duration) {
        if !matches!(outcome, CheckResult::Unwatched(_)) {
            self.manager.events().counters().checked(key.kind(), took);
        }
        self.record(|board, now, changes| changes.extend(board.record(key, name, outcome, Some(took), now)));
    }

    /// Updates the board, and reports the changes.
    fn record(&self, write: impl FnOnce(&mut Board, SystemTime, &mut Vec<Change>)) {
        self.health.record(self.manager.events(), write);
    }
}

impl Health {
    /// Updates the board, and reports the changes.
    pub(super) fn record(
        &self,
        events: &Events,
        write: impl FnOnce(&mut Board, SystemTime, &mut Vec<Change>),
    ) {
        let mut changes = Vec::new();
        {
            let (mut board, now) = (self.board.lock(), SystemTime::now());
            write(&mut board, now, &mut changes);
            changes.extend(board.conclude(now));
        }
        for change in changes {
            events.tell(event(change));
        }
    }
}

fn blind(err: &Error) -> Finding {
    Finding::error(Group::System, "kernel", err.to_string()).hint("run `canhub doctor`")
}

fn late(who: &str, limit: Duration) -> Finding {
    let sentence = format!("{who} did not answer within {} s", limit.as_secs_f64());
    Finding::error(Group::System, "time-limit", sentence)
}

fn event(change: Change) -> Event {
    let network: Option<NetworkId> = match change.key {
        Some(Key::Bus(id) | Key::Adapter(id) | Key::Span(id)) => Some(id),
        _ => None,
    };
    let name = change.component.strip_prefix("bus:").filter(|_| network.is_some()).map(str::to_owned);
    Event {
        network,
        network_name: name,
        component: Some(change.component),
        from: Some(change.from),
        to: Some(change.to),
        reason: Some(change.reason.into()),
        ..Event::new(Kind::StatusChanged)
    }
}

/// Resolves when something happens that health may depend on.
async fn until_trouble(trouble: &mut Reader) {
    while let Some(told) = trouble.next().await {
        let matters = match told {
            FeedItem::Event(entry) => matches!(
                entry.event.kind,
                Kind::Problem
                    | Kind::ProblemOver
                    | Kind::AdapterVanished
                    | Kind::AdapterAppeared
                    | Kind::BusOff
                    | Kind::FramesLost
                    | Kind::HealFailed
                    | Kind::KeepsComingBack
                    | Kind::NetworkCreated
                    | Kind::NetworkDeleted
                    | Kind::HostOnline
                    | Kind::HostOffline
                    | Kind::HostRefused
                    | Kind::SpanStopped
                    | Kind::SpanResumed
                    | Kind::SpanLost
                    | Kind::SpanFound
            ),
            FeedItem::Missed { .. } => true,
        };
        if matters {
            return;
        }
    }
    // canhub is stopping.
    std::future::pending().await
}
