//! Long lists of reads at low priority, whose progress and results are streamed.
//!
//! A scan of instruments asks for many of them in one call. A scan of requests makes one call for each. Results are kept
//! for a while after the end, so that a reader that comes back with `Last-Event-ID` misses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::HeaderMap;
use hyper::{Method, Response, StatusCode};
use lanekeeper::lane::Priority;
use lanekeeper::proxy::Classify;
use lanekeeper::scan::{Scan, ScanEvent, ScanEventKind, ScanProgress, ScanState};
use lanekeeper::{Effect, ErrorClass, Failure, LaneCall, LaneError};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::select;
use tokio::sync::mpsc::Sender;

use super::{Reader, events, json};
use crate::account::{Account, Matched};
use crate::body::ReplyBody;
use crate::call::MAX_WHOLE;
use crate::door::ClientRequest;
use crate::judge::{Answered, CallError};
use crate::notices::{Notice, Severity};
use crate::quotes;
use crate::refusal::Refusal;
use crate::shared::{Settings, Shared};
use crate::upstream::{UpstreamRequest, to_upstream};

/// The most items of a scan.
const MAX_ITEMS: usize = 5000;

/// How many scans are kept, those that are over included.
const MAX_SCANS: usize = 50;

/// How many of them may run at a time.
const MAX_RUNNING: usize = 10;

/// For how long the results of a scan that is over are kept.
const KEPT_FOR: Duration = Duration::from_secs(900);

/// How many instruments one call asks for. Kite takes 500; with fewer, progress can be seen and paused.
const INSTRUMENTS_IN_A_CALL: usize = 100;

/// The longest answer that is kept as a result, in bytes.
const MAX_RESULT: usize = 1 << 20;

/// How much the results of all scans may take, in bytes. A result beyond that is told, and not kept.
const MAX_RESULTS: usize = 128 << 20;

/// What the results of one scan take of [`MAX_RESULTS`].
struct KeptBytes {
    all: Arc<AtomicUsize>,
    own: AtomicUsize,
}

impl KeptBytes {
    /// Returns whether there is room for so many bytes more, which are then in use.
    fn add(&self, bytes: usize) -> bool {
        let fits = |all: usize| all.checked_add(bytes).filter(|all| *all <= MAX_RESULTS);
        let added = self.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if added {
            self.own.fetch_add(bytes, Ordering::Relaxed);
        }
        added
    }
}

impl Drop for KeptBytes {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// One call of a scan.
enum Item {
    /// The first of some instruments, by its index in the list, and all of them.
    Instruments(usize, Vec<String>),
    Request(Box<UpstreamRequest>, String),
}

/// What a call brought: for each instrument, or for the request.
type Found = Vec<ItemResult>;

/// The result of one item of the list that the client sent.
#[derive(Clone, Serialize)]
struct ItemResult {
    index: usize,
    name: String,
    ok: bool,
    status: Option<u16>,
    body: Option<Box<RawValue>>,
    error: Option<String>,
}

/// Why a call of a scan failed.
#[derive(Debug)]
struct CallFailure {
    failure: Failure,
    text: String,
    status: Option<u16>,
}

impl From<LaneError> for CallFailure {
    fn from(error: LaneError) -> Self {
        Self { failure: error.class().into(), text: error.to_string(), status: None }
    }
}

impl From<CallError> for CallFailure {
    fn from(error: CallError) -> Self {
        let failure = error.failure();
        let (text, status) = match error {
            CallError::Lane(error) => (error.to_string(), None),
            CallError::Broker(failure) => {
                let status = failure.answer.as_ref().map(|answer| answer.status.as_u16());
                (failure.error.to_string(), status)
            }
        };
        Self { failure, text, status }
    }
}

impl Classify for CallFailure {
    fn class(&self) -> ErrorClass {
        self.failure.class
    }

