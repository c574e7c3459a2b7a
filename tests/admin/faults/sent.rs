//! What faults send again and again: where, how often, and until when.

use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use canhub::{fault::keep, kernel::fake::Written, manager::Handle};
use serde_json::json;
use tokio::sync::oneshot;

use super::{send, socketcan_id};
use crate::{ask::get, bodies, bus::host_end, rig::Rig};

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Looks after faults until it is dropped.
struct Keeper(Option<(oneshot::Sender<()>, JoinHandle<()>)>);

impl Keeper {
    fn new(rig: &Rig) -> Self {
        let manager = Handle::new(rig.manager.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = keep(manager) => unreachable!("it runs forever"),
                    _ = stopped => {}
                }
            });
        });
        Self(Some((stop, thread)))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.0.take() {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

/// Lets a fault begin on `vcan-body`.
#[track_caller]
fn begin(rig: &Rig, member: Option<&str>, effect: &str) {
    let wish = json!({ "bus": "vcan-body", "member": member, "effects": [effect], "until_cleared": true });
    let reply = send(rig, "POST", &wish);
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until nothing has been sent for as long as 100 frames would take.
#[track_caller]
fn until_silent(rig: &Rig) {
    until("nothing more is sent", || {
        let before = rig.kernel.written().len();
        thread::sleep(Duration::from_millis(100));
        rig.kernel.written().len() == before
    });
}

/// The frames with this ID, among those that were written.
fn of(rig: &Rig, id: u32) -> Vec<Written> {
    rig.kernel.written().into_iter().filter(|written| socketcan_id(&written.frame) == id).collect()
}

const FLOOD: u32 = 0x7DF;
const NO_ACK: u32 = 0x2000_00A8;

#[test]
fn a_flood_is_sent_by_its_member_at_its_rate_until_it_ends() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let door = rig.member(&network, 1);
    let _keeper = Keeper::new(&rig);
    let wish =
        json!({ "bus": "vcan-body", "member": door, "effects": ["flood=18FEF100@1000"], "for": "500ms" });
    assert_eq!(send(&rig, "POST", &wish).status, 200);
    let wish = json!({ "bus": "vcan-body", "member": door, "effects": ["error=ack@100"], "for": "500ms" });
    assert_eq!(send(&rig, "POST", &wish).status, 200);
    thread::sleep(Duration::from_millis(1000));
    assert_eq!(get(&rig.admin(), "/v1/faults").json(), json!({ "faults": [] }), "both have ended");
    let written = rig.kernel.written();
    thread::sleep(Duration::from_millis(100));
    assert_eq!(rig.kernel.written().len(), written.len(), "nothing more is sent");
    let (floods, errors): (Vec<_>, Vec<_>) = written.into_iter().partition(|one| one.sandbox.is_some());
    // A busy machine starts late, and never sends more.
    assert!(
        (100..=502).contains(&floods.len()) && (10..=52).contains(&errors.len()),
        "{} {}",
        floods.len(),
        errors.len()
    );
    let end = rig.links_inside(&bodies::sandbox(1))[0].index;
    assert!(
        floods.iter().all(|one| one.index == end && one.looped && socketcan_id(&one.frame) == 0x98FE_F100)
    );
    let host = rig.link(&host_end(&door)).unwrap().index;
    assert!(
        errors.iter().all(|one| one.index == host && !one.looped && socketcan_id(&one.frame) == 0x2000_00A8)
    );
}

#[test]
fn a_flood_about_all_comes_from_the_host_once_and_errors_about_all_go_to_each_member() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let ends = [1, 2].map(|number| host_end(&rig.member(&network, number)));
    let mut ends = ends.map(|name| rig.link(&name).unwrap().index);
    ends.sort_unstable();
    let _keeper = Keeper::new(&rig);
    begin(&rig, None, "flood=7DF@500");
    begin(&rig, None, "error=ack@100");
    until("both members hear errors, and the bus the flood", || {
        let mut to: Vec<u32> = of(&rig, NO_ACK).iter().map(|written| written.index).collect();
        to.sort_unstable();
        to.dedup();
        to == ends && !of(&rig, FLOOD).is_empty()
    });
    let heard = of(&rig, FLOOD);
    let hub = rig.link("vcan-body").unwrap().index;
    assert!(heard.iter().all(|one| one.index == hub && one.sandbox.is_none() && one.looped), "{heard:?}");
    assert!(of(&rig, NO_ACK).iter().all(|one| one.sandbox.is_none() && !one.looped));
    // One flood, so its rate counts once, however many members there are.
    assert_eq!(send(&rig, "DELETE", &json!({})).status, 200);
    begin(&rig, None, "flood=7DF@15000");
}

#[test]
fn a_fault_that_is_cleared_sends_nothing_more_and_another_one_goes_on() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let door = rig.member(&network, 1);
    let keeper = Keeper::new(&rig);
    begin(&rig, Some(&door), "flood=7DF@1000");
    begin(&rig, Some(&door), "error=ack@1000");
    until("both send", || !of(&rig, FLOOD).is_empty() && !of(&rig, NO_ACK).is_empty());
    assert_eq!(send(&rig, "DELETE", &json!({ "id": 1 })).status, 200);
    until("the flood ends, and the errors do not", || {
        let before = (of(&rig, FLOOD).len(), of(&rig, NO_ACK).len());
        thread::sleep(Duration::from_millis(100));
        of(&rig, FLOOD).len() == before.0 && of(&rig, NO_ACK).len() > before.1
    });
    drop(keeper);
    until_silent(&rig);
}

#[test]
fn a_flood_follows_its_member_to_another_interface_without_being_told() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let door = rig.member(&network, 1);
    let _keeper = Keeper::new(&rig);
    begin(&rig, Some(&door), "flood=7DF@1000");
    let sandbox = bodies::sandbox(1);
    let before = rig.links_inside(&sandbox)[0].index;
    until("it sends", || !of(&rig, FLOOD).is_empty());
    let after = before + 1000;
    rig.kernel.renumber(sandbox.as_ref(), before, after);
    until("it sends from there", || of(&rig, FLOOD).iter().any(|written| written.index == after));
}

#[test]
fn a_member_that_is_down_sends_nothing() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let [door, lock] = [1, 2].map(|number| rig.member(&network, number));
    let _keeper = Keeper::new(&rig);
    begin(&rig, Some(&door), "down");
    begin(&rig, Some(&door), "flood=7DF@1000");
    begin(&rig, Some(&lock), "flood=18FEF100@1000");
    until("the other one sends", || of(&rig, 0x98FE_F100).len() > 50);
    assert_eq!(of(&rig, FLOOD).len(), 0);
}

#[test]
fn a_member_that_is_down_hears_no_error_frames() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    let [door, lock] = [1, 2].map(|number| rig.member(&network, number));
    let index = rig.link(&host_end(&lock)).unwrap().index;
    let down = json!({ "bus": "vcan-body", "member": door, "effects": ["down"] });
    assert_eq!(send(&rig, "POST", &down).status, 200);
    let passive = json!({ "bus": "vcan-body", "effects": ["error=passive"] });
    assert_eq!(send(&rig, "POST", &passive).status, 200);
    assert_eq!(send(&rig, "DELETE", &json!({ "id": 2 })).status, 200);
    let heard: Vec<u32> = rig.kernel.written().into_iter().map(|written| written.index).collect();
    assert_eq!(heard, [index; 2], "passive, then active");
}
