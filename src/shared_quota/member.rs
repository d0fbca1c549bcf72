//! What one process knows of its account: the calls that it made and has not told, and what it was told. No I/O, and told the
//! time.
//!
//! # What is told
//!
//! Every call has an id, and what is told of it are facts: it ended so long ago, it was not sent. So each may be told twice, and
//! an answer that was lost needs no question. Ages are by the steady clock of this process, and the script takes them from the
//! moment at which it hears of them. That is later than the moment at which they were measured, so a call never looks older
//! than it is.
//!
//! # After a loss
//!
//! A generation stands for all that Redis knows. If it has changed, or this is another run of Redis, every process tells its
//! calls again. Nothing is granted meanwhile (`clock.lua`).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ::redis::{Arg, Cmd, Value};

use super::protocol::{
    Beat, BeatReply, Head, KnownCount, LaneBeat, NotShareable, Scope, Step, StepOutcome, StepReply,
    Told, ToldKind, Unusable, Used, Wanted, micros, midnights,
};
use crate::lane::RefusedRoute;
use crate::quota::{
    BudgetSet, Cost, Moment, QuotaError, Reserve, WallClockSample, Window, WindowKind,
};

/// The lane and the budgets that a call is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Charge {
    pub(super) lane: usize,
    pub(super) budgets: BudgetSet,
}

impl From<Cost> for Charge {
    fn from(cost: Cost) -> Self {
        Self { lane: cost.lane, budgets: cost.budgets }
    }
}

/// Returns how many slots a call takes.
pub(super) fn weight_of(cost: Cost) -> u32 {
    cost.weight.max(1)
}

/// A call that holds its slots.
#[derive(Debug, Clone)]
struct OpenCall {
    id: String,
    charge: Charge,
    weight: u32,
    asked_at: Moment,
    /// Until when it surely holds its slots, if nothing more is told.
    lease_ends: Moment,
    /// Whether Redis granted it, or the share of this process while Redis was away.
    by: GrantedBy,
    /// Whether Redis may have been told since that it is in flight.
    is_told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GrantedBy {
    Redis,
    Share,
}

/// A call that has ended, kept for as long as a window may remember it.
#[derive(Debug, Clone)]
struct EndedCall {
    id: String,
    charge: Charge,
    weight: u32,
    at: Moment,
    /// Whether the share of this process granted it, and the counts of Redis may lack it.
    is_of_share: bool,
}

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Untold {
    charge: Charge,
    kind: ToldKind,
    id: String,
    weight: u32,
    at: Moment,
}

/// Why everything is told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Retelling {
    /// This process was cut off, and Redis knows what it knew.
    Returned,
    /// Redis has lost something, or may have.
    Lost,
}

/// A request that is under way.
#[derive(Debug)]
pub(crate) struct Trip {
    charge: Charge,
    told: Vec<Untold>,
    retelling: Option<Retelling>,
    run: String,
    sent_at: Moment,
    /// The keys and arguments of the script.
    pub(crate) words: Vec<Vec<u8>>,
}

impl Trip {
    pub(super) fn sent_at(&self) -> Moment {
        self.sent_at
    }
}

/// What is asked for, with the number under which the permit is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(super) number: u64,
    pub(super) cost: Cost,
    pub(super) priority: u8,
    pub(super) others_wait: bool,
    pub(super) asked_at: Moment,
    /// The latest time of the account at which it can have been asked for. Part of the permit's name.
    latest: Option<u64>,
}

/// One process of an account.
#[derive(Debug)]
pub(crate) struct Member {
    process: String,
    lanes: Vec<String>,
    /// Lanes first.
    scopes: Vec<Scope>,
    lease: Duration,
    /// A time of the account, and when it was asked for. The account's time passed as quickly as this process's since.
    heard: Option<(u64, Moment)>,
    generation: String,
    run: String,
    next_number: u64,
    open: BTreeMap<u64, OpenCall>,
    ended: VecDeque<EndedCall>,
    untold: VecDeque<Untold>,
    /// Permits that may have been granted: their asks had no answer. Told for some time, since an ask may be late.
    doubtful: Vec<(Untold, Moment)>,
    /// For each scope, for each window, what was heard last.
    known: Vec<Vec<Used>>,
    in_flight: Vec<u64>,
    /// For each scope, the time of the account as of which that is known.
    known_at: Vec<u64>,
    charges: Vec<Charge>,
    /// The round trip credit of each lane.
    credits: Vec<Duration>,
    retelling: Option<Retelling>,
    retellings: u64,
}

