//! Sends frames in a cycle that changes by plan, as an ECU does that fails and recovers.

use std::{
    io,
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use socketcan::{CanFrame, EmbeddedFrame, StandardId};

use crate::{line, socket};

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
        let mut sent: u32 = 0;
        while begun.elapsed() < duration {
            let due = begun + gap * (sent + 1);
            let now = Instant::now();
            if due > now {
                sleep(due - now);
            }
            let id = StandardId::new(args.id + (sent % u32::from(args.ids)) as u16)
                .ok_or(io::ErrorKind::InvalidInput)?;
            let frame = CanFrame::new(id, &sent.to_be_bytes()).ok_or(io::ErrorKind::InvalidInput)?;
            socket::send(&socket, &frame.into())?;
            last = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
            sent += 1;
        }
    }
    line(&format!("{last}"))
}
