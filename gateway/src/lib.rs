//! A gateway in front of a broker's HTTP API: any client in any language, paced without change.

pub mod auth;
pub mod config;

mod names;
mod net;
mod upstream;