/// A call is sent within this share of the lease of its permit: so it holds its slots for nearly a whole lease after it was sent,
/// if its process is killed then.
const FRESH_SHARE: u32 = 8;

/// For how long a permit that may have been granted is told to be unused.
const DOUBTFUL_FOR: Duration = Duration::from_secs(3);

/// For how long a call may be on its way to the broker after its process may send no more.
const IN_TRANSIT: Duration = Duration::from_secs(1);

impl Member {
    pub(super) fn new(
        process: String,
        lanes: Vec<String>,
        scopes: Vec<Scope>,
        lease: Duration,
    ) -> Self {
        let known = scopes.iter().map(|scope| vec![Used::default(); scope.windows.len()]).collect();
        let (in_flight, known_at) = (vec![0; scopes.len()], vec![0; scopes.len()]);
        let credits = vec![Duration::ZERO; lanes.len()];
        let charges = (0..lanes.len()).map(|lane| Charge { lane, budgets: BudgetSet::EMPTY });
        let mut charges: Vec<_> = charges.collect();
        // What others use of a budget has to be known here too, should Redis go away.
        if let Some(first) = charges.first_mut() {
            let budgets: Vec<_> = (0..scopes.len().saturating_sub(lanes.len())).collect();
            first.budgets = BudgetSet::of(&budgets);
        }
        Self {
            process,
            lanes,
            scopes,
            lease,
            heard: None,
            generation: String::new(),
            run: String::new(),
            next_number: 0,
            open: BTreeMap::new(),
            ended: VecDeque::new(),
            untold: VecDeque::new(),
            doubtful: Vec::new(),
            known,
            in_flight,
            known_at,
            charges,
            credits,
            retelling: None,
            retellings: 0,
        }
    }

    pub(super) fn process(&self) -> &str {
        &self.process
    }

    pub(super) fn lanes(&self) -> &[String] {
        &self.lanes
    }

    /// Sets by how much a slot of each lane may be free earlier than a window after its call ended, as far as this process knows.
    pub(super) fn set_credits(&mut self, of: impl Fn(usize) -> Duration) {
        for (lane, credit) in self.credits.iter_mut().enumerate() {
            *credit = of(lane);
        }
    }

    #[cfg(test)]
    pub(super) fn set_credit(&mut self, lane: usize, credit: Duration) {
        self.credits[lane] = credit;
    }

    /// Returns the charges that were used so far.
    pub(super) fn charges(&self) -> &[Charge] {
        &self.charges
    }

    /// Returns the scopes that a call is charged to, the lane first.
    fn scopes_of(&self, charge: Charge) -> impl Iterator<Item = usize> {
        let (lanes, all) = (self.lanes.len(), self.scopes.len());
        let budgets: Vec<usize> = charge.budgets.iter().map(|budget| lanes + budget).collect();
        std::iter::once(charge.lane).chain(budgets).filter(move |scope| *scope < all)
    }

    /// Begins to ask for a permit.
    pub(super) fn ask(&mut self, cost: Cost, priority: u8, others_wait: bool, now: Moment) -> Ask {
        self.next_number += 1;
        let latest = self.latest(now);
        Ask { number: self.next_number, cost, priority, others_wait, asked_at: now, latest }
    }

    /// The request leaves only now.
    pub(super) fn postpone(&self, ask: &mut Ask, now: Moment) {
        (ask.asked_at, ask.latest) = (now, self.latest(now));
    }

    fn id_of(&self, ask: &Ask) -> String {
        match ask.latest {
            Some(latest) => format!("{}-{}@{latest}", self.process, ask.number),
            None => format!("{}-{}", self.process, ask.number),
        }
    }

    /// Returns the latest that the time of the account can be.
    fn latest(&self, now: Moment) -> Option<u64> {
        self.heard.map(|(heard, at)| heard.saturating_add(micros(now.since(at))))
    }

    /// Takes a permit by the share of this process.
    pub(super) fn take_share(&mut self, cost: Cost, now: Moment) -> u64 {
        let ask = self.ask(cost, 0, false, now);
        self.open_call(&ask, GrantedBy::Share);
        ask.number
    }

    fn open_call(&mut self, ask: &Ask, by: GrantedBy) {
        let charge = ask.cost.into();
        let (id, lease_ends) = (self.id_of(ask), ask.asked_at + self.lease);
        let weight = weight_of(ask.cost);
        let call = OpenCall {
            id,
            charge,
            weight,
            asked_at: ask.asked_at,
            lease_ends,
            by,
            is_told: by == GrantedBy::Redis,
        };
        self.open.insert(ask.number, call);
        self.note_charge(charge);
    }

