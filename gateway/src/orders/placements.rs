//! Which placements no client was told about, so that a client's own repetition is not a second order.
//!
//! A client that got no answer, or was told that the outcome is unknown, may send the same order again. It is then the
//! same placement: the client gets its outcome, and nothing is sent. The rule is narrow, because two equal orders may
//! both be meant:
//!
//! - The fields, the path and the client are the same. A client with tags of its own therefore repeats an order only with
//!   the same tag.
//! - The first one is under way, has an unknown outcome, or was placed, **and no client was told so**. Its client hung
//!   up, or did not read its answer, or was told that the outcome is unknown, or this process was killed before.
//! - It is at most [`REMEMBERED`] ago, or [`RESET_REMEMBERED`] if all that is known is a reset after the answer.
//! - A client that waits for the answer to an equal placement does not wait any more within [`hang_up_delay`]: a connection
//!   that a client closes and the next one that it opens may be noticed in either order.
//! - One repetition takes one placement over.
//!
//! With a header `Idempotency-Key` the client itself says what is the same: the answer is then the same however often,
//! told or not. Another order under the same key is refused.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lanekeeper::{Clock, quota::Moment};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::form::Fingerprint;
use super::placement::{Placement, PlacementKey, PlacementSender};
use super::reply::OrderReply;
use super::seen::{SeenIds, UsedTags};
use super::told::{Left, ToldFile};
use crate::hang_up::HangUp;
use crate::socket::SocketProbe;

/// For how long a placement that no client was told about is remembered.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(600);

/// For how long an equal placement of a client that waits holds up the next one, if both come from this machine: how late
/// the end of a connection may be beside the first bytes of the next one.
const LOCAL_HANG_UP_DELAY: Duration = Duration::from_millis(100);

/// The same for clients on other machines. A packet that the network has lost is sent again after 200 ms at the soonest.
const HANG_UP_DELAY: Duration = Duration::from_secs(1);

/// Returns how late the end of a connection may be.
pub(crate) fn hang_up_delay(is_local: bool) -> Duration {
    if is_local { LOCAL_HANG_UP_DELAY } else { HANG_UP_DELAY }
}

/// For how long a placement is remembered whose client reset the connection after the answer was written. Most likely it did
/// not read that, and then it comes back soon. But a client may also end all its connections like that.
pub(super) const RESET_REMEMBERED: Duration = Duration::from_secs(30);

/// What became of a placement.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// It is under way.
    InFlight,
    /// It is in the market: what its client gets.
    Placed(Arc<OrderReply>),
    /// Nothing says so far what became of it.
    Unknown,
    /// It is surely not in the market.
    NotPlaced,
}

pub(super) struct Entry {
    number: u64,
    /// What its client was not told yet.
    pub(super) outcome: watch::Sender<Outcome>,
    pub(super) client: Option<EntryClient>,
    /// Counts the requests that it was in the hands of.
    pub(super) holder: u64,
    /// The fingerprint of its form, if its client gave it a key. Its answer is then the same for every repetition.
    pub(super) keyed_form: Option<Fingerprint>,
    /// The tag under which it was sent, if it is found by that.
    pub(super) tag: Option<String>,
    /// Until when it is remembered without a client.
    pub(super) until: Moment,
}

/// The client that a placement has, until it was told. Its connection is asked whether it is still there.
pub(super) enum EntryClient {
    /// It waits for its answer.
    Waits(HangUp),
    /// It has an answer, of which nothing is written.
    Answered(Option<SocketProbe>),
    /// Its answer is written. If it did not read that, its system resets the connection.
    Written(Option<SocketProbe>),
}

impl EntryClient {
    fn is_there(&self) -> bool {
        match self {
            Self::Waits(client) => !client.is_gone(),
            Self::Answered(socket) => !socket.as_ref().is_some_and(SocketProbe::is_closed),
            Self::Written(socket) => !socket.as_ref().is_some_and(SocketProbe::is_reset),
        }
    }
}

impl Entry {
    /// Returns whether a client waits for its answer, or has not been seen to have read it.
    pub(super) fn has_client(&self) -> bool {
        self.client.as_ref().is_some_and(EntryClient::is_there)
    }