    fn failure(&self) -> Failure {
        self.failure
    }
}

/// A scan, and whose it is.
struct Kept {
    id: String,
    owner: Arc<str>,
    scan: Scan<Item, Found, CallFailure>,
    /// How many items of the client's list each call has, at most.
    per_call: usize,
    total: usize,
    /// How many items failed in calls that did not: instruments that the broker has no quote of, answers that are too
    /// long.
    failed_items: Arc<AtomicUsize>,
    _bytes: Arc<KeptBytes>,
    over_since: Option<Instant>,
}

/// The scans of a gateway.
#[derive(Default)]
pub(crate) struct Scans {
    next: AtomicU64,
    /// What the results of all scans take.
    bytes: Arc<AtomicUsize>,
    scans: Mutex<BTreeMap<u64, Arc<Mutex<Kept>>>>,
}

/// A scan as JSON.
#[derive(Serialize)]
pub(crate) struct ScanView {
    id: String,
    /// Whose it is: only this client and the admin may follow and control it.
    client: Arc<str>,
    state: &'static str,
    done: usize,
    failed: usize,
    total: usize,
    position: Option<usize>,
    estimated_wait: Option<f64>,
}

impl Kept {
    fn view(&self) -> ScanView {
        let ScanProgress { state, done, failed, position, estimated_wait, .. } =
            self.scan.progress();
        let items = |calls: usize| (calls * self.per_call).min(self.total);
        let done = if state == ScanState::Done { self.total } else { items(done) };
        ScanView {
            id: self.id.clone(),
            client: Arc::clone(&self.owner),
            state: state.as_str(),
            done,
            failed: (items(failed) + self.failed_items.load(Ordering::Relaxed)).min(done),
            total: self.total,
            position,
            estimated_wait: estimated_wait.map(|wait| wait.as_secs_f64()),
        }
    }
}

impl Scans {
    /// Returns all scans that a reader may see, the oldest first. `None` is everybody.
    fn visible(&self, reader: Option<&str>) -> Vec<ScanView> {
        self.forget();
        let scans = self.scans.lock();
        let kept = scans.values().map(|kept| kept.lock());
        let visible = kept.filter(|kept| reader.is_none_or(|reader| *kept.owner == *reader));
        visible.map(|kept| kept.view()).collect()
    }

    /// Returns all scans, for the status.
    pub(crate) fn all(&self) -> Vec<ScanView> {
        self.visible(None)
    }

    fn kept_bytes(&self) -> Arc<KeptBytes> {
        Arc::new(KeptBytes { all: Arc::clone(&self.bytes), own: AtomicUsize::new(0) })
    }

    /// Drops scans that have been over for long.
    fn forget(&self) {
        let now = Instant::now();
        self.scans.lock().retain(|_, kept| {
            let mut kept = kept.lock();
            if !kept.scan.state().is_over() {
                return true;
            }
            now - *kept.over_since.get_or_insert(now) < KEPT_FOR
        });
    }

    fn find(&self, id: &str, reader: &Reader) -> Result<Arc<Mutex<Kept>>, Refusal> {
        let number = id.strip_prefix('s').and_then(|number| number.parse::<u64>().ok());
        let found = number.and_then(|number| self.scans.lock().get(&number).cloned());
        let is_visible = |kept: &Arc<Mutex<Kept>>| {
            reader.caller.as_ref().is_none_or(|caller| caller.name == kept.lock().owner)
        };
        found
            .filter(is_visible)
            .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "there is no such scan"))
    }

    fn add(
        &self,
        owner: Arc<str>,
        total: usize,
        per_call: usize,
        failed_items: Arc<AtomicUsize>,
        bytes: Arc<KeptBytes>,
        scan: Scan<Item, Found, CallFailure>,
    ) -> Result<String, Refusal> {
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let id = format!("s{number}");
        let kept = Kept {
            id: id.clone(),
            owner,
            scan,
            per_call,
            total,
            failed_items,
            _bytes: bytes,
            over_since: None,
        };
        let mut scans = self.scans.lock();
        if scans.len() >= MAX_SCANS {
            // The oldest that is over makes room.
            let over = scans.iter().find(|(_, kept)| kept.lock().scan.state().is_over());
            let Some(over) = over.map(|(number, _)| *number) else { return Err(too_many()) };
            scans.remove(&over);
        }
        scans.insert(number, Arc::new(Mutex::new(kept)));
        Ok(id)
    }

    fn running(&self) -> usize {
        let scans = self.scans.lock();
        scans.values().filter(|kept| !kept.lock().scan.state().is_over()).count()
    }

    /// Cancels all scans, since the gateway ends.
    pub(crate) fn cancel_all(&self) {
        self.scans.lock().values().for_each(|kept| kept.lock().scan.cancel());
    }
}

