//! The program itself: its flags, settings, messages, exit codes and files.

use std::path::Path;
use std::process::{Command, Output};

use ottla_compat::{Broker, Program, Settings, broker};

use crate::harness::{Admin, PATIENCE, Record, fresh, ottla, produce, read_all, topic};

fn start(settings: Settings) -> Broker {
    Broker::start(Program::Ottla(ottla()), settings).expect("ottla does not start")
}

/// `ottla serve` on a data folder, for starts that are to fail.
fn serve(data: &Path, arguments: &[&str]) -> Output {
    let mut command = broker::ottla(&ottla(), "127.0.0.1:0".parse().unwrap(), data, &Settings::default());
    command.args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_chosen_port_is_printed_and_written_to_the_port_file() {
    // The harness starts on port 0 and learns the port from the file alone.
    let mut broker = start(Settings::default());
    assert_ne!(broker.address().port(), 0);
    assert!(broker.output().contains(&broker.address().port().to_string()), "{}", broker.output());
    assert!(broker.output().contains(&*broker.data().to_string_lossy()), "{}", broker.output());
    assert!(broker.output().contains(", groups start at once"), "{}", broker.output());
    broker.terminate().unwrap();
}

#[test]
fn a_second_broker_on_the_same_folder_is_refused_with_the_holders_pid() {
    let mut broker = start(Settings::default());
    let second = serve(&broker.data(), &[]);
    assert!(!second.status.success());
    let pid = broker.process().unwrap().id().to_string();
    assert!(text(&second).contains(&pid), "no process id {pid} in: {}", text(&second));
    // The first one is none the worse for it, and a killed holder's lock holds nobody up.
    assert_eq!(produce(&broker.bootstrap(), &topic(&broker.bootstrap(), "t", 1, &[]), 0, &[Record::value("x")]), [0]);
    broker.kill().unwrap();
    broker.restart().unwrap();
}

#[test]
fn sigterm_ends_it_cleanly() {
    let mut broker = start(Settings::default());
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "kept", 2, &[]);
    produce(&bootstrap, &topic, 1, &[Record::value("kept")]);
    let marker = broker.data().join(".kafka_cleanshutdown");
    assert!(!marker.exists(), "while it runs, nothing says that it ended cleanly");
    let (status, _) = broker.terminate().unwrap();
    assert_eq!(status.code(), Some(0), "{}", broker.output());
    assert!(marker.exists());
    let checkpoint = std::fs::read_to_string(broker.data().join("recovery-point-offset-checkpoint")).unwrap();
    assert!(checkpoint.lines().any(|line| line == format!("{topic} 1 1")), "{checkpoint}");
    broker.restart().unwrap();
    assert_eq!(read_all(&bootstrap, &topic, 1)[0].1.value, Record::value("kept").value);
}

#[test]
fn sigterm_ends_it_with_connections_open_and_a_reader_waiting() {
    let mut broker = start(Settings::default());
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "tail", 1, &[]);
    produce(&bootstrap, &topic, 0, &[Record::value("first")]);
    let waits = [("fetch.wait.max.ms", "30000"), ("socket.timeout.ms", "60000")];
    let reader = crate::harness::Reader::with(&bootstrap, &topic, &[0], rdkafka::Offset::Beginning, &waits);
    assert_eq!(reader.take(1).len(), 1);
    let idle = crate::wire::Connection::open(&bootstrap);
    let (status, took) = broker.terminate().unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(took < PATIENCE, "a waiting reader held it up for {took:?}");
    drop(idle);
}

#[test]
fn an_unknown_setting_is_a_warning_that_suggests_the_nearest() {
    let broker = start(Settings::default().set("log.retention.hour", "1").set("entirely.unheard.of", "1"));
    let output = broker.output();
    assert!(output.contains("log.retention.hour") && output.contains("log.retention.hours"), "{output}");
    assert!(output.contains("entirely.unheard.of"), "{output}");
}

#[test]
fn a_bad_value_is_an_error_that_names_the_setting_and_the_value() {
    let folder = tempfile::tempdir().unwrap();
    for (setting, value) in [("log.segment.bytes", "huge"), ("log.cleanup.policy", "burn"), ("num.partitions", "0")] {
        let output = serve(folder.path(), &["--set", &format!("{setting}={value}")]);
        assert!(!output.status.success(), "{setting}={value} is taken");
        assert!(text(&output).contains(setting) && text(&output).contains(value), "{}", text(&output));
    }
    let output = serve(folder.path(), &["--durability", "maybe"]);
    assert!(!output.status.success() && text(&output).contains("maybe"), "{}", text(&output));
}

#[test]
fn settings_come_from_a_file_from_the_environment_and_from_flags() {
    let folder = tempfile::tempdir().unwrap();
    let properties = folder.path().join("server.properties");
    std::fs::write(&properties, "# a comment\nnum.partitions=5\nlog.retention.hours=7\n").unwrap();
    let file = properties.to_string_lossy().into_owned();
    let partitions = |broker: &Broker| {
        let name = fresh("automatic");
        produce(&broker.bootstrap(), &name, 0, &[Record::value("x")]);
        let admin = Admin::new(&broker.bootstrap());
        admin.client.inner().fetch_metadata(Some(&name), PATIENCE).unwrap().topics()[0].partitions().len()
    };
    let with_file = || Settings::default().argument("--config").argument(&file);
    let broker = start(with_file());
    assert_eq!(partitions(&broker), 5);
    // Kafka's file means Kafka's default.
    let waiting = "groups wait 3000 ms for more members (group.initial.rebalance.delay.ms)";
    assert!(broker.output().contains(waiting), "{}", broker.output());
    assert_eq!(partitions(&start(Settings::default().environment("KAFKA_NUM_PARTITIONS", "3"))), 3);
    assert_eq!(partitions(&start(with_file().set("num.partitions", "4"))), 4);
}

#[test]
fn an_ephemeral_broker_leaves_nothing() {
    let broker = start(Settings::default().argument("--ephemeral"));
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "gone", 1, &[]);
    produce(&bootstrap, &topic, 0, &[Record::value("x")]);
    assert_eq!(read_all(&bootstrap, &topic, 0).len(), 1);
}

#[test]
fn a_broker_in_memory_serves_and_forgets() {
    let mut broker = start(Settings::default().argument("--durability").argument("memory"));
    let bootstrap = broker.bootstrap();
    let name = topic(&bootstrap, "forgotten", 1, &[]);
    produce(&bootstrap, &name, 0, &[Record::value("x"), Record::value("y")]);
    assert_eq!(read_all(&bootstrap, &name, 0).len(), 2);
    assert!(!broker.data().join(format!("{name}-0")).exists(), "files in memory mode");
    assert_eq!(broker.terminate().unwrap().0.code(), Some(0));
}

#[test]
fn help_and_version_are_there() {
    for flag in ["--help", "--version"] {
        let output = Command::new(ottla()).arg(flag).output().unwrap();
        assert!(output.status.success() && text(&output).contains("ottla"), "{flag}: {}", text(&output));
    }
    let unknown = Command::new(ottla()).args(["serve", "--no-such-flag"]).output().unwrap();
    assert!(!unknown.status.success() && text(&unknown).contains("--no-such-flag"));
}
