//! `ottla serve`: from what was given to a running broker, and from a signal to an orderly stop.
//!
//! The order of the start: settings, data folder, metadata, listeners, then the one line that says it is ready. Clients
//! can connect from the moment that the listeners are bound, and find everything there.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tracing::level_filters::LevelFilter;
use tracing::{info, warn};

use crate::broker::Broker;
use crate::config::{BrokerConfig, ConfigError, GivenError, LogLevel, Note, Start, StartBuilder};
use crate::metadata::MetadataStore;
use crate::metadata::records::Endpoint;
use crate::metadata::store::StoreError;
use crate::server::{BindError, Limits, ListenerConfig, Server, ServerConfig};
use crate::storage::disk::Disk;
use crate::storage::log_manager::Identity;
use crate::storage::memory_disk::MemoryDisk;
use crate::storage::os_disk::OsDisk;
use crate::storage::partition_log::FlushFailed;
use crate::storage::{Durability, LogManager, StorageError};

/// How long requests in flight may take to be answered once the broker is told to stop.
const DRAIN: Duration = Duration::from_secs(1);
/// Up to so many cores, one thread does everything: it beats several by more than they could share.
const CORES_OF_ONE_THREAD: usize = 2;
/// The security protocol's number in a registration.
const PLAINTEXT: i16 = 0;

/// What `serve` takes.
#[derive(Args, Debug, Default)]
pub struct ServeArguments {
    /// A properties file with Kafka's setting names, such as Kafka's own server.properties.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets a broker setting, for example --set num.partitions=3.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// The address to listen on; no host means every interface, port 0 a free port.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// The folder for the data [default: ./ottla-data].
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// What an acknowledged record survives: fsync, loss of power; os, a crash of the broker; memory, nothing.
    #[arg(long, value_name = "fsync|os|memory")]
    durability: Option<String>,
    /// Keep the data only while the broker runs: in memory, or with --durability fsync or os in a temporary folder.
    /// The folder of --data-dir is left alone.
    #[arg(long)]
    ephemeral: bool,
    /// Once the broker is ready, write the port that it listens on to this file.
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
    /// The id of a new cluster [default: a random one].
    #[arg(long, value_name = "ID")]
    cluster_id: Option<String>,
    /// How much is logged to the standard error [default: warn].
    #[arg(long, value_name = "off|error|warn|info|debug|trace")]
    log_level: Option<String>,
}

/// Why the broker did not start, or did not stop in order.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// What was given cannot be read.
    #[error(transparent)]
    Given(#[from] GivenError),
    /// What was given is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data folder cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The metadata cannot be read or written.
    #[error(transparent)]
    Metadata(#[from] StoreError),
    /// The broker's registration did not get to the disk.
    #[error("the metadata log is not flushed: {0}")]
    Flush(#[from] FlushFailed),
    /// A listener cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The operating system refused something else.
    #[error("{context}: {source}")]
    Io {
        /// What was tried.
        context: String,
        /// Its answer.
        source: std::io::Error,
    },
}

impl ServeError {
    /// 2 when what was asked for is wrong, 1 when it could not be done.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Given(_) | Self::Config(_) => ExitCode::from(2),
            Self::Storage(_) | Self::Metadata(_) | Self::Flush(_) | Self::Bind(_) | Self::Io { .. } => {
                ExitCode::FAILURE
            }
        }
    }

    fn io(context: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let context = context.into();
        move |source| Self::Io { context, source }
    }
}

/// Runs the broker until it is told to stop.
pub fn serve(arguments: &ServeArguments) -> Result<(), ServeError> {
    let folder = TemporaryFolder::for_arguments(arguments)?;
    let given = arguments.start(folder.as_ref().map(TemporaryFolder::path), std::env::vars_os())?;
    let (config, notes) = BrokerConfig::build(given)?;
    log_to_stderr(config.log_level);
    for note in notes {
        match note {
            Note::Warning(text) => warn!("{text}"),
            Note::Info(text) => info!("{text}"),
        }
    }
    let runtime = runtime().map_err(ServeError::io("cannot start the I/O threads"))?;
    let identity = Identity { node_id: config.node_id, cluster_id: config.cluster_id.clone() };
    let disk = disk(config.storage.durability);
    let logs = LogManager::open_as(Arc::clone(&disk), config.storage.clone(), identity)?;
    // When this fails, the logs are left as they are: only those that the metadata names could be closed in order.
    let metadata = MetadataStore::open(disk.as_ref(), Arc::clone(&logs), &config)?;
    let broker = Arc::new(Broker::new(config, metadata, Arc::clone(&logs)));
    let result = runtime.block_on(run(broker, arguments.port_file.as_deref()));
    // Whatever ended it: nothing is served any more, so that what was accepted can be made durable in peace.
    drop(runtime);
    let closed = logs.close();
    result?;
    Ok(closed?)
}

