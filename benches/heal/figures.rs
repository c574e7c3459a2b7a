//! The results, for people and programs.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

/// The goals for each fault.
const MEDIAN_GOAL: Duration = Duration::from_millis(50);
const WORST_GOAL: Duration = Duration::from_millis(100);

/// A fault, and the duration of each interruption of the bus.
pub struct Row {
    fault: &'static str,
    pub canhub: Vec<Duration>,
    pub floor: Vec<Duration>,
}

pub struct Figures {
    pub rows: Vec<Row>,
}

/// Median, best and worst.
struct Silences([Duration; 3]);

impl Silences {
    fn of(silences: &[Duration]) -> Self {
        let mut sorted = silences.to_vec();
        sorted.sort();
        Self([sorted[sorted.len() / 2], sorted[0], sorted[sorted.len() - 1]])
    }

    fn micros(&self) -> [u64; 3] {
        self.0.map(|silence| silence.as_micros() as u64)
    }
}

impl fmt::Display for Silences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, best, worst] = self.0.map(|silence| silence.as_secs_f64() * 1e3);
        f.pad(&format!("{median:.1} / {best:.1} / {worst:.1}"))
    }
}

impl Row {
    pub fn new(fault: &'static str) -> Self {
        Self { fault, canhub: Vec::new(), floor: Vec::new() }
    }

    fn misses(&self) -> Vec<String> {
        let Silences([median, _, worst]) = Silences::of(&self.canhub);
        [("median", median, MEDIAN_GOAL), ("worst", worst, WORST_GOAL)]
            .into_iter()
            .filter(|(_, took, goal)| took >= goal)
            .map(|(which, _, goal)| format!("{which} < {} MISSED", goal.as_millis()))
            .collect()
    }
}

impl Figures {
    /// One line for programs; times in microseconds: median, best, worst.
    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "fault": row.fault,
                "canhub_us": Silences::of(&row.canhub).micros(),
                "floor_us": Silences::of(&row.floor).micros(),
            })
        });
        json!({
            "bench": "heal",
            "faults": rows.collect::<Vec<_>>(),
            "median_goal_us": MEDIAN_GOAL.as_micros() as u64,
            "worst_goal_us": WORST_GOAL.as_micros() as u64,
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.rows.first().map_or(0, |row| row.canhub.len());
        let (median, worst) = (MEDIAN_GOAL.as_millis(), WORST_GOAL.as_millis());
        writeln!(
            f,
            "From a fault to the first frame that arrives again: median / best / worst of {rounds}, in ms"
        )?;
        writeln!(
            f,
            "(goals: median < {median}, worst < {worst}). The floor: the same messages by a bare loop, at once."
        )?;
        writeln!(f)?;
        writeln!(f, "{:>24} {:>24} {:>24}  goals", "", "canhub", "the floor")?;
        for row in &self.rows {
            let misses = row.misses();
            let verdict = if misses.is_empty() { "met".to_owned() } else { misses.join(", ") };
            let (canhub, floor) = (Silences::of(&row.canhub), Silences::of(&row.floor));
            writeln!(f, "{:>24} {canhub:>24} {floor:>24}  {verdict}", row.fault)?;
        }
        let met = self.rows.iter().filter(|row| row.misses().is_empty()).count();
        writeln!(f, "{met} of {} within the goals", self.rows.len())
    }
}
