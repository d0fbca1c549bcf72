//! `lanekeeper init`: a commented configuration file for the documented limits of a broker.
//!
//! The file sets only the preset. Every other key is a comment with its default or an example, to be
//! used by removing the `#`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use lanekeeper::presets;
use lanekeeper::quota::{Limits, Reserve};

use crate::command::print;

#[derive(Args)]
pub struct InitArgs {
    /// The broker whose documented limits apply
    #[arg(long, value_name = "BROKER", default_value = "kite", value_parser = PossibleValuesParser::new(presets::NAMES))]
    preset: String,
    /// The file to write, which must not exist yet. Without it, the configuration is printed
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes the configuration.
pub fn run(args: &InitArgs) -> io::Result<()> {
    let limits = presets::by_name(&args.preset).unwrap_or_default();
    let text = configuration(&args.preset, &limits);
    let Some(path) = &args.output else { return print(text.as_bytes()) };
    let in_file = |error: io::Error| io::Error::other(format!("{}: {error}", path.display()));
    File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(in_file)?;
    print(format!("{}: written\n", path.display()).as_bytes())
}

/// Returns the text of the file.
fn configuration(preset: &str, limits: &Limits) -> String {
    let mut text = format!(
        "# The settings of a lanekeeper proxy. Check this file with `lanekeeper check-config`.\n\
         # A line such as `#ttl = \"5s\"` shows a default or an example. To use it, remove the `#`.\n\
         # The chapter \"Configuration\" of the book describes every key.\n\
         # Keep secrets out of this file: the adapter takes keys and tokens from the environment.\n\n\
         # The limits that the broker documents. The tables below replace them one by one.\n\
         preset = \"{preset}\"\n"
    );
    for (lane, quota) in limits.lanes() {
        // Writing to a string does not fail.
        let _ = write!(text, "\n[lanes.{lane}]\n#quota = \"{quota}\"\n");
        text += LANE;
    }
    for (budget, limit) in limits.budgets() {
        // Without windows there is nothing to reserve.
        if limit.quota().windows().is_empty() {
            continue;
        }
        let reserve = match limit.reserved() {
            Reserve::Slots(slots) => slots.to_string(),
            Reserve::Percent(percent) => format!("\"{percent}%\""),
        };
        let _ = write!(
            text,
            "\n# A budget counts the calls of some methods in addition to their lane. Its reserve is only for\n\
             # urgent calls: a number of slots, or a share of them such as \"5%\".\n\
             [budgets.{budget}]\n#quota = \"{}\"\n#reserve = {reserve}\n",
            limit.quota()
        );
    }
    text + LAYERS
}

/// The keys of a lane that are changed most often.
const LANE: &str = "\
#queue = 1024             # how many calls may wait
#when_full = \"refuse\"     # the next call is refused, or `block` or `shed`
#user_interval = \"0s\"     # the minimum time between two calls of one user
";

/// The tables of the layers in front of the lanes, and of the users.
const LAYERS: &str = "
[cache]
#ttl = \"5s\"               # how long a quote is fresh
#stale_while_revalidate = \"0s\"
#time_to_idle = \"5min\"    # how long an unused instrument is still refreshed with others

[guard]
#settle_time = \"20s\"      # how long a lost order may take to appear in the order book
#journal = \"/var/lib/lanekeeper/orders.journal\"  # orders are recorded here before they are sent

# For `broker.with(config.user(\"alpha\")?)`.
#[users.alpha]
#priority = 5             # 1, the most urgent, to 10
#deadline = \"10s\"
";

#[cfg(test)]
mod tests {
    use lanekeeper::Config;

    use super::*;

    /// Removes the `#` from each line that is a commented key or table.
    fn uncommented(text: &str) -> String {
        let is_key = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
        let lines = text.lines().map(|line| match line.strip_prefix('#') {
            Some(rest) if is_key(rest) => rest,
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_file_of_each_preset_is_valid_as_written_and_with_every_key_uncommented() {
        for preset in presets::NAMES {
            let limits = presets::by_name(preset).unwrap();
            let text = configuration(preset, &limits);
            let written = Config::from_toml(&text).unwrap_or_else(|e| panic!("{preset}: {e}"));
            let full = uncommented(&text);
            assert_ne!(full, text);
            let full = Config::from_toml(&full).unwrap_or_else(|e| panic!("{preset}: {e}\n{full}"));
            // The defaults are what the comments say: uncommenting a quota does not change it.
            for (lane, quota) in limits.lanes() {
                let mut lanes = full.settings().lanes().filter(|(name, _)| *name == lane);
                assert_eq!(
                    lanes.next().and_then(|(_, lane)| lane.quota()),
                    Some(quota),
                    "{preset}"
                );
            }
            assert_eq!(written.settings().documented_limits(), Some(&limits));
        }
    }
}
