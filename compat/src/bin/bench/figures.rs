//! What is measured, in which order, on one broker.

use std::io;
use std::time::Duration;

use ottla_compat::{Broker, Durability, Program, Settings, probe, topics};

use crate::first;
use crate::groups::{self, CoordinatorOf, Protocol};
use crate::load;
use crate::memory;
use crate::new_group;
use crate::performance::Performance;
use crate::transactions::{self, Producers, Protocol as TransactionProtocol};

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Records of 1 KiB.
    pub large: u64,
    /// Records of 100 bytes.
    pub small: u64,
    /// How long to watch an idle broker.
    pub idle: Duration,
    /// How long to measure latency at one rate.
    pub latency: Duration,
    /// Connections that are open and idle.
    pub connections: usize,
    /// Records of 1 KiB in the log that is killed.
    pub killed: u64,
    /// Groups of ten that settle at one time.
    pub groups: usize,
    /// How long to commit.
    pub commits: Duration,
    /// How long to run transactions of one kind.
    pub transactions: Duration,
    /// As `killed`, of the log that shows that its length does not matter; 0 to leave that out.
    pub killed_long: u64,
}

impl Scale {
    /// As the documentation's table was made.
    pub const FULL: Self = Self {
        large: 1_500_000,
        small: 8_000_000,
        idle: Duration::from_secs(10),
        latency: Duration::from_secs(5),
        connections: 10_000,
        killed: 500_000,
        groups: 1_000,
        commits: Duration::from_secs(5),
        transactions: Duration::from_secs(5),
        killed_long: 10_000_000,
    };

    /// For a look in between.
    pub const QUICK: Self = Self {
        large: 400_000,
        small: 2_000_000,
        idle: Duration::from_secs(3),
        latency: Duration::from_secs(2),
        connections: 2_000,
        killed: 100_000,
        groups: 100,
        commits: Duration::from_secs(2),
        transactions: Duration::from_secs(2),
        killed_long: 0,
    };
}

/// Measured values, by figure.
pub type Values = Vec<(String, f64)>;

/// A way of storing, as figures are named after it.
pub fn suffix(durability: Durability) -> &'static str {
    match durability {
        Durability::Os => "page cache",
        Durability::Fsync => "durable",
    }
}

/// What a load client takes of the machine's memory besides: its queues.
const CLIENT_BYTES: u64 = 1 << 30;

/// Runs one broker from its start to its end.
pub struct Run<'a> {
    /// Which figures are wanted.
    pub wanted: &'a dyn Fn(&str) -> bool,
    /// How much of everything.
    pub scale: Scale,
    /// What an acknowledgement means.
    pub durability: Durability,
    /// Produces and consumes as fast as it goes.
    pub performance: &'a Performance,
    /// Tells what is being measured.
    pub progress: &'a dyn Fn(&str),
}