    fn note_charge(&mut self, charge: Charge) {
        if !self.charges.contains(&charge) {
            self.charges.push(charge);
        }
    }

    /// Returns whether a call may still be sent by its permit. Nearly all of its lease has to be left for the call.
    pub(super) fn is_fresh(&self, number: u64, now: Moment) -> bool {
        self.open.get(&number).is_some_and(|call| {
            call.by == GrantedBy::Share || now.since(call.asked_at) < self.lease / FRESH_SHARE
        })
    }

    /// A call was not sent: its slots are free at once.
    pub(super) fn give_back(&mut self, number: u64, now: Moment) {
        if let Some(OpenCall { id, charge, weight, by, .. }) = self.open.remove(&number) {
            if by == GrantedBy::Redis {
                let kind = ToldKind::Unused;
                self.untold.push_back(Untold { charge, kind, id, weight, at: now });
            }
        }
    }

    /// A call ended, at a moment that may be to come: what is in transit may arrive until then.
    pub(super) fn end(&mut self, number: u64, at: Moment, now: Moment) {
        let Some(OpenCall { id, charge, weight, by, is_told, .. }) = self.open.remove(&number)
        else {
            return;
        };
        let is_of_share = by == GrantedBy::Share;
        self.ended.push_back(EndedCall { id: id.clone(), charge, weight, at, is_of_share });
        if is_told {
            self.untold.push_back(Untold { charge, kind: ToldKind::Ended, id, weight, at });
        }
        // What Redis knows is in its counts. Only a log needs the call itself.
        let longest = |of: fn(&Scope) -> Duration| self.scopes.iter().map(of).max();
        let [counts, logs] = [Scope::retention, Scope::log_retention].map(longest);
        let retention = |call: &EndedCall| if call.is_of_share { counts } else { logs };
        let is_over = |call: &EndedCall| call.at + retention(call).unwrap_or_default() < now;
        while self.ended.front().is_some_and(is_over) {
            self.ended.pop_front();
        }
    }

    /// Returns whether a call is in flight, or has ended and may still count.
    pub(super) fn has_calls(&self) -> bool {
        !self.open.is_empty() || !self.ended.is_empty()
    }

    /// Returns a charge of which something is to be told now.
    pub(super) fn charge_to_tell(&self) -> Option<Charge> {
        self.untold.front().map(|untold| untold.charge)
    }

    /// Prolongs the leases of calls that are still in flight.
    pub(super) fn renew(&mut self, now: Moment) {
        let (lease, mut renewed) = (self.lease, Vec::new());
        for call in self.open.values_mut().filter(|call| call.by == GrantedBy::Redis) {
            if call.lease_ends < now + lease / 2 {
                call.lease_ends = now + lease;
                renewed.push(Untold {
                    charge: call.charge,
                    kind: ToldKind::Ended,
                    id: call.id.clone(),
                    weight: call.weight,
                    at: call.lease_ends,
                });
            }
        }
        self.untold.extend(renewed);
        // An ask that had no answer may still be carried out.
        self.doubtful.retain(|(_, until)| *until > now);
        let again: Vec<_> = self.doubtful.iter().map(|(untold, _)| untold.clone()).collect();
        self.untold.extend(again);
    }

    /// Makes the request of an ask, or one that only tells.
    pub(super) fn step(&mut self, charge: Charge, ask: Option<&Ask>, time: Time<'_>) -> Trip {
        self.note_charge(charge);
        let (told, rest) = std::mem::take(&mut self.untold)
            .into_iter()
            .partition::<VecDeque<_>, _>(|untold| untold.charge == charge);
        self.untold = rest;
        let wanted = ask.map(|ask| Wanted {
            id: self.id_of(ask),
            priority: ask.priority,
            weight: weight_of(ask.cost),
            is_urgent: ask.cost.urgent,
            others_wait: ask.others_wait,
            lease: self.lease,
        });
        let now = time.now();
        let told: Vec<_> = told.into();
        let words = told.iter().map(|untold| untold.told(now)).collect();
        self.trip(charge, wanted, words, told, None, time)
    }

