//! The command line: `ottla serve` and what comes later.

mod serve;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::documentation;
use serve::ServeArguments;

/// A broker that speaks Apache Kafka's protocol.
#[derive(Debug, Parser)]
#[command(name = "ottla", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker (what ottla does without a command).
    Serve(Box<ServeArguments>),
    /// Print docs/configuration.md.
    #[command(hide = true)]
    Configuration,
}

/// Runs the program with these arguments (the first is its own name).
///
/// It ends with 0 after an orderly stop, 1 when something failed, 2 when what was asked for is wrong.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are "errors" too, and go to the standard output. There is nobody to tell when that fails.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let served = match arguments.command {
        None => serve::serve(&arguments.serve),
        Some(Command::Serve(arguments)) => serve::serve(&arguments),
        Some(Command::Configuration) => {
            let printed = std::io::stdout().write_all(documentation::markdown().as_bytes());
            return if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "ottla: {error}");
            error.exit_code()
        }
    }
}
