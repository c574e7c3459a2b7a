//! Many attachments, one after another and at once, leave nothing.

use std::{fs, thread, time::Instant};

use serde_json::{Value, json};

use super::{bus, canhub};
use crate::support::{
    canhub::{self as daemon, is_service},
    frames::assert_all_hear_all,
    member::Member,
    netns::Netns,
    report::Kind,
    scene::{Scene, unique},
    shell::{eventually, number_from, run, say},
};

/// In a row; a longer form runs in `make soak`.
const ROUNDS: u64 = 100;
/// At once.
const AT_ONCE: usize = 20;

#[test]
fn many_in_a_row_and_many_at_once_leave_nothing() {
    if !is_service("attach::many::many_in_a_row_and_many_at_once_leave_nothing") {
        return;
    }
    let scene = Scene::new();
    let (made, hub) = bus(&scene, "");
    let space = Netns::new();
    let rounds = number_from("CANHUB_ATTACHMENTS").unwrap_or(ROUNDS);
    let nothing = scene.traces();
    let files = || fs::read_dir(format!("/proc/{}/fd", daemon::pid())).expect("canhub runs").count();
    canhub(&format!("attach {made} --netns {} --id round", space.name));
    canhub("detach round");
    let (open, started) = (files(), Instant::now());
    // One process for all: starting canhub takes longer than what it asks for.
    let ask = |method: &str, body: Value| {
        format!(
            "url = http://localhost/v1/attachments\nunix-socket = {}\nfail\nsilent\nshow-error\noutput = /dev/null\nrequest = {method}\ndata = {:?}\nnext\n",
            daemon::admin_socket(),
            body.to_string()
        )
    };
    let attach = ask("POST", json!({ "bus": made, "netns": space.path(), "id": "round" }));
    let detach = ask("DELETE", json!({ "id": "round" }));
    let script = std::env::temp_dir().join(unique("rounds"));
    let all = (attach + &detach).repeat(rounds as usize);
    fs::write(&script, all.trim_end_matches("next\n")).expect("/tmp can be written");
    run("curl", &["--fail-early", "--config", &script.display().to_string()]);
    fs::remove_file(&script).expect("it exists");
    say(&format!("{rounds} attachments in a row in {} ms", started.elapsed().as_millis()));
    assert_eq!(scene.traces(), nothing);
    let spaces: Vec<Netns> = (0..AT_ONCE).map(|_| Netns::new()).collect();
    thread::scope(|scope| {
        for space in &spaces {
            let made = &made;
            scope.spawn(move || canhub(&format!("attach {made} --netns {}", space.name)));
        }
    });
    let ends: Vec<Member> = (1..).zip(&spaces).map(|(number, space)| space.member("can0", number)).collect();
    assert_all_hear_all(
        &[&ends[0], &ends[AT_ONCE / 2], &ends[AT_ONCE - 1], &Member::host(&hub, 99)],
        &[Kind::Classic, Kind::Fd],
        10,
    );
    thread::scope(|scope| {
        for space in &spaces {
            let made = &made;
            scope.spawn(move || canhub(&format!("detach {made} --netns {}", space.name)));
        }
    });
    drop(spaces);
    eventually("nothing is left", || {
        let (now, open_now) = (scene.traces(), files());
        // Sockets and threads that wait for work come and go.
        if now == nothing && open_now < open + 10 {
            Ok(())
        } else {
            Err(format!("{now:#?}, {open_now} files, not {open}"))
        }
    });
}