    /// Makes the request that tells everything of a charge again.
    pub(super) fn retell(&mut self, charge: Charge, retelling: Retelling, time: Time<'_>) -> Trip {
        let now = time.now();
        // Nothing was renewed while Redis was away.
        for call in self.open.values_mut().filter(|call| call.charge == charge) {
            call.lease_ends = call.lease_ends.max(now + self.lease);
            call.is_told = true;
        }
        let scopes = self.scopes_of(charge).map(|scope| self.scopes[scope].log_retention());
        let remembered = scopes.max().unwrap_or_default();
        let token = format!("{}:{}", self.process, self.retellings);
        let mut words = vec![Told { kind: ToldKind::Counts, id: token, weight: 0, age: 0 }];
        let open =
            self.open.values().map(|call| (call.charge, &call.id, call.weight, call.lease_ends));
        let ended = self.ended.iter().filter(|call| call.at + remembered > now);
        let ended = ended.map(|call| (call.charge, &call.id, call.weight, call.at));
        let all = open.chain(ended).filter(|(of, ..)| *of == charge);
        words.extend(all.map(|(_, id, weight, at)| Told {
            kind: ToldKind::Again,
            id: id.clone(),
            weight,
            age: age(at, now),
        }));
        self.trip(charge, None, words, Vec::new(), Some(retelling), time)
    }

    fn trip(
        &self,
        charge: Charge,
        wanted: Option<Wanted>,
        words: Vec<Told>,
        told: Vec<Untold>,
        retelling: Option<Retelling>,
        time: Time<'_>,
    ) -> Trip {
        let indices: Vec<usize> = self.scopes_of(charge).collect();
        let counts = retelling.map(|retelling| {
            let known = |&scope: &usize| self.known_counts(scope, retelling, time.wall);
            indices.iter().map(known).collect()
        });
        let step = Step {
            head: self.head(time),
            lane: self.lanes.get(charge.lane).map_or("", String::as_str),
            scopes: indices.iter().map(|&scope| &self.scopes[scope]).collect(),
            counts: counts.unwrap_or_default(),
            wanted,
            told: words,
            wall: time.wall.timestamp,
            credit: self.credits.get(charge.lane).copied().unwrap_or_default(),
        };
        let mut command = Cmd::new();
        step.add(&mut command, time.account);
        let run = time.run.to_owned();
        Trip { charge, told, retelling, run, sent_at: time.now(), words: words_of(&command) }
    }

    fn head(&self, time: Time<'_>) -> Head {
        Head {
            moment: time.moment,
            latest: self.latest(time.now()),
            generation: self.generation.clone(),
            run: time.run.to_owned(),
            process: self.process.clone(),
        }
    }

    /// Returns what is known of the windows of a scope: as it was heard last, and what this process used since. What Redis
    /// granted it knows, unless it has lost it.
    fn known_counts(
        &self,
        scope: usize,
        retelling: Retelling,
        wall: WallClockSample,
    ) -> Vec<KnownCount> {
        let of_share = self.ended.iter().filter(|call| call.is_of_share);
        let of_share = of_share.map(|call| (call.charge, call.weight, call.at));
        let untold = self
            .untold
            .iter()
            .filter(|untold| retelling == Retelling::Lost && untold.kind == ToldKind::Ended);
        let untold = untold.map(|untold| (untold.charge, untold.weight, untold.at));
        let calls: Vec<_> = of_share
            .chain(untold)
            .filter(|(charge, ..)| self.scopes_of(*charge).any(|it| it == scope))
            .map(|(_, weight, at)| (u64::from(weight), wall.nanos_at(at) / 1000))
            .collect();
        let windows = self.scopes[scope].windows.iter().zip(&self.known[scope]);
        windows
            .map(|(window, &heard)| {
                let mut own = [calls.iter().map(|(weight, _)| weight).sum(), 0, 0];
                if let WindowKind::Calendar { zone, guard } = &window.kind {
                    let guard = i128::from(micros(*guard));
                    let ends = midnights(zone, wall.timestamp).map(i128::from);
                    // The longest day has 25 hours.
                    let mut begin = ends[0] - 25 * 3_600_000_000;
                    own = ends.map(|end| {
                        let day = (begin - guard)..=(end + guard);
                        begin = end;
                        calls
                            .iter()
                            .filter(|(_, at)| day.contains(at))
                            .map(|(weight, _)| weight)
                            .sum()
                    });
                }
                KnownCount { heard, own }
            })
            .collect()
    }

