//! Events as an endless response body (WHATWG HTML, "Server-sent events").
//!
//! The body is polled for its next chunk only when the connection has room, so a client that does not read costs a full
//! socket buffer and a small queue, nothing more.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::OwnedSemaphorePermit;

use crate::events::{FeedItem, Reader};

/// The future of the next chunk; returns the reader for the one after it.
type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Reader)>> + Send>>;

/// The response body.
pub(super) struct EventBody {
    next: Next,
    follow: bool,
    /// Released with the body.
    _place: OwnedSemaphorePermit,
}

impl EventBody {
    /// Streams what the reader delivers; without `follow`, only the backlog.
    pub(super) fn new(reader: Reader, follow: bool, place: OwnedSemaphorePermit) -> Self {
        Self { next: Box::pin(next(reader, follow)), follow, _place: place }
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some((piece, reader)) = ready!(self.next.as_mut().poll(cx)) else { return Poll::Ready(None) };
        let follow = self.follow;
        self.next = Box::pin(next(reader, follow));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

async fn next(mut reader: Reader, follow: bool) -> Option<(Bytes, Reader)> {
    let told = match follow {
        true => reader.next().await?,
        false => reader.next_of_backlog()?,
    };
    Some((piece(&told), reader))
}

fn piece(told: &FeedItem) -> Bytes {
    let json = serde_json::to_string(told).unwrap_or_default();
    match told {
        FeedItem::Event(entry) => format!("id: {}\ndata: {json}\n\n", entry.seq).into(),
        FeedItem::Missed { .. } => format!("event: missed\ndata: {json}\n\n").into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::events::{Entry, Event, Kind};

    #[test]
    fn events_are_one_line_of_json_and_missed_ones_are_named() {
        let entry = Entry { seq: 7, time: "then".into(), event: Event::new(Kind::Left) };
        assert_eq!(
            piece(&FeedItem::Event(Arc::new(entry))),
            "id: 7\ndata: {\"seq\":7,\"time\":\"then\",\"event\":\"left\"}\n\n"
        );
        assert_eq!(piece(&FeedItem::Missed { missed: 3 }), "event: missed\ndata: {\"missed\":3}\n\n");
    }
}
