//! The loop as it runs, and what it leaves to Docker.

use super::*;

#[test]
fn the_pair_of_an_endpoint_that_left_stays_until_it_is_deleted_and_is_not_healed() {
    let rig = Rig::new(&[]);
    rig.manager.leave(&endpoint(1));
    rig.later(600);
    assert_eq!(rig.look(), LookResult::default(), "Docker looks its interface up until DeleteEndpoint");
    assert!(rig.host_end(1).is_some());
    rig.kernel.delete_link(None, rig.host_end(1).unwrap()).unwrap();
    for rig in [&rig, &rig.restarted()] {
        assert_eq!(rig.look(), LookResult::default());
        assert_eq!(rig.host_end(1), None, "nobody needs it");
    }
}

#[test]
fn an_end_that_docker_moves_in_is_left_to_docker_until_it_is_up() {
    let rig = Rig::new(&[]);
    let sandbox = Path::new("/run/netns/3");
    rig.manager.create_endpoint(network(), endpoint(3), &RawOptions::new()).unwrap();
    rig.manager.join(network(), endpoint(3), sandbox.into()).unwrap();
    assert_eq!(rig.look().healed, 0);
    let end = rig.link(endpoint(3).container_end().as_str()).unwrap();
    rig.kernel.add_sandbox(sandbox);
    rig.kernel.move_link(end, None, Some(sandbox), "can1_0");
    for _ in 0..2 {
        assert_eq!(rig.look().healed, 0, "Docker has yet to bring it up");
    }
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    rig.kernel.change_link(Some(sandbox), end, &up).unwrap();
    assert_eq!(rig.look().healed, 1, "its name");
    let down = LinkChange { up: Some(false), ..LinkChange::default() };
    rig.kernel.change_link(Some(sandbox), end, &down).unwrap();
    assert_eq!(rig.look().healed, 1, "from now on it is kept up");
}

/// A network of these options, and a container end that Docker has just moved in and brought up as `can1_0`.
fn arrives(options: &[(&str, &str)]) -> (Rig, u32) {
    let rig = Rig::new(options);
    let sandbox = Path::new("/run/netns/3");
    rig.manager.create_endpoint(network(), endpoint(3), &RawOptions::new()).unwrap();
    rig.manager.join(network(), endpoint(3), sandbox.into()).unwrap();
    rig.kernel.add_sandbox(sandbox);
    let end = rig.link(endpoint(3).container_end().as_str()).unwrap();
    rig.kernel.move_link(end, None, Some(sandbox), "can1_0");
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    rig.kernel.change_link(Some(sandbox), end, &up).unwrap();
    (rig, end)
}

#[test]
fn with_heal_off_a_join_that_docker_completes_later_is_finished_and_then_nothing_is_healed() {
    const EBUSY: i32 = 16;
    let sandbox = Path::new("/run/netns/3");
    let mut failed = 0;
    // Whichever call of the first pass fails.
    for calls in 0..30 {
        let (rig, end) = arrives(&[("heal", "off"), ("ifname", "can1"), ("rate", "125k"), ("loss", "10%")]);
        let inside = || rig.kernel.sandbox_links(sandbox).unwrap().unwrap().remove(0);
        let made = || {
            let end = inside();
            (end.name, end.qdisc.map(|qdisc| (qdisc.pace.is_some(), qdisc.netem.is_some())))
        };
        rig.kernel.fail_after(calls, EBUSY);
        failed += rig.manager.reconcile(&rig.memory).map_or(0, |look| look.failed);
        rig.kernel.fail_after(u32::MAX, EBUSY);
        for _ in 0..3 {
            rig.later(1);
            rig.look();
        }
        assert_eq!(made(), ("can1".into(), Some((true, true))), "without call {calls}");

        rig.kernel.set_qdisc(sandbox, end, None);
        let down = LinkChange { up: Some(false), ..LinkChange::default() };
        rig.kernel.change_link(Some(sandbox), end, &down).unwrap();
        rig.take_down(3);
        rig.later(600);
        assert_eq!((rig.look().healed, made().1, inside().up), (0, None, false), "it is finished for good");
    }
    assert_eq!(failed, 3, "its name, its pace and its shape");
}

#[tokio::test]
async fn a_join_whose_caller_gave_up_delivers_its_signals_when_it_is_done() {
    const AT_MOST: Duration = Duration::from_secs(10);
    let rig = Rig::new(&[]);
    let signals = rig.manager.signals();
    signals.deliver();
    signals.carried_out().await;
    signals.relearn_wanted().await;
    rig.kernel.add_sandbox("/run/netns/3");
    rig.manager.create_endpoint(network(), endpoint(3), &RawOptions::new()).unwrap();
    let (go, hangs) = std::sync::mpsc::channel();
    let handle = Handle::new(rig.manager.clone());
    let join = handle.run(move |manager| {
        hangs.recv().unwrap();
        manager.join(network(), endpoint(3), "/run/netns/3".into()).map(drop)
    });
    assert!(timeout(Duration::from_millis(10), join).await.is_err());
    go.send(()).unwrap();
    timeout(AT_MOST, signals.carried_out()).await.unwrap();
    timeout(AT_MOST, signals.relearn_wanted()).await.unwrap();
}

#[tokio::test]
async fn the_loop_heals_at_its_start_when_woken_and_soon_after_a_failure() {
    const NEVER: Duration = Duration::from_secs(3600);
    let rig = Rig::new(&[]);
    let told = |kind| rig.told().iter().filter(|event| event.kind == kind).count();
    // By its events: reading the kernel here would use up the calls that succeed.
    let healed = async |times| {
        for _ in 0..1000 {
            if told(Kind::Healed) == times {
                return true;
            }
            sleep(Duration::from_millis(10)).await;
        }
        false
    };
    rig.take_down(1);
    let checks = async {
        assert!(healed(1).await, "at its start");
        rig.take_down(1);
        rig.manager.signals().want_look();
        assert!(healed(2).await, "when woken");
        rig.take_down(1);
        // Links, two sandboxes and rules are read; then the step fails.
        rig.kernel.fail_after(4, 105);
        rig.manager.signals().want_look();
        assert!(healed(3).await, "soon after a failure, with nothing to wake it");
        assert_eq!(told(Kind::HealFailed), 1);
    };
    tokio::select! {
        () = run(Handle::new(rig.manager.clone()), NEVER, || {}) => panic!("the loop ended"),
        () = checks => {}
    }
}
