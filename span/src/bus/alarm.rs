//! A timer for what is due again and again, and is put off again and again.

use std::pin::Pin;

use tokio::time::{Duration, Instant, Sleep, sleep};

use crate::flow::Moment;

/// Rings in time, or too early: it is set anew only if it would ring too late. A bus with frames all the time puts off its next
/// heartbeat with each of them, and sets the alarm four times a second.
#[derive(Debug)]
pub(super) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    at: Moment,
}

impl Alarm {
    /// Rings at once.
    pub(super) fn new() -> Self {
        Self { sleep: Box::pin(sleep(Duration::ZERO)), at: Moment(0) }
    }

    /// From now on it rings at this time, or before.
    pub(super) fn set(&mut self, at: Moment) {
        if self.sleep.is_elapsed() || at < self.at {
            self.sleep.as_mut().reset(Instant::now() + at.since(Moment::now()));
            self.at = at;
        }
    }

    /// Waits until it rings.
    pub(super) async fn rings(&mut self) {
        self.sleep.as_mut().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_alarm_is_set_anew_if_it_rang_or_would_ring_too_late() {
        let mut alarm = Alarm::new();
        alarm.rings().await;
        let now = Moment::now();
        alarm.set(now + Duration::from_secs(20));
        let first = alarm.sleep.deadline();
        assert!(first > Instant::now() + Duration::from_secs(10));
        alarm.set(now + Duration::from_secs(30));
        assert_eq!(alarm.sleep.deadline(), first);
        alarm.set(now + Duration::from_secs(10));
        assert!(alarm.sleep.deadline() < first);
        alarm.set(now);
        alarm.rings().await;
        alarm.set(now + Duration::from_secs(30));
        assert!(alarm.sleep.deadline() > first);
    }
}
