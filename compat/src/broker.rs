//! A broker of either kind on a port of its own: started, killed, terminated, and started again on the same data.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::kafka::{self, Kafka};
use crate::probe;
use crate::process::Process;

/// Which broker.
#[derive(Clone, Debug)]
pub enum Program {
    /// This executable of Ottla.
    Ottla(PathBuf),
    /// Apache Kafka.
    Kafka(Kafka),
}

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On the disk. For Kafka: `log.flush.interval.messages=1`.
    Fsync,
    /// In the page cache, which is Kafka's default.
    Os,
}

/// How a broker is to run.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What an acknowledgement means; the broker's own default where none is said.
    pub durability: Option<Durability>,
    /// Kafka's settings by name.
    pub values: Vec<(String, String)>,
    /// The port, or 0 for any.
    pub port: u16,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// Further arguments of `ottla serve`.
    pub arguments: Vec<String>,
}

impl Settings {
    /// With a durability.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// With one more setting.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.values.push((name.to_owned(), value.to_owned()));
        self
    }

    /// On this port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// With one more argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// With one more environment variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// How long a start and an end may take before they count as failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// A broker with a folder of its own, which goes away with it.
#[derive(Debug)]
pub struct Broker {
    program: Program,
    settings: Settings,
    folder: TempDir,
    address: SocketAddr,
    controller_port: u16,
    process: Option<Process>,
    started_in: Duration,
}

impl Broker {
    /// Starts a broker on an empty folder and waits until it answers.
    pub fn start(program: Program, settings: Settings) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("ottla-broker-").tempdir()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, settings.port));
        let mut broker =
            Self { program, settings, folder, address, controller_port: 0, process: None, started_in: Duration::ZERO };
        if let Program::Kafka(kafka) = &broker.program {
            if broker.address.port() == 0 {
                broker.address.set_port(probe::free_port()?);
            }
            broker.controller_port = probe::free_port()?;
            fs::write(broker.properties(), broker.server_properties())?;
            kafka.format(&broker.properties())?;
        }
        broker.restart()?;
        Ok(broker)
    }

    /// Starts it (again) on the same folder and port, and waits until it answers.
    pub fn restart(&mut self) -> io::Result<()> {
        let started = Instant::now();
        self.begin()?;
        let process = self.process.as_mut().ok_or_else(|| io::Error::other("it was never started"))?;
        probe::wait_until_ready(self.address, PATIENCE, || alive(process))?;
        self.started_in = started.elapsed();
        Ok(())
    }

    /// Starts it (again) on the same folder and port, and does not wait longer than for the port's number.
    pub fn begin(&mut self) -> io::Result<()> {
        if let Some(process) = &mut self.process
            && process.exited()?.is_none()
        {
            return Err(io::Error::other("it is still running"));
        }
        let mut process = Process::spawn(&mut self.command(), &self.log())?;
        if self.address.port() == 0 {
            self.address.set_port(wait_for_port(&self.port_file(), &mut process)?);
        }
        self.process = Some(process);
        Ok(())
    }

    /// Starts it and kills it this much later, wherever it has come to.
    pub fn restart_and_kill(&mut self, after: Duration) -> io::Result<()> {
        let mut process = Process::spawn(&mut self.command(), &self.log())?;
        // tidy: may sleep: the moment of the kill is drawn at random; there is no condition to wait for.
        std::thread::sleep(after);
        process.kill()
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.as_mut().map_or(Ok(()), Process::kill)
    }

    /// SIGTERM; how it ended and how long that took.
    pub fn terminate(&mut self) -> io::Result<(ExitStatus, Duration)> {
        let process = self.process.as_mut().ok_or_else(|| io::Error::other("it was never started"))?;
        process.terminate(PATIENCE)
    }

    /// The process, to be measured.
    pub fn process(&mut self) -> io::Result<&mut Process> {
        self.process.as_mut().ok_or_else(|| io::Error::other("it was never started"))
    }

    /// From the start of the process to the first answer to ApiVersions, at the last start.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same, as clients write it.
    pub fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    /// Lets its folder stay when it goes, for who looks for what went wrong; where that is.
    pub fn keep(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.folder.path()
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// All that it printed since the first start.
    pub fn output(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn command(&self) -> Command {
        let mut command = match &self.program {
            Program::Ottla(binary) => {
                let mut command = ottla(binary, self.address, &self.data(), &self.settings);
                command.arg("--port-file").arg(self.port_file());
                command
            }
            Program::Kafka(kafka) => {
                let mut command = kafka.java("1G", "kafka.Kafka");
                command.arg(self.properties());
                command
            }
        };
        command.envs(self.settings.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn server_properties(&self) -> String {
        let mut values = self.settings.values.clone();
        if self.settings.durability == Some(Durability::Fsync) {
            values.push(("log.flush.interval.messages".to_owned(), "1".to_owned()));
        }
        kafka::server_properties(self.address.port(), self.controller_port, &self.data(), &values)
    }

    fn properties(&self) -> PathBuf {
        self.folder.path().join("server.properties")
    }

    fn port_file(&self) -> PathBuf {
        self.folder.path().join("port")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("output.log")
    }
}

/// `ottla serve` with these settings.
pub fn ottla(binary: &Path, address: SocketAddr, data: &Path, settings: &Settings) -> Command {
    let mut command = Command::new(binary);
    command.arg("serve").arg("--listen").arg(address.to_string()).arg("--data-dir").arg(data);
    match settings.durability {
        Some(Durability::Fsync) => {
            command.args(["--durability", "fsync"]);
        }
        Some(Durability::Os) => {
            command.args(["--durability", "os"]);
        }
        None => {}
    }
    for (name, value) in &settings.values {
        command.arg("--set").arg(format!("{name}={value}"));
    }
    command.args(&settings.arguments);
    command
}

fn wait_for_port(file: &Path, process: &mut Process) -> io::Result<u16> {
    let asked = Instant::now();
    loop {
        // The broker writes the file in one step, or its number would be read half.
        let written = fs::read_to_string(file).ok().filter(|text| !text.trim().is_empty());
        if let Some(text) = written {
            let port = text.trim().parse::<u16>();
            return port.map_err(|error| io::Error::other(format!("the port file holds {text:?}: {error}")));
        }
        alive(process)?;
        if asked.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("no port file; it printed:\n{}", process.output())));
        }
        // tidy: may sleep: nothing portable tells when another process has written a file.
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn alive(process: &mut Process) -> io::Result<()> {
    match process.exited()? {
        None => Ok(()),
        Some(status) => Err(io::Error::other(format!("it ended with {status}; it printed:\n{}", process.output()))),
    }
}
