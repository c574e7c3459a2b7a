//! `/v1/health`: reports what is wrong, in time, whatever hangs.

mod facts;
mod timeouts;

use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use canhub::{
    checks::Files,
    driver::server,
    events::{Event, Kind},
    health::{Health, Policy, Watch, policy::load},
    kernel::{Controller, Identity, Kernel, fake::FakeKernel},
    reconcile::Memory,
};
use serde_json::{Value, json};

use super::{
    ask::{Listener, get},
    client::Reply,
    hanging::Hanging,
    rig::Rig,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Short intervals, so that tests need not wait.
pub fn eager() -> Policy {
    Policy {
        interval: Duration::from_millis(30),
        time_limit: Duration::from_millis(250),
        threshold: 1,
        ..Policy::default()
    }
}

/// A policy file with these lines about components.
fn policy(needs: &str) -> (Policy, Option<String>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("health.toml");
    std::fs::write(&file, needs).unwrap();
    let (policy, complaint) = load(Some(&file));
    (Policy { needs: policy.needs, ..eager() }, complaint)
}

pub fn no_docker() -> Watch {
    Watch { docker: None, docker_grace: Duration::ZERO, modules: Files::under("/nowhere") }
}

fn docker_at(socket: &Path) -> Watch {
    Watch { docker: Some(socket.to_owned()), ..no_docker() }
}

/// A rig with health checks, after one pass of the loop.
fn rig(policy: Policy, watch: Watch) -> Rig {
    let rig = Rig::watched(server::TIME_LIMIT, Health::new(policy, None), Some(watch), |kernel| kernel);
    reconcile(&rig);
    rig
}

fn reconcile(rig: &Rig) {
    rig.manager.reconcile(&Memory::default()).unwrap();
}

fn health(rig: &Rig) -> Reply {
    get(&rig.admin(), "/v1/health")
}

fn component(report: &Value, name: &str) -> Value {
    let components = report["components"].as_array().unwrap();
    components.iter().find(|one| one["component"] == name).cloned().unwrap_or(Value::Null)
}

/// Waits until a component has this status, and returns the response.
#[track_caller]
pub fn until(rig: &Rig, name: &str, status: &str) -> (Reply, Value) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = health(rig);
        let report: Value = serde_json::from_str(&reply.body).unwrap();
        let is = match name {
            "overall" => report["status"].clone(),
            name => component(&report, name)["status"].clone(),
        };
        if is == status {
            return (reply, report);
        }
        assert!(Instant::now() < deadline, "{name} is not {status}: {report:#}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A Docker that answers `/_ping` after a delay; `None`: never. It exists as long as its folder.
fn docker(dir: &Path, after: Option<Duration>) -> PathBuf {
    let socket = dir.join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            match after {
                None => kept.push(stream),
                Some(pause) => {
                    let mut request = [0; 1024];
                    let read = stream.read(&mut request).unwrap();
                    assert!(request[..read].starts_with(b"GET /_ping HTTP/1.1\r\n"));
                    thread::sleep(pause);
                    let _ = stream.write_all(
                        b"HTTP/1.1 200 OK\r\nServer: Docker/28.5.2 (linux)\r\nContent-Length: 2\r\n\r\nOK",
                    );
                }
            }
        }
    });
    socket
}

#[test]
fn before_the_first_check_the_response_is_503_with_the_reason() {
    let rig = Rig::new();
    let reply = health(&rig);
    assert_eq!(reply.status, 503);
    let report: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(report["status"], "unhealthy");
    let kernel = component(&report, "kernel");
    assert_eq!((&kernel["status"], &kernel["last_check"]), (&json!("unknown"), &Value::Null));
    assert_eq!(rig.sample("canhub_health"), 2.0);
}

#[test]
fn it_is_healthy_only_after_all_buses_were_checked_and_healed() {
    let rig =
        Rig::watched(server::TIME_LIMIT, Health::new(eager(), None), Some(no_docker()), |kernel| kernel);
    let (reply, report) = until(&rig, "state", "healthy");
    assert_eq!(reply.status, 503, "{report:#}");
    let why = || component(&serde_json::from_str(&health(&rig).body).unwrap(), "kernel")["reason"].clone();
    let deadline = Instant::now() + PATIENCE;
    while !why().as_str().unwrap().contains("the first check of all buses") {
        assert!(Instant::now() < deadline, "{}", why());
    }
    reconcile(&rig);
    let (reply, report) = until(&rig, "overall", "healthy");
    assert_eq!((reply.status, &report["reason"]), (200, &json!("all is well")));
    let kernel = component(&report, "kernel");
    assert!(kernel["took_us"].is_u64() && kernel["last_check"].is_string(), "{kernel}");
    assert_eq!((&kernel["required"], &kernel["failures"]), (&json!(true), &json!(0)));
    let docker = component(&report, "docker");
    assert_eq!((&docker["status"], &docker["required"]), (&json!("unwatched"), &json!(false)));
}

