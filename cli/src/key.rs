//! `lanekeeper key`: makes keys for the clients of a gateway.

use clap::{Args, Subcommand};
use lanekeeper_gateway::auth::NewKey;
use lanekeeper_gateway::config::{AccountConfig, ClientConfig, GatewayConfig};

use crate::command::print;

/// The name of the admin key, which is no client.
pub const ADMIN: &str = "admin";

#[derive(Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make a key for a client, or the admin key if NAME is `admin`.
    ///
    /// The key is printed once and is nowhere else. Its hash, in TOML and in YAML, is for the file of the gateway.
    New {
        /// The name of the client: letters, digits, `-`, `_` and `.`
        #[arg(value_parser = name)]
        name: String,
    },
}

/// Makes a key.
pub fn run(args: &KeyArgs) -> Result<(), Box<dyn std::error::Error>> {
    let KeyCommand::New { name } = &args.command;
    let key = NewKey::generate()?;
    let [toml, yaml] = settings(name, &key.hash.to_string());
    let text = format!("key: {name}:{}\n\nIn TOML:\n\n{toml}\n\nIn YAML:\n\n{yaml}\n", key.secret);
    Ok(print(text.as_bytes())?)
}

/// Returns the lines for a file in TOML, and for one in YAML.
fn settings(name: &str, hash: &str) -> [String; 2] {
    match name {
        ADMIN => [format!("admin_key = \"{hash}\""), format!("admin_key: \"{hash}\"")],
        // In quotes, since a name may have dots or be a number.
        _ => [
            format!("[clients.\"{name}\"]\nkey = \"{hash}\""),
            format!("clients:\n  \"{name}\":\n    key: \"{hash}\""),
        ],
    }
}

/// Checks a name as the configuration does, so that what is printed can be used.
fn name(text: &str) -> Result<String, String> {
    if text == ADMIN {
        return Ok(text.to_owned());
    }
    let mut config = GatewayConfig::new(AccountConfig::kite("http://127.0.0.1"));
    let hash = format!("sha256:{}:{}", "0".repeat(32), "0".repeat(64));
    config.clients.insert(text.to_owned(), ClientConfig::new(hash));
    match config.check() {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(error.problems().iter().map(|it| it.message.as_str()).take(1).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_by_the_gateway() {
        let key = NewKey::generate().unwrap();
        for name in ["desk", "a.b", "1", "true", "A-b_c", "admin"] {
            assert_eq!(super::name(name).as_deref(), Ok(name));
            let [toml, yaml] = settings(name, &key.hash.to_string());
            let toml = GatewayConfig::from_toml(&format!("preset = 'kite'\n{toml}")).unwrap();
            let yaml = GatewayConfig::from_yaml(&format!("preset: kite\n{yaml}")).unwrap();
            assert_eq!(toml, yaml);
            assert_eq!(toml.clients.contains_key(name), name != ADMIN);
            assert_eq!(toml.admin_key.is_some(), name == ADMIN);
        }
    }

    #[test]
    fn a_name_that_the_gateway_would_refuse_gets_no_key() {
        for name in ["", "a b", "a:b", "a\"b", "ä", "..", "Admin", &"x".repeat(41)] {
            assert!(super::name(name).is_err_and(|why| !why.is_empty()), "{name}");
        }
    }
}