    /// Gives it into the hands of a request.
    fn hold(&mut self, client: HangUp) -> u64 {
        self.client = Some(EntryClient::Waits(client));
        self.holder += 1;
        self.holder
    }
}

/// The placements of an account that may still be repeated.
pub(crate) struct Placements {
    pub(super) clock: Clock,
    state: Mutex<State>,
    pub(super) file: Option<ToldFile>,
}

#[derive(Default)]
struct State {
    last: u64,
    entries: HashMap<Fingerprint, VecDeque<Entry>>,
    ids: SeenIds,
    tags: UsedTags,
}

/// What a placement is.
pub(crate) enum Begun {
    /// A new one, to be sent.
    New(Placement),
    /// The repetition of an earlier one, which is not sent.
    Repeated(Placement),
    /// Its client gave another order the same key.
    OtherOrder,
    /// A client waits for the answer to an equal one. If that client left a moment ago, this is a repetition.
    Twin,
}

/// A placement that the previous process left without an outcome.
pub(crate) struct LeftOpen {
    pub(crate) sender: PlacementSender,
    pub(crate) tag: String,
    /// When it began, in seconds of the wall clock.
    pub(crate) since: i64,
}

impl Placements {
    pub(crate) fn new(clock: Clock, file: Option<ToldFile>) -> Arc<Self> {
        let placements = Self { clock, state: Mutex::default(), file };
        let placements = Arc::new(placements);
        placements.restore();
        placements
    }

    /// Takes over what the previous process left: placements that no client was told about.
    fn restore(&self) {
        let Some(file) = &self.file else { return };
        let now = self.clock.now();
        let mut state = self.state.lock();
        for (tag, orders) in file.tags() {
            state.tags.add(tag, orders);
        }
        for left in file.left() {
            let is_shared = left.tag.as_deref().is_some_and(|tag| state.tags.is_shared(tag));
            let outcome = match &left.order_id {
                Some(id) => Outcome::Placed(Arc::new(OrderReply::placed(id))),
                // No search can find it.
                None if is_shared => Outcome::Unknown,
                // Until its search has ended. A repetition waits for that.
                None => Outcome::InFlight,
            };
            if let Some(id) = &left.order_id {
                state.ids.claim(id);
            }
            state.last = state.last.max(left.number);
            let entry = Entry {
                number: left.number,
                outcome: watch::Sender::new(outcome),
                client: None,
                holder: 0,
                keyed_form: left.keyed_form,
                tag: left.tag.clone().filter(|_| !is_shared),
                until: now + REMEMBERED,
            };
            state.entries.entry(left.fingerprint).or_default().push_back(entry);
        }
    }

    /// Returns the placements that the previous process left without an outcome. They are searched for.
    pub(crate) fn left_open(self: &Arc<Self>) -> Vec<LeftOpen> {
        let state = self.state.lock();
        let open = |left: &Left| {
            let tag = left.tag.clone().filter(|tag| !state.tags.is_shared(tag))?;
            let key = PlacementKey { fingerprint: left.fingerprint, number: left.number };
            let sender = || PlacementSender::new(self, key);
            let is_open = left.order_id.is_none();
            is_open.then(|| LeftOpen { sender: sender(), tag, since: left.since })
        };
        self.file.iter().flat_map(ToldFile::left).filter_map(open).collect()
    }

    /// An order that was not found before is in the market after all, or is in the order book as rejected.
    pub(crate) fn turned_up(&self, tag: &str, id: Option<&str>) {
        let mut numbers = Vec::new();
        let mut state = self.state.lock();
        if state.tags.is_shared(tag) {
            return;
        }
        let is_it = |entry: &&mut Entry| {
            entry.tag.as_deref() == Some(tag) && matches!(*entry.outcome.borrow(), Outcome::Unknown)
        };
        for entries in state.entries.values_mut() {
            for entry in entries.iter_mut().filter(is_it) {
                numbers.push(entry.number);
                entry.outcome.send_replace(id.map_or(Outcome::NotPlaced, |id| {
                    Outcome::Placed(Arc::new(OrderReply::placed(id)))
                }));
            }
            entries.retain(|entry| !matches!(*entry.outcome.borrow(), Outcome::NotPlaced));
        }
        drop(state);
        for (file, number) in
            self.file.iter().flat_map(|file| numbers.iter().map(move |n| (file, *n)))
        {
            id.map_or_else(|| file.told(number), |id| file.answered(number, id));
        }
    }