async fn run(broker: Arc<Broker>, port_file: Option<&Path>) -> Result<(), ServeError> {
    // Signals are caught before the ready line: whoever reads it may stop the broker at once.
    let stop = stop_signal().map_err(ServeError::io("cannot watch for signals"))?;
    let server = Server::bind(server_config(&broker.config))?;
    broker.metadata.register_broker(endpoints(&broker.config, &server))?.await?;
    if let (Some(path), Some((_, address))) = (port_file, server.addresses().next()) {
        write_port(path, address.port())
            .map_err(ServeError::io(format!("cannot write the port file {}", path.display())))?;
    }
    announce(&broker.config, &server);
    broker.groups.start();
    broker.transactions.start();
    let stop = {
        let broker = Arc::clone(&broker);
        async move {
            stop.await;
            broker.stop_waiting();
        }
    };
    server.run(broker, stop, DRAIN).await;
    Ok(())
}

/// The addresses that this broker is registered under. Clients are told those that they dialled, where none is
/// advertised; the registration needs one, and every interface is none.
fn endpoints(config: &BrokerConfig, server: &Server) -> Vec<Endpoint> {
    let endpoint = |(name, bound): (&str, SocketAddr)| {
        let (host, port) = match config.advertised(name) {
            Some(advertised) => (advertised.host.clone(), advertised.port),
            None if bound.ip().is_unspecified() => ("localhost".to_owned(), bound.port()),
            None => (bound.ip().to_string(), bound.port()),
        };
        Endpoint { name: name.to_owned(), host, port, security_protocol: PLAINTEXT }
    };
    server.addresses().map(endpoint).collect()
}

impl ServeArguments {
    /// Everything that was given, in the order in which it counts.
    fn start(
        &self,
        temporary: Option<&Path>,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Start, GivenError> {
        let mut start = StartBuilder::default();
        if let Some(file) = &self.config {
            start = start.file(file)?;
        }
        start = start.environment(environment);
        for assignment in &self.set {
            start = start.assignment(assignment)?;
        }
        if let Some(address) = &self.listen {
            let named = if address.contains("://") { address.clone() } else { format!("PLAINTEXT://{address}") };
            start = start.flag("listeners", &named);
        }
        if let Some(folder) = temporary.or(self.data_dir.as_deref()) {
            start = start.flag("log.dirs", &folder.to_string_lossy());
        }
        let durability = self.durability.as_deref().or(self.ephemeral.then_some("memory"));
        let flags = [
            ("ottla.durability", durability),
            ("ottla.cluster.id", self.cluster_id.as_deref()),
            ("ottla.log.level", self.log_level.as_deref()),
        ];
        for (name, value) in flags {
            if let Some(value) = value {
                start = start.flag(name, value);
            }
        }
        Ok(start.finish())
    }
}

/// A data folder that goes when the broker goes.
#[derive(Debug)]
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    /// Only `--ephemeral` with files wants one.
    fn for_arguments(arguments: &ServeArguments) -> Result<Option<Self>, ServeError> {
        let with_files = arguments.durability.as_deref().is_some_and(|durability| durability != "memory");
        if !(arguments.ephemeral && with_files) {
            return Ok(None);
        }
        let path = std::env::temp_dir().join(format!("ottla-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&path)
            .map_err(ServeError::io(format!("cannot create the temporary folder {}", path.display())))?;
        Ok(Some(Self(path)))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            warn!("the temporary folder {} stays: {error}", self.0.display());
        }
    }
}

fn disk(durability: Durability) -> Arc<dyn Disk> {
    match durability {
        Durability::Memory => Arc::new(MemoryDisk::new()),
        Durability::Fsync | Durability::Os => Arc::new(OsDisk),
    }
}

fn log_to_stderr(level: LogLevel) {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // Already set only where the library runs inside another program, which then decides.
    let _ = subscriber.try_init();
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut builder = if cores <= CORES_OF_ONE_THREAD {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    builder.enable_all().build()
}

fn server_config(config: &BrokerConfig) -> ServerConfig {
    let (limits, socket) = (&config.limits, &config.socket);
    let listener = |listener: &crate::config::Listener| ListenerConfig {
        backlog: socket.backlog,
        send_buffer: socket.send_buffer,
        receive_buffer: socket.receive_buffer,
        ..ListenerConfig::new(&listener.name, &listener.host, listener.port)
    };
    ServerConfig {
        listeners: config.listeners.iter().map(listener).collect(),
        limits: Limits {
            request_max_bytes: limits.request_max_bytes,
            queued_max_request_bytes: limits.queued_request_bytes.unwrap_or(usize::MAX),
            max_connections: limits.connections,
            max_connections_per_ip: limits.connections_per_ip,
            max_connections_per_ip_overrides: limits.connections_per_ip_overrides.iter().copied().collect(),
            connections_max_idle: limits.idle,
        },
    }
}

/// The ready line: where it listens, where the data is, what an acknowledgement means, how groups start.
fn announce(config: &BrokerConfig, server: &Server) {
    let addresses: Vec<_> = server.addresses().map(|(name, address)| format!("{name}://{address}")).collect();
    let storage = &config.storage;
    let data = match storage.durability {
        Durability::Memory => "data in memory only".to_owned(),
        Durability::Fsync | Durability::Os => format!("data in {}", storage.dir.display()),
    };
    let acknowledged = match storage.durability {
        Durability::Fsync => "acks=all is answered after fdatasync",
        Durability::Os => "acks=all is answered from the page cache",
        Durability::Memory => "nothing survives the process",
    };
    let groups = match config.groups.initial_rebalance_delay_ms {
        0 => "groups start at once".to_owned(),
        delay => format!("groups wait {delay} ms for more members (group.initial.rebalance.delay.ms)"),
    };
    let version = env!("CARGO_PKG_VERSION");
    let mut stdout = std::io::stdout().lock();
    // A closed standard output is no reason to stop.
    let _ = writeln!(stdout, "ottla {version} listening on {}, {data}, {acknowledged}, {groups}", addresses.join(", "))
        .and_then(|()| stdout.flush());
}

/// In one step, so that a reader finds either nothing or the whole number.
fn write_port(path: &Path, port: u16) -> std::io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    std::fs::write(&unfinished, format!("{port}\n"))?;
    std::fs::rename(&unfinished, path)
}

/// SIGTERM or SIGINT.
#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => info!("stopping: SIGTERM"),
            _ = interrupt.recv() => info!("stopping: SIGINT"),
        }
    })
}

