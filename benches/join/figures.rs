//! The results, for people and programs.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

/// The goal for memory use with 100 members.
const RESIDENT_GOAL_KIB: u64 = 8 * 1024;
/// canhub takes at most this multiple of what the kernel itself needs, comparing the best of each.
const FLOOR_GOAL: f64 = 2.0;
/// Attaching a namespace takes at most this multiple of the Join of a container, comparing the best of each.
const ATTACH_GOAL: f64 = 1.0;

pub struct Row {
    pub size: u32,
    pub canhub: Times,
    /// The same without Docker, by one request to the admin socket.
    pub attached: Times,
    pub floor: Times,
    pub forked: Times,
    /// Whether [`FLOOR_GOAL`] must be met.
    pub near_the_floor: bool,
    /// How many times faster than the baseline.
    pub goal: Option<u32>,
}

/// Members that leave one after another.
pub struct Teardown {
    pub size: u32,
    pub canhub: Times,
    pub floor: Times,
}

/// The durations of one kind of join.
pub struct Times {
    pub median: Duration,
    /// The fastest one: on a single CPU, udev processes each new link at the same time.
    pub best: Duration,
}

pub struct Figures {
    pub rows: Vec<Row>,
    pub teardown: Teardown,
    /// Two calls that change nothing.
    pub empty: Times,
    pub start: Duration,
    pub resident: u64,
    pub members: usize,
}

/// The median; of an even number the upper one.
pub fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort();
    durations[durations.len() / 2]
}

impl Times {
    pub fn of(durations: Vec<Duration>) -> Self {
        let best = durations.iter().min().copied().unwrap_or_default();
        Self { median: median(durations), best }
    }
}

/// How often the second fits into the first: by medians, and by the best.
fn ratios(long: &Times, short: &Times) -> [f64; 2] {
    let ratio = |long: Duration, short: Duration| long.as_secs_f64() / short.as_secs_f64();
    [ratio(long.median, short.median), ratio(long.best, short.best)]
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

fn millis(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1e3)
}

fn both(times: &Times) -> String {
    format!("{} / {}", millis(times.median), millis(times.best))
}

impl Figures {
    /// One line for programs; times in microseconds, medians and best.
    pub fn json(&self) -> Value {
        let micros = |times: &Times| [times.median.as_micros() as u64, times.best.as_micros() as u64];
        let rounded = |ratios: [f64; 2]| ratios.map(|ratio| (ratio * 10.0).round() / 10.0);
        let rows = self.rows.iter().map(|row| {
            json!({
                "members": row.size,
                "canhub_us": micros(&row.canhub),
                "floor_us": micros(&row.floor),
                "times_the_floor": rounded(ratios(&row.canhub, &row.floor)),
                "times_the_floor_goal": row.near_the_floor.then_some(FLOOR_GOAL),
                "attach_us": micros(&row.attached),
                "attach_times_join": rounded(ratios(&row.attached, &row.canhub)),
                "attach_times_join_goal": ATTACH_GOAL,
                "baseline_us": micros(&row.forked),
                "ratio": rounded(ratios(&row.forked, &row.canhub)),
                "goal": row.goal,
            })
        });
        let teardown = &self.teardown;
        json!({
            "bench": "join",
            "joins": rows.collect::<Vec<_>>(),
            "teardown": {
                "members": teardown.size,
                "canhub_us": micros(&teardown.canhub),
                "floor_us": micros(&teardown.floor),
                "times_the_floor": rounded(ratios(&teardown.canhub, &teardown.floor)),
                "times_the_floor_goal": FLOOR_GOAL,
            },
            "empty_calls_us": micros(&self.empty),
            "start_us": self.start.as_micros() as u64,
            "resident_kib": self.resident,
            "resident_goal_kib": RESIDENT_GOAL_KIB,
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times_the_floor = |canhub: &Times, floor: &Times, counts: bool| {
            let [median, best] = ratios(canhub, floor);
            let goal = match counts {
                true => format!("<= {FLOOR_GOAL:.0}x {}", verdict(best <= FLOOR_GOAL)),
                false => "-".into(),
            };
            format!("{:>13} {goal:<13}", format!("{median:.1}x / {best:.1}x"))
        };
        writeln!(
            f,
            "Median / best, in ms; a goal counts for the best. The floor is what the kernel itself needs:"
        )?;
        writeln!(f, "the same netlink messages, sent by a bare loop.")?;
        writeln!(f)?;
        writeln!(f, "CreateEndpoint + Join on a bus of so many members")?;
        writeln!(
            f,
            "{:>8} {:>14} {:>14} {:>13} {:<13} {:>18} {:>13} goal",
            "members", "canhub", "the floor", "times floor", "goal", "ip and cangw", "times faster"
        )?;
        for row in &self.rows {
            let [median, best] = ratios(&row.forked, &row.canhub);
            let goal = row
                .goal
                .map_or("-".to_owned(), |goal| format!(">= {goal}x {}", verdict(best >= f64::from(goal))));
            writeln!(
                f,
                "{:>8} {:>14} {:>14} {} {:>18} {:>13} {goal}",
                row.size,
                both(&row.canhub),
                both(&row.floor),
                times_the_floor(&row.canhub, &row.floor, row.near_the_floor),
                both(&row.forked),
                format!("{median:.0}x / {best:.0}x"),
            )?;
        }
        let Teardown { size, canhub, floor } = &self.teardown;
        writeln!(
            f,
            "A namespace attached without Docker, and how many times as long as CreateEndpoint + Join"
        )?;
        for row in &self.rows {
            let [median, best] = ratios(&row.attached, &row.canhub);
            let (ratio, goal) = (format!("{median:.1}x / {best:.1}x"), verdict(best <= ATTACH_GOAL));
            writeln!(
                f,
                "{:>8} {:>14} {ratio:>28} <= {ATTACH_GOAL:.0}x {goal}",
                row.size,
                both(&row.attached)
            )?;
        }
        writeln!(f, "Leave + DeleteEndpoint, all of so many members")?;
        writeln!(
            f,
            "{size:>8} {:>14} {:>14} {}",
            both(canhub),
            both(floor),
            times_the_floor(canhub, floor, true)
        )?;
        writeln!(f, "Two calls that change nothing, over the same socket: {}", both(&self.empty))?;
        writeln!(f)?;
        writeln!(f, "from the start of the process to its bound socket: {} ms", millis(self.start))?;
        let (resident, goal) = (self.resident as f64 / 1024.0, RESIDENT_GOAL_KIB / 1024);
        let met = verdict(self.resident < RESIDENT_GOAL_KIB);
        writeln!(
            f,
            "resident with {} members at rest: {resident:.1} MiB (goal: < {goal} MiB, {met})",
            self.members
        )
    }
}
