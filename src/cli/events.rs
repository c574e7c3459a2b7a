//! `canhub events`.

use std::{fmt::Write as _, ops::ControlFlow};

use clap::Args;

use super::{Failed, ask::AdminSocket, lines};
use crate::{
    events::{Entry, FeedItem, KEPT},
    health::HealthStatus,
};

/// Show events
#[derive(Debug, Args)]
pub(super) struct EventsCommand {
    /// Keep printing new events
    #[arg(long, short)]
    follow: bool,
    /// Start with this many recent events [default: all that are kept, with --follow 10]
    #[arg(long, short = 'n', value_name = "NUMBER")]
    last: Option<usize>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: AdminSocket,
}

impl EventsCommand {
    pub(super) fn run(self) -> Result<(), Failed> {
        let last = self.last.unwrap_or(if self.follow { 10 } else { KEPT });
        let mut text = EventParser::default();
        let (mut told, mut read_to_the_end) = (false, true);
        let each = |piece: &[u8]| {
            for event in text.take(piece) {
                told = true;
                let line = if self.json { event } else { readable(&event) };
                read_to_the_end &= lines::print(&(line + "\n"));
            }
            if read_to_the_end { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        self.socket.follow(&format!("/v1/events?last={last}&follow={}", self.follow), each)?;
        match (self.follow && read_to_the_end, told || self.json) {
            (true, _) => Err(Failed::Unreachable {
                why: "canhub stopped; see `systemctl status canhub`".into(),
                fix: None,
            }),
            (false, false) => {
                lines::print(
                    "No events since canhub started. To wait for new ones: canhub events --follow\n",
                );
                Ok(())
            }
            (false, true) => Ok(()),
        }
    }
}

/// Parser for server-sent events that arrive in arbitrary pieces.
#[derive(Debug, Default)]
pub(super) struct EventParser {
    rest: Vec<u8>,
}

impl EventParser {
    /// The data of all events that are complete now.
    pub(super) fn take(&mut self, piece: &[u8]) -> Vec<String> {
        self.rest.extend_from_slice(piece);
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines = self.rest.drain(..whole).collect::<Vec<_>>();
        let lines = String::from_utf8_lossy(&lines);
        lines.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
    }
}

/// The log line with its time; the raw JSON if it comes from another version and cannot be parsed.
fn readable(json: &str) -> String {
    match serde_json::from_str(json) {
        Ok(FeedItem::Event(entry)) => line(&entry),
        Ok(FeedItem::Missed { missed }) => {
            format!("{missed} events were missed, because they were not read fast enough")
        }
        Err(_) => json.to_owned(),
    }
}

fn line(entry: &Entry) -> String {
    let event = &entry.event;
    let mut line = format!("{} {}", entry.time, event.kind.sentence());
    let mut add = |name: &str, value: Option<&str>| {
        let Some(value) = value else { return };
        let _ = match value.contains(char::is_whitespace) {
            true => write!(line, " {name}={value:?}"),
            false => write!(line, " {name}={value}"),
        };
    };
    add("network", event.network_name.as_deref().or_else(|| event.network.as_ref().map(|id| id.short())));
    match &event.container {
        Some(name) => add(event.member.unwrap_or_default().as_str(), Some(name)),
        None => add("endpoint", event.endpoint.as_ref().map(|id| id.short())),
    }
    add("fault", event.fault.map(|fault| fault.to_string()).as_deref());
    add("interface", event.interface.as_deref());
    add("component", event.component.as_deref());
    add("from", event.from.map(HealthStatus::as_str));
    add("to", event.to.map(HealthStatus::as_str));
    add("reason", event.reason.as_deref());
    add("did", event.did.as_deref());
    add("times", event.times.map(|times| times.to_string()).as_deref());
    add("took_us", event.took_us.map(|took| took.to_string()).as_deref());
    add("err", event.err.as_deref());
    lines::cut(&line, usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_parsed_from_pieces_of_any_size() {
        let text = b"id: 1\ndata: {\"seq\":1}\n\nevent: missed\ndata: {\"missed\":2}\n\n";
        for size in 1..text.len() {
            let mut stream = EventParser::default();
            let data: Vec<String> = text.chunks(size).flat_map(|piece| stream.take(piece)).collect();
            assert_eq!(data, ["{\"seq\":1}", "{\"missed\":2}"], "in pieces of {size}");
        }
    }

    #[test]
    fn an_event_is_printed_like_its_log_line() {
        let json = r#"{"seq":3,"time":"2026-11-21T08:05:00.250Z","event":"healed","network":"a1","network_name":"body","interface":"vcan-body","reason":"the hub was missing","did":"create the vcan vcan-body","took_us":895}"#;
        assert_eq!(
            readable(json),
            "2026-11-21T08:05:00.250Z healed network=body interface=vcan-body reason=\"the hub was missing\" did=\"create the vcan vcan-body\" took_us=895"
        );
        let json = r#"{"seq":4,"time":"T","event":"left","network_name":"body","container":"ecu1","kind":"namespace"}"#;
        assert_eq!(readable(json), "T left network=body namespace=ecu1");
        assert_eq!(
            readable(r#"{"missed":4}"#),
            "4 events were missed, because they were not read fast enough"
        );
        assert_eq!(readable(r#"{"event":"of a later version"}"#), r#"{"event":"of a later version"}"#);
    }
}
