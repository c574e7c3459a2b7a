//! Answers each frame, so that one clock measures the way there and back.

use std::{io, time::Duration};

use socketcan::SocketOptions;

use crate::{StopSignal, frames, line, report::Kind, socket};

/// Between two looks at the input.
const TICK: Duration = Duration::from_millis(20);

/// What `probe echo` was asked for.
#[derive(Debug, clap::Args)]
pub struct Echo {
    interface: String,
    /// Whose classic frames it answers
    #[arg(long)]
    of: u8,
    /// The number in the answers, which have the sequence numbers and the times of what they answer
    #[arg(long)]
    from: u8,
}

/// Prints `ready` when it listens, and answers until its input ends.
pub fn run(args: &Echo) -> io::Result<()> {
    let socket = socket::open(&args.interface)?;
    socket.set_filters(&[frames::only_classic_from(args.of)])?;
    let stop_signal = StopSignal::on_stdin_closed();
    line("ready")?;
    while !stop_signal.is_set() {
        let Some(heard) = socket::receive(&socket, TICK)?.and_then(|frame| frames::read(&frame)) else {
            continue;
        };
        let answer = frames::stamped(args.from, Kind::Classic, heard.sequence, heard.stamp);
        socket::send(&socket, &answer.ok_or(io::ErrorKind::InvalidInput)?)?;
    }
    Ok(())
}
