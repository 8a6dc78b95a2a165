//! `runplane completions`: what a shell needs to complete the commands.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::exit::Outcome;
use super::{Cli, output};

/// Prints the completions for a shell.
pub(super) fn run(shell: Shell) -> Outcome<()> {
    // Whole before it is printed: the generator does not expect an output to be closed.
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "runplane", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
