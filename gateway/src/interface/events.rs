//! The status as a stream of server-sent events: a snapshot each second, what happened at once, and a heartbeat.
//!
//! A reader that is too slow misses snapshots, of which the latest is all that matters. It misses no notice that is still
//! kept: `Last-Event-ID` says which was its last.
//!
//! A stream ends when the configuration is read again, since its reader's key may be gone. A reader that still may read
//! comes back and misses nothing. All streams end with the gateway, after a drain.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::select;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::{MissedTickBehavior, interval};

use super::secure;
use crate::body::ReplyBody;
use crate::door::ClientRequest;
use crate::notices::Numbered;
use crate::refusal::Refusal;
use crate::shared::{Settings, Shared};

/// How many streams may be open. Each costs a snapshot a second.
const MAX_STREAMS: u64 = 64;

const HEARTBEAT: Duration = Duration::from_secs(15);

/// How many events may wait for a slow reader.
const BUFFER: usize = 16;

/// Writes one event.
pub(super) fn event(name: &str, id: Option<u64>, data: &str) -> Bytes {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    // The data is JSON of one line.
    Bytes::from(format!("event: {name}\n{id}data: {data}\n\n"))
}

/// Returns a response that is a stream of events, and what sends them.
pub(super) fn response() -> (Sender<Bytes>, Response<ReplyBody>) {
    let (sender, receiver) = channel(BUFFER);
    let mut response = Response::new(ReplyBody::Events(receiver));
    let headers = response.headers_mut();
    secure(headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // A proxy in front must not hold the events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    (sender, response)
}

/// Returns the number of the last event that a client has.
pub(super) fn last_event_id(request: &ClientRequest) -> u64 {
    request.header("last-event-id").and_then(|id| id.trim().parse().ok()).unwrap_or(0)
}

/// Counts a stream while it is open, and knows when it is to end.
pub(super) struct OpenStream {
    shared: Arc<Shared>,
    /// Those by which its reader may read.
    settings: Arc<Settings>,
}

impl OpenStream {
    pub(super) fn begin(shared: &Arc<Shared>, settings: &Arc<Settings>) -> Result<Self, Refusal> {
        let open = shared.counts.streams.fetch_add(1, Ordering::Relaxed);
        let stream = Self { shared: Arc::clone(shared), settings: Arc::clone(settings) };
        match open < MAX_STREAMS {
            true => Ok(stream),
            false => Err(Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!("{MAX_STREAMS} streams of events are open already"),
            )),
        }
    }

    /// Waits until the stream is to end.
    pub(super) async fn ended(&self) {
        select! {
            () = self.shared.closing() => {}
            () = self.shared.replaced(&self.settings) => {}
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.shared.counts.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `GET /events`.
pub(super) fn stream(
    shared: &Arc<Shared>,
    settings: &Arc<Settings>,
    request: &ClientRequest,
) -> Result<Response<ReplyBody>, Refusal> {
    let open = OpenStream::begin(shared, settings)?;
    let (sender, response) = response();
    let mut last = last_event_id(request);
    tokio::spawn(async move {
        select! {
            // An error means that the reader is gone.
            _ = send_all(&open.shared, &sender, &mut last) => return,
            () = open.ended() => {}
        }
        // Why it ends is the last thing that a reader is told, if it is not behind.
        for notice in open.shared.notices.after(last) {
            let _ = sender.try_send(notice_event(&notice));
        }
    });
    Ok(response)
}

/// The reader is gone.
struct Gone;

fn notice_event(notice: &Numbered) -> Bytes {
    event("notice", Some(notice.number), &serde_json::to_string(notice).unwrap_or_default())
}

/// Sends events until the reader is gone. `last` is the number of the last notice that it has.
async fn send_all(shared: &Shared, sender: &Sender<Bytes>, last: &mut u64) -> Result<(), Gone> {
    let send = async |event: Bytes| sender.send(event).await.map_err(|_| Gone);
    send(Bytes::from_static(b"retry: 2000\n\n")).await?;
    let mut status = shared.status.subscribe();
    status.mark_changed();
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Created before the look, so that no notice is missed in between.
        let added = shared.notices.added();
        tokio::pin!(added);
        added.as_mut().enable();
        for notice in shared.notices.after(*last) {
            send(notice_event(&notice)).await?;
            *last = notice.number;
        }
        select! {
            changed = status.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let snapshot = status.borrow_and_update().clone();
                let data = String::from_utf8_lossy(&snapshot);
                // Dropped for a reader that is behind: the next one comes in a second.
                if sender.capacity() > 1 {
                    send(event("status", Some(*last), &data)).await?;
                }
            }
            _ = heartbeat.tick() => send(event("heartbeat", Some(*last), "{}")).await?,
            () = added => {}
            () = sender.closed() => return Err(Gone),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::Gateway;
    use crate::config::{AccountConfig, GatewayConfig};
    use crate::notices::{Notice, Severity};

    fn notice(number: usize) -> Notice {
        let (kind, severity, account, lane) = ("paused", Severity::Info, None, None);
        Notice { kind, severity, account, lane, text: format!("number {number}") }
    }

    /// Of a reader that takes nothing, and then everything.
    #[tokio::test]
    async fn a_slow_reader_misses_snapshots_and_no_notice() {
        let mut config = GatewayConfig::new(AccountConfig::kite("http://127.0.0.1:9"));
        config.listen = "127.0.0.1:0".parse().unwrap();
        let builder = Gateway::builder(config).secret("KITE_API_KEY", "key");
        let gateway = builder.secret("KITE_ACCESS_TOKEN", "the-token").start().unwrap();
        let shared = Arc::clone(gateway.shared());
        let (sender, mut receiver) = channel(BUFFER);
        let stream = tokio::spawn(async move { send_all(&shared, &sender, &mut 0).await });
        for number in 0..50 {
            for _ in 0..3 {
                gateway.shared().status.send_replace(Bytes::from_static(b"{}"));
                tokio::task::yield_now().await;
            }
            gateway.shared().notices.push(notice(number));
            tokio::task::yield_now().await;
        }
        let (mut snapshots, mut notices) = (0, Vec::new());
        while notices.len() < 50 {
            let event = timeout(Duration::from_secs(60), receiver.recv()).await;
            let event = event.expect("a notice is missing").unwrap();
            let text = String::from_utf8(event.to_vec()).unwrap();
            match text.starts_with("event: notice\n") {
                true => notices.push(text),
                false => snapshots += usize::from(text.starts_with("event: status\n")),
            }
        }
        for (number, text) in notices.iter().enumerate() {
            assert!(text.contains(&format!("\"number {number}\"")), "{number}: {text}");
        }
        assert!(snapshots <= BUFFER, "{snapshots} snapshots were held for it");
        // The gateway goes on, and so does the stream.
        assert!(!stream.is_finished());
        drop(receiver);
        assert!(stream.await.unwrap().is_err());
        drop(tokio::task::spawn_blocking(|| drop(gateway)).await);
    }

    #[test]
    fn an_event_is_written_with_its_id_in_one_block() {
        let event = event("notice", Some(7), "{}");
        assert_eq!(event, "event: notice\nid: 7\ndata: {}\n\n");
    }
}
