//! The instances of an application: processes that are killed, frozen and started again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use ottla_compat::{Kafka, Process};

use crate::application::{Application, Place};
use crate::topics::PATIENCE;

/// The status of an instance that saw that another has its transactional id.
const GIVEN_UP: i32 = 3;
/// What a JVM ends with after SIGTERM.
const TERMINATED: i32 = 143;

/// Two instances of an application, which are the smallest number that can take over from each other.
pub const COUNT: usize = 2;

/// The processes of an application's instances, and what they need to be started again.
pub struct Instances<'a> {
    application: &'a dyn Application,
    kafka: &'a Kafka,
    bootstrap: String,
    folder: &'a Path,
    is_weakened: bool,
    processes: Vec<Process>,
}

impl<'a> Instances<'a> {
    /// Starts all of them.
    pub fn start(
        application: &'a dyn Application,
        kafka: &'a Kafka,
        bootstrap: String,
        folder: &'a Path,
        is_weakened: bool,
    ) -> io::Result<Self> {
        let mut instances = Self { application, kafka, bootstrap, folder, is_weakened, processes: Vec::new() };
        for number in 0..COUNT {
            let process = instances.spawn(number)?;
            instances.processes.push(process);
        }
        Ok(instances)
    }

    /// Kills one with -9.
    pub fn kill(&mut self, number: usize) -> io::Result<()> {
        self.process(number)?.kill()
    }

    /// Starts one that was killed, on the folder that it left.
    pub fn restart(&mut self, number: usize) -> io::Result<()> {
        *self.process(number)? = self.spawn(number)?;
        Ok(())
    }

    /// Starts one that was killed, as on another machine: nothing of what it had stored is left.
    pub fn replace(&mut self, number: usize) -> io::Result<()> {
        match fs::remove_dir_all(self.state(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.restart(number),
        }
    }

    /// One of the processes, to be frozen or thawed.
    pub fn process(&mut self, number: usize) -> io::Result<&mut Process> {
        self.processes.get_mut(number).ok_or_else(|| io::Error::other(format!("there is no instance {number}")))
    }

    /// Starts those again that gave up by themselves; another way to end is an error.
    pub fn revive(&mut self) -> io::Result<()> {
        for number in 0..COUNT {
            match self.process(number)?.exited()? {
                None => {}
                Some(status) if status.code() == Some(GIVEN_UP) => self.restart(number)?,
                Some(status) => return Err(io::Error::other(format!("instance {number} ended with {status}"))),
            }
        }
        Ok(())
    }

    /// SIGTERM to all.
    pub fn terminate(&mut self) -> io::Result<()> {
        for process in &mut self.processes {
            let (status, _) = process.terminate(PATIENCE)?;
            if !ended_well(status) {
                return Err(io::Error::other(format!("an instance ended with {status} after SIGTERM")));
            }
        }
        Ok(())
    }

    /// What they did about which errors, and how often.
    pub fn errors(&self) -> BTreeMap<String, usize> {
        let mut errors = BTreeMap::new();
        for process in &self.processes {
            for line in process.output().lines().filter(|line| !line.starts_with("state: ")) {
                // What was done, and the classes of the errors without their messages.
                if let Some((what @ ("replaced" | "aborted" | "fatal" | "again"), error)) = line.split_once(": ") {
                    let class = error.split(' ').next().unwrap_or_default();
                    *errors.entry(format!("{what} after {class}")).or_default() += 1;
                }
            }
        }
        errors
    }

    fn spawn(&self, number: usize) -> io::Result<Process> {
        let folder = self.state(number);
        fs::create_dir_all(&folder)?;
        let place =
            Place { kafka: self.kafka, bootstrap: &self.bootstrap, folder: &folder, is_weakened: self.is_weakened };
        let log = self.folder.join(format!("instance-{number}.log"));
        Process::spawn(&mut self.application.instance(number, place), &log)
    }

    fn state(&self, number: usize) -> PathBuf {
        self.folder.join(format!("instance-{number}"))
    }
}

fn ended_well(status: ExitStatus) -> bool {
    matches!(status.code(), Some(0 | TERMINATED))
}