impl Run<'_> {
    /// Starts the broker, measures, ends it.
    pub fn measure(&self, program: Program) -> io::Result<Values> {
        let mut values = Values::new();
        if !self.wants_anything() {
            return Ok(values);
        }
        // Kafka keeps a deleted topic's files for a minute; nothing here is deleted.
        let settings = Settings::default()
            .durability(self.durability)
            // Groups are given what is theirs as soon as it is known.
            .set("group.initial.rebalance.delay.ms", "0")
            .set("group.consumer.assignment.interval.ms", "0");
        let mut broker = Broker::start(program, settings)?;
        values.push(("start, ms".to_owned(), millis(broker.started_in())));
        self.idle(&mut broker, &mut values)?;
        self.idle_connections(&mut broker, &mut values)?;
        self.throughput(&mut broker, &mut values)?;
        self.latency(&mut broker, &mut values)?;
        self.groups(&broker, &mut values)?;
        self.transactions(&broker, &mut values)?;
        if self.wants("memory after the load, MB") {
            values.push((self.name("memory after the load, MB"), megabytes(broker.process()?.resident()?)));
        }
        self.restart(&mut broker, &mut values)?;
        Ok(values)
    }

    fn wants_anything(&self) -> bool {
        let sizes = ["1 KiB", "100 B"].iter().flat_map(|size| [1, 8].map(|partitions| (size, partitions)));
        sizes.into_iter().any(|(size, partitions)| self.wants(&produce_name(size, partitions)))
            || [1, 8].iter().any(|&partitions| self.wants(&consume_name(partitions)))
            || [1_000, 10_000].iter().any(|&rate| self.wants(&latency_name(rate)))
            || ["start, ms", "idle memory, MB", "idle CPU, %", "memory after the load, MB"]
                .iter()
                .any(|name| self.wants(name))
            || GROUPS.iter().any(|name| self.wants(name))
            || TRANSACTIONS.iter().any(|(name, ..)| self.wants_transactions(name))
            || self.wants_transactions(LIBRDKAFKA_TRANSACTIONS)
            || [PER_CONNECTION, KILLED, KILLED_LONG, TERMINATED].iter().any(|name| self.wants(name))
    }

    fn wants(&self, name: &str) -> bool {
        (self.wanted)(&self.name(name))
    }

    fn name(&self, name: &str) -> String {
        format!("{name} ({})", suffix(self.durability))
    }

    fn idle(&self, broker: &mut Broker, values: &mut Values) -> io::Result<()> {
        if !self.wants("idle memory, MB") && !self.wants("idle CPU, %") {
            return Ok(());
        }
        (self.progress)("idle");
        let before = broker.process()?.cpu()?;
        // tidy: may sleep: an idle broker is watched doing nothing for this long.
        std::thread::sleep(self.scale.idle);
        let spent = broker.process()?.cpu()?.saturating_sub(before);
        values.push(("idle memory, MB".to_owned(), megabytes(broker.process()?.resident()?)));
        values.push(("idle CPU, %".to_owned(), spent.as_secs_f64() / self.scale.idle.as_secs_f64() * 100.0));
        Ok(())
    }

    fn idle_connections(&self, broker: &mut Broker, values: &mut Values) -> io::Result<()> {
        if !self.wants(PER_CONNECTION) {
            return Ok(());
        }
        (self.progress)(PER_CONNECTION);
        let before = broker.process()?.resident()?;
        let address = broker.address();
        let open =
            (0..self.scale.connections).map(|_| probe::idle_connection(address)).collect::<io::Result<Vec<_>>>()?;
        let taken = broker.process()?.resident()?.saturating_sub(before);
        values.push((self.name(PER_CONNECTION), taken as f64 / 1024.0 / open.len() as f64));
        Ok(())
    }

    fn throughput(&self, broker: &mut Broker, values: &mut Values) -> io::Result<()> {
        let bootstrap = broker.bootstrap();
        let mut warm = false;
        for (size, bytes, count) in [("1 KiB", 1024, self.scale.large), ("100 B", 100, self.scale.small)] {
            for partitions in [1, 8] {
                let consumes = bytes == 1024 && self.wants(&consume_name(partitions));
                if !self.wants(&produce_name(size, partitions)) && !consumes {
                    continue;
                }
                if !warm {
                    (self.progress)("warm-up");
                    topics::create(&bootstrap, &["warm-up"], 1)?;
                    self.performance.produce(&bootstrap, "warm-up", 1024, count / 5)?;
                    self.performance.consume(&bootstrap, "warm-up", 1, count / 5)?;
                    warm = true;
                }
                let topic = format!("produce-{bytes}-{partitions}");
                topics::create(&bootstrap, &[&topic], partitions)?;
                self.figure(broker, values, &produce_name(size, partitions), bytes * count, || {
                    self.performance.produce(&bootstrap, &topic, bytes, count)
                })?;
                if consumes {
                    self.figure(broker, values, &consume_name(partitions), bytes * count, || {
                        self.performance.consume(&bootstrap, &topic, partitions, count)
                    })?;
                }
            }
        }
        Ok(())
    }

    /// One figure, and the broker's processor seconds per GB beside it.
    fn figure(
        &self,
        broker: &mut Broker,
        values: &mut Values,
        name: &str,
        bytes: u64,
        measure: impl FnOnce() -> io::Result<f64>,
    ) -> io::Result<()> {
        let name = self.name(name);
        (self.progress)(&name);
        memory::touch(bytes + CLIENT_BYTES)?;
        let before = broker.process()?.cpu()?;
        let value = measure()?;
        let spent = broker.process()?.cpu()?.saturating_sub(before);
        values.push((name.clone(), value));
        values.push((format!("  broker CPU, s/GB: {name}"), spent.as_secs_f64() / (bytes as f64 / 1e9)));
        Ok(())
    }

    fn latency(&self, broker: &mut Broker, values: &mut Values) -> io::Result<()> {
        for per_second in [1_000, 10_000] {
            let name = latency_name(per_second);
            if !self.wants(&name) {
                continue;
            }
            (self.progress)(&self.name(&name));
            let topic = format!("latency-{per_second}");
            topics::create(&broker.bootstrap(), &[&topic], 1)?;
            let times = load::latency(&broker.bootstrap(), &topic, per_second, self.scale.latency)?;
            values.push((format!("{} p50", self.name(&name)), times.value_at_quantile(0.5) as f64));
            values.push((format!("{} p99", self.name(&name)), times.value_at_quantile(0.99) as f64));
        }
        Ok(())
    }

    fn groups(&self, broker: &Broker, values: &mut Values) -> io::Result<()> {
        if !GROUPS.iter().any(|name| self.wants(name)) {
            return Ok(());
        }
        let address = broker.address();
        topics::create(&broker.bootstrap(), &[GROUPS_TOPIC], GROUPS_PARTITIONS)?;
        groups::wait_for_coordinator(address, CoordinatorOf::Groups)?;
        let partitions = usize::try_from(GROUPS_PARTITIONS).unwrap_or(0);
        let rebalance = |protocol, members| groups::rebalance(address, protocol, members, GROUPS_TOPIC, partitions);
        let mut figure = |name: &str, measure: &dyn Fn() -> io::Result<f64>| {
            if self.wants(name) {
                (self.progress)(&self.name(name));
                values.push((self.name(name), measure()?));
            }
            Ok::<_, io::Error>(())
        };
        let [
            raw_classic,
            raw_consumer,
            first_classic,
            first_consumer,
            classic_10,
            classic_100,
            consumer_10,
            consumer_100,
            settle,
            commits,
        ] = GROUPS;
        let bootstrap = broker.bootstrap();
        topics::create(&bootstrap, &["first-record"], 1)?;
        let first = |protocol| load::first_record(&bootstrap, "first-record", protocol, protocol);
        load::produce_one(&bootstrap, "first-record")?;
        let raw = |protocol, group| new_group::first_record(address, "first-record", group, protocol);
        figure(raw_classic, &|| raw(Protocol::Classic, "raw-classic"))?;
        figure(raw_consumer, &|| raw(Protocol::Consumer, "raw-consumer"))?;
        figure(first_classic, &|| first("classic"))?;
        figure(first_consumer, &|| first("consumer"))?;
        figure(classic_10, &|| rebalance(Protocol::Classic, 10))?;
        figure(classic_100, &|| rebalance(Protocol::Classic, 100))?;
        figure(consumer_10, &|| rebalance(Protocol::Consumer, 10))?;
        figure(consumer_100, &|| rebalance(Protocol::Consumer, 100))?;
        figure(commits, &|| groups::commits(address, GROUPS_TOPIC, self.scale.commits))?;
        figure(settle, &|| groups::settle(address, self.scale.groups, 10))
    }

    fn transactions(&self, broker: &Broker, values: &mut Values) -> io::Result<()> {
        let (address, bootstrap) = (broker.address(), broker.bootstrap());
        let during = self.scale.transactions;
        let kinds = TRANSACTIONS.iter().filter(|(name, ..)| self.wants_transactions(name));
        for (number, &(name, protocol, count, commits_offsets)) in kinds.enumerate() {
            (self.progress)(&self.name(name));
            let topic = format!("transactions-{number}");
            topics::create(&bootstrap, &[&topic], TRANSACTIONS_PARTITIONS.into())?;
            groups::wait_for_coordinator(address, CoordinatorOf::Groups)?;
            groups::wait_for_coordinator(address, CoordinatorOf::Transactions)?;
            let producers = Producers { protocol, count, commits_offsets, topic, partitions: TRANSACTIONS_PARTITIONS };
            let commits = transactions::run(address, &producers, during)?;
            values.push((self.name(&per_second(name)), commits.len() as f64 / during.as_secs_f64()));
            if count == 1 {
                for (quantile, what) in [(0.5, "p50"), (0.99, "p99")] {
                    let figure = self.name(&format!("{name}, commit {what}, us"));
                    values.push((figure, commits.value_at_quantile(quantile) as f64));
                }
            }
        }
        if self.wants_transactions(LIBRDKAFKA_TRANSACTIONS) {
            (self.progress)(&self.name(LIBRDKAFKA_TRANSACTIONS));
            let topic = "transactions-librdkafka";
            topics::create(&bootstrap, &[topic], 1)?;
            let (measured, committed) = load::transactions(&bootstrap, topic, during)?;
            transactions::expect_readable(address, topic, 1, committed)?;
            let figure = self.name(&per_second(LIBRDKAFKA_TRANSACTIONS));
            values.push((figure, measured as f64 / during.as_secs_f64()));
        }
        Ok(())
    }

    fn wants_transactions(&self, name: &str) -> bool {
        self.wants(&per_second(name))
    }

    fn restart(&self, broker: &mut Broker, values: &mut Values) -> io::Result<()> {
        for (name, records) in [(KILLED, self.scale.killed), (KILLED_LONG, self.scale.killed_long)] {
            // How a longer log is recovered shows once.
            let is_due = records > 0 && (name == KILLED || self.durability == Durability::Fsync);
            if !is_due || !self.wants(name) {
                continue;
            }
            (self.progress)(&self.name(name));
            let topic = format!("killed-{records}");
            topics::create(&broker.bootstrap(), &[&topic], 1)?;
            self.performance.produce(&broker.bootstrap(), &topic, 1024, records)?;
            broker.kill()?;
            let started = std::time::Instant::now();
            broker.begin()?;
            first::wait_until_acknowledged(broker.address(), &topic, Duration::from_mins(2))?;
            values.push((self.name(name), millis(started.elapsed())));
        }
        (self.progress)(&self.name(TERMINATED));
        let (status, took) = broker.terminate()?;
        if self.wants(TERMINATED) {
            values.push((self.name(TERMINATED), millis(took)));
        }
        // Apache Kafka ends with 143, as every program does that Java's shutdown hooks end.
        if status.success() || status.code() == Some(143) {
            return Ok(());
        }
        Err(io::Error::other(format!("ended with {status}:\n{}", broker.output())))
    }
}

