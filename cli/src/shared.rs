//! `lanekeeper shared`: what Redis knows of the quotas that processes share, and where Redis is for other commands.

use std::io::Write as _;

use clap::{Args, Subcommand};
use lanekeeper::lane::{Observer, SharedQuotaEvent};
use lanekeeper::shared_quota::{
    AccountStatus, AccountStatusError, SharedQuotaError, SharedSettings,
};
use serde_json::json;

use crate::command::print;

/// The environment variable with the address of Redis.
pub const REDIS: &str = "LANEKEEPER_REDIS";

#[derive(Args)]
pub struct SharedArgs {
    #[command(subcommand)]
    command: SharedCommand,
}

#[derive(Subcommand)]
enum SharedCommand {
    /// Show the processes of an account, and what is used of its quotas; or list the accounts
    Status(StatusArgs),
}

#[derive(Args)]
struct StatusArgs {
    /// Where Redis is: redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH [default: LANEKEEPER_REDIS in the environment]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The account. Without it, the accounts are listed
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Print JSON. Times are seconds
    #[arg(long)]
    json: bool,
}

/// Why nothing can be shown. It never has the address, which may have a password.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    #[error("write --url, the address of Redis, or set {REDIS} in the environment")]
    NoAddress,
    #[error(transparent)]
    Status(#[from] AccountStatusError),
    #[error(transparent)]
    Output(#[from] std::io::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Shows an account, or lists the accounts.
pub fn run(args: &SharedArgs) -> Result<(), SharedError> {
    let SharedCommand::Status(args) = &args.command;
    let url = args.url.clone().or_else(|| std::env::var(REDIS).ok());
    let url = url.filter(|url| !url.trim().is_empty()).ok_or(SharedError::NoAddress)?;
    let text = match &args.account {
        Some(account) => {
            let status = AccountStatus::read(url.trim(), account)?;
            if args.json { serde_json::to_string(&status)? } else { status.to_string() }
        }
        None => {
            let accounts = AccountStatus::accounts(url.trim())?;
            match args.json {
                true => json!({ "accounts": accounts }).to_string(),
                false if accounts.is_empty() => {
                    // Standard output is a list, and this is no part of it.
                    let _ = writeln!(std::io::stderr(), "Redis knows no account");
                    return Ok(());
                }
                false => accounts.join("\n"),
            }
        }
    };
    Ok(print(format!("{text}\n").as_bytes())?)
}

/// Prints each change of how a quota is shared to standard error.
pub struct ModeLog;

impl Observer for ModeLog {
    fn shared_quota(&self, event: &SharedQuotaEvent<'_>) {
        let line = match *event {
            SharedQuotaEvent::Mode { account, mode, why } => {
                format!("shared quota of {account}: {mode}: {why}")
            }
            SharedQuotaEvent::Warning { account, warning } => {
                format!("shared quota of {account}: {warning}")
            }
            _ => return,
        };
        // Without a reader there is no one to tell.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// Returns how quotas are shared by the flag `--shared [URL]`. Without a value the address is in the environment.
pub fn settings(flag: Option<&str>) -> Result<SharedSettings, SharedQuotaError> {
    flag.map_or_else(|| Ok(SharedSettings::redis_from_env(REDIS)), SharedSettings::redis)
}