    /// Begins a placement of a client, or takes over an earlier one that this repeats. `keyed_form` is the fingerprint of
    /// its form, if its client gave it a key. `has_waited`: this caller has waited for [`hang_up_delay`], in which the client
    /// of an equal placement would have been seen to leave.
    pub(crate) fn begin(
        self: &Arc<Self>,
        fingerprint: Fingerprint,
        keyed_form: Option<Fingerprint>,
        client: &HangUp,
        has_waited: bool,
    ) -> Begun {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.entries.retain(|_, entries| {
            // In this order: the operating system is asked for old ones only.
            entries.retain(|entry| now < entry.until || entry.has_client());
            !entries.is_empty()
        });
        state.last += 1;
        let number = state.last;
        let entries = state.entries.entry(fingerprint).or_default();
        let handle = |entry: &mut Entry| Placement {
            owner: Arc::clone(self),
            key: PlacementKey { fingerprint, number: entry.number },
            holder: entry.hold(client.clone()),
            outcome: entry.outcome.subscribe(),
            is_told: false,
            remembered: REMEMBERED,
        };
        let is_repeated = |entry: &&mut Entry| keyed_form.is_some() || !entry.has_client();
        if let Some(entry) = entries.iter_mut().find(is_repeated) {
            return match entry.keyed_form == keyed_form {
                true => Begun::Repeated(handle(entry)),
                false => Begun::OtherOrder,
            };
        }
        if !entries.is_empty() && !has_waited {
            return Begun::Twin;
        }
        let outcome = watch::Sender::new(Outcome::InFlight);
        let (client, tag) = (None, None);
        let until = now + REMEMBERED;
        let mut entry = Entry { number, outcome, client, holder: 0, keyed_form, tag, until };
        let placement = handle(&mut entry);
        entries.push_back(entry);
        drop(state);
        if let Some(file) = &self.file {
            file.begun(number, fingerprint, keyed_form);
        }
        Begun::New(placement)
    }

    /// Returns whether an id is new. An answer with one that was seen before belongs to another order.
    pub(crate) fn claim_id(&self, id: &str) -> bool {
        self.state.lock().ids.claim(id)
    }

    /// Returns whether a tag is new. An order is found by its tag only if no other order has it.
    pub(crate) fn claim_tag(&self, tag: &str) -> bool {
        self.state.lock().tags.claim(tag)
    }

    /// Returns whether several orders were sent under a tag.
    pub(crate) fn is_shared(&self, tag: &str) -> bool {
        self.state.lock().tags.is_shared(tag)
    }

    /// Frees a tag whose order was not sent.
    pub(crate) fn free_tag(&self, tag: &str) {
        let is_free = self.state.lock().tags.free(tag);
        if let Some(file) = self.file.as_ref().filter(|_| is_free) {
            file.freed(tag);
        }
    }

