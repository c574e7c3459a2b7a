//! Whichever kernel call fails: nothing half-created is left behind.

use serde_json::{Value, json};

use super::{
    bodies,
    bus::{host_end, hub},
    rig::Rig,
};

/// EPERM, EIO, ENOMEM, EBUSY, EEXIST, ENODEV, ENOBUFS, EOPNOTSUPP: denied, broken, full, and races.
const ERRNOS: [i32; 8] = [1, 5, 12, 16, 17, 19, 105, 95];
/// No request makes more kernel calls than this.
const CALLS: u32 = 16;
/// More calls than ever happen.
const NEVER: u32 = u32::MAX;

/// Runs `case` once for each kernel call that can fail, with each errno.
fn each_failure(case: impl Fn(u32, i32)) {
    for errno in ERRNOS {
        for calls in 0..CALLS {
            case(calls, errno);
        }
    }
}

/// Docker sends nothing after a failed CreateNetwork, so it must clean up after itself.
#[test]
fn a_failed_create_network_leaves_nothing() {
    let mut failures = 0;
    for (calls, errno) in (0..CALLS).flat_map(|calls| ERRNOS.map(|errno| (calls, errno))) {
        let rig = Rig::new();
        rig.kernel.fail_after(calls, errno);
        let reply = rig.call("CreateNetwork", &bodies::create_network(&bodies::network(1), json!({})));
        rig.kernel.fail_after(NEVER, errno);
        if let Some(why) = reply.err() {
            failures += 1;
            assert!(!why.contains('\n') && why.contains("cannot"), "{why}");
            rig.assert_clean();
        } else {
            rig.call("DeleteNetwork", &bodies::delete_network(&bodies::network(1))).ok();
            rig.assert_clean();
        }
    }
    assert!(failures >= 2 * ERRNOS.len(), "only {failures} failures: the calls were not reached");
}

/// Docker sends nothing after a failed CreateEndpoint either.
#[test]
fn a_failed_create_endpoint_leaves_nothing() {
    each_failure(|calls, errno| {
        let rig = Rig::new();
        let network = rig.network(1, json!({}));
        let before = rig.ours();
        rig.kernel.fail_after(calls, errno);
        let body = bodies::create_endpoint(&network, &bodies::endpoint(1), json!({}));
        let reply = rig.call("CreateEndpoint", &body);
        rig.kernel.fail_after(NEVER, errno);
        if reply.err().is_some() {
            assert_eq!(rig.ours(), before, "call {calls}, errno {errno}");
        }
    });
}

/// Up to 28 Docker sends DeleteEndpoint after a failed Join; since 29, Leave and DeleteEndpoint.
#[test]
fn a_failed_join_leaves_nothing_of_its_member() {
    for exists in [false, true] {
        let mut failures = 0;
        for (calls, errno) in (0..CALLS).flat_map(|calls| ERRNOS.map(|errno| (calls, errno))) {
            let rig = Rig::new();
            let network = rig.network(1, json!({}));
            let other = rig.member(&network, 7);
            let endpoint = bodies::endpoint(1);
            let sandbox = bodies::sandbox(1);
            if exists {
                rig.kernel.add_sandbox(&sandbox);
            }
            rig.call("CreateEndpoint", &bodies::create_endpoint(&network, &endpoint, json!({}))).ok();
            rig.kernel.fail_after(calls, errno);
            let reply = rig.call("Join", &bodies::join(&network, &endpoint, &sandbox));
            rig.kernel.fail_after(NEVER, errno);
            let case = format!("call {calls}, errno {errno}, sandbox {exists}: {reply:?}");
            match reply.err() {
                Some(why) => {
                    failures += 1;
                    assert!(why.starts_with("cannot ") && !why.contains('\n'), "{case}");
                    assert_eq!(
                        (rig.link(&host_end(&endpoint)), rig.inside(&sandbox)),
                        (None, vec![]),
                        "{case}"
                    );
                }
                None => rig.assert_bus(&hub(&network), &[&other, &endpoint]),
            }
            if errno % 2 == 0 {
                rig.call("Leave", &bodies::both(&network, &endpoint)).ok();
            }
            rig.call("DeleteEndpoint", &bodies::both(&network, &endpoint)).ok();
            rig.assert_bus(&hub(&network), &[&other]);
            assert_eq!(rig.endpoint_records().len(), 1, "{case}");
            rig.part(&network, &other);
            rig.call("DeleteNetwork", &bodies::delete_network(&network)).ok();
            rig.assert_clean();
        }
        assert!(failures >= 2 * ERRNOS.len(), "only {failures} failures: the calls were not reached");
    }
}

/// Users see the message after "remote: "; it must say what failed and what to do. What it says about a missing module
/// depends on this machine's files: `checks::modules` tests the words, and e2e tests them on kernels without one.
#[test]
fn missing_kernel_features_are_reported() {
    let answer = |calls: u32, errno: i32, method: &str, body: &Value| {
        let rig = Rig::new();
        rig.kernel.fail_after(calls, errno);
        rig.call(method, body).refused()
    };
    let create = bodies::create_network(&bodies::network(1), json!({}));
    let (eperm, eopnotsupp) = (1, 95);
    let why = answer(0, eopnotsupp, "CreateNetwork", &create);
    assert!(why.contains("cannot use can-gw rules: Operation not supported"), "{why}");
    let why = answer(1, eopnotsupp, "CreateNetwork", &create);
    assert!(why.contains("cannot give containers CAN interfaces: Operation not supported"), "{why}");
    let why = answer(3, eopnotsupp, "CreateNetwork", &create);
    assert!(why.contains("cannot create the vcan"), "{why}");
    let why = answer(3, eperm, "CreateNetwork", &create);
    assert!(why.contains("CAP_NET_ADMIN"), "{why}");
}
