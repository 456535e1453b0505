//! A child process with its output in a file: signals, exit, memory and processor time.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A running (or ended) child; it is killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the command; what it prints is appended to `log`.
    pub fn spawn(command: &mut Command, log: &Path) -> io::Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        let child = command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn()?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it printed, including what earlier processes on the same log printed.
    pub fn output(&self) -> String {
        std::fs::read(&self.log).map_or_else(|error| error.to_string(), |bytes| String::from_utf8_lossy(&bytes).into())
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Stops it where it is (SIGSTOP): it stays, with its connections, and does nothing until it is thawed.
    pub fn freeze(&self) -> io::Result<()> {
        Ok(kill_process(self.pid()?, Signal::STOP)?)
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) -> io::Result<()> {
        Ok(kill_process(self.pid()?, Signal::CONT)?)
    }

    /// SIGTERM; how it ended and how long that took. After `limit` it is killed and that is an error.
    pub fn terminate(&mut self, limit: Duration) -> io::Result<(ExitStatus, Duration)> {
        let asked = Instant::now();
        kill_process(self.pid()?, Signal::TERM)?;
        while asked.elapsed() < limit {
            if let Some(status) = self.child.try_wait()? {
                return Ok((status, asked.elapsed()));
            }
            // tidy: may sleep: std has no wait with a deadline; 0.2 ms is the resolution of the time reported.
            std::thread::sleep(Duration::from_micros(200));
        }
        self.kill()?;
        Err(io::Error::other(format!("still running {limit:?} after SIGTERM; it printed:\n{}", self.output())))
    }

    /// Resident memory in bytes, as `/proc` says.
    pub fn resident(&self) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kilobytes.map(|kilobytes| kilobytes * 1024).ok_or_else(|| io::Error::other("no VmRSS in /proc/PID/status"))
    }

    /// Processor time spent so far, in user and kernel mode, in the 10 ms steps of `/proc`.
    pub fn cpu(&self) -> io::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // The second field is the program's name in brackets and may hold spaces.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
        match (ticks(11), ticks(12)) {
            (Some(user), Some(kernel)) => Ok(Duration::from_millis((user + kernel) * 10)),
            _ => Err(io::Error::other("no times in /proc/PID/stat")),
        }
    }

    fn pid(&self) -> io::Result<Pid> {
        i32::try_from(self.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no such process id"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already; there is nobody left to tell.
        let _ = self.kill();
    }
}