/// What is measured of groups.
const GROUPS: [&str; 10] = [
    "first record of a new classic group, no client timers, ms",
    "first record of a new consumer group, no client timers, ms",
    "first record of a new classic group, librdkafka, ms",
    "first record of a new consumer group, librdkafka, ms",
    "one more in a classic group of 10, ms",
    "one more in a classic group of 100, ms",
    "one more in a consumer group of 10, ms",
    "one more in a consumer group of 100, ms",
    "classic groups of 10 members settle, s",
    "commits of 16 groups, per second",
];
const GROUPS_TOPIC: &str = "groups";
const GROUPS_PARTITIONS: i32 = 200;
/// What is measured of transactions: the protocol, how many producers, whether offsets are committed.
const TRANSACTIONS: [(&str, TransactionProtocol, u16, bool); 5] = [
    ("transactions of version 2, 1 producer", TransactionProtocol::Version2, 1, false),
    ("transactions of version 2, 10 producers", TransactionProtocol::Version2, 10, false),
    ("transactions of version 1, 1 producer", TransactionProtocol::Version1, 1, false),
    ("transactions of version 1, 10 producers", TransactionProtocol::Version1, 10, false),
    ("transactions of version 2 with an offset, 1 producer", TransactionProtocol::Version2, 1, true),
];
const LIBRDKAFKA_TRANSACTIONS: &str = "transactions, librdkafka, 1 producer";
/// Two producers for each, where there are ten.
const TRANSACTIONS_PARTITIONS: u16 = 5;
const PER_CONNECTION: &str = "resident KiB per idle connection";
const KILLED: &str = "kill -9 to first acked produce, ms";
const KILLED_LONG: &str = "the same after 10 GB into one partition, ms";
const TERMINATED: &str = "SIGTERM to exit, ms";

fn produce_name(size: &str, partitions: i32) -> String {
    format!("produce {size}, {partitions}p, msg/s")
}

fn consume_name(partitions: i32) -> String {
    format!("consume 1 KiB, {partitions}p, msg/s")
}

fn latency_name(rate: u64) -> String {
    format!("end to end at {rate}/s, us")
}

fn per_second(name: &str) -> String {
    format!("{name}, per second")
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
