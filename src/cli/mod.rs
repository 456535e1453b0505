//! The command line: `ottla serve` and what comes later.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program with these arguments (the first is its own name).
pub fn run(_arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    ExitCode::SUCCESS
}
