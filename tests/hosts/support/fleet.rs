//! The guests as a fleet: canhub and canhub-span on each, all joined.

use std::{path::PathBuf, sync::OnceLock};

use serde_json::Value;

use super::{
    guest::Guest,
    readme,
    shell::{not_run, say},
};

/// Its presence in a guest says that the guest has joined.
const JOINED: &str = "/var/lib/canhub-hosts-joined";

/// The running guests. The first two are `a` and `b`.
#[track_caller]
pub fn guests() -> Vec<Guest> {
    let names = std::env::var("CANHUB_HOSTS").expect("tests/hosts/run sets CANHUB_HOSTS");
    let guests: Vec<Guest> = names.split_whitespace().map(|name| Guest { name: name.into() }).collect();
    assert!(guests.len() >= 2, "CANHUB_HOSTS={names} are fewer than two guests");
    guests
}

/// Two hosts that have joined.
#[track_caller]
pub fn two() -> (Guest, Guest) {
    join_all();
    let guests = guests();
    (guests[0].clone(), guests[1].clone())
}

/// Three hosts that have joined; says so if there are only two guests.
#[track_caller]
pub fn three(test: &str) -> Option<(Guest, Guest, Guest)> {
    let guests = guests();
    let Some(third) = guests.get(2) else {
        not_run(test, "it needs three guests: make test-hosts");
        return None;
    };
    join_all();
    Some((guests[0].clone(), guests[1].clone(), third.clone()))
}

/// Makes the guests one fleet, once.
#[track_caller]
fn join_all() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let guests = guests();
        for (guest, name) in guests.iter().zip(["a", "b", "c"]) {
            install(guest, name);
        }
        if guests[0].try_sh(&format!("test -e {JOINED}")).is_err() {
            let path = readme::Path::read();
            for command in path.commands.iter().take_while(|command| !command.text.starts_with("docker ")) {
                path.carry_out(command, &guests);
            }
        }
        if let Some(third) = guests.get(2).filter(|third| third.try_sh(&format!("test -e {JOINED}")).is_err())
        {
            join(&guests[0], third, "c", "");
        }
        for guest in &guests {
            guest.run(&["touch", JOINED]);
        }
    });
}

/// Invites a host under this name, and joins. `rights`: more arguments for `invite`.
#[track_caller]
pub fn join(first: &Guest, joining: &Guest, name: &str, rights: &str) {
    try_join(first, joining, name, rights).unwrap_or_else(|err| panic!("{err}"));
}

/// The same; returns why it failed.
pub fn try_join(first: &Guest, joining: &Guest, name: &str, rights: &str) -> Result<(), String> {
    let invitation = first.try_sh(&format!("canhub-span invite {name} {rights}"))?;
    let address = joining.address();
    with_input(joining, &format!("canhub-span join --listen {address}:7447"), &invitation)?;
    joining.try_sh("systemctl enable --now canhub-span && systemctl restart canhub-span").map(drop)
}

/// Runs a shell command with this input.
pub fn with_input(guest: &Guest, command: &str, input: &str) -> Result<String, String> {
    guest.try_sh(&format!("{command} <<'END-OF-INPUT'\n{input}\nEND-OF-INPUT"))
}

/// Installs canhub as a service, from the packages if `tests/packages` made some, and the image of the containers, unless they
/// are there.
#[track_caller]
fn install(guest: &Guest, name: &str) {
    guest.sh("if test -e /host/canhub.deb; then \
           test -e /usr/bin/canhub || dpkg --install /host/canhub.deb /host/canhub-span.deb; \
         else \
           test -e /usr/local/bin/canhub || cp -a /host/install/. /; \
         fi && \
         sysctl -q --system --pattern 'net.core.(netdev_max_backlog|rmem_max)' && \
         systemd-sysusers && \
         systemctl daemon-reload && systemctl enable --now canhub.socket canhub.service");
    guest.sh(&format!("hostname {name}"));
    guest.sh("docker image inspect can-tools >/dev/null 2>&1 || \
         docker import /usr/share/canhub-guest/can-tools.tar can-tools");
    say(&format!("{} is host {name}, at {}", guest.name, guest.address()));
}

/// The output of a command in JSON.
pub fn json(guest: &Guest, command: &str) -> Result<Value, String> {
    let said = guest.try_sh(&format!("{command} || true"))?;
    serde_json::from_str(&said).map_err(|err| format!("{command}: {err}: {said}"))
}

/// What `canhub status` says of a bus's span.
pub fn span(guest: &Guest, network: &str) -> Result<Value, String> {
    let status = json(guest, "canhub status --json")?;
    let buses = status["buses"].as_array().ok_or_else(|| status.to_string())?;
    let bus = buses.iter().find(|bus| bus["network_name"] == *network);
    match bus {
        Some(bus) if bus["span"].is_object() => Ok(bus["span"].clone()),
        _ => Err(format!("network {network} has no span in {status}")),
    }
}

/// What a host knows of another one on a bus's span.
pub fn host_on_span(guest: &Guest, network: &str, other: &str) -> Result<Value, String> {
    let span = span(guest, network)?;
    let hosts = span["hosts"].as_array().ok_or_else(|| span.to_string())?;
    hosts
        .iter()
        .find(|host| host["name"] == *other)
        .cloned()
        .ok_or_else(|| format!("no host {other} in {span}"))
}

/// The project's folder.
pub fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
