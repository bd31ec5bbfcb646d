//! `soft-lmccl`: the programs around the library, a command each.
//!
//! A crate of another name than the program has: types of a crate `soft_lmccl` are the library's, say checkpoints.

mod candidates;
mod carryover;
mod catalogue;
mod embed;
mod experiment;
mod pretrain;
mod program;
mod study;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Open-set recognition of macromolecules: train, study, embed, verify.
#[derive(Debug, Parser)]
#[command(name = "soft-lmccl", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Experiment(Box<experiment::Args>),
    Study(Box<study::Args>),
    Embed(Box<embed::Args>),
    Candidates(Box<candidates::Args>),
    Verify(Box<verify::Args>),
    Catalogue(Box<catalogue::Args>),
    Pretrain(Box<pretrain::Args>),
}

/// Runs the command that the program was called with.
pub fn run() -> ExitCode {
    let Cli { command } = Cli::parse();
    program::run(|| match command {
        Command::Experiment(args) => experiment::run(&args),
        Command::Study(args) => study::run(&args),
        Command::Embed(args) => embed::run(&args),
        Command::Candidates(args) => candidates::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Catalogue(args) => catalogue::run(&args),
        Command::Pretrain(args) => pretrain::run(&args),
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn every_command_is_sound_and_says_what_it_does() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        let names: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(names, ["experiment", "study", "embed", "candidates", "verify", "catalogue", "pretrain", "help"]);
        for command in command.get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(command.get_about().is_some_and(|about| about.to_string().len() > 20), "{help}");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{}: no word about {argument}", command.get_name());
            }
        }
    }
}
