//! Many sandboxes, one of them broken: the others are healed, and only the broken one is a problem.
//!
//! `CANHUB_SANDBOXES` sets another number; `make soak` runs two thousand. As in `cycles`, the test plays dockerd's part.

use std::{os::unix::fs::symlink, path::Path, time::Instant};

use serde_json::{Value, json};

use crate::{
    cycles::{bodies, client::Client},
    support::{
        canhub::{Second, is_service, program},
        host::ip_link,
        scene::Scene,
        shell::{attempt, eventually, number_from, say, sh},
    },
};

const STATE: &str = "/run/e2e-crowd";
const SANDBOXES: u64 = 20;
/// Rules on a bus grow with the square of its members, and are not the subject here.
const PER_BUS: u32 = 2;

fn namespace(member: u32) -> String {
    format!("e2e-crowd{member}")
}

fn sandbox(member: u32) -> String {
    format!("/run/netns/{}", namespace(member))
}

/// Puts the members on their buses.
fn join_all(client: &mut Client, members: u32) {
    let mut call = |method: &str, body: &Value| client.call(&format!("NetworkDriver.{method}"), body).ok();
    for member in 0..members {
        let (network, endpoint) = (bodies::network(member / PER_BUS), bodies::endpoint(member));
        if member.is_multiple_of(PER_BUS) {
            call("CreateNetwork", &bodies::create_network(&network, json!({})));
        }
        call("CreateEndpoint", &bodies::create_endpoint(&network, &endpoint, json!({})));
        call("Join", &bodies::join(&network, &endpoint, &sandbox(member)));
    }
}

/// Its host end is named after its endpoint.
fn host_end(member: u32) -> String {
    format!("ch{:.10}", bodies::endpoint(member))
}

#[test]
fn one_broken_sandbox_among_many_does_not_stop_healing() {
    if !is_service("crowd::one_broken_sandbox_among_many_does_not_stop_healing") {
        return;
    }
    let members = number_from("CANHUB_SANDBOXES").unwrap_or(SANDBOXES) as u32;
    let scene = Scene::new();
    sh(&format!("for i in $(seq 0 {}); do ip netns add e2e-crowd$i; done", members - 1));
    scene.undo(move || {
        sh(&format!("for i in $(seq 0 {}); do ip netns del e2e-crowd$i 2>/dev/null || rm -f /run/netns/e2e-crowd$i; done", members - 1));
    });
    let second = Second::start(
        "canhub-crowd",
        &[],
        &["--state-dir", STATE, "--docker-socket", "/nowhere", "--audit-interval", "5"],
    );
    second.undo(&format!("rm -rf {STATE}"));
    let mut client = Client::connect(Path::new(&second.socket()));
    client.call_raw("Plugin.Activate", b"").ok();
    let started = Instant::now();
    join_all(&mut client, members);
    let joined = started.elapsed();

    // A path that cannot be resolved: not a missing sandbox, but one that cannot be read.
    let broken = members / 2;
    sh(&format!("umount {0} && rm {0}", sandbox(broken)));
    symlink(sandbox(broken), sandbox(broken)).expect("root may write there");
    let victim = members - 1;
    ip_link(&["del", &host_end(victim)]);
    let started = Instant::now();
    eventually("the other pair is healed", || {
        let inside = attempt("ip", &["-n", &namespace(victim), "-o", "link", "show", "can0", "up"])?;
        if inside.contains("can0") { Ok(()) } else { Err(inside) }
    });
    let healed = started.elapsed();
    let status = eventually("the broken sandbox is the only problem", || {
        let admin = "/run/canhub-canhub-crowd.sock";
        // It exits with 1 because of the problem.
        let status = sh(&format!("{} status --json --admin-socket {admin} || true", program()));
        let status: Value = serde_json::from_str(&status).map_err(|err| format!("{err}: {status}"))?;
        let buses = status["buses"].as_array().into_iter().flatten();
        let problems: Vec<String> = buses
            .flat_map(|bus| bus["problems"].as_array().into_iter().flatten())
            .map(Value::to_string)
            .collect();
        match &problems[..] {
            [one] if one.contains(&namespace(broken)) => Ok(one.clone()),
            _ => Err(format!("{problems:?}")),
        }
    });
    say(&format!(
        "{members} sandboxes joined in {} s; with one of them broken, another pair was healed in {} ms; the problem: {status}",
        joined.as_secs(),
        healed.as_millis()
    ));
    sh(&format!("rm {}", sandbox(broken)));
    for bus in 0..members.div_ceil(PER_BUS) {
        client.call("NetworkDriver.DeleteNetwork", &bodies::delete_network(&bodies::network(bus))).ok();
    }
}
