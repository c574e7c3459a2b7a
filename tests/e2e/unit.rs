//! The guarantees of the service's unit.

use std::{thread, time::Duration};

use crate::support::{
    canhub::{self, Configured, is_service},
    shell::{attempt, eventually, run, sh},
};

fn property(name: &str) -> String {
    run("systemctl", &["show", &format!("--property={name}"), "--value", "canhub.service"])
}

#[test]
fn invalid_options_are_reported_once_without_a_restart_loop() {
    if !is_service("unit::invalid_options_are_reported_once_without_a_restart_loop") {
        return;
    }
    let configured = Configured::new(&["Environment=CANHUB_AUDIT_INTERVAL=often"]);
    let refused = attempt("systemctl", &["restart", "canhub.service"]);
    assert!(refused.is_err(), "{refused:?}");
    // Enough for fifty restarts.
    thread::sleep(Duration::from_secs(5));
    let (state, status, restarts) =
        (property("ActiveState"), property("ExecMainStatus"), property("NRestarts"));
    drop(configured);
    assert_eq!((&*state, &*status, &*restarts), ("failed", "2", "0"));
    eventually("it runs again once the options are right", || {
        attempt("systemctl", &["is-active", "canhub.service"])
    });
}

#[test]
fn metrics_are_also_served_over_ipv6() {
    if !is_service("unit::metrics_are_also_served_over_ipv6") {
        return;
    }
    let _configured =
        Configured::new(&["Environment=CANHUB_METRICS_LISTEN=[::1]:9477", "IPAddressAllow=localhost"]);
    canhub::restart();
    let scrape = "curl --silent --fail --globoff --max-time 20 http://[::1]:9477/metrics";
    let metrics = eventually("metrics are served", || attempt("sh", &["-c", scrape]));
    assert!(metrics.contains("canhub_build_info"), "{metrics}");
}

/// Whoever can open the file can lock it with flock(2).
#[test]
fn only_root_can_open_the_instance_lock() {
    let lock = "/run/docker/canhub-canhub.lock";
    assert_eq!(sh(&format!("stat -c %u:%a {lock}")), "0:600");
    let nobody = format!("setpriv --reuid=65534 --regid=65534 --clear-groups flock --nonblock {lock} true");
    assert!(attempt("sh", &["-c", &nobody]).is_err(), "another user locked it");
}

/// Like the service next to the managed plugin: they only have the name in common.
#[test]
fn a_second_canhub_of_the_same_name_does_not_start() {
    let folder = "/run/e2e-second";
    let line = format!(
        "timeout 20 {} serve --socket {folder}/canhub.sock --admin-socket {folder}/admin.sock \
         --state-dir {folder}/state --docker-socket none 2>&1 | grep -m 1 'another canhub manages the buses of driver canhub'; \
         rm -rf {folder}",
        canhub::program()
    );
    assert!(!sh(&line).is_empty());
}
