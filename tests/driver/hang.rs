//! A hanging kernel: dockerd has no timeout for a legacy plugin, so ours must hold.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    bodies,
    bus::{host_end, hub},
    client::Client,
    fake_docker::FakeDocker,
    hanging::{self, Hanging},
    rig::Rig,
};

const LIMIT: Duration = Duration::from_millis(400);
/// Allows for other tests on the same machine.
const MARGIN: Duration = Duration::from_secs(8);

/// Trap 2: Docker would wait forever, with the container's lock held.
#[test]
fn a_hanging_kernel_costs_a_request_only_its_time_limit() {
    let (rig, kernel) = hanging::rig(LIMIT);
    let network = rig.network(1, json!({}));
    let endpoint = bodies::endpoint(1);
    rig.kernel.add_sandbox(bodies::sandbox(1));
    rig.call("CreateEndpoint", &bodies::create_endpoint(&network, &endpoint, json!({}))).ok();

    kernel.set(true);
    let started = Instant::now();
    let why = rig.call("Join", &bodies::join(&network, &endpoint, &bodies::sandbox(1))).refused();
    let took = started.elapsed();
    assert!(why.contains("NetworkDriver.Join timed out after 0.4 s"), "{why}");
    assert!((LIMIT..LIMIT + MARGIN).contains(&took), "{took:?}");

    // Other requests are answered meanwhile: at once if they need no kernel, otherwise within their own limit.
    let started = Instant::now();
    rig.client().call_raw("NetworkDriver.GetCapabilities", b"").ok();
    rig.call("EndpointOperInfo", &bodies::both(&network, &endpoint)).ok();
    let create = bodies::create_network(&bodies::network(2), json!({}));
    rig.call("CreateNetwork", &create).refused();
    assert!(started.elapsed() < LIMIT + MARGIN, "{:?}", started.elapsed());

    kernel.set(false);
    // The work continues in the background, so repeating the calls finds it done.
    rig.call("Join", &bodies::join(&network, &endpoint, &bodies::sandbox(1))).ok();
    rig.call("CreateNetwork", &create).ok();
    rig.assert_bus(&hub(&network), &[&endpoint]);
    rig.part(&network, &endpoint);
    for number in [1, 2] {
        rig.call("DeleteNetwork", &bodies::delete_network(&bodies::network(number))).ok();
    }
    rig.assert_clean();
}

/// Docker deletes the endpoint of a failed Join while the Join is still running.
#[test]
fn a_join_that_timed_out_and_was_deleted_leaves_nothing() {
    let (rig, kernel) = hanging::rig(LIMIT);
    let network = rig.network(1, json!({}));
    let endpoint = bodies::endpoint(1);
    rig.kernel.add_sandbox(bodies::sandbox(1));
    rig.call("CreateEndpoint", &bodies::create_endpoint(&network, &endpoint, json!({}))).ok();
    kernel.set(true);
    rig.call("Join", &bodies::join(&network, &endpoint, &bodies::sandbox(1))).refused();
    rig.call("DeleteEndpoint", &bodies::both(&network, &endpoint)).refused();
    kernel.set(false);
    // A call that needs the lock is queued behind those two.
    rig.call("DeleteNetwork", &bodies::delete_network(&network)).ok();
    let deadline = Instant::now() + MARGIN;
    while !rig.ours().is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(rig.link(&host_end(&endpoint)), None);
    rig.assert_clean();
}

/// Many calls queue behind one that hangs; each is answered in time, and the driver recovers.
#[test]
fn many_requests_behind_a_hanging_kernel_are_answered_in_time() {
    let (rig, kernel) = hanging::rig(LIMIT);
    let network = rig.network(1, json!({}));
    kernel.set(true);
    let mut clients: Vec<_> = (0..60).map(|_| rig.client()).collect();
    let started = Instant::now();
    for (number, client) in clients.iter_mut().enumerate() {
        let body = bodies::join(&network, &bodies::endpoint(number as u32), &bodies::sandbox(1)).to_string();
        let head = client.head("NetworkDriver.Join", &format!("Content-Length: {}", body.len()));
        client.send(&[head, body.into_bytes()].concat());
    }
    for client in &mut clients {
        client.reply().unwrap().refused();
    }
    assert!(started.elapsed() < LIMIT + MARGIN, "{:?}", started.elapsed());
    kernel.set(false);
    let member = rig.member(&network, 99);
    assert!(rig.link(&host_end(&member)).is_some());
}

/// Docker's list arrives while a Join hangs with the lock held. Processing the list must wait for that lock, and
/// nothing else may: neither the timeout of the Join, nor health, nor the exit of the program.
#[test]
fn a_docker_list_that_arrives_while_a_join_hangs_delays_nothing() {
    let docker = FakeDocker::new();
    let mut hanging = None;
    let mut rig = Rig::beside(&docker, LIMIT, |fake| hanging.insert(Hanging::around(fake)).clone());
    let kernel = hanging.unwrap();
    let network = rig.network(1, json!({}));
    let listed = json!({ "Id": network, "Name": "body", "Driver": "canhub", "Options": {} });
    docker.answer("/networks", json!([listed]));
    docker.answer(&format!("/networks/{network}"), listed);
    let endpoint = bodies::endpoint(1);
    rig.kernel.add_sandbox(bodies::sandbox(1));
    rig.call("CreateEndpoint", &bodies::create_endpoint(&network, &endpoint, json!({}))).ok();

    docker.hold(Some("/networks"));
    let before = docker.asked("/networks");
    rig.manager.signals().want_relearn();
    docker.until_asked("/networks", before + 1);
    kernel.set(true);
    let _freed = Freed(kernel.clone());
    thread::scope(|scope| {
        let join = scope.spawn(|| {
            let started = Instant::now();
            let why = rig.call("Join", &bodies::join(&network, &endpoint, &bodies::sandbox(1))).refused();
            (why, started.elapsed())
        });
        kernel.until_waiting(1);
        docker.hold(None);
        // It is read completely a moment later.
        thread::sleep(Duration::from_millis(100));
        let started = Instant::now();
        let mut admin = Client::connect(&rig.admin());
        admin.send(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(admin.reply().unwrap().status, 503, "no check has run yet");
        rig.client().call_raw("NetworkDriver.GetCapabilities", b"").ok();
        assert!(started.elapsed() < MARGIN, "health was answered after {:?}", started.elapsed());
        let (why, took) = join.join().unwrap();
        assert!(why.contains("NetworkDriver.Join timed out after 0.4 s"), "{why}");
        assert!(took < LIMIT + MARGIN, "{took:?}");
    });
    let started = Instant::now();
    rig.stop();
    assert!(started.elapsed() < MARGIN, "it ended after {:?}", started.elapsed());
}

/// Releases the kernel at the end, even if the test fails: otherwise the rig could not stop.
struct Freed(Arc<Hanging>);

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
