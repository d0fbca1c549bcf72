//! The real scripts in a real Redis, which are given the time, against a broker that counts every call.
//!
//! Processes are `Member`s with `LaneAsks`, as in a lane, and all else is simulated: the ways to Redis and to the broker, lost
//! answers, processes that are killed or stand still, a Redis that forgets, clocks that jump. Events happen in the order of
//! their times, so a run is repeatable by its seed.

mod broker;
mod expiry;
mod members;
mod runs;
mod world;
