//! Docker starts containers concurrently: `compose up` with twenty services means twenty Joins at once.

use std::thread;

use serde_json::json;

use super::{
    bodies,
    bus::{host_end, hub},
    client::Client,
    rig::Rig,
};

fn start(client: &mut Client, network: &str, number: u32) {
    let endpoint = bodies::endpoint(number);
    client.call("NetworkDriver.CreateEndpoint", &bodies::create_endpoint(network, &endpoint, json!({}))).ok();
    client.call("NetworkDriver.Join", &bodies::join(network, &endpoint, &bodies::sandbox(number))).ok();
    client.call("NetworkDriver.EndpointOperInfo", &bodies::both(network, &endpoint)).ok();
}

fn stop(client: &mut Client, network: &str, number: u32) {
    for method in ["NetworkDriver.Leave", "NetworkDriver.DeleteEndpoint"] {
        client.call(method, &bodies::both(network, &bodies::endpoint(number))).ok();
    }
}

#[test]
fn concurrent_joins_create_one_complete_bus() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    let index = rig.link(&hub(&network)).unwrap().index;
    // Each of them finds the hub missing.
    canhub::kernel::Kernel::delete_link(&*rig.kernel, None, index).unwrap();
    thread::scope(|scope| {
        for number in 0..24 {
            rig.kernel.add_sandbox(bodies::sandbox(number));
            let (rig, network) = (&rig, &network);
            scope.spawn(move || start(&mut rig.client(), network, number));
        }
    });
    let endpoints: Vec<String> = (0..24).map(bodies::endpoint).collect();
    rig.assert_bus(&hub(&network), &endpoints.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn concurrent_joins_and_leaves_keep_the_remaining_members_complete() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    let stayers = [rig.member(&network, 100), rig.member(&network, 101)];
    thread::scope(|scope| {
        for number in 0..8 {
            rig.kernel.add_sandbox(bodies::sandbox(number));
            let (rig, network) = (&rig, &network);
            scope.spawn(move || {
                let mut client = rig.client();
                for _ in 0..10 {
                    start(&mut client, network, number);
                    stop(&mut client, network, number);
                }
            });
        }
    });
    rig.assert_bus(&hub(&network), &[&stayers[0], &stayers[1]]);
    assert_eq!(rig.endpoint_records().len(), 2, "{:?}", rig.ours());
    for endpoint in &stayers {
        rig.part(&network, endpoint);
        assert!(rig.link(&host_end(endpoint)).is_none());
    }
    rig.call("DeleteNetwork", &bodies::delete_network(&network)).ok();
    rig.assert_clean();
}

#[test]
fn networks_created_concurrently_are_all_on_disk() {
    let rig = Rig::new();
    thread::scope(|scope| {
        for number in 0..16 {
            let rig = &rig;
            scope.spawn(move || rig.network(number, json!({})));
        }
    });
    assert_eq!(rig.recorded().as_object().unwrap().len(), 16);
}
