//! Sends frames in a cycle that changes by plan, as an ECU does that fails and recovers.

use std::{
    io,
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{line, socket};

/// Frames that are due within this time are sent at once.
const TOGETHER: Duration = Duration::from_millis(2);

/// What `probe pulse` was asked for.
#[derive(Debug, clap::Args)]
pub struct Pulse {
    interface: String,
    /// The first id
    #[arg(long, value_parser = |text: &str| u16::from_str_radix(text, 16))]
    id: u16,
    /// So many ids from there on, spread evenly over each cycle
    #[arg(long, default_value_t = 1)]
    ids: u16,
    /// CYCLE:DURATION in ms, one after another; cycle 0 is silence
    #[arg(value_parser = phase)]
    plan: Vec<(u64, u64)>,
}

fn phase(text: &str) -> Result<(u64, u64), String> {
    let numbers =
        text.split_once(':').and_then(|(cycle, time)| Some((cycle.parse().ok()?, time.parse().ok()?)));
    numbers.ok_or_else(|| format!("{text} is not CYCLE:DURATION"))
}

/// Sends, and prints before each phase the time of the last frame in ms since 1970.
pub fn run(args: &Pulse) -> io::Result<()> {
    let socket = socket::open(&args.interface)?;
    let mut last = 0;
    for (cycle, duration) in &args.plan {
        line(&format!("{last}"))?;
        let (begun, duration) = (Instant::now(), Duration::from_millis(*duration));
        if *cycle == 0 {
            sleep(duration);
            continue;
        }
        // One cycle after the last frame, unless the phase before was silent.
        let gap = Duration::from_millis(*cycle) / u32::from(args.ids);
        // In a guest a system call costs as much as several frames, and so many timers would be most of what a test measures.
        let together = (TOGETHER.as_nanos() / gap.as_nanos().max(1)).max(1) as u32;
        let mut sent: u32 = 0;
        while begun.elapsed() < duration {
            let due = begun + gap * (sent + 1);
            let now = Instant::now();
            if due > now {
                sleep(due - now);
            }
            let id = |number: u32| u32::from(args.id) + number % u32::from(args.ids);
            let frames = (sent..sent + together).map(|number| (id(number), number.to_be_bytes()));
            socket::send_many(&socket, frames)?;
            last = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
            sent += together;
        }
    }
    line(&format!("{last}"))
}
