//! A gateway in front of a broker's HTTP API: any client in any language, paced without change.

pub mod auth;
pub mod config;

mod account;
mod body;
mod call;
mod judge;
mod kept;
mod names;
mod net;
mod notices;
mod orders;
mod quotes;
mod refusal;
mod upstream;
