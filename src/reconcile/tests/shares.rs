//! Containers that exceed an adapter.

use std::{thread::sleep, time::Duration};

use super::*;
use crate::manager::{Handle, Shares};

fn rates(rig: &Rig) -> Vec<Option<u32>> {
    let rate = |number: u8| {
        let sandbox = format!("/run/netns/{number}");
        let links = rig.kernel.sandbox_links(sandbox.as_ref()).unwrap().unwrap();
        Some(links[0].qdisc.as_ref()?.pace?.rate)
    };
    [1, 2].map(rate).to_vec()
}

#[test]
fn containers_that_exceed_an_adapter_are_slowed_down_and_no_pass_undoes_it() {
    let rig = Rig::new(&[("adapter", "can0"), ("bitrate", "500000")]);
    let mut shares = Shares::default();
    assert_eq!(rig.manager.share_wires(&mut shares), None, "the adapter is away");
    let adapter = rig.plug("1");
    rig.look();
    let ends = [1, 2].map(|number| rig.host_end(number).unwrap());
    let silent = rig.manager.share_wires(&mut shares).expect("there is an adapter to read");
    let mut read = |queued: u32, sent: [u64; 2]| {
        sleep(Duration::from_millis(10));
        rig.kernel.set_queued(adapter, queued);
        ends.iter().zip(sent).for_each(|(end, frames)| rig.kernel.add_sent(*end, frames));
        rig.kernel.add_sent(adapter, 40);
        rig.manager.share_wires(&mut shares)
    };
    assert!(read(0, [40, 0]).unwrap() < silent, "an adapter in use is read more often");
    assert_eq!(rates(&rig), [Some(500_000); 2]);

    read(3000, [1500, 1500]);
    let [Some(one), Some(other)] = rates(&rig)[..] else { panic!() };
    assert!(one == other && one < 300_000, "{one}, {other}");
    assert_eq!(rig.look(), LookResult::default(), "this is what is wanted");
    assert_eq!(rig.manager.status().unwrap().buses[0].steps, [""; 0]);
    assert_eq!(rig.manager.status().unwrap().buses[0].members[0].rate, Some(one));

    for _ in 0..80 {
        read(3000, [0, 1500]);
    }
    assert_eq!(rates(&rig)[0], Some(500_000), "who sends nothing is not slowed down");
    for _ in 0..100 {
        read(0, [40, 0]);
    }
    assert_eq!(rates(&rig), [Some(500_000); 2]);
    assert_eq!(rig.look(), LookResult::default());
}

#[test]
fn shares_end_with_their_adapter() {
    let rig = Rig::new(&[("adapter", "can0"), ("bitrate", "500000")]);
    let adapter = rig.plug("1");
    rig.look();
    let mut shares = Shares::default();
    rig.manager.share_wires(&mut shares);
    sleep(Duration::from_millis(10));
    rig.kernel.set_queued(adapter, 4000);
    [1, 2].iter().for_each(|number| rig.kernel.add_sent(rig.host_end(*number).unwrap(), 2000));
    rig.kernel.add_sent(adapter, 10);
    rig.manager.share_wires(&mut shares);
    assert!(rates(&rig).iter().all(|rate| *rate < Some(500_000)));
    rig.kernel.delete_link(None, adapter).unwrap();
    // The pass deletes no pair, but what is read next has no adapter any more.
    rig.manager.model().outdate_looks();
    assert_eq!(rig.manager.share_wires(&mut shares), None);
    assert!(rig.manager.model().shares().is_empty());
    rig.look();
    assert_eq!(rates(&rig), [Some(500_000); 2]);
}

/// The task waits while there is no adapter, and no container joins when one appears.
#[tokio::test]
async fn an_adapter_that_appears_is_shared_at_once() {
    let rig = Rig::new(&[("adapter", "can0"), ("bitrate", "500000")]);
    let overload = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let adapter = rig.plug("1");
        rig.look();
        // The loop's passes run through a handle, which delivers what they report.
        rig.manager.signals().deliver();
        let ends = [1, 2].map(|number| rig.host_end(number).unwrap());
        rig.kernel.set_queued(adapter, 3000);
        while !rates(&rig).iter().all(|rate| *rate < Some(500_000)) {
            ends.iter().for_each(|end| rig.kernel.add_sent(*end, 1500));
            rig.kernel.add_sent(adapter, 40);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = share_wires(Handle::new(rig.manager.clone())) => {}
        slowed = timeout(Duration::from_secs(10), overload) => assert!(slowed.is_ok(), "nothing is slowed down"),
    }
}

#[test]
fn a_container_end_that_docker_moves_is_paced_without_being_a_fault() {
    let rig = Rig::new(&[("rate", "125k")]);
    let sandbox = "/run/netns/3";
    rig.manager.create_endpoint(network(), endpoint(3), &RawOptions::new()).unwrap();
    rig.manager.join(network(), endpoint(3), sandbox.into()).unwrap();
    rig.kernel.add_sandbox(sandbox);
    let end = endpoint(3).container_end();
    let index = rig.link(end.as_str()).unwrap();
    rig.kernel.move_link(index, None, Some(sandbox.as_ref()), "can0");
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    rig.kernel.change_link(Some(sandbox.as_ref()), index, &up).unwrap();
    assert_eq!(rig.look(), LookResult::default());
    let inside = rig.kernel.sandbox_links(sandbox.as_ref()).unwrap().unwrap();
    assert_eq!(inside[0].qdisc.as_ref().and_then(|qdisc| qdisc.pace).map(|pace| pace.rate), Some(125_000));
    assert!(!rig.told().iter().any(|event| event.kind == Kind::Healed));
}