/// Ctrl-C.
#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            info!("stopping: Ctrl-C");
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        serve: ServeArguments,
    }

    fn start(line: &[&str], environment: &[(&str, &str)]) -> Start {
        let line = <Line as clap::Parser>::try_parse_from([&["ottla"], line].concat()).unwrap();
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        line.serve.start(None, environment).unwrap()
    }

    fn config(line: &[&str], environment: &[(&str, &str)]) -> BrokerConfig {
        BrokerConfig::build(start(line, environment)).unwrap().0
    }

    #[test]
    fn without_arguments_everything_is_default() {
        assert!(start(&[], &[("PATH", "/bin")]).is_empty());
        assert!(server_config(&config(&[], &[])).listeners.iter().all(|listener| listener.host == "127.0.0.1"));
    }

    #[test]
    fn flags_win_over_set_and_set_over_the_environment() {
        let environment = [("KAFKA_LOG_DIRS", "/environment"), ("KAFKA_NUM_PARTITIONS", "2"), ("CLUSTER_ID", "a")];
        let set = ["--set", "log.dirs=/set", "--set", "num.partitions=3"];
        let both = config(&[&set[..], &["--data-dir", "/flag", "--cluster-id", "b"]].concat(), &environment);
        assert_eq!(both.storage.dir, Path::new("/flag"));
        assert_eq!((both.topics.partitions, both.cluster_id.as_deref()), (3, Some("b")));
        assert_eq!(config(&set, &environment).storage.dir, Path::new("/set"));
        assert_eq!(config(&[], &environment).storage.dir, Path::new("/environment"));
    }

    #[test]
    fn an_address_becomes_a_listener() {
        for (address, host, port) in [("127.0.0.1:0", "127.0.0.1", 0), (":9", "", 9), ("[::1]:7", "::1", 7)] {
            let config = config(&["--listen", address], &[]);
            assert_eq!((config.listeners[0].host.as_str(), config.listeners[0].port), (host, port));
        }
    }

    #[test]
    fn ephemeral_is_memory_unless_files_are_asked_for() {
        assert_eq!(config(&["--ephemeral"], &[]).storage.durability, Durability::Memory);
        let with_files = ServeArguments { ephemeral: true, durability: Some("os".into()), ..ServeArguments::default() };
        let folder = TemporaryFolder::for_arguments(&with_files).unwrap().unwrap();
        let given = with_files.start(Some(folder.path()), std::iter::empty()).unwrap();
        let config = BrokerConfig::build(given).unwrap().0;
        assert_eq!((config.storage.durability, config.storage.dir.as_path()), (Durability::Os, folder.path()));
        let path = folder.path().to_owned();
        assert!(path.is_dir());
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_port_file_appears_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("port");
        write_port(&path, 4711).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "4711\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn limits_reach_the_server() {
        let set = |name: &str, value: &str| format!("{name}={value}");
        let given =
            [set("max.connections", "5"), set("max.connections.per.ip", "4"), set("queued.max.request.bytes", "-1")];
        let line: Vec<&str> = given.iter().flat_map(|one| ["--set", one.as_str()]).collect();
        let limits = server_config(&config(&line, &[])).limits;
        assert_eq!((limits.max_connections, limits.max_connections_per_ip), (5, 4));
        assert_eq!(limits.queued_max_request_bytes, usize::MAX);
    }
}