    /// Changes the entry of a placement, if it is there, and removes it if `change` returns `true`.
    pub(super) fn with_entry(&self, key: PlacementKey, change: impl FnOnce(&mut Entry) -> bool) {
        let mut state = self.state.lock();
        let Some(entries) = state.entries.get_mut(&key.fingerprint) else { return };
        let Some(at) = entries.iter().position(|entry| entry.number == key.number) else { return };
        if entries.get_mut(at).is_some_and(change) {
            entries.remove(at);
        }
        if entries.is_empty() {
            state.entries.remove(&key.fingerprint);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Read;

    use lanekeeper::ManualClock;
    use tokio::io::AsyncWriteExt;

    use super::super::placement::Delivery;
    use super::*;
    use crate::socket::tests::connect;

    type Here = watch::Sender<()>;

    pub(crate) fn placements() -> (Arc<Placements>, ManualClock) {
        let clock = ManualClock::new();
        (Placements::new(clock.clone().into(), None), clock)
    }

    fn begin(placements: &Arc<Placements>, key: Option<&str>) -> (Begun, Here) {
        let (here, client) = HangUp::new();
        let form = Fingerprint::of_key("alpha", key.unwrap_or("form"));
        let fingerprint = Fingerprint::of_key("alpha", if key.is_some() { "key" } else { "form" });
        (placements.begin(fingerprint, key.map(|_| form), &client, true), here)
    }

    fn new(placements: &Arc<Placements>) -> (Placement, Here) {
        match begin(placements, None) {
            (Begun::New(placement), here) => (placement, here),
            _ => panic!("it is no new one"),
        }
    }

    fn repeated(placements: &Arc<Placements>) -> Option<(Placement, Here)> {
        match begin(placements, None) {
            (Begun::Repeated(placement), here) => Some((placement, here)),
            _ => None,
        }
    }

    fn place(placement: &Placement) {
        placement.sender().placed("1", OrderReply::placed("1"));
    }

    #[test]
    fn what_no_client_was_told_is_remembered_for_its_time() {
        for (is_remembered, time) in
            [(true, REMEMBERED - Duration::from_secs(1)), (false, REMEMBERED)]
        {
            let (placements, clock) = placements();
            let (placement, here) = new(&placements);
            // While its client waits, it is kept however long that takes.
            clock.advance(REMEMBERED * 2);
            place(&placement);
            drop((placement, here));
            clock.advance(time);
            assert_eq!(repeated(&placements).is_some(), is_remembered, "{time:?}");
        }
    }

    #[test]
    fn a_repetition_waits_for_what_is_under_way_and_only_if_its_client_is_gone() {
        let (placements, _) = placements();
        let (_first, first_here) = new(&placements);
        let (_second, _second_here) = new(&placements);
        drop(first_here);
        let (_repeated, _here) = repeated(&placements).expect("a repetition");
        assert!(repeated(&placements).is_none(), "both have a client that waits");
    }

    #[test]
    fn an_equal_one_whose_client_waits_is_looked_at_twice() {
        let (placements, _) = placements();
        let (_placement, here) = new(&placements);
        let (_other_here, other) = HangUp::new();
        let form = Fingerprint::of_key("alpha", "form");
        let begin = |has_waited| placements.begin(form, None, &other, has_waited);
        assert!(matches!(begin(false), Begun::Twin));
        drop(here);
        assert!(matches!(begin(false), Begun::Repeated(_)));
    }

    #[test]
    fn one_that_another_request_has_taken_over_is_not_let_go_by_the_first() {
        let (placements, _) = placements();
        let (first, here) = new(&placements);
        place(&first);
        drop(here);
        let (second, _here) = repeated(&placements).expect("a repetition");
        // The first one notices late that its client is gone, or thinks that it was told.
        first.into_delivery().report();
        let (_third, _third_here) = new(&placements);
        second.into_delivery().report();
        assert!(repeated(&placements).is_none());
    }

    #[test]
    fn until_its_answer_is_written_its_client_counts_as_there() {
        let (placements, _) = placements();
        let (placement, here) = new(&placements);
        place(&placement);
        let told = placement.into_delivery();
        // The request has ended, and its answer is on the way.
        drop(here);
        let (_equal, _equal_here) = new(&placements);
        // The connection ends before the answer was written.
        drop::<Delivery>(told);
        assert!(repeated(&placements).is_some());
    }

    /// Places an order of the client at a socket. Returns what follows its answer, whose first bytes are written next.
    pub(crate) fn written_to(placements: &Arc<Placements>, client: SocketProbe) -> Delivery {
        let (_here, hang_up) = HangUp::of_socket(client);
        let form = Fingerprint::of_key("alpha", "form");
        let begun = placements.begin(form, None, &hang_up, false);
        let Begun::New(placement) = begun else { panic!("it is new") };
        place(&placement);
        placement.into_delivery().writing().expect("its client is there")
    }

    /// Begins an equal placement of another connection. Returns whether it repeats an earlier one.
    pub(crate) fn is_repeated_by_another(placements: &Arc<Placements>) -> bool {
        let (_here, other) = HangUp::new();
        let form = Fingerprint::of_key("alpha", "form");
        matches!(placements.begin(form, None, &other, true), Begun::Repeated(_))
    }

    /// Nothing polls the connections here: only the operating system knows what became of them.
    #[tokio::test]
    async fn a_client_that_does_not_get_its_answer_is_known_by_its_socket() {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        enum Moment {
            Waiting,
            Answered,
            Written,
            Read,
        }
        let all = [Moment::Waiting, Moment::Answered, Moment::Written, Moment::Read];
        for leaves_at in all {
            let (placements, _) = placements();
            let (mut client, mut socket) = connect();
            let (_here, hang_up) = HangUp::of_socket(socket.probe());
            let form = Fingerprint::of_key("alpha", "form");
            let begun = placements.begin(form, None, &hang_up, false);
            let Begun::New(placement) = begun else { panic!("it is new") };
            let mut leave = |moment| {
                if leaves_at == moment {
                    if moment == Moment::Read {
                        client.read_exact(&mut [0; 6]).unwrap();
                    }
                    client = connect().0;
                }
            };
            leave(Moment::Waiting);
            place(&placement);
            let told = placement.into_delivery();
            leave(Moment::Answered);
            let told = told.writing();
            assert_eq!(told.is_some(), leaves_at > Moment::Answered, "{leaves_at:?}");
            socket.write_all(b"answer").await.unwrap();
            leave(Moment::Written);
            leave(Moment::Read);
            let has_read = leaves_at == Moment::Read;
            assert_eq!(is_repeated_by_another(&placements), !has_read, "{leaves_at:?}");
            drop(told);
        }
    }

    #[tokio::test]
    async fn one_that_left_with_its_answer_ready_is_known_before_that_is_written() {
        let (placements, _) = placements();
        let (client, socket) = connect();
        let (_here, hang_up) = HangUp::of_socket(socket.probe());
        let form = Fingerprint::of_key("alpha", "form");
        let Begun::New(placement) = placements.begin(form, None, &hang_up, false) else { panic!() };
        place(&placement);
        let _told = placement.into_delivery();
        drop(client);
        assert!(is_repeated_by_another(&placements));
    }

    #[test]
    fn a_reset_after_the_answer_is_remembered_for_a_short_time() {
        for (time, is_remembered) in
            [(RESET_REMEMBERED - Duration::from_secs(1), true), (RESET_REMEMBERED, false)]
        {
            let (placements, clock) = placements();
            let (placement, here) = new(&placements);
            place(&placement);
            let delivery = placement.into_delivery().writing().unwrap();
            drop(here);
            delivery.reset();
            clock.advance(time);
            assert_eq!(repeated(&placements).is_some(), is_remembered, "{time:?}");
        }
    }

    #[test]
    fn what_is_not_in_the_market_is_forgotten_and_what_panicked_is_not() {
        let (placements, _) = placements();
        let (placement, here) = new(&placements);
        placement.sender().finish(Outcome::NotPlaced);
        drop((placement, here));
        assert!(repeated(&placements).is_none());
        let (placements, _) = self::placements();
        let (placement, here) = new(&placements);
        drop(placement.sender());
        drop((placement, here));
        assert!(repeated(&placements).is_some());
    }

    #[test]
    fn under_a_key_there_is_one_order() {
        let (placements, clock) = placements();
        let (Begun::New(placement), _here) = begin(&placements, Some("a")) else { panic!() };
        place(&placement);
        placement.into_delivery().report();
        for _ in 0..3 {
            let (Begun::Repeated(again), _here) = begin(&placements, Some("a")) else { panic!() };
            again.into_delivery().report();
        }
        assert!(matches!(begin(&placements, Some("b")).0, Begun::OtherOrder));
        clock.advance(REMEMBERED);
        assert!(matches!(begin(&placements, Some("b")).0, Begun::New(_)));
    }

    #[test]
    fn an_order_that_turns_up_answers_the_repetition() {
        let (placements, _) = placements();
        for (tag, id) in [("a", Some("1")), ("b", None)] {
            let (placement, here) = new(&placements);
            let sender = placement.sender();
            sender.tagged(tag);
            sender.finish(Outcome::Unknown);
            drop((placement, here));
            placements.turned_up("another", Some("2"));
            placements.turned_up(tag, id);
            let found = repeated(&placements);
            assert_eq!(found.is_some(), id.is_some());
            if let Some((placement, _)) = found {
                assert!(matches!(*placement.outcome.borrow(), Outcome::Placed(_)));
                placement.into_delivery().report();
            }
        }
    }
}
