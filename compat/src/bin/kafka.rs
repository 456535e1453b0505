//! `kafka run [PORT]` runs a single node of Apache Kafka on a folder that goes away with it, until its input ends;
//! `kafka tool MAIN-CLASS ARGUMENTS...` runs one of its command-line tools; `kafka libs` prints where the jars are.

use std::io;
use std::process::ExitCode;

use ottla_compat::{Broker, Kafka, Program, Settings};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["libs"] => println!("{}", Kafka::find_or_download()?.libs().display()),
        ["tool", main, rest @ ..] => {
            let status = Kafka::find_or_download()?.short_lived("256M", main).args(rest).status()?;
            return Ok(status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .map_or(ExitCode::FAILURE, ExitCode::from));
        }
        ["run", port @ ..] if port.len() < 2 => serve(port.first().copied())?,
        _ => {
            eprintln!("usage: kafka run [PORT] | kafka tool MAIN-CLASS [ARGUMENT...] | kafka libs");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn serve(port: Option<&str>) -> io::Result<()> {
    let mut settings = Settings::default();
    if let Some(port) = port {
        settings = settings.port(port.parse().map_err(|error| io::Error::other(format!("{port}: {error}")))?);
    }
    let mut broker = Broker::start(Program::Kafka(Kafka::find_or_download()?), settings)?;
    println!("{} in {}; ends when its input does", broker.bootstrap(), broker.data().display());
    io::copy(&mut io::stdin(), &mut io::sink())?;
    broker.terminate()?;
    Ok(())
}
