//! Frames that flow both ways between two hosts while something happens to them, and the account afterwards: what was sent
//! is what was heard and what was counted as lost. The kernels count too: what entered the span port of one host is what
//! came out of that of the other one and what was counted.

use std::{thread::sleep, time::Duration};

use serde_json::Value;

use super::{
    bus::{Bus, Member, STRAGGLERS},
    fleet::{host_on_span, span},
    guest::{Guest, Running},
    report::{Heard, Kind, Sent},
    shell::{eventually, within},
};

/// Classic frames, because they are stamped and each kind takes the same path.
const KIND: Kind = Kind::Classic;
/// The identifier of a sender's classic frames, without its number.
const STANDARD: u16 = 0x400;

/// Two senders, one on each host, and four listeners: each sender is heard on its own host and on the other one.
pub struct Flow {
    buses: [(Guest, String); 2],
    sending: Vec<Running>,
    own: Vec<Running>,
    far: Vec<Running>,
    before: [Counted; 2],
}

/// What the two hosts counted of the frames of one of them, added up. Each host comes with the name of the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    missed: u64,
    lost: u64,
    too_old: u64,
    unwritten: u64,
    /// By the kernel of the sender's host: frames that entered its span port.
    entered: u64,
    /// By that of the other host: frames that came out of its span port.
    came_out: u64,
}

impl Flow {
    /// Each sends so many frames a second until [`Flow::end`].
    #[track_caller]
    pub fn start(buses: &[Bus; 2], rate: u32) -> Self {
        let senders = [buses[0].hub(1), buses[1].hub(2)];
        let listen = |at: &Bus, to: u8| at.hub(9).listen(&["--persist", "--only", &to.to_string()]);
        let own = vec![listen(&buses[0], 1), listen(&buses[1], 2)];
        let far = vec![listen(&buses[1], 1), listen(&buses[0], 2)];
        let names = [0, 1].map(|at: usize| (buses[at].host.clone(), buses[at].name.clone()));
        let before = [0, 1].map(|from| Counted::settled(&names, from));
        let send = |sender: &Member| sender.send(&format!("--persist --stamp --rate {rate}"));
        let sending = senders.iter().map(send).collect();
        Self { buses: names, sending, own, far, before }
    }

    /// Waits until each sender is heard on the other host.
    #[track_caller]
    pub fn until_heard(&self) {
        for (from, (host, name)) in [1_u16, 2].into_iter().zip(self.buses.iter().rev()) {
            let filter = format!("vcan-{name},{:X}:7FF", STANDARD | from);
            eventually(&format!("sender {from} is heard on {}", host.name), || {
                let said = host.attempt(&["candump", "-n", "1", "-T", "3000", &filter])?;
                if said.is_empty() { Err("3 s without a frame".to_owned()) } else { Ok(()) }
            });
        }
    }

    /// Stops the senders, waits for the listeners.
    #[track_caller]
    pub fn end(self) -> End {
        let Self { buses, mut sending, own, far, before } = self;
        sending.iter_mut().for_each(Running::stop);
        let sent = sending.into_iter().map(|running| running.end::<Sent>().sent).collect();
        sleep(STRAGGLERS);
        let [own, far] = [own, far].map(|listeners| listeners.into_iter().map(Running::end).collect());
        End { buses, sent, own, far, before }
    }
}

/// The account.
#[derive(Debug)]
pub struct End {
    buses: [(Guest, String); 2],
    sent: Vec<u32>,
    own: Vec<Heard>,
    far: Vec<Heard>,
    before: [Counted; 2],
}

impl End {
    /// What was heard on the hosts of the senders.
    pub fn local(&self) -> impl Iterator<Item = (&'static str, &Heard)> {
        ["from a", "from b"].into_iter().zip(&self.own)
    }

    /// What was heard on the other hosts.
    pub fn far(&self) -> impl Iterator<Item = (&'static str, &Heard)> {
        ["from a", "from b"].into_iter().zip(&self.far)
    }

    /// No frame twice or out of order, and each that is missing was counted.
    #[track_caller]
    pub fn assert_accounted(&self, from: &str) {
        let (sent, heard) = self.assert_in_order(from);
        self.assert_balanced(from, |counted| {
            let Counted { entered, came_out, .. } = *counted;
            ((entered, came_out) == (sent, heard), format!("sent {sent}, heard {heard}"))
        });
    }

