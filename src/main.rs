//! The `ottla` program: arguments, then the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ottla::cli::run(std::env::args_os())
}