fn too_many() -> Refusal {
    Refusal::later(format!("{MAX_RUNNING} scans are running already"), None)
}

/// `GET /scans`.
pub(super) fn list(shared: &Shared, reader: &Reader) -> Response<ReplyBody> {
    #[derive(Serialize)]
    struct List {
        scans: Vec<ScanView>,
    }
    let name = reader.caller.as_ref().map(|caller| &*caller.name);
    json::json(StatusCode::OK, &List { scans: shared.scans.visible(name) })
}

/// `POST /scans`.
pub(super) fn start(
    shared: &Arc<Shared>,
    reader: &Reader,
    request: &ClientRequest,
) -> Result<Response<ReplyBody>, Refusal> {
    #[derive(Deserialize)]
    struct Start {
        account: Option<String>,
        #[serde(default)]
        instruments: Vec<String>,
        #[serde(default)]
        requests: Vec<Wanted>,
    }
    #[derive(Deserialize)]
    struct Wanted {
        #[serde(default = "get")]
        method: String,
        path: String,
    }
    fn get() -> String {
        "GET".to_owned()
    }
    #[derive(Serialize)]
    struct Started {
        id: String,
        total: usize,
    }
    let Start { account, instruments, requests } = json::read(request)?;
    let own = reader.caller.as_ref().and_then(|caller| caller.account.as_deref());
    let account = shared
        .account(account.as_deref().or(own))
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "there is no such account"))?;
    reader.check_account(&account.name)?;
    let total = instruments.len() + requests.len();
    if total == 0 || total > MAX_ITEMS || !instruments.is_empty() && !requests.is_empty() {
        let message = format!("name 1 to {MAX_ITEMS} `instruments`, or as many `requests`");
        return Err(Refusal::bad_request(message));
    }
    if shared.scans.running() >= MAX_RUNNING {
        return Err(too_many());
    }
    let (items, calls, per_call) = match requests.is_empty() {
        true => {
            let items = chunks(account, &instruments)?;
            let call = LaneCall::read(lanekeeper::broker::lanes::QUOTE).name("scan of quotes");
            (items, vec![call], INSTRUMENTS_IN_A_CALL)
        }
        false => {
            let wanted =
                requests.iter().map(|wanted| (wanted.method.as_str(), wanted.path.as_str()));
            let (items, calls) = request_items(account, wanted)?;
            (items, calls, 1)
        }
    };
    // What a client may not do call by call it may not do in a list. The list counts as one request of each lane.
    calls
        .iter()
        .map(LaneCall::lane_name)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .try_for_each(|lane| reader.admit(lane))?;
    let mut calls = calls.into_iter().cycle();
    let worker = Arc::clone(account);
    let owner = reader.name();
    let failed_items = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&failed_items);
    let bytes = shared.scans.kept_bytes();
    let counted = Arc::clone(&bytes);
    let scan = Scan::builder(&account.lanes, items)
        .user(Arc::clone(&owner))
        .priority(Priority::LOWEST)
        .start(
            move |_| calls.next().unwrap_or_else(|| LaneCall::read("")),
            move |item| {
                let found = run(&worker, item)?.into_iter().map(|result| bounded(result, &counted));
                let found: Found = found.collect();
                let failed = found.iter().filter(|result| !result.ok).count();
                counter.fetch_add(failed, Ordering::Relaxed);
                Ok(found)
            },
        )
        .map_err(|error| Refusal::bad_request(error.to_string()))?;
    let id = shared.scans.add(Arc::clone(&owner), total, per_call, failed_items, bytes, scan)?;
    let text = format!("{owner} scans {total} items as {id}");
    let account = Some(Arc::clone(&account.name));
    let (kind, severity) = ("scan", Severity::Info);
    shared.notices.push(Notice { kind, severity, account, lane: None, text });
    Ok(json::json(StatusCode::CREATED, &Started { id, total }))
}

