//! What members of a bus must receive from each other.

use super::{
    member::{Member, Running, list},
    report::{Heard, Kind, Sent, Stream},
};

/// Every kind of frame that an FD bus carries.
pub const ALL_KINDS: [Kind; 4] = [Kind::Classic, Kind::Extended, Kind::Remote, Kind::Fd];

/// The sender with this number sends all the time, and is ignored by [`all_hear_all`].
pub const BACKGROUND: u8 = 200;

/// `count` frames from the first one on, each exactly once, in order, unmodified.
pub fn whole(from: u8, kind: Kind, count: u32) -> Stream {
    let last = count.saturating_sub(1);
    Stream { from, kind, frames: count, first: 0, last, missing: 0, doubled: 0, disordered: 0, damaged: 0 }
}

/// Whether nothing is wrong between the first and the last frame, whichever these are.
pub fn is_unbroken(stream: &Stream) -> bool {
    (stream.missing, stream.doubled, stream.disordered, stream.damaged) == (0, 0, 0, 0)
}

/// What a listener receives when each of these sends this many frames of each kind.
pub fn from_all(senders: &[&Member], kinds: &[Kind], count: u32) -> Vec<Stream> {
    let mut streams: Vec<Stream> = senders
        .iter()
        .flat_map(|sender| kinds.iter().map(|kind| whole(sender.number, *kind, count)))
        .collect();
    streams.sort();
    streams
}

/// All send at the same time, and all receive everything: each frame exactly once and in order.
///
/// A member's own frames are included, because it listens on another socket than the one that sends: the kernel
/// delivers each frame once, and a bus that returned them would make it twice.
#[track_caller]
pub fn assert_all_hear_all(members: &[&Member], kinds: &[Kind], count: u32) {
    if let Err(err) = all_hear_all(members, kinds, count) {
        panic!("{err}");
    }
}

/// Like [`assert_all_hear_all`], for callers that retry.
pub fn all_hear_all(members: &[&Member], kinds: &[Kind], count: u32) -> Result<(), String> {
    each_bus_hears_itself(&[members], kinds, count)
}

/// All members of several buses send at the same time, and each receives everything on its own bus and nothing else.
pub fn each_bus_hears_itself(buses: &[&[&Member]], kinds: &[Kind], count: u32) -> Result<(), String> {
    let background = BACKGROUND.to_string();
    let members: Vec<&Member> = buses.concat();
    // Most do not subscribe to error frames, and must not receive any.
    let errors: &[&str] = if kinds.contains(&Kind::Error) { &["--errors"] } else { &[] };
    let args = [&["--deaf-to", &*background], errors].concat();
    let listen = |member: &&Member| member.try_listen(&args);
    let listeners: Vec<Running> = members.iter().map(listen).collect::<Result<_, _>>()?;
    let count_arg = count.to_string();
    let send = |member: &&Member| member.start_sending(&["--kind", &list(kinds), "--count", &count_arg]);
    let senders: Vec<Running> = members.iter().map(send).collect();
    let sent: Vec<Sent> = senders.into_iter().map(Running::try_end).collect::<Result<_, _>>()?;
    let heard: Vec<Heard> = listeners.into_iter().map(Running::try_end).collect::<Result<_, _>>()?;

    let wanted = buses.iter().flat_map(|bus| bus.iter().map(|_| from_all(bus, kinds, count)));
    for (((member, heard), sent), wanted) in members.iter().zip(heard).zip(sent).zip(wanted) {
        let Sent { sent, own } = sent;
        if (sent, own) != (count * kinds.len() as u32, 0) {
            return Err(format!("{} sent {sent} frames and its own socket heard {own}", member.name));
        }
        compare(member, &heard, &wanted)?;
    }
    Ok(())
}

/// Compares what a listener received with what it should have; the error only has the differences.
pub fn compare(listener: &Member, heard: &Heard, wanted: &[Stream]) -> Result<(), String> {
    let missing: Vec<&Stream> = wanted.iter().filter(|stream| !heard.streams.contains(stream)).collect();
    let wrong: Vec<&Stream> = heard.streams.iter().filter(|stream| !wanted.contains(stream)).collect();
    if missing.is_empty() && wrong.is_empty() && heard.others == 0 {
        return Ok(());
    }
    Err(format!(
        "{} should have received {missing:#?} but received {wrong:#?}, and {} frames of others",
        listener.name, heard.others
    ))
}

/// One sends; the others receive each of its frames once and in order.
#[track_caller]
pub fn assert_hears(sender: &Member, listeners: &[&Member], kinds: &[Kind], count: u32) {
    let listening: Vec<Running> = listeners.iter().map(|member| member.listen()).collect();
    sender.send(kinds, count);
    for (member, listener) in listeners.iter().zip(listening) {
        compare(member, &listener.heard(), &from_all(&[sender], kinds, count))
            .unwrap_or_else(|err| panic!("from {}: {err}", sender.name));
    }
}
