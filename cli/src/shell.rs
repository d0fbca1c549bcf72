//! `lanekeeper completions` and `lanekeeper man`: what a package of the command installs beside it.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::command::{Cli, print};

#[derive(Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

#[derive(Args)]
pub struct ManArgs {
    /// A subcommand. Without it, the page of the command itself
    subcommand: Option<String>,
}

/// Prints a completion script.
pub fn print_completions(args: &CompletionsArgs) -> std::io::Result<()> {
    // Into memory first: the generator panics if it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lanekeeper", &mut script);
    print(&script)
}

/// Prints a manual page.
pub fn print_man(args: &ManArgs) -> Result<(), Box<dyn std::error::Error>> {
    let mut command = Cli::command();
    command.build();
    let page = match &args.subcommand {
        None => command,
        Some(name) => {
            let found = command.find_subcommand(name);
            found.ok_or_else(|| format!("there is no subcommand `{name}`"))?.clone()
        }
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    Ok(print(&text)?)
}