/// Divides instruments into calls.
fn chunks(account: &Account, instruments: &[String]) -> Result<Vec<Item>, Refusal> {
    if account.kite.is_none() {
        return Err(Refusal::bad_request("this account has no quotes: name `requests`"));
    }
    if instruments.iter().any(|name| name.is_empty() || name.len() > 100) {
        return Err(Refusal::bad_request("an instrument is a text such as NSE:INFY"));
    }
    let chunks = instruments.chunks(INSTRUMENTS_IN_A_CALL).enumerate();
    let item = |(number, names): (usize, &[String])| {
        Item::Instruments(number * INSTRUMENTS_IN_A_CALL, names.to_vec())
    };
    Ok(chunks.map(item).collect())
}

/// Looks the requests up in the route table. Only reads are taken.
fn request_items<'a>(
    account: &Account,
    wanted: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(Vec<Item>, Vec<LaneCall>), Refusal> {
    let routes = account.routes.load();
    let (mut items, mut calls) = (Vec::new(), Vec::new());
    for (method, target) in wanted {
        let path = target.split('?').next().unwrap_or_default();
        let bad = |why: &str| Refusal::bad_request(format!("{method} {path}: {why}"));
        let matched = routes.find(method, path).map_err(|error| bad(&error.to_string()))?;
        let Matched::Sent { call, .. } = matched else { return Err(bad("no route takes it")) };
        if call.effect() != Effect::Read || !matches!(method, "GET" | "HEAD") {
            return Err(bad("a scan only reads"));
        }
        calls.push(call.clone().priority(Priority::LOWEST));
        let request = UpstreamRequest {
            method: method.parse().unwrap_or(Method::GET),
            target: target.to_owned(),
            headers: to_upstream(HeaderMap::new()),
            body: Bytes::new(),
        };
        items.push(Item::Request(Box::new(request), format!("{method} {target}")));
    }
    Ok((items, calls))
}

/// Returns a result as it is kept: without its body, if there is no room for that.
fn bounded(result: ItemResult, kept: &KeptBytes) -> ItemResult {
    let length = result.body.as_ref().map_or(0, |body| body.get().len());
    match kept.add(length) {
        true => result,
        false => ItemResult {
            ok: false,
            body: None,
            error: Some("the results of scans take too much memory already".to_owned()),
            ..result
        },
    }
}

/// Makes one call, on a worker of the lane.
fn run(account: &Account, item: &Item) -> Result<Found, CallFailure> {
    match item {
        Item::Instruments(first, names) => {
            let rows = quotes::fetch_rows(account, names)?;
            let result = |(place, name): (usize, &String)| {
                let row = rows.get(name).cloned();
                ItemResult {
                    index: first + place,
                    name: name.clone(),
                    ok: row.is_some(),
                    status: Some(200),
                    error: row.is_none().then(|| "the broker has no quote of it".to_owned()),
                    body: row,
                }
            };
            Ok(names.iter().enumerate().map(result).collect())
        }
        Item::Request(request, name) => {
            let answered =
                account.exchange_blocking(Effect::Read, (**request).clone(), MAX_WHOLE)?;
            Ok(vec![request_result(name, answered)])
        }
    }
}

fn request_result(name: &str, answered: Answered) -> ItemResult {
    let Answered { answer, .. } = answered;
    let body = answer.whole().filter(|body| body.len() <= MAX_RESULT);
    let error = body.is_none().then(|| format!("the answer is longer than {MAX_RESULT} bytes"));
    let json = body.map(|body| {
        serde_json::from_slice(body).unwrap_or_else(|_| {
            // Not JSON: as a text. A string is always written.
            let text = String::from_utf8_lossy(body);
            serde_json::value::to_raw_value(&text).unwrap_or_else(|_| RawValue::NULL.to_owned())
        })
    });
    ItemResult {
        index: 0,
        name: name.to_owned(),
        ok: error.is_none(),
        status: Some(answer.status.as_u16()),
        body: json,
        error,
    }
}

/// `POST /scans/ID/pause`, `/resume` and `/cancel`.
pub(super) fn control(
    shared: &Shared,
    reader: &Reader,
    id: &str,
    action: &str,
) -> Result<Response<ReplyBody>, Refusal> {
    let kept = shared.scans.find(id, reader)?;
    let scan = kept.lock().scan.clone();
    // Without the lock: a scan submits and cancels calls.
    match action {
        "pause" => scan.pause(),
        "resume" => scan.resume(),
        _ => scan.cancel(),
    }
    let view = kept.lock().view();
    Ok(json::json(StatusCode::OK, &view))
}