    /// Takes the answer to a request. Returns what it means to the ask.
    pub(super) fn on_step(
        &mut self,
        trip: Trip,
        ask: Option<&Ask>,
        value: &Value,
    ) -> Result<StepReply, Unusable> {
        let indices: Vec<usize> = self.scopes_of(trip.charge).collect();
        let scopes: Vec<&Scope> = indices.iter().map(|&scope| &self.scopes[scope]).collect();
        let reply = match StepReply::read(value, &scopes) {
            Ok(reply) => reply,
            Err(error) => {
                self.on_no_answer(trip, ask);
                return Err(error);
            }
        };
        self.note_run(&trip.run);
        if reply.outcome == StepOutcome::Lost {
            self.untold.extend(trip.told);
            self.retelling = Some(Retelling::Lost);
            return Ok(reply);
        }
        if trip.retelling.is_some() || self.generation.is_empty() {
            if self.generation != reply.generation {
                self.known_at.fill(0);
            }
            self.generation.clone_from(&reply.generation);
        }
        if reply.generation == self.generation {
            self.heard = Some((reply.now, trip.sent_at));
        }
        for (&scope, heard) in indices.iter().zip(&reply.scopes) {
            // An answer may be read after one that was given later. What it says is less than what was told since.
            if self.known_at[scope] <= reply.now {
                self.known[scope].clone_from(&heard.used);
                self.in_flight[scope] = heard.in_flight;
                self.known_at[scope] = reply.now;
            }
        }
        if let Some(ask) = ask.filter(|_| reply.outcome == StepOutcome::Granted) {
            self.open_call(ask, GrantedBy::Redis);
        }
        Ok(reply)
    }

    /// There was no answer: Redis may have heard what it was told, and may have granted what it was asked for.
    pub(super) fn on_no_answer(&mut self, trip: Trip, ask: Option<&Ask>) {
        for untold in trip.told.into_iter().rev() {
            self.untold.push_front(untold);
        }
        if let Some(ask) = ask {
            let charge = ask.cost.into();
            let (id, weight) = (self.id_of(ask), weight_of(ask.cost));
            let untold = Untold { charge, kind: ToldKind::Unused, id, weight, at: ask.asked_at };
            self.doubtful.push((untold.clone(), trip.sent_at + DOUBTFUL_FOR));
            self.untold.push_back(untold);
        }
    }

    /// Makes a sign of life.
    pub(super) fn beat(&self, say: &Say<'_>, time: Time<'_>) -> Trip {
        let lanes = self.lanes.iter().enumerate().map(|(index, lane)| {
            let (pause, percent) = say.lanes.get(index).copied().unwrap_or((Duration::ZERO, 100));
            let credit = self.credits.get(index).copied().unwrap_or_default();
            LaneBeat { lane, pause, percent, credit }
        });
        let beat = Beat {
            head: self.head(time),
            place: say.place,
            is_leaving: say.is_leaving,
            dead: say.dead.to_vec(),
            // What is sent by a share at the end of its time is not told.
            reserved_for: say.reserved_for.saturating_add(self.forgotten_after()),
            retention: self.scopes.iter().map(Scope::retention).max().unwrap_or_default(),
            lanes: lanes.collect(),
            refused: say.refused,
        };
        let mut command = Cmd::new();
        beat.add(&mut command, time.account);
        Trip {
            charge: Charge { lane: 0, budgets: BudgetSet::EMPTY },
            told: Vec::new(),
            retelling: None,
            run: time.run.to_owned(),
            sent_at: time.now(),
            words: words_of(&command),
        }
    }

    /// Returns after which time no window remembers a call that was not told. A day does until it ends.
    fn forgotten_after(&self) -> Duration {
        let windows = self.scopes.iter().flat_map(|scope| &scope.windows);
        let rolling = windows.filter(|it| !matches!(it.kind, WindowKind::Calendar { .. }));
        Duration::from_nanos(rolling.map(Window::retention).max().unwrap_or(0)) + IN_TRANSIT
    }

    pub(super) fn on_beat(&mut self, trip: &Trip, value: &Value) -> Result<BeatReply, Unusable> {
        let reply = BeatReply::read(value)?;
        self.note_run(&trip.run);
        if self.generation.is_empty() {
            self.generation.clone_from(&reply.generation);
        }
        match reply.generation == self.generation {
            true => self.heard = Some((reply.now, trip.sent_at)),
            false => self.retelling = Some(Retelling::Lost),
        }
        Ok(reply)
    }

    fn note_run(&mut self, run: &str) {
        if run.is_empty() || self.run == run {
            return;
        }
        if !self.run.is_empty() {
            self.retelling = Some(Retelling::Lost);
        }
        run.clone_into(&mut self.run);
    }