#[test]
fn a_broken_bus_makes_it_unhealthy_with_the_reason_and_the_fix() {
    let rig = rig(eager(), no_docker());
    rig.network(1, json!({ "hub": "vcan-body", "heal": "off" }));
    let name = format!("bus:{}", &super::bodies::network(1)[..12]);
    let (reply, report) = until(&rig, &name, "healthy");
    assert_eq!((reply.status, &component(&report, &name)["required"]), (200, &json!(true)));
    rig.kernel.delete_link(None, rig.link("vcan-body").unwrap().index).unwrap();
    let (reply, report) = until(&rig, &name, "unhealthy");
    assert_eq!((reply.status, &report["status"]), (503, &json!("unhealthy")));
    let bus = component(&report, &name);
    assert!(bus["reason"].as_str().unwrap().contains("the hub was missing (vcan-body)"), "{bus}");
    assert!(bus["reason"].as_str().unwrap().contains("healing is off"), "{bus}");
    assert_eq!(bus["fix"], "canhub doctor --fix");
    assert!(bus["failures"].as_u64().unwrap() >= 1, "{bus}");

    rig.call("DeleteNetwork", &super::bodies::delete_network(&super::bodies::network(1))).ok();
    let (reply, report) = until(&rig, "overall", "healthy");
    assert_eq!((reply.status, component(&report, &name)), (200, Value::Null));
}

/// A bus that lacks its rules because the kernel has no can-gw is reported as the kernel's fault.
#[test]
fn a_missing_module_is_reported_with_the_package_that_contains_it() {
    let root = tempfile::tempdir().unwrap();
    let modules = root.path().join("lib/modules/6.1.0-test");
    std::fs::create_dir_all(&modules).unwrap();
    std::fs::create_dir_all(root.path().join("proc/sys/kernel")).unwrap();
    std::fs::write(root.path().join("proc/sys/kernel/osrelease"), "6.1.0-test\n").unwrap();
    std::fs::write(root.path().join("proc/modules"), "").unwrap();
    for list in ["modules.dep", "modules.builtin"] {
        std::fs::write(modules.join(list), "kernel/net/can/can.ko:\n").unwrap();
    }
    let watch = Watch { modules: Files::under(root.path()), ..no_docker() };
    let rig = rig(eager(), watch);
    rig.network(1, json!({ "hub": "vcan-body", "heal": "off" }));
    let (_, report) = until(&rig, "overall", "healthy");
    assert_eq!(component(&report, "kernel")["status"], "healthy", "nothing is missing");
    rig.kernel.delete_link(None, rig.link("vcan-body").unwrap().index).unwrap();
    let (reply, report) = until(&rig, "kernel", "unhealthy");
    let kernel = component(&report, "kernel");
    assert_eq!(reply.status, 503);
    assert!(
        kernel["reason"].as_str().unwrap().contains("6.1.0-test") && kernel["hint"].is_string(),
        "{kernel}"
    );
}

/// However long its own interval: a boot or a person may be waiting.
#[test]
fn events_and_audits_trigger_checks_until_everything_is_healthy() {
    let rig = rig(Policy { interval: Duration::from_secs(86_400), ..eager() }, no_docker());
    until(&rig, "overall", "healthy");
    rig.network(1, json!({ "hub": "vcan-body", "heal": "off" }));
    let name = format!("bus:{}", &super::bodies::network(1)[..12]);
    until(&rig, &name, "healthy");
    let hub = rig.link("vcan-body").unwrap();
    rig.kernel.delete_link(None, hub.index).unwrap();
    rig.manager.events().tell(Event::new(Kind::Problem));
    until(&rig, &name, "unhealthy");
    // Fixed by hand, so that there is no event.
    rig.kernel.create_vcan(&hub.name.parse().unwrap(), hub.mtu, hub.alias.as_deref().unwrap()).unwrap();
    reconcile(&rig);
    until(&rig, "overall", "healthy");
}

