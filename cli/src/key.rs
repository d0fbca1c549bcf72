//! `lanekeeper key`: makes keys for the clients of a gateway.

use clap::{Args, Subcommand};
use lanekeeper_gateway::auth::NewKey;

use crate::command::print;

#[derive(Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make a key for a client, or the admin key if NAME is `admin`
    New {
        /// The name of the client
        #[arg(value_parser = name)]
        name: String,
    },
}

/// Makes a key.
pub fn run(args: &KeyArgs) -> Result<(), Box<dyn std::error::Error>> {
    let KeyCommand::New { name } = &args.command;
    let key = NewKey::generate()?;
    let setting = match name.as_str() {
        "admin" => format!("admin_key: \"{}\"", key.hash),
        _ => format!("clients: {{ {name}: {{ key: \"{}\" }} }}", key.hash),
    };
    // The secret is shown once, here. Only its hash is kept.
    let text = format!("key:     {name}:{}\nsetting: {setting}\n", key.secret);
    Ok(print(text.as_bytes())?)
}

fn name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match (1..=40).contains(&text.len()) && text.chars().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("a name has 1 to 40 letters, digits, `-`, `_` and `.`".to_owned()),
    }
}
