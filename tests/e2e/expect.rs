//! Expectations with real frames: what stops, slows down, speeds up or changes its container is told once, in time.

use std::{
    fs,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant, UNIX_EPOCH},
};

use serde_json::Value;

use crate::support::{
    canhub::{self, Configured, says},
    cost::Cost,
    docker::{Network, docker},
    member::{Member, Running},
    scene::Scene,
    shell::{attempt, eventually, not_run, say, sh},
};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|err| panic!("{err}: {text}"))
}

/// How a bus is named: the managed plugin does not learn the names of networks.
fn name(bus: &Network) -> String {
    if canhub::is_plugin() { bus.id[..12].to_owned() } else { bus.name.clone() }
}

/// Expects a frame until the end of the scene. Returns the name of its component.
#[track_caller]
fn expect(scene: &Scene, bus: &Network, id: &str, more: &str) -> String {
    let bus = name(bus);
    let said = says(&format!("expect add {bus} {id} {more} --json"));
    let from = more.split_once("--from ").map(|(_, rest)| rest.split(' ').next().unwrap_or(rest).to_owned());
    let component =
        format!("expect:{bus}:{id}{}", from.iter().map(|from| format!("@{from}")).collect::<String>());
    assert!(said.contains(&format!("\"{component}\"")), "{component} is not in {said}");
    let from = from.map(|from| format!("--from {from}")).unwrap_or_default();
    let remove = format!("{} expect rm {bus} {id} {from} >/dev/null 2>&1 || true", canhub::program());
    scene.undo(move || drop(sh(&remove)));
    component
}

/// An expectation as listed.
fn listed(component: &str) -> Option<Value> {
    let all = json(&says("expect ls --json"));
    let all = all["expectations"].as_array().expect("they are a list").clone();
    all.into_iter().find(|one| one["component"] == component)
}

#[track_caller]
fn until(component: &str, state: &str) -> Value {
    eventually(&format!("{component} is {state}"), || {
        let one = listed(component).ok_or("it is not expected")?;
        if one["state"] == state { Ok(one) } else { Err(one.to_string()) }
    })
}

/// The changes of a component that were told since an event: when, in ms of the day, and the new status.
fn changes(component: &str, since: u64) -> Vec<(i64, String)> {
    let told = canhub::ask("/v1/events?last=256&follow=false");
    let events = told.lines().filter_map(|line| line.strip_prefix("data: ")).map(json);
    let of = |event: &Value| event["component"] == component && event["seq"].as_u64() > Some(since);
    let change = |event: Value| {
        let time = event["time"].as_str().unwrap_or_default();
        (ms_of_day(&time[11..23]), event["to"].as_str().unwrap_or_default().to_owned())
    };
    events.filter(of).map(change).collect()
}

fn last_event() -> u64 {
    let told = canhub::ask("/v1/events?last=1&follow=false");
    let last = told.lines().filter_map(|line| line.strip_prefix("data: ")).map(json).next_back();
    last.and_then(|event| event["seq"].as_u64()).unwrap_or(0)
}

/// `08:05:00.250` in ms.
fn ms_of_day(time: &str) -> i64 {
    let number = |at: std::ops::Range<usize>| time[at].parse::<i64>().expect("it is a time");
    ((number(0..2) * 60 + number(3..5)) * 60 + number(6..8)) * 1000 + number(9..12)
}

/// Starts a sender whose cycle changes by plan.
fn pulse(member: &Member, id: &str, ids: u16, plan: &[&str]) -> Running {
    let ids = ids.to_string();
    member.start(&[&[&*member.probe(), "pulse", &member.interface, "--id", id, "--ids", &ids], plan].concat())
}

/// Waits for its end. Returns the time of the last frame before each phase, in ms of the day.
fn phases(pulse: Running) -> Vec<i64> {
    let said = pulse.finish();
    said.lines().map(|line| line.parse::<i64>().expect("it is a time") % 86_400_000).collect()
}

