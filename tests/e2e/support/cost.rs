//! What a process costs, on a machine that others may use at the same time.

use std::{
    fs, hint,
    os::unix::process::parent_id,
    thread::{available_parallelism, sleep},
    time::{Duration, Instant},
};

use super::shell::not_run;

/// A host that is busy with others makes everything in a guest seem more expensive, so the best of these counts.
const WINDOWS: usize = 6;
const WINDOW: Duration = Duration::from_secs(5);
/// In each window, a few system calls are made this often, much as a process does that wakes up for little work.
const SAMPLES: u32 = 150;
const CALLS: u32 = 10;
/// A host runs a guest only now and then if on average they take so many times longer than at best.
const BUSY: f64 = 2.0;
/// About what a system call takes at best, in seconds, in a guest on the machines on which the goals were set. What
/// canhub uses is mostly such calls: where each takes twice as long, it may use twice as much.
const CALL: f64 = 6e-6;

/// What a process used for a while.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Of all processors, in percent.
    pub cpu: f64,
    /// How long that was, in seconds.
    pub took: f64,
    /// How long a system call took at best, in seconds.
    pub call: f64,
    /// How much longer a system call took on average than at best.
    pub slowed: f64,
}

impl Cost {
    /// Measures for one window.
    #[track_caller]
    pub fn of(process: &str) -> Self {
        let (begun, ran) = (Instant::now(), run_time(process));
        let calls: Vec<f64> = (0..SAMPLES)
            .map(|_| {
                sleep(WINDOW / SAMPLES);
                let begun = Instant::now();
                for _ in 0..CALLS {
                    hint::black_box(parent_id());
                }
                begun.elapsed().as_secs_f64()
            })
            .collect();
        let best = calls.iter().copied().fold(f64::INFINITY, f64::min);
        let slowed = calls.iter().sum::<f64>() / f64::from(SAMPLES) / best;
        let (took, ran) = (begun.elapsed().as_secs_f64(), run_time(process) - ran);
        let processors = available_parallelism().map_or(1, usize::from) as f64;
        Self { cpu: ran * 100.0 / took / processors, took, call: best / f64::from(CALLS), slowed }
    }

    /// How fast this machine was meanwhile, for messages.
    pub fn machine(&self) -> String {
        format!(
            "system calls take {:.0} µs at best and {:.1} times as long on average",
            self.call * 1e6,
            self.slowed
        )
    }

    /// Asserts that a process uses less than `goal`, in percent, or more where system calls are slower. `tell` gets each
    /// measurement, and returns whether something made the process do more than what is to be measured.
    #[track_caller]
    pub fn assert_below(goal: f64, process: &str, test: &str, mut tell: impl FnMut(Self) -> bool) {
        let mut is_busy = true;
        for _ in 0..WINDOWS {
            let cost = Self::of(process);
            let was_disturbed = tell(cost);
            if cost.cpu < goal * (cost.call / CALL).max(1.0) {
                return;
            }
            is_busy &= was_disturbed || cost.slowed > BUSY;
        }
        assert!(
            is_busy,
            "more than {goal} %, or than its share where system calls are slow, in each of {WINDOWS} measurements"
        );
        not_run(test, "the host is too busy, which disturbed each measurement");
    }
}

/// How long the threads of a process have run so far, in seconds.
#[track_caller]
fn run_time(process: &str) -> f64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let ran = |thread: fs::DirEntry| -> Option<f64> {
        let schedstat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse().ok()
    };
    threads.flatten().filter_map(ran).sum::<f64>() / 1e9
}