    /// Returns why everything has to be told again, if it has to.
    pub(super) fn retelling(&self) -> Option<Retelling> {
        self.retelling
    }

    /// Begins to tell everything again.
    pub(super) fn begin_retelling(&mut self, least: Option<Retelling>) -> Retelling {
        self.retellings += 1;
        self.retelling.take().max(least).unwrap_or(Retelling::Returned)
    }

    /// Everything was told again.
    pub(super) fn finish_retelling(&mut self) {
        for call in self.open.values_mut() {
            call.by = GrantedBy::Redis;
        }
        self.ended.iter_mut().for_each(|call| call.is_of_share = false);
    }

    /// Telling everything again failed.
    pub(super) fn fail_retelling(&mut self, retelling: Retelling) {
        self.retelling = self.retelling.max(Some(retelling));
    }

    /// Returns of each window of a scope what is left of it, as it was heard last. Nothing, if it was not.
    pub(super) fn left(&self, scope: usize) -> impl Iterator<Item = (&Window, u64)> {
        let in_flight = if self.known_at[scope] == 0 { u64::MAX } else { self.in_flight[scope] };
        self.scopes[scope].windows.iter().zip(&self.known[scope]).map(move |(window, used)| {
            let is_log = window.kind == WindowKind::SlidingLog;
            let used = if is_log && in_flight < u64::MAX {
                used.used
            } else {
                used.used.saturating_add(in_flight)
            };
            (window, u64::from(window.capacity()).saturating_sub(used))
        })
    }

    /// Replaces the windows of a lane or a budget, and its reserve unless that stays.
    pub(super) fn set_windows(
        &mut self,
        scope: usize,
        windows: &[Window],
        reserve: Option<Reserve>,
    ) -> Result<(), QuotaError> {
        let Some(known) = self.scopes.get_mut(scope) else { return Ok(()) };
        let reserve = reserve.unwrap_or(known.reserve);
        *known = Scope::new(known.name.clone(), windows, reserve)
            .map_err(|NotShareable(window)| QuotaError::NotShareable { window })?;
        self.known[scope] = vec![Used::default(); windows.len()];
        self.known_at[scope] = 0;
        Ok(())
    }

    /// Returns the number of lanes and budgets.
    pub(super) fn scope_count(&self) -> usize {
        self.scopes.len()
    }
}

impl Untold {
    fn told(&self, now: Moment) -> Told {
        let Self { kind, ref id, weight, at, .. } = *self;
        Told { kind, id: id.clone(), weight, age: age(at, now) }
    }
}

/// Returns how long ago a moment was, in microseconds, rounded so that it looks no older than it is.
fn age(at: Moment, now: Moment) -> i64 {
    let whole = |nanos: u64| i64::try_from(nanos).unwrap_or(i64::MAX);
    match now.as_nanos().checked_sub(at.as_nanos()) {
        Some(passed) => whole(passed / 1000),
        None => -whole((at.as_nanos() - now.as_nanos()).div_ceil(1000)),
    }
}

/// The time of a request, and where it goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time<'a> {
    /// By the clocks of this process.
    pub(super) wall: WallClockSample,
    /// The moment of the account, for tests.
    pub(super) moment: Option<u64>,
    pub(super) account: &'a str,
    /// Which run of Redis it goes to.
    pub(super) run: &'a str,
}

impl Time<'_> {
    #[cfg(test)]
    pub(super) fn for_tests<'a>(wall: WallClockSample, account: &'a str, run: &'a str) -> Time<'a> {
        Time { wall, moment: Some(0), account, run }
    }

    fn now(&self) -> Moment {
        self.wall.moment
    }
}

/// What a sign of life says.
#[derive(Debug, Clone)]
pub(crate) struct Say<'a> {
    pub(super) place: &'a str,
    pub(super) is_leaving: bool,
    pub(super) dead: &'a [String],
    pub(super) reserved_for: Duration,
    /// For each lane its pause and its rate in percent.
    pub(super) lanes: &'a [(Duration, u32)],
    /// The routes that the breakers of this process refuse.
    pub(super) refused: &'a [RefusedRoute],
}

fn words_of(command: &Cmd) -> Vec<Vec<u8>> {
    let words = command.args_iter().map(|word| match word {
        Arg::Simple(word) => word.to_vec(),
        _ => Vec::new(),
    });
    words.collect()
}