#[test]
fn a_missing_adapter_is_degraded_or_if_required_unhealthy() {
    let wire = json!({ "adapter": "can0", "bitrate": "500000" });
    let optional = rig(eager(), no_docker());
    optional.network(1, wire.clone());
    let (reply, report) = until(&optional, "adapter:can0", "degraded");
    assert_eq!((reply.status, &report["status"]), (200, &json!("degraded")));
    let bus = format!("bus:{}", &super::bodies::network(1)[..12]);
    assert_eq!(component(&report, &bus)["status"], "degraded");
    assert!(
        component(&report, "adapter:can0")["reason"].as_str().unwrap().contains("waiting for adapter can0")
    );

    let required = rig(policy("required = [\"adapter:can0\"]").0, no_docker());
    required.network(1, wire);
    let (reply, _) = until(&required, "adapter:can0", "unhealthy");
    assert_eq!(reply.status, 503);
    required.kernel.plug(Identity::default(), Controller { clock: 8_000_000, ..Controller::default() });
    let deadline = Instant::now() + PATIENCE;
    while health(&required).status != 200 {
        reconcile(&required);
        assert!(Instant::now() < deadline, "{}", health(&required).body);
    }
}

#[test]
fn components_required_by_name_must_exist() {
    let (policy, complaint) = policy("required = [\"bus:powertrain\"]");
    assert_eq!(complaint, None);
    let rig = rig(policy, no_docker());
    let (reply, report) = until(&rig, "bus:powertrain", "unhealthy");
    assert_eq!(reply.status, 503);
    assert!(component(&report, "bus:powertrain")["reason"].as_str().unwrap().contains("no such network"));
}

#[test]
fn an_invalid_policy_is_reported_and_the_defaults_apply() {
    let (policy, complaint) = policy("required = [\"bus:*\"]\nintervall = 3");
    let why = complaint.clone().unwrap();
    assert!(why.contains("line 2") && why.contains("did you mean interval?"), "{why}");
    let rig =
        Rig::watched(server::TIME_LIMIT, Health::new(policy, complaint), Some(no_docker()), |kernel| kernel);
    reconcile(&rig);
    until(&rig, "kernel", "healthy");
    let (reply, report) = until(&rig, "overall", "degraded");
    assert_eq!(reply.status, 200);
    assert_eq!(component(&report, "policy")["reason"], why.as_str());
}

#[test]
fn each_change_is_one_event_and_becoming_healthy_at_start_is_one() {
    let rig =
        Rig::watched(server::TIME_LIMIT, Health::new(eager(), None), Some(no_docker()), |kernel| kernel);
    let mut listener = Listener::start(&rig.admin(), 256);
    reconcile(&rig);
    let mut next = || loop {
        let event = listener.next().unwrap();
        if event["event"] == "status-changed" {
            break event;
        }
    };
    let event = next();
    assert_eq!(
        (&event["component"], &event["from"], &event["to"], &event["reason"]),
        (&json!("overall"), &json!("unknown"), &json!("healthy"), &json!("all is well"))
    );
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let name = format!("bus:{}", &network[..12]);
    until(&rig, &name, "healthy");
    rig.kernel.delete_link(None, rig.link("vcan-body").unwrap().index).unwrap();
    let event = next();
    assert_eq!(
        (&event["component"], &event["from"], &event["to"], &event["network"]),
        (&json!(name), &json!("healthy"), &json!("unhealthy"), &json!(network))
    );
    assert!(event["reason"].as_str().unwrap().contains("the hub was missing"), "{event}");
    let event = next();
    assert_eq!((&event["component"], &event["to"]), (&json!("overall"), &json!("unhealthy")));
    reconcile(&rig);
    let recovered = [next(), next()].map(|event| (event["component"].clone(), event["to"].clone()));
    assert_eq!(recovered, [(json!(name), json!("healthy")), (json!("overall"), json!("healthy"))]);
    until(&rig, "overall", "healthy");
    assert!(listener.is_silent(), "a change was reported twice");
}

#[test]
fn health_is_in_the_metrics() {
    let rig = rig(eager(), no_docker());
    rig.network(1, json!({ "hub": "vcan-body" }));
    let name = format!("bus:{}", &super::bodies::network(1)[..12]);
    until(&rig, &name, "healthy");
    let gauge = format!("canhub_health_component{{component=\"{name}\",required=\"true\"}}");
    assert_eq!((rig.sample("canhub_health"), rig.sample(&gauge)), (0.0, 0.0));
    rig.kernel.delete_link(None, rig.link("vcan-body").unwrap().index).unwrap();
    until(&rig, &name, "unhealthy");
    assert_eq!((rig.sample("canhub_health"), rig.sample(&gauge)), (2.0, 2.0));
    for kind in ["kernel", "bus", "state"] {
        let count = format!("canhub_health_check_duration_seconds_count{{kind=\"{kind}\"}}");
        assert!(rig.sample(&count) >= 1.0, "{kind}");
    }
}