/// `GET /scans/ID/events`.
pub(super) fn stream(
    shared: &Arc<Shared>,
    settings: &Arc<Settings>,
    reader: &Reader,
    id: &str,
    request: &ClientRequest,
) -> Result<Response<ReplyBody>, Refusal> {
    let kept = shared.scans.find(id, reader)?;
    let open = events::OpenStream::begin(shared, settings)?;
    let (sender, response) = events::response();
    let last = events::last_event_id(request);
    tokio::spawn(async move {
        select! {
            () = send_all(&kept, &sender, last) => {}
            () = open.ended() => {}
        }
    });
    Ok(response)
}

async fn send_all(kept: &Mutex<Kept>, sender: &Sender<Bytes>, mut last: u64) {
    let scan = kept.lock().scan.clone();
    loop {
        let found = select! {
            found = scan.next_after(last) => found,
            () = sender.closed() => return,
        };
        let is_over = found.is_empty() && scan.state().is_over();
        for event in found {
            last = event.seq;
            for bytes in write(kept, &scan, &event) {
                if sender.send(bytes).await.is_err() {
                    return;
                }
            }
            if matches!(event.kind, ScanEventKind::Done | ScanEventKind::Cancelled) {
                return;
            }
        }
        if is_over {
            return;
        }
    }
}

/// Writes an event. Of one that becomes several, only the last has the number, so that a reader that is cut off in
/// between gets all of them again.
fn write(
    kept: &Mutex<Kept>,
    scan: &Scan<Item, Found, CallFailure>,
    event: &ScanEvent<Found, CallFailure>,
) -> Vec<Bytes> {
    let view = || {
        let view = kept.lock().view();
        serde_json::to_string(&view).unwrap_or_default()
    };
    let one = |name: &str, data: &str| vec![events::event(name, Some(event.seq), data)];
    match &event.kind {
        ScanEventKind::Result { index, result } => {
            let results = item_results(scan, *index, result);
            let count = results.len();
            let numbered = results.iter().enumerate().map(|(place, result)| {
                let data = serde_json::to_string(result).unwrap_or_default();
                events::event("result", (place + 1 == count).then_some(event.seq), &data)
            });
            numbered.collect()
        }
        ScanEventKind::Done => one("done", &view()),
        ScanEventKind::Cancelled => one("cancelled", &view()),
        ScanEventKind::Paused => one("paused", &view()),
        ScanEventKind::Resumed => one("resumed", &view()),
        _ => one("progress", &view()),
    }
}

/// Returns the results of the items of one call.
fn item_results(
    scan: &Scan<Item, Found, CallFailure>,
    index: usize,
    result: &Result<Found, CallFailure>,
) -> Vec<ItemResult> {
    let failure = match (result, scan.item(index)) {
        (Ok(results), Some(Item::Request(..))) => {
            return results.iter().map(|result| ItemResult { index, ..result.clone() }).collect();
        }
        (Ok(results), _) => return results.clone(),
        (Err(failure), _) => failure,
    };
    let failed = |index: usize, name: &String| ItemResult {
        index,
        name: name.clone(),
        ok: false,
        status: failure.status,
        body: None,
        error: Some(failure.text.clone()),
    };
    match scan.item(index) {
        Some(Item::Instruments(first, names)) => {
            let numbered = names.iter().enumerate();
            numbered.map(|(place, name)| failed(first + place, name)).collect()
        }
        Some(Item::Request(_, name)) => vec![failed(index, name)],
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_all_scans_together_are_bounded() {
        let scans = Scans::default();
        let result = |length: usize| ItemResult {
            index: 0,
            name: "NSE:INFY".to_owned(),
            ok: true,
            status: Some(200),
            body: serde_json::value::to_raw_value(&"x".repeat(length - 2)).ok(),
            error: None,
        };
        let (first, second) = (scans.kept_bytes(), scans.kept_bytes());
        assert!(first.add(MAX_RESULTS - 10) && bounded(result(10), &first).ok);
        let beyond = bounded(result(2), &second);
        assert!(!beyond.ok && beyond.body.is_none() && beyond.error.is_some());
        // A scan that is forgotten makes room.
        drop(first);
        assert!(bounded(result(MAX_RESULT), &second).ok);
    }
}