    /// The same for frames that went nowhere on a host for a while: those that entered its span port count, and those that came
    /// out.
    #[track_caller]
    pub fn assert_accounted_between_ports(&self, from: &str) {
        let (sent, heard) = self.assert_in_order(from);
        self.assert_balanced(from, |counted| {
            let Counted { entered, came_out, .. } = *counted;
            (entered <= sent && came_out >= heard, format!("sent {sent}, heard {heard}"))
        });
    }

    /// Returns how many were sent, and heard.
    #[track_caller]
    fn assert_in_order(&self, from: &str) -> (u64, u64) {
        let at = usize::from(from == "from b");
        let [stream] = &self.far[at].streams[..] else { panic!("{from}: {:?}", self.far[at]) };
        assert_eq!((stream.from as usize, stream.kind), (at + 1, KIND));
        assert_eq!((stream.doubled, stream.disordered, stream.damaged), (0, 0, 0), "{from}: {stream:?}");
        (self.sent[at].into(), stream.frames.into())
    }

    /// What entered one port is what came out of the other one and what was counted; `also` says what else must be.
    #[track_caller]
    fn assert_balanced(&self, from: &str, also: impl Fn(&Counted) -> (bool, String)) {
        let at = usize::from(from == "from b");
        // The hosts tell each other a moment later.
        let balanced = within(Duration::from_secs(15), || {
            let counted = self.counted(at)?;
            let (is_so, shown) = also(&counted);
            match is_so && counted.entered == counted.came_out + counted.sum() {
                true => Ok(()),
                false => Err(format!("{shown}, counted are {counted:?}")),
            }
        });
        balanced.unwrap_or_else(|err| panic!("{from}: {err}"));
    }

    /// For the person who runs the tests.
    pub fn summary(&self, from: &str) -> String {
        let at = usize::from(from == "from b");
        let heard: u32 = self.far[at].streams.iter().map(|stream| stream.frames).sum();
        format!("sent {}, heard {heard}, {:?}", self.sent[at], self.counted(at))
    }

    fn counted(&self, from: usize) -> Result<Counted, String> {
        Counted::of(&self.buses, from)?.since(&self.before[from])
    }
}

impl Counted {
    /// Frames that did not arrive.
    pub fn sum(&self) -> u64 {
        self.missed + self.lost + self.too_old + self.unwritten
    }

    /// What came in addition.
    pub fn since(&self, before: &Self) -> Result<Self, String> {
        let more = |now: u64, then: u64| {
            now.checked_sub(then).ok_or_else(|| format!("a counter fell: {before:?} {self:?}"))
        };
        Ok(Self {
            missed: more(self.missed, before.missed)?,
            lost: more(self.lost, before.lost)?,
            too_old: more(self.too_old, before.too_old)?,
            unwritten: more(self.unwritten, before.unwritten)?,
            entered: more(self.entered, before.entered)?,
            came_out: more(self.came_out, before.came_out)?,
        })
    }

    /// While no frames flow. canhub is told within a second.
    #[track_caller]
    pub fn settled(buses: &[(Guest, String); 2], from: usize) -> Self {
        let mut last = None;
        eventually("the counters stand still", || {
            let now = Self::of(buses, from)?;
            match last.replace(now) == Some(now) {
                true => Ok(now),
                false => {
                    sleep(Duration::from_millis(1200));
                    Err(format!("{now:?}"))
                }
            }
        })
    }

    fn of(buses: &[(Guest, String); 2], from: usize) -> Result<Self, String> {
        let (sender, name) = &buses[from];
        let (listener, _) = &buses[1 - from];
        let here = span(sender, name)?;
        let at_listener = span(listener, name)?;
        let there = host_on_span(listener, name, ["a", "b"][from])?;
        let number = |value: &Value| value.as_u64().ok_or_else(|| format!("no number in {here} or {there}"));
        let passed = |host: &Guest, span: &Value, way: &str| {
            let interface = span["interface"].as_str().ok_or_else(|| span.to_string())?;
            let file = format!("/sys/class/net/{interface}/statistics/{way}_packets");
            host.attempt(&["cat", &file])?.trim().parse().map_err(|err| format!("{file}: {err}"))
        };
        Ok(Self {
            missed: number(&here["missed"])?,
            lost: number(&there["lost"])? + number(&here["lost_at_port"])?,
            too_old: number(&there["too_old"])? + number(&here["too_old"]["before_sending"])?,
            unwritten: number(&at_listener["write_errors"])?
                + number(&at_listener["too_old"]["before_wire"])?,
            entered: passed(sender, &here, "rx")?,
            came_out: passed(listener, &at_listener, "tx")?,
        })
    }
}
