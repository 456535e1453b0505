//! An application through kills of its instances and of the broker, while its input is produced.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use ottla_compat::{Broker, Kafka};

use crate::application::{Application, Fault, check_numbers};
use crate::input::Input;
use crate::instances::{COUNT, Instances};
use crate::topics::{self, Isolation, PARTITIONS, PATIENCE, Reader, read_all, wait_until_none};

/// How a check is made.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The jars and the compiled members.
    pub kafka: &'a Kafka,
    /// How many times something is killed or frozen.
    pub rounds: u64,
    /// What is drawn at random follows from it.
    pub seed: u64,
    /// Whether the application leaves out what makes it exact.
    pub is_weakened: bool,
    /// What the driver reads of the output.
    pub isolation: Isolation,
}

/// What happens in a round.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    /// An instance dies with its folder, and then the broker.
    InstanceAndBroker,
    /// An instance stands still until the other has taken over, and goes on as if nothing had been.
    Frozen,
    /// The broker dies, dies again while it starts, and then all instances do; one of them loses its folder.
    BrokerTwice,
}

const DISTURBANCES: [Disturbance; 3] = [Disturbance::InstanceAndBroker, Disturbance::Frozen, Disturbance::BrokerTwice];

/// Runs it and compares the output with the input.
pub fn run(plan: Plan<'_>, application: &dyn Application, broker: &mut Broker) -> io::Result<String> {
    let bootstrap = broker.bootstrap();
    ottla_compat::topics::create(&bootstrap, application.inputs(), PARTITIONS)?;
    ottla_compat::topics::create(&bootstrap, &[application.output()], PARTITIONS)?;
    let mut folder = tempfile::tempdir()?;
    let input = Input::default();
    let result = thread::scope(|scope| {
        let produced = scope.spawn(|| input.produce(&bootstrap, application, plan.seed));
        let instances = Instances::start(application, plan.kafka, bootstrap.clone(), folder.path(), plan.is_weakened);
        let disturbed = instances.and_then(|instances| {
            let reader = Reader::new(&bootstrap, application.output(), plan.isolation)?;
            let random = fastrand::Rng::with_seed(plan.seed);
            let mut scene = Scene { broker, instances, reader, random };
            (0..plan.rounds).try_for_each(|round| scene.round(round))?;
            Ok(scene)
        });
        input.stop();
        let produced = produced.join().map_err(|_| io::Error::other("the producer of the input panicked"))?;
        disturbed?.finish(plan, application, produced?)
    });
    result.map_err(|error| {
        folder.disable_cleanup(true);
        io::Error::other(format!("{error}\nwhat the instances said is in {}", folder.path().display()))
    })
}

/// All that takes part.
struct Scene<'a> {
    broker: &'a mut Broker,
    instances: Instances<'a>,
    reader: Reader,
    random: fastrand::Rng,
}

impl Scene<'_> {
    /// One disturbance, the first ones in turn and all after them at random, and what it takes to be over it.
    fn round(&mut self, round: u64) -> io::Result<()> {
        let next = usize::try_from(round).ok().and_then(|round| DISTURBANCES.get(round));
        let disturbance = next.copied().unwrap_or_else(|| DISTURBANCES[self.random.usize(..DISTURBANCES.len())]);
        let more = self.random.usize(50..500);
        let before: usize = self.reader.counts().iter().sum();
        self.wait_for("output before a round", |counts| counts.iter().sum::<usize>() >= before + more)?;
        let victim = self.random.usize(..COUNT);
        match disturbance {
            Disturbance::InstanceAndBroker => {
                self.instances.kill(victim)?;
                self.broker.kill()?;
                self.broker.restart()?;
                self.instances.replace(victim)?;
            }
            Disturbance::Frozen => {
                self.instances.process(victim)?.freeze()?;
                self.wait_for_all_partitions("output without a frozen instance")?;
                self.instances.process(victim)?.thaw()?;
            }
            Disturbance::BrokerTwice => {
                self.broker.kill()?;
                self.broker.restart_and_kill(Duration::from_millis(self.random.u64(..1500)))?;
                self.broker.restart()?;
                (0..COUNT).try_for_each(|number| self.instances.kill(number))?;
                for number in 0..COUNT {
                    if number == victim {
                        self.instances.replace(number)?;
                    } else {
                        self.instances.restart(number)?;
                    }
                }
            }
        }
        self.wait_for_all_partitions("output after a round")
    }

    fn wait_for_all_partitions(&mut self, what: &str) -> io::Result<()> {
        let before = self.reader.counts();
        self.wait_for(what, |counts| counts.iter().zip(&before).all(|(now, before)| now > before))
    }

    fn wait_for(&mut self, what: &str, is_reached: impl Fn(&[usize]) -> bool) -> io::Result<()> {
        let started = Instant::now();
        while !is_reached(&self.reader.counts()) {
            self.reader.read_on()?;
            self.instances.revive()?;
            if started.elapsed() > PATIENCE {
                let counts = self.reader.counts();
                return Err(self.late(&format!("{what}: not within {PATIENCE:?}, {counts:?} are read")));
            }
        }
        Ok(())
    }

    /// An error with what may be in the way of the output.
    fn late(&self, what: &str) -> io::Error {
        let open = topics::open_transactions(&self.broker.bootstrap());
        io::Error::other(format!("{what}; open transactions: {open:?}"))
    }

    /// Waits for the whole output, ends the instances, and compares everything once more.
    fn finish(mut self, plan: Plan<'_>, application: &dyn Application, produced: usize) -> io::Result<String> {
        let bootstrap = self.broker.bootstrap();
        let input = read_all(&bootstrap, application.inputs(), Isolation::Committed)?;
        let wrong = |fault: Fault| io::Error::other(format!("{fault:?}"));
        check_numbers(&input).map_err(wrong)?;
        let count: usize = input.values().map(Vec::len).sum();
        if count != produced {
            return Err(io::Error::other(format!("{produced} records were acknowledged, and {count} are there")));
        }
        let started = Instant::now();
        loop {
            match application.check(&input, self.reader.records()) {
                Ok(()) => break,
                Err(fault @ Fault::Wrong(_)) => return Err(wrong(fault)),
                Err(fault) if started.elapsed() > PATIENCE => return Err(self.late(&format!("{fault:?}"))),
                Err(_) => self.reader.read_on()?,
            }
            self.instances.revive()?;
        }
        let name = application.name();
        wait_until_none("not committed", || topics::not_committed(&bootstrap, name, application.inputs()))?;
        self.instances.terminate()?;
        wait_until_none("open transactions", || topics::open_transactions(&bootstrap))?;
        let output = read_all(&bootstrap, &[application.output()], plan.isolation)?;
        application.check(&input, &output).map_err(wrong)?;
        if output != *self.reader.records() {
            return Err(io::Error::other("a reader from the beginning sees other records than one who was there"));
        }
        let written: usize = output.values().map(Vec::len).sum();
        let errors: Vec<String> =
            self.instances.errors().iter().map(|(error, times)| format!("{times} {error}")).collect();
        Ok(format!("{count} records in, {written} out; {} rounds; instances: {errors:?}", plan.rounds))
    }
}
