//! `java_transactions`: exactly-once applications of Kafka's Java clients while their instances and the broker are killed
//! with -9, against Ottla or Apache Kafka. What comes out has to be exactly what went in, each record's effect once.
//!
//! The applications are in `compat/kafka/java`: a consume-transform-produce loop with `sendOffsetsToTransaction`, in both
//! versions of the protocol of transactions, and two of Kafka Streams with `exactly_once_v2`.

mod application;
mod balances;
mod copies;
mod crash;
mod fence;
mod input;
mod instances;
mod topics;
mod words;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use ottla_compat::{Broker, Kafka, Program, Settings, kafka};

use balances::Balances;
use copies::Copies;
use crash::Plan;
use topics::Isolation;
use words::WordCount;

const USAGE: &str = "usage: java_transactions [OPTION...]
  --against PATH|kafka   an executable of Ottla, or Apache Kafka (kafka)
  --rounds N             how often each application is disturbed (3)
  --seed N               what is drawn at random follows from it (a new one)
  --only CHECK           one of fence, copies, words, balances
  --weaken WHAT          instances: with at_least_once, offsets beside the transaction, or another transactional id;
                         reader: with read_uncommitted. The checks have to fail then (fence has no reader to weaken)";

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    println!("seed {}", options.seed);
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("seed {}: {error}", options.seed);
            ExitCode::FAILURE
        }
    }
}

/// What the command line says.
struct Options {
    against: String,
    rounds: u64,
    seed: u64,
    only: Option<String>,
    weakens_instances: bool,
    isolation: Isolation,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            against: "kafka".to_owned(),
            rounds: 3,
            seed: fastrand::u64(..),
            only: None,
            weakens_instances: false,
            isolation: Isolation::Committed,
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name}: what?"))?;
            let number = || value.parse().map_err(|error| format!("{name} {value}: {error}"));
            match (&*name, &*value) {
                ("--against", _) => options.against = value,
                ("--rounds", _) => options.rounds = number()?,
                ("--seed", _) => options.seed = number()?,
                ("--only", "fence" | "copies" | "words" | "balances") => options.only = Some(value),
                ("--weaken", "instances") => options.weakens_instances = true,
                ("--weaken", "reader") => options.isolation = Isolation::Uncommitted,
                _ => return Err(format!("{name} {value}: no such option")),
            }
        }
        Ok(options)
    }
}

/// All checks, each application with a broker of its own.
fn run(options: &Options) -> io::Result<()> {
    let classes = tempfile::tempdir()?;
    let kafka = Kafka::find_or_download()?.compiled(classes.path())?;
    let plan = Plan {
        kafka: &kafka,
        rounds: options.rounds,
        seed: options.seed,
        is_weakened: options.weakens_instances,
        isolation: options.isolation,
    };
    let is_wanted = |check: &str| options.only.as_deref().is_none_or(|only| only == check);
    for (version, group_protocol) in [(2, "consumer"), (1, "classic")] {
        if is_wanted("fence") {
            let name = format!("fence, transaction.version={version}");
            with_broker(options, &kafka, version, &name, |broker| {
                fence::run(&kafka, broker, version, plan.is_weakened)
            })?;
        }
        if is_wanted("copies") {
            let name = format!("copies, transaction.version={version}, group.protocol={group_protocol}");
            let copies = Copies { group_protocol };
            with_broker(options, &kafka, version, &name, |broker| crash::run(plan, &copies, broker))?;
        }
    }
    if is_wanted("words") {
        with_broker(options, &kafka, 2, "words", |broker| crash::run(plan, &WordCount, broker))?;
    }
    if is_wanted("balances") {
        with_broker(options, &kafka, 2, "balances", |broker| crash::run(plan, &Balances, broker))?;
    }
    Ok(())
}

/// One check with a new broker whose transactions have this version.
fn with_broker(
    options: &Options,
    kafka: &Kafka,
    version: u8,
    name: &str,
    check: impl FnOnce(&mut Broker) -> io::Result<String>,
) -> io::Result<()> {
    let started = Instant::now();
    let program = match &*options.against {
        "kafka" => Program::Kafka(kafka.clone()),
        ottla => Program::Ottla(PathBuf::from(ottla)),
    };
    // What dead instances leave behind is to be cleared away soon: their transactions, and their places in groups.
    let settings = Settings::default()
        .set("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500")
        .set("transaction.state.log.num.partitions", "5")
        .set("offsets.topic.num.partitions", "5")
        .set("group.min.session.timeout.ms", "4000")
        .set("group.consumer.min.session.timeout.ms", "4000")
        .set("group.consumer.session.timeout.ms", "4000")
        .set("group.consumer.min.heartbeat.interval.ms", "500")
        .set("group.consumer.heartbeat.interval.ms", "500");
    let mut broker = Broker::start(program, settings)?;
    let downgraded = if version < 2 { set_transaction_version(kafka, &broker, version) } else { Ok(()) };
    let told = downgraded.and_then(|()| check(&mut broker));
    let seconds = started.elapsed().as_secs();
    match told {
        Ok(told) => println!("ok: {name}: {told} ({seconds} s)"),
        Err(error) => {
            let kept = broker.keep().display();
            return Err(io::Error::other(format!("{name}: {error}\nafter {seconds} s; the broker's folder is {kept}")));
        }
    }
    Ok(())
}

/// Finalizes `transaction.version` below what a new broker begins with.
fn set_transaction_version(kafka: &Kafka, broker: &Broker, version: u8) -> io::Result<()> {
    let mut command = kafka.short_lived("96M", "org.apache.kafka.tools.FeatureCommand");
    command.args(["--bootstrap-server", &broker.bootstrap(), "downgrade", "--feature"]);
    kafka::run(command.arg(format!("transaction.version={version}"))).map(drop)
}
