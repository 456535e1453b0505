//! librdkafka's own load generator, `rdkafka_performance`, built from the librdkafka that the tests link.
//!
//! Driven through its Rust wrapper a consumer pays more for each record than librdkafka does, and every fast broker
//! would look the same.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use ottla_compat::kafka::run;

/// The load generator.
pub struct Performance {
    program: PathBuf,
}

impl Performance {
    /// Compiles it, beside this program.
    pub fn build() -> io::Result<Self> {
        let (librdkafka, libzstd) = (PathBuf::from(env!("LIBRDKAFKA")), PathBuf::from(env!("LIBZSTD")));
        let program = std::env::current_exe()?.with_file_name("rdkafka_performance");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let mut command = Command::new(compiler);
        command.arg("-O2").arg("-o").arg(&program);
        command.arg("-I").arg(librdkafka.join("src")).arg(librdkafka.join("examples/rdkafka_performance.c"));
        command.arg(librdkafka.join("src/librdkafka.a")).arg(libzstd.join("libzstd.a"));
        command.args(["-lz", "-lm", "-lpthread", "-ldl"]);
        run(&mut command)?;
        Ok(Self { program })
    }

    /// Sends records with acks=all; how many a second were acknowledged.
    pub fn produce(&self, bootstrap: &str, topic: &str, size: u64, count: u64) -> io::Result<f64> {
        let mut command = self.command("-P", bootstrap, topic);
        command.args(["-a", "-1", "-s", &size.to_string(), "-c", &count.to_string()]);
        properties(&mut command, &["linger.ms=5", "batch.size=1000000", "batch.num.messages=100000"]);
        properties(&mut command, &["queue.buffering.max.messages=500000", "queue.buffering.max.kbytes=1000000"]);
        // Its exit code is no help: it counts in two threads, and at times misses a record that it saw delivered.
        let output = command.output()?;
        let output = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if !output.contains(&format!("{count} delivered")) {
            return Err(io::Error::other(format!("not all of {count} records were acknowledged:\n{output}")));
        }
        rate(&output)
    }

    /// Reads records of all partitions from the beginning; how many a second.
    pub fn consume(&self, bootstrap: &str, topic: &str, partitions: i32, count: u64) -> io::Result<f64> {
        let mut command = self.command("-C", bootstrap, topic);
        for partition in 0..partitions {
            command.args(["-p", &partition.to_string()]);
        }
        command.args(["-o", "beginning", "-c", &count.to_string()]);
        properties(&mut command, &["fetch.message.max.bytes=4000000", "queued.min.messages=1000000"]);
        properties(&mut command, &["queued.max.messages.kbytes=300000"]);
        rate(&run(&mut command)?)
    }

    fn command(&self, mode: &str, bootstrap: &str, topic: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args([mode, "-q", "-b", bootstrap, "-t", topic]);
        properties(&mut command, &["broker.address.family=v4"]);
        command
    }
}

fn properties(command: &mut Command, properties: &[&str]) {
    for property in properties {
        command.args(["-X", property]);
    }
}

/// The last number before `msgs/s`.
fn rate(output: &str) -> io::Result<f64> {
    let before = output.rsplit_once(" msgs/s").and_then(|(before, _)| before.rsplit([' ', '(']).next());
    before
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no rate in what rdkafka_performance printed:\n{output}")))
}
