//! Numbered frames from one bus to another, and how long each took.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use canhub::{
    frames::{CanAnyFrame, Timestamp},
    kernel::{FrameSocket, monotonic, sleep_until, wake_on_time},
};
use socketcan::{EmbeddedFrame as _, StandardId};

/// A direction.
pub struct Way<'a> {
    pub from: &'a str,
    pub to: &'a str,
}

/// What was measured.
#[derive(Default)]
pub struct Figures {
    delays: Vec<u64>,
    pub lost: u64,
    pub disordered: u64,
}

impl Figures {
    pub fn add(&mut self, other: Self) {
        self.delays.extend(other.delays);
        self.delays.sort_unstable();
        self.lost += other.lost;
        self.disordered += other.disordered;
    }

    /// In microseconds.
    fn percentile(&self, percent: usize) -> f64 {
        let at = (self.delays.len() * percent / 100).min(self.delays.len().saturating_sub(1));
        self.delays.get(at).map_or(f64::NAN, |nanos| *nanos as f64 / 1000.0)
    }

    pub fn ratio(&self, other: &Self, percent: usize) -> f64 {
        self.percentile(percent) / other.percentile(percent)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6.0} {:>8.0} {:>7}", self.percentile(50), self.percentile(99), self.lost)
    }
}

/// Sends frames all ways at once, for so many seconds, and measures them together.
pub fn exchange(ways: &[Way<'_>], rate: u32, seconds: u32) -> Figures {
    let mut all = Figures::default();
    thread::scope(|scope| {
        let running: Vec<_> =
            ways.iter().map(|way| scope.spawn(move || one_way(way, rate, seconds))).collect();
        for way in running {
            all.add(way.join().unwrap());
        }
    });
    all
}

fn one_way(way: &Way<'_>, rate: u32, seconds: u32) -> Figures {
    let frames = (rate * seconds) as usize;
    let sent: Arc<Vec<AtomicU64>> = Arc::new((0..frames).map(|_| AtomicU64::new(0)).collect());
    // Which run a frame is of: late ones of the last do not count.
    let run = u32::try_from(monotonic().as_millis() & 0x7FFF_FFFF).unwrap();
    // Frames that travel the other way at the same time have other ids.
    let id = 0x100 + way.from.bytes().map(u16::from).sum::<u16>() % 0x100;
    let mut receiver = FrameSocket::open(Some(way.to), 8 << 20).unwrap();
    let times = sent.clone();
    let sender = FrameSocket::open(Some(way.from), 4096).unwrap();
    let sending = thread::spawn(move || {
        wake_on_time();
        let start = monotonic();
        for (number, time) in times.iter().enumerate() {
            sleep_until(start + Duration::from_secs(1) * u32::try_from(number).unwrap() / rate);
            let data = [u32::try_from(number).unwrap().to_be_bytes(), run.to_be_bytes()].concat();
            let frame = CanAnyFrame::new(StandardId::new(id).unwrap(), &data).unwrap();
            time.store(Timestamp::from(SystemTime::now()).0, Ordering::Release);
            sender.send(&frame).unwrap();
        }
    });
    let mut figures = Figures::default();
    let (mut heard, mut next, mut count) = (Vec::new(), 0, 0);
    let until = Instant::now() + Duration::from_secs(u64::from(seconds) + 1);
    while Instant::now() < until && count < frames {
        // The kernel's time stamps tell when they came, not when they were read.
        thread::sleep(Duration::from_millis(2));
        while !receiver.receive(&mut heard).unwrap() {}
        for heard in heard.drain(..) {
            let CanAnyFrame::Normal(frame) = heard.frame else { continue };
            let Some((number, of)) = frame.data().split_first_chunk::<4>() else { continue };
            if of != run.to_be_bytes() || frame.id() != StandardId::new(id).unwrap().into() {
                continue;
            }
            let number = u32::from_be_bytes(*number) as usize;
            figures.disordered += u64::from(number < next);
            next = number + 1;
            count += 1;
            figures.delays.push(heard.time.saturating_sub(sent[number].load(Ordering::Acquire)));
        }
    }
    sending.join().unwrap();
    figures.delays.sort_unstable();
    figures.lost = (frames - count.min(frames)) as u64;
    figures
}
