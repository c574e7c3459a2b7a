//! The results, for people and programs.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

/// The goal for memory use with 100 members.
const RESIDENT_GOAL_KIB: u64 = 8 * 1024;

pub struct Row {
    pub size: u32,
    pub canhub: Times,
    pub forked: Times,
    pub goal: Option<u32>,
}

/// The durations of one kind of join.
pub struct Times {
    pub median: Duration,
    /// The fastest one: on a single CPU, udev processes each new link at the same time.
    pub best: Duration,
}

pub struct Figures {
    pub rows: Vec<Row>,
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

impl Row {
    /// The ratios of the medians, and of the best.
    fn ratios(&self) -> [f64; 2] {
        let ratio = |forked: Duration, canhub: Duration| forked.as_secs_f64() / canhub.as_secs_f64();
        [ratio(self.forked.median, self.canhub.median), ratio(self.forked.best, self.canhub.best)]
    }
}

impl Figures {
    /// One line for programs; times in microseconds, medians and best.
    pub fn json(&self) -> Value {
        let micros = |times: &Times| [times.median.as_micros() as u64, times.best.as_micros() as u64];
        let rows = self.rows.iter().map(|row| {
            json!({
                "members": row.size,
                "canhub_us": micros(&row.canhub),
                "baseline_us": micros(&row.forked),
                "ratio": row.ratios().map(|ratio| (ratio * 10.0).round() / 10.0),
                "goal": row.goal,
            })
        });
        json!({
            "bench": "join",
            "joins": rows.collect::<Vec<_>>(),
            "start_us": self.start.as_micros() as u64,
            "resident_kib": self.resident,
            "resident_goal_kib": RESIDENT_GOAL_KIB,
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let both = |times: &Times| {
            let millis = |duration: Duration| format!("{:.1}", duration.as_secs_f64() * 1e3);
            format!("{} / {}", millis(times.median), millis(times.best))
        };
        writeln!(f, "CreateEndpoint + Join on a bus of so many members: median / best, in ms")?;
        writeln!(
            f,
            "{:>8} {:>16} {:>20} {:>16} {:>10}",
            "members", "canhub", "ip and cangw", "ratio", "goal"
        )?;
        for row in &self.rows {
            let goal = row.goal.map_or("-".to_owned(), |goal| format!(">= {goal}x"));
            let ratio = row.ratios().map(|ratio| format!("{ratio:.0}x")).join(" / ");
            let (canhub, forked) = (both(&row.canhub), both(&row.forked));
            writeln!(f, "{:>8} {canhub:>16} {forked:>20} {ratio:>16} {goal:>10}", row.size)?;
        }
        let millis = self.start.as_secs_f64() * 1e3;
        writeln!(f, "from the start of the process to its bound socket: {millis:.1} ms")?;
        let (resident, goal) = (self.resident as f64 / 1024.0, RESIDENT_GOAL_KIB / 1024);
        writeln!(f, "resident with {} members: {resident:.1} MiB (goal: < {goal} MiB)", self.members)
    }
}
