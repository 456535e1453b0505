//! `scripts/bench`: Ottla and Apache Kafka in turns on this machine, one table.

mod figures;
mod first;
mod frames;
mod groups;
mod load;
mod members;
mod memory;
mod new_group;
mod performance;
mod table;
mod transactions;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use ottla_compat::{Durability, Kafka, Program};

use figures::{Run, Scale, suffix};
use performance::Performance;
use table::Table;

const USAGE: &str = "usage: bench [--ottla BINARY] [--against kafka|nothing] [--figure NAME] [--rounds N] [--json FILE] \
                     [--quick]\n  --figure NAME  only figures whose name contains NAME, as in the first column";

struct Arguments {
    ottla: Option<PathBuf>,
    against_kafka: bool,
    figure: String,
    rounds: u32,
    json: Option<PathBuf>,
    quick: bool,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match bench(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let (mut ottla, mut against_kafka, mut figure, mut rounds) = (None, true, String::new(), None);
    let (mut json, mut quick) = (None, false);
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--ottla" => ottla = Some(PathBuf::from(value()?)),
            "--against" => {
                against_kafka = match value()?.as_str() {
                    "kafka" => true,
                    "nothing" => false,
                    unknown => return Err(format!("--against {unknown}: kafka or nothing")),
                }
            }
            "--figure" => figure = value()?,
            "--rounds" => rounds = Some(value()?.parse().map_err(|error| format!("--rounds: {error}"))?),
            "--json" => json = Some(PathBuf::from(value()?)),
            "--quick" => quick = true,
            unknown => return Err(format!("{unknown} is no flag")),
        }
    }
    Ok(Arguments { ottla, against_kafka, figure, rounds: rounds.unwrap_or(if quick { 1 } else { 3 }), json, quick })
}

/// For the idle connections; the brokers inherit it.
fn raise_descriptor_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

fn bench(arguments: &Arguments) -> io::Result<()> {
    let mut programs = Vec::new();
    programs.extend(arguments.ottla.iter().map(|binary| ("Ottla", Program::Ottla(binary.clone()))));
    if arguments.against_kafka {
        programs.push(("Apache Kafka", Program::Kafka(Kafka::find_or_download()?)));
    }
    let brokers: Vec<&'static str> = programs.iter().map(|(name, _)| *name).collect();
    let performance = Performance::build()?;
    raise_descriptor_limit()?;
    let mut table = Table::default();
    let started = Instant::now();
    for round in 1..=arguments.rounds {
        for durability in [Durability::Os, Durability::Fsync] {
            for (name, program) in &programs {
                let progress = |what: &str| {
                    let seconds = started.elapsed().as_secs();
                    eprintln!(
                        "[{seconds:>5} s] round {round}/{}, {name}, {}: {what}",
                        arguments.rounds,
                        suffix(durability)
                    );
                };
                let run = Run {
                    wanted: &|figure| figure.contains(&arguments.figure),
                    scale: if arguments.quick { Scale::QUICK } else { Scale::FULL },
                    durability,
                    performance: &performance,
                    progress: &progress,
                };
                for (figure, value) in run.measure(program.clone())? {
                    if figure.contains(&arguments.figure) {
                        table.add(figure, name, value);
                    }
                }
            }
        }
    }
    println!("{}", table.markdown(&brokers));
    arguments.json.as_ref().map_or(Ok(()), |path| std::fs::write(path, table.json(&brokers)))
}
