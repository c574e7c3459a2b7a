//! Containers have the names that Docker gives them now.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{bodies, client::Client, fake_docker::FakeDocker, rig::Rig};
use canhub::driver::server;

/// The names of all members in `/v1/status`.
fn names(rig: &Rig) -> Vec<Value> {
    let mut admin = Client::connect(&rig.admin());
    admin.send(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let status: Value = serde_json::from_str(&admin.reply().unwrap().body).unwrap();
    let buses = status["buses"].as_array().unwrap().iter();
    let members = buses.flat_map(|bus| bus["members"].as_array().unwrap().clone());
    members.map(|member| member["container"].clone()).collect()
}

fn containers(docker: &FakeDocker, name: &str, endpoint: &str) {
    let networks = json!({ "body": { "EndpointID": endpoint } });
    let names = [format!("/other/{name}-as-linked"), format!("/{name}")];
    docker.answer(
        "/containers/json",
        json!([{ "Id": "c", "Names": names, "NetworkSettings": { "Networks": networks } }]),
    );
}

#[track_caller]
fn until_named(rig: &Rig, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while names(rig) != [name] {
        assert!(Instant::now() < deadline, "{:?}, not {name}", names(rig));
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_renamed_container_has_its_new_name_at_once() {
    let docker = FakeDocker::new();
    let rig = Rig::beside(&docker, server::TIME_LIMIT, |fake| fake);
    let network = rig.network(1, json!({}));
    let endpoint = bodies::endpoint(1);
    docker.answer("/networks", json!([{ "Id": network, "Name": "body" }]));
    // The container's own name takes precedence over the network's view.
    let attached = json!({ "c": { "Name": "lamp", "EndpointID": endpoint } });
    let shown = json!({ "Id": network, "Name": "body", "Containers": attached });
    docker.answer(&format!("/networks/{network}"), shown);
    containers(&docker, "lamp", &endpoint);
    rig.member(&network, 1);
    until_named(&rig, "lamp");
    docker.until_following(1);
    // The network and the Join have each queried the names; after that nothing queries Docker while nothing happens.
    thread::sleep(Duration::from_millis(2500));
    let asked = docker.asked("/networks");
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(docker.asked("/networks"), asked);

    containers(&docker, "left-lamp", &endpoint);
    docker.tell(&json!({ "Type": "container", "Action": "rename" }));
    until_named(&rig, "left-lamp");
}
