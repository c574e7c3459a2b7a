//! A schedule of faults: when its steps happen, and what is left when it ends early.

use std::{
    fs,
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{begin, lasting, member, name, until_over};
use crate::support::{
    canhub::{self, says},
    member::{Member, Running},
    scene::{Scene, unique},
    shell::{eventually, say},
};

/// A schedule that is played for a test.
struct Played {
    run: Running,
    file: PathBuf,
}

impl Played {
    #[track_caller]
    fn start(text: &str) -> Self {
        let file = std::env::temp_dir().join(format!("{}.toml", unique("schedule")));
        fs::write(&file, text).expect("a file can be written");
        let host = Member::host("", 0);
        let run = host.start(&[&canhub::program(), "fault", "run", "--json", &file.display().to_string()]);
        Self { run, file }
    }

    /// Its report, whatever its exit code.
    fn report(self) -> Value {
        let said = self.run.output();
        let _ = fs::remove_file(&self.file);
        serde_json::from_str(&said).unwrap_or_else(|err| panic!("{err}: {said}"))
    }
}

/// Checks when the faults of a report have ended, compared with when they were to end by themselves.
#[track_caller]
fn assert_ended(report: &Value, is_right: impl Fn(&str, &str) -> bool) {
    for step in report["steps"].as_array().into_iter().flatten() {
        let ended = step["ended"].as_str().zip(step["until"].as_str());
        assert!(ended.is_some_and(|(ended, until)| is_right(ended, until)), "{step}");
    }
}

/// How late this thread is when it sleeps, at worst.
fn sleeps_late(times: u32, pause: Duration) -> Duration {
    let late = |_| {
        let due = Instant::now() + pause;
        sleep(pause);
        due.elapsed()
    };
    (0..times).map(late).max().unwrap_or_default()
}

/// How much later than planned steps may be. What a busy machine does to single ones is only printed.
const LATE: Duration = Duration::from_millis(20);
/// The guests share their host with others: then it is played again.
const ATTEMPTS: u32 = 3;

#[test]
fn the_steps_of_a_schedule_happen_on_time_and_end_when_it_is_interrupted() {
    let scene = Scene::new();
    let network = scene.network(&["hub=vcan-plan"]);
    let container = scene.container(&network);
    let (who, bus) = (member(&container), name(&network));
    // Docker tells a container's name a moment after its start, and a step of a name that is not known yet waits for it.
    begin(&network, &format!("{who} cut --for 10ms"));
    until_over();
    let head = format!("bus = {bus:?}\n[[step]]\nmember = {who:?}\n");
    let steps = 20;
    let mut tried = Vec::new();
    let on_time = (0..ATTEMPTS).any(|_| {
        let played = Played::start(&format!(
            "{head}at = '200ms'\nfault = 'cut'\nfor = '50ms'\nrepeat = {steps}\nevery = '100ms'\n"
        ));
        let sleeps = sleeps_late(20, Duration::from_millis(100));
        let report = played.report();
        assert_eq!(report["result"], "done", "{report}");
        let late: Vec<f64> = report["steps"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|step| step["late_ms"].as_f64().expect("it was played"))
            .collect();
        assert_eq!(late.len(), steps);
        assert_ended(&report, |ended, until| ended >= until);
        let mut sorted = late.clone();
        sorted.sort_by(f64::total_cmp);
        let [usual, worst] = [sorted[steps / 2], sorted[steps - 1]];
        let words = format!(
            "{steps} steps were {usual:.1} ms late, the latest {worst:.1} ms; the latest sleep {:.1} ms",
            sleeps.as_secs_f64() * 1e3
        );
        say(&words);
        tried.push(words);
        usual <= (LATE + sleeps).as_secs_f64() * 1e3
    });
    assert!(on_time, "{tried:?}");
    assert_eq!(lasting(), Vec::<Value>::new(), "it ends when its last fault has ended");

    // Interrupted, it ends what it began; nothing else.
    begin(&network, &format!("{who} error=warning --for 1h"));
    for signal in ["INT", "TERM"] {
        let played = Played::start(&format!(
            "{head}at = '0s'\nfault = 'down'\nfor = '1h'\nrepeat = 3\nevery = '150ms'\n"
        ));
        eventually("the schedule plays", || if lasting().len() > 2 { Ok(()) } else { Err(String::new()) });
        played.run.signal(signal);
        let report = played.report();
        assert_eq!(report["result"], "interrupted", "{report}");
        assert_ended(&report, |ended, until| ended < until);
        assert_eq!(lasting().len(), 1, "only what something else began lasts on");
    }
    // Killed, it cannot; each fault ends by itself.
    let played = Played::start(&format!("{head}at = '0s'\nfault = 'cut'\nfor = '1s'\nlabel = 'killed'\n"));
    eventually("the schedule plays", || if lasting().len() == 2 { Ok(()) } else { Err(String::new()) });
    played.run.signal("KILL");
    let _ = fs::remove_file(&played.file);
    eventually("it ends by itself", || if lasting().len() == 1 { Ok(()) } else { Err(String::new()) });
    says("fault clear");
}
