//! Commands of several threads in one trip.
//!
//! Two threads at a time are on the way to Redis. The commands of those that come meanwhile wait, and the first of these
//! threads takes all of them along on the next trip. So many threads cost Redis and this process a few system calls for
//! each trip instead of a few for each command, and a thread that is alone waits for nothing. A thread waits for one
//! trip before the one with its own command, or for more if more than [`MAX_COMMANDS`] wait.

use std::sync::Arc;

use ::redis::{Cmd, Value};
use parking_lot::{Condvar, Mutex};

use super::pool::round_trip;
use super::{RedisFailure, RedisPool};

/// How many commands one trip has at most. It holds up Redis for a few milliseconds.
const MAX_COMMANDS: usize = 200;

/// How many trips are under way at a time. While Redis works on one, the next one is written.
const MAX_LEADERS: usize = 2;

#[derive(Default)]
pub(crate) struct Trips {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// How many threads are on the way, or were told to go.
    leaders: usize,
    waiting: Vec<Waiting>,
}

struct Waiting {
    /// In the form of the wire.
    command: Vec<u8>,
    turn: Arc<Turn>,
}

/// What a waiting thread waits for.
#[derive(Default)]
struct Turn {
    state: Mutex<Option<Event>>,
    changed: Condvar,
}

enum Event {
    /// The thread makes the next trip, with its own command.
    Lead(Vec<u8>),
    Answer(Result<Value, RedisFailure>),
}

impl Turn {
    fn tell(&self, event: Event) {
        *self.state.lock() = Some(event);
        self.changed.notify_one();
    }

    fn wait(&self) -> Event {
        let mut state = self.state.lock();
        loop {
            if let Some(event) = state.take() {
                return event;
            }
            self.changed.wait(&mut state);
        }
    }
}

impl Trips {
    /// Sends a command, alone or with those of other threads. An error of Redis for this command is a
    /// [`Value::ServerError`].
    pub(crate) fn send(&self, pool: &RedisPool, command: &Cmd) -> Result<Value, RedisFailure> {
        let command = command.get_packed_command();
        let turn = {
            let mut queue = self.queue.lock();
            if queue.leaders >= MAX_LEADERS {
                let turn = Arc::<Turn>::default();
                queue.waiting.push(Waiting { command, turn: Arc::clone(&turn) });
                turn
            } else {
                queue.leaders += 1;
                drop(queue);
                let _leader = Leader { trips: self, passengers: Vec::new() };
                return answers(pool, &command, 1).and_then(|mut all| all.pop().ok_or(MISSING));
            }
        };
        match turn.wait() {
            Event::Answer(answer) => answer,
            Event::Lead(command) => self.lead(pool, command),
        }
    }

    /// Makes a trip with all that wait. Returns the answer of the caller's own command.
    fn lead(&self, pool: &RedisPool, mut commands: Vec<u8>) -> Result<Value, RedisFailure> {
        let passengers = {
            let mut queue = self.queue.lock();
            let count = queue.waiting.len().min(MAX_COMMANDS);
            queue.waiting.drain(..count).collect()
        };
        let mut leader = Leader { trips: self, passengers };
        for passenger in &leader.passengers {
            commands.extend_from_slice(&passenger.command);
        }
        let answers = answers(pool, &commands, 1 + leader.passengers.len());
        let passengers = std::mem::take(&mut leader.passengers);
        // The next trip begins before the passengers of this one are told.
        drop(leader);
        let mut answers = match answers {
            Ok(answers) => answers.into_iter(),
            Err(failure) => {
                for passenger in passengers {
                    passenger.turn.tell(Event::Answer(Err(failure.clone())));
                }
                return Err(failure);
            }
        };
        let own = answers.next().ok_or(MISSING);
        for passenger in passengers {
            passenger.turn.tell(Event::Answer(answers.next().ok_or(MISSING)));
        }
        own
    }
}

const MISSING: RedisFailure = RedisFailure::Missing;

/// The thread that is on the way. When it is back, in any way, the first one that waits goes.
struct Leader<'a> {
    trips: &'a Trips,
    /// Those that it takes along. They are told even if the trip panics.
    passengers: Vec<Waiting>,
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        for passenger in self.passengers.drain(..) {
            passenger.turn.tell(Event::Answer(Err(MISSING)));
        }
        let mut queue = self.trips.queue.lock();
        match queue.waiting.first() {
            Some(_) => {
                let next = queue.waiting.remove(0);
                drop(queue);
                next.turn.tell(Event::Lead(next.command));
            }
            None => queue.leaders -= 1,
        }
    }
}

/// Makes one trip with this many commands.
fn answers(pool: &RedisPool, commands: &[u8], count: usize) -> Result<Vec<Value>, RedisFailure> {
    pool.with(|connection| {
        let answers = round_trip(connection, commands, count)?;
        // All of them were refused so, and the pool leaves the connection.
        let read_only = answers.iter().find_map(|answer| match answer {
            Value::ServerError(error) if error.code() == "READONLY" => Some(error.clone()),
            _ => None,
        });
        read_only.map_or(Ok(answers), |error| Err(error.into()))
    })
}