/// The guests share their host with others, which may take a processor away for a moment.
const BUSY: i64 = 150;
/// If that took longer than a cycle, the sender itself was late and that is news: then what it disturbed is played again.
const ATTEMPTS: u32 = 6;
/// Id and cycle in ms: the shortest ones are only counted, the others have timers of the kernel.
const CYCLES: [(&str, i64); 4] = [("120", 20), ("121", 50), ("123", 100), ("122", 150)];
/// What happens to each, in this order.
const FAULTS: [&str; 3] = ["stops", "slows down", "speeds up"];
/// How long each phase of a plan is: enough good frames to be well again.
const PHASE: i64 = 1500;

#[test]
fn a_sender_that_stops_slows_down_or_speeds_up_is_told_once_and_in_time() {
    const NAME: &str = "expect::a_sender_that_stops_slows_down_or_speeds_up_is_told_once_and_in_time";
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-expect"]);
    let ecu = scene.container(&bus).member("can0", 1);
    let expected = CYCLES
        .map(|(id, cycle)| (id, cycle, expect(&scene, &bus, id, &format!("--every {cycle}ms --within 50%"))));
    // What was not yet told as it should be, with what was seen while the machine was quiet.
    let mut left: Vec<(i64, usize, Option<String>)> =
        CYCLES.iter().flat_map(|(_, cycle)| (0..FAULTS.len()).map(|fault| (*cycle, fault, None))).collect();
    let mut stood_still = 0;
    for _ in 0..ATTEMPTS {
        let again: Vec<_> =
            expected.iter().filter(|one| left.iter().any(|(cycle, ..)| *cycle == one.1)).collect();
        let stalls = Stalls::watch();
        let played = play(&ecu, &again);
        let stalls = stalls.all();
        for Played { cycle, fault, from, to, told } in played {
            let Some(at) = left.iter().position(|(one, other, _)| (*one, *other) == (cycle, fault)) else {
                continue;
            };
            let during = stalls.iter().filter(|(ended, took)| ended + 5 >= from && ended - took <= to);
            let longest = during.map(|(_, took)| *took).max().unwrap_or(0);
            stood_still = stood_still.max(longest);
            let words = told.as_ref().unwrap_or_else(|why| why);
            say(&format!("every {cycle} ms, {}: {words}; stood still for {longest} ms", FAULTS[fault]));
            match told {
                Ok(_) => drop(left.swap_remove(at)),
                Err(why) if longest < cycle => left[at].2 = Some(why),
                Err(_) => {}
            }
        }
        if left.is_empty() {
            break;
        }
    }
    let (failed, disturbed): (Vec<_>, Vec<_>) = left.into_iter().partition(|(.., why)| why.is_some());
    for (cycle, fault, _) in disturbed {
        let why =
            format!("this machine stood still for up to {stood_still} ms in each of {ATTEMPTS} attempts");
        not_run(&format!("{NAME}, {cycle} ms, {}", FAULTS[fault]), &why);
    }
    assert!(failed.is_empty(), "not told as they should be, or not in time: {failed:?}");
    let text = says("status");
    assert!(text.contains("! 122 on") && text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(says("doctor").contains("122 on"), "doctor has a row");
    let metrics = canhub::ask("/metrics");
    assert!(metrics.contains("canhub_expectation_up{") && metrics.contains("id=\"122\""), "{metrics}");
}

/// Looks when this machine runs nothing, and for how long: the end of each stall and its length, in ms of the day and ms.
struct Stalls(mpsc::Sender<()>, JoinHandle<Vec<(i64, i64)>>);

impl Stalls {
    fn watch() -> Self {
        const PAUSE: Duration = Duration::from_millis(5);
        let (end, ended) = mpsc::channel();
        let watched = thread::spawn(move || {
            let mut all = Vec::new();
            loop {
                let begun = Instant::now();
                if ended.recv_timeout(PAUSE) != Err(mpsc::RecvTimeoutError::Timeout) {
                    return all;
                }
                let stall = begun.elapsed().saturating_sub(PAUSE);
                if stall >= PAUSE {
                    let today = UNIX_EPOCH.elapsed().expect("it is after 1970").as_millis() % 86_400_000;
                    all.push((today as i64, stall.as_millis() as i64));
                }
            }
        });
        Self(end, watched)
    }

    fn all(self) -> Vec<(i64, i64)> {
        drop(self.0);
        self.1.join().expect("it only looks at the clock")
    }
}

/// A fault of a sender, between these times in ms of the day, and when it was told after the last good frame, or what was
/// not told as it should be.
struct Played {
    cycle: i64,
    fault: usize,
    from: i64,
    to: i64,
    told: Result<String, String>,
}

/// Sends each by plan: good, silent, good, slow, good, fast, good, and nothing any more.
fn play(ecu: &Member, expected: &[&(&str, i64, String)]) -> Vec<Played> {
    let since = last_event();
    let start = |(id, cycle, _): &&(&str, i64, String)| {
        let [good, slow, fast] = [*cycle, cycle * 3, cycle / 4].map(|cycle| format!("{cycle}:{PHASE}"));
        pulse(ecu, id, 1, &[&good, "0:1500", &good, &slow, &good, &fast, &good])
    };
    let senders: Vec<Running> = expected.iter().map(start).collect();
    for (_, _, component) in expected {
        until(component, "up");
    }
    let last: Vec<Vec<i64>> = senders.into_iter().map(phases).collect();
    let judge = |((_, cycle, component), last): (&&(&str, i64, String), Vec<i64>)| {
        let told = changes(component, since);
        let of = |fault: usize| {
            // From the last good frame until the last one of the good phase that follows.
            let (from, to) = (last[2 * fault + 1], last[2 * fault + 3]);
            let told: Vec<_> = told.iter().filter(|(at, _)| (from..to).contains(at)).collect();
            let states: Vec<&str> = told.iter().map(|(_, to)| to.as_str()).collect();
            let limit = cycle * 3 / 2 + 50;
            let told = match told.first() {
                Some((at, _)) if states == ["unhealthy", "healthy"] => {
                    let words = format!("told after {} ms of {limit}", at - from);
                    if at - from > limit + BUSY { Err(words) } else { Ok(words) }
                }
                _ => Err(format!("{from}: {told:?}")),
            };
            Played { cycle: *cycle, fault, from, to, told }
        };
        (0..FAULTS.len()).map(of).collect::<Vec<_>>()
    };
    expected.iter().zip(last).flat_map(judge).collect()
}

#[test]
fn a_frame_that_comes_from_another_container_is_told_with_its_name() {
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-expect"]);
    let (door, lock) = (scene.container(&bus), scene.container(&bus));
    let [one, other] = [door.member("can0", 1), lock.member("can0", 2)];
    // The managed plugin knows containers by their endpoints only.
    let from = if canhub::is_plugin() { endpoint(&one) } else { door.name.clone() };
    let since = last_event();
    let anyone = expect(&scene, &bus, "1A0", "--every 150ms");
    let component = expect(&scene, &bus, "1A0", &format!("--every 150ms --from {from}"));
    let first = pulse(&one, "1A0", 1, &["150:3000"]);
    until(&component, "up");
    let last = phases(first)[1];
    let second = pulse(&other, "1A0", 1, &["150:8000"]);
    let down = until(&component, "down");
    eventually("the other sender is named", || {
        let one = listed(&component).ok_or("it is gone")?;
        let why = one["reason"].as_str().unwrap_or_default().to_owned();
        if why.contains("sends it now") { Ok(()) } else { Err(why) }
    });
    let told = changes(&component, since);
    let took = told.iter().find(|(at, to)| *at >= last && to == "unhealthy").map(|(at, _)| at - last);
    assert!(took.is_some_and(|took| took <= 275 + BUSY), "{took:?} {told:?} {down}");
    // On a busy machine the second sender may have begun late enough to be missed.
    until(&anyone, "up");
    drop(second);

    // Its container starts again: another pair, and the same name.
    if !canhub::is_plugin() {
        docker(&["restart", "--time", "0", &door.name]);
        let again = crate::support::docker::Container::running(&door.name).member("can0", 1);
        let third = pulse(&again, "1A0", 1, &["150:20000"]);
        until(&component, "up");
        drop(third);
    }
}

/// The start of a member's endpoint's ID.
fn endpoint(member: &Member) -> String {
    let alias = member.run(&["cat", "/sys/class/net/can0/ifalias"]);
    let id = alias.split(" ep=").nth(1).map(|rest| rest[..12].to_owned());
    id.unwrap_or_else(|| panic!("no endpoint in {alias:?}"))
}

#[test]
fn expectations_are_added_and_removed_while_running_and_survive_a_crash_and_their_bus() {
    let scene = Scene::new();
    scene.allow_collection();
    let bus = scene.network(&["hub=vcan-expect"]);
    let ecu = scene.container(&bus).member("can0", 1);
    let component = expect(&scene, &bus, "18FEF100", "--every 1s --within 50%");
    let gone = expect(&scene, &bus, "123", "--every 100ms");
    let said = attempt(&canhub::program(), &["expect", "add", &name(&bus), "123", "--every", "20ms"]);
    assert!(said.as_ref().is_err_and(|why| why.contains("already expected")), "{said:?}");
    let said = attempt(&canhub::program(), &["expect", "add", "no-such-bus", "123", "--every", "20ms"]);
    assert!(said.as_ref().is_err_and(|why| why.contains("there is no bus no-such-bus")), "{said:?}");
    until(&gone, "down");
    says(&format!("expect rm {} 123", name(&bus)));
    eventually("health has forgotten it", || {
        let health = canhub::ask("/v1/health");
        if health.contains(&gone) { Err(health) } else { Ok(()) }
    });
    if canhub::is_plugin() {
        return;
    }
    canhub::crash();
    until(&component, "down");
    let _sender = ecu.start(&["cangen", "can0", "-g", "1000", "-I", "18FEF100", "-e", "-L", "8"]);
    let up = until(&component, "up");
    assert_eq!((&up["every"], &up["within"]), (&"1s".into(), &"50%".into()));
    // The hub is made again under its index: what listened to the old one hears nothing any more.
    let since = last_event();
    sh("ip link del vcan-expect");
    eventually("the hub is back", || {
        crate::support::host::link("vcan-expect").map(drop).ok_or_else(String::new)
    });
    thread::sleep(Duration::from_secs(4));
    until(&component, "up");
    // The hub was away for a moment: no news, unless it took longer to make it again.
    assert!(changes(&component, since).len() <= 2);

    docker(&["network", "disconnect", "--force", &bus.name, &ecu.name]);
    docker(&["network", "rm", &bus.name]);
    until(&component, "no-bus");
    let again = ["network", "create", "--driver", canhub::driver(), "--ipam-driver", "null", &bus.name];
    docker(&again);
    until(&component, "down");
}

#[test]
fn what_the_kernel_does_not_let_canhub_count_is_unknown_until_it_does() {
    if !canhub::is_service("what_the_kernel_does_not_let_canhub_count_is_unknown_until_it_does") {
        return;
    }
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-expect"]);
    let ecu = scene.container(&bus).member("can0", 1);
    let _sender = pulse(&ecu, "1A0", 1, &["100:600000"]);
    // In the mounts of the service, where its `/proc/net` is empty now.
    let pid = canhub::pid();
    let in_service = move |command: &str| sh(&format!("nsenter --target {pid} --mount {command}"));
    let folder = format!("/proc/{}/net", canhub::pid());
    in_service(&format!("mount -t tmpfs none {folder}"));
    let shown = move || drop(in_service(&format!("umount {folder} 2>/dev/null || true")));
    scene.undo(shown.clone());
    let component = expect(&scene, &bus, "1A0", "--every 100ms");
    let reason = eventually("it is told that nobody can listen", || {
        let one = listed(&component).ok_or("it is gone")?;
        let reason = one["reason"].as_str().unwrap_or_default().to_owned();
        if reason.contains("/proc/net/can-bcm") { Ok(reason) } else { Err(reason) }
    });
    assert!(
        reason.starts_with("nobody can listen for 1A0 on ") && reason.contains("cannot be read"),
        "{reason}"
    );
    let of_health = || {
        let health = json(&canhub::ask("/v1/health"));
        let all = health["components"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["component"] == component.as_str()).unwrap_or_default()
    };
    let told = of_health();
    assert_eq!((&told["status"], &told["reason"]), (&"unknown".into(), &reason.as_str().into()), "{told}");
    let doctor = says("doctor --json");
    assert!(doctor.contains("nobody can listen for 1A0"), "{doctor}");
    shown();
    until(&component, "up");
    eventually("health knows", || {
        let told = of_health();
        if told["status"] == "healthy" { Ok(()) } else { Err(told.to_string()) }
    });
}

const POLICY: &str = "/run/e2e-expect.toml";

#[test]
fn health_is_degraded_or_unhealthy_by_a_missing_frame_as_the_policy_says() {
    if !canhub::is_service("health_is_degraded_or_unhealthy_by_a_missing_frame_as_the_policy_says") {
        return;
    }
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-expect"]);
    let ecu = scene.container(&bus).member("can0", 1);
    let wanted = format!("expect = [{{ bus = \"{}\", id = \"1A0\", every = \"50ms\" }}]\n", bus.name);
    let component = format!("expect:{}:1A0", bus.name);
    for (required, status) in [("", "degraded"), ("required = [\"expect:*\"]\n", "unhealthy")] {
        fs::write(POLICY, format!("interval = 2\n{required}{wanted}")).expect("root may write /run");
        let _policy = Configured::with(&[&format!("CANHUB_HEALTH_POLICY={POLICY}")]);
        let overall = |wanted: &str| {
            eventually(&format!("health is {wanted}"), || {
                let health = canhub::ask("/v1/health");
                if json(&health)["status"] == wanted { Ok(()) } else { Err(health) }
            });
        };
        until(&component, "down");
        overall(status);
        let _sender = pulse(&ecu, "1A0", 1, &["50:60000"]);
        until(&component, "up");
        overall("healthy");
    }
    let _ = fs::remove_file(POLICY);
}

/// What canhub may use of a guest's processor, in percent.
const GOAL: f64 = 3.0;
/// What may change within a measurement without making it another one.
const CHANGES: u64 = 10;

#[test]
fn two_hundred_expectations_on_a_busy_bus_cost_little() {
    const NAME: &str = "expect::two_hundred_expectations_on_a_busy_bus_cost_little";
    if !canhub::is_service("two_hundred_expectations_on_a_busy_bus_cost_little") {
        return;
    }
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-expect"]);
    let ecu = scene.container(&bus).member("can0", 1);
    let _sender = pulse(&ecu, "200", 200, &["25:600000"]);
    let hub = "/sys/class/net/vcan-expect/statistics/rx_packets";
    let frames =
        || fs::read_to_string(hub).ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
    thread::sleep(Duration::from_secs(1));
    let without = Cost::of(&canhub::pid());
    let one = |id: u32| {
        format!("{{ bus = \"{}\", id = \"{id:03X}\", every = \"25ms\", within = \"90%\" }}", bus.name)
    };
    let all: Vec<String> = (0x200..0x2C8).map(one).collect();
    fs::write(POLICY, format!("expect = [{}]\n", all.join(", "))).expect("root may write /run");
    scene.undo(|| drop(fs::remove_file(POLICY)));
    let _policy = Configured::with(&[&format!("CANHUB_HEALTH_POLICY={POLICY}")]);
    eventually("all are up", || {
        let all = json(&says("expect ls --json"));
        let all = all["expectations"].as_array().expect("they are a list").clone();
        let up = all.iter().filter(|one| one["state"] == "up").count();
        if up == 200 { Ok(()) } else { Err(format!("{up} of {} are up", all.len())) }
    });
    let (mut sent, mut told) = (frames(), last_event());
    Cost::assert_below(GOAL, &canhub::pid(), NAME, |cost| {
        let before = (std::mem::replace(&mut sent, frames()), std::mem::replace(&mut told, last_event()));
        let (rate, changes) = ((sent - before.0) as f64 / cost.took, told - before.1);
        say(&format!(
            "200 expectations at {rate:.0} frames/s: canhub {:.2} % (without {:.2} %), {changes} changes told; {}",
            cost.cpu,
            without.cpu,
            cost.machine()
        ));
        // A sender that a busy host makes irregular is news all the time, and news cost more than readings.
        changes > CHANGES
    });
}
