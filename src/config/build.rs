//! The broker's typed settings, made from what was given at start.
//!
//! A bad value, a contradiction and a feature that cannot be had are errors; a setting without effect and a name that
//! nobody knows are notes for the log.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::def::{ConfigError, Effect, Value, split_list};
use super::layers::{Given, Layers, Start};
use super::listeners::{Advertised, EndpointSettings, Listener};
use super::{broker, groups, known, log_config, suggest, transactions};
use crate::group::config::GroupsConfig;
use crate::storage::{Durability, StorageConfig};
use crate::txn::config::TransactionsConfig;
use crate::types::NodeId;

/// The broker's settings, checked and typed.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// `node.id`.
    pub node_id: NodeId,
    /// `ottla.cluster.id`: the id of a new cluster; an existing data folder keeps its own.
    pub cluster_id: Option<String>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// `listeners`, without those of Kafka's controller; never empty.
    pub listeners: Vec<Listener>,
    /// `advertised.listeners`; a listener without one is advertised under the address that the client dialled.
    pub advertised: Vec<Advertised>,
    /// What is bounded.
    pub limits: Limits,
    /// How sockets are set up.
    pub socket: Socket,
    /// How logs are kept.
    pub storage: StorageConfig,
    /// How topics are made.
    pub topics: TopicDefaults,
    /// How groups are kept, as of the start; [`BrokerConfig::groups_now`] has what was altered since.
    pub groups: GroupsConfig,
    /// How transactions are kept; [`BrokerConfig::verifies_transactions`] has what can be altered.
    pub transactions: TransactionsConfig,
    /// `ottla.log.level`.
    pub log_level: LogLevel,
    /// Everything as it was given, for DescribeConfigs and for the defaults of topics.
    pub start: Start,
}

/// What a client may take up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `socket.request.max.bytes`.
    pub request_max_bytes: usize,
    /// `queued.max.request.bytes`; `None` for no limit.
    pub queued_request_bytes: Option<usize>,
    /// `max.connections`.
    pub connections: usize,
    /// `max.connections.per.ip`.
    pub connections_per_ip: usize,
    /// `max.connections.per.ip.overrides`.
    pub connections_per_ip_overrides: Vec<(IpAddr, usize)>,
    /// `connections.max.idle.ms`; `None` keeps idle connections.
    pub idle: Option<Duration>,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: usize,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_sessions: usize,
    /// `max.request.partition.size.limit`.
    pub described_partitions: usize,
}

/// How sockets are set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// `socket.send.buffer.bytes`; `None` leaves it to the operating system.
    pub send_buffer: Option<u32>,
    /// `socket.receive.buffer.bytes`; `None` leaves it to the operating system.
    pub receive_buffer: Option<u32>,
    /// `socket.listen.backlog.size`.
    pub backlog: u32,
}

/// How topics are made and unmade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDefaults {
    /// `num.partitions`.
    pub partitions: i32,
    /// `default.replication.factor`.
    pub replication_factor: i16,
    /// `auto.create.topics.enable`.
    pub auto_create: bool,
    /// `delete.topic.enable`.
    pub deletable: bool,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What failed.
    Error,
    /// And what is probably not what was meant.
    Warn,
    /// And what happens.
    Info,
    /// And what helps to find faults.
    Debug,
    /// And every step.
    Trace,
}

impl LogLevel {
    fn of(text: &str) -> Self {
        match text {
            "off" => Self::Off,
            "error" => Self::Error,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => Self::Warn,
        }
    }
}

/// Something that the person who started the broker should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// It is probably not what was meant.
    Warning(String),
    /// It is as it should be.
    Info(String),
}

/// Ottla's and Kafka's defaults.
impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            node_id: NodeId(1),
            cluster_id: None,
            rack: None,
            listeners: vec![Listener { name: "PLAINTEXT".to_owned(), host: "127.0.0.1".to_owned(), port: 9092 }],
            advertised: Vec::new(),
            limits: Limits::default(),
            socket: Socket { send_buffer: None, receive_buffer: None, backlog: 50 },
            storage: StorageConfig {
                dir: PathBuf::from("./ottla-data"),
                durability: Durability::Fsync,
                producer_id_expiration_ms: 86_400_000,
            },
            topics: TopicDefaults { partitions: 1, replication_factor: 1, auto_create: true, deletable: true },
            groups: GroupsConfig { initial_rebalance_delay_ms: 0, ..GroupsConfig::default() },
            transactions: TransactionsConfig::default(),
            log_level: LogLevel::Warn,
            start: Start::new(),
        }
    }
}

/// Ottla's and Kafka's defaults.
impl Default for Limits {
    fn default() -> Self {
        Self {
            request_max_bytes: 104_857_600,
            queued_request_bytes: Some(268_435_456),
            connections: i32::MAX as usize,
            connections_per_ip: i32::MAX as usize,
            connections_per_ip_overrides: Vec::new(),
            idle: Some(Duration::from_mins(10)),
            fetch_max_bytes: 57_671_680,
            fetch_sessions: 1000,
            described_partitions: 2000,
        }
    }
}

impl BrokerConfig {
    /// Checks and types what was given. What is not given takes its default.
    pub fn build(mut start: Start) -> Result<(Self, Vec<Note>), ConfigError> {
        one_node_id(&mut start)?;
        let mut notes = check_given(&start)?;
        refuse_what_cannot_be_had(&start)?;
        let reader = Reader(Layers::at_start(&start));
        let endpoints = EndpointSettings {
            listeners: reader.text("listeners"),
            advertised: reader.given("advertised.listeners"),
            protocols: reader.text("listener.security.protocol.map"),
            controllers: reader.text("controller.listener.names"),
            inter_broker: reader.given("inter.broker.listener.name"),
        }
        .resolve()?;
        if !endpoints.controllers.is_empty() {
            notes.push(Note::Info(format!(
                "listener {} is Kafka's controller's; Ottla needs no controller connections and does not open it",
                endpoints.controllers.join(", ")
            )));
        }
        let config = Self {
            node_id: NodeId(reader.number("node.id")?),
            cluster_id: reader.given("ottla.cluster.id").map(str::to_owned),
            rack: reader.given("broker.rack").map(str::to_owned),
            listeners: endpoints.listeners,
            advertised: endpoints.advertised,
            limits: reader.limits()?,
            socket: Socket {
                send_buffer: u32::try_from(reader.number::<i64>("socket.send.buffer.bytes")?).ok(),
                receive_buffer: u32::try_from(reader.number::<i64>("socket.receive.buffer.bytes")?).ok(),
                backlog: reader.number("socket.listen.backlog.size")?,
            },
            storage: StorageConfig {
                dir: data_folder(&start)?,
                durability: match reader.text("ottla.durability") {
                    "os" => Durability::Os,
                    "memory" => Durability::Memory,
                    _ => Durability::Fsync,
                },
                producer_id_expiration_ms: reader.number("producer.id.expiration.ms")?,
            },
            topics: TopicDefaults {
                partitions: reader.number("num.partitions")?,
                replication_factor: reader.number("default.replication.factor")?,
                auto_create: reader.boolean("auto.create.topics.enable")?,
                deletable: reader.boolean("delete.topic.enable")?,
            },
            groups: groups::build(&reader, &mut notes)?,
            transactions: transactions::build(&reader, &mut notes)?,
            log_level: LogLevel::of(reader.text("ottla.log.level")),
            start: Start::new(),
        };
        let config = Self { start, ..config };
        log_config::check_defaults(&Layers::at_start(&config.start))?;
        Ok((config, notes))
    }

    /// What clients of a listener are told to connect to; `None` for the address that they dialled.
    pub fn advertised(&self, listener: &str) -> Option<&Advertised> {
        self.advertised.iter().find(|advertised| advertised.listener == listener)
    }
}

/// Reads typed values; all were checked against their rules before.
pub(super) struct Reader<'a>(pub(super) Layers<'a>);

impl<'a> Reader<'a> {
    /// The text that counts; empty for none.
    pub(super) fn text(&self, name: &str) -> &'a str {
        self.0.get(name).unwrap_or_default()
    }

    /// A text that was given and is not empty.
    fn given(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).filter(|value| !value.is_empty())
    }

    /// The typed value.
    pub(super) fn value(&self, name: &str) -> Result<Value, ConfigError> {
        let text = self.text(name);
        broker::find(name).map_or_else(|| Ok(Value::Text(text.to_owned())), |setting| setting.parse(text))
    }

    /// The number, in the type that it is wanted in.
    pub(super) fn number<T: TryFrom<i64>>(&self, name: &str) -> Result<T, ConfigError> {
        match self.value(name)? {
            Value::Number(value) => T::try_from(value).map_err(|_| out_of_range(name, value)),
            other => Err(ConfigError::invalid(name, &other.to_string(), "must be a whole number")),
        }
    }

    pub(super) fn boolean(&self, name: &str) -> Result<bool, ConfigError> {
        Ok(self.value(name)? == Value::Boolean(true))
    }

    fn limits(&self) -> Result<Limits, ConfigError> {
        let request_max_bytes: usize = self.number("socket.request.max.bytes")?;
        // Kafka: 0 and below set no limit, and a limit must let the largest request in.
        let queued: i64 = self.number("queued.max.request.bytes")?;
        let mut queued_request_bytes = if queued <= 0 { None } else { Some(self.number("queued.max.request.bytes")?) };
        if self.given("queued.max.request.bytes").is_none() {
            // Kafka sets no limit by default, so that files written for it may ask for larger requests.
            queued_request_bytes = queued_request_bytes.map(|queued| request_max_bytes.max(queued));
        }
        if queued_request_bytes.is_some_and(|queued: usize| queued < request_max_bytes) {
            return Err(ConfigError::Conflict(format!(
                "queued.max.request.bytes={queued} must be at least socket.request.max.bytes={request_max_bytes}, \
                 or -1 for no limit"
            )));
        }
        let idle: i64 = self.number("connections.max.idle.ms")?;
        Ok(Limits {
            request_max_bytes,
            queued_request_bytes,
            connections: self.number("max.connections")?,
            connections_per_ip: self.number("max.connections.per.ip")?,
            connections_per_ip_overrides: per_ip_overrides(self.text("max.connections.per.ip.overrides"))?,
            idle: u64::try_from(idle).ok().map(Duration::from_millis),
            fetch_max_bytes: self.number("fetch.max.bytes")?,
            fetch_sessions: self.number("max.incremental.fetch.session.cache.slots")?,
            described_partitions: self.number("max.request.partition.size.limit")?,
        })
    }
}

fn out_of_range(name: &str, value: i64) -> ConfigError {
    ConfigError::invalid(name, &value.to_string(), "is out of range")
}

/// `broker.id` and `node.id` are one thing: what is given under one name counts for both.
fn one_node_id(start: &mut Start) -> Result<(), ConfigError> {
    match (start.get("node.id").cloned(), start.get("broker.id").cloned()) {
        (Some(node), Some(broker)) if node.value != broker.value => Err(ConfigError::Conflict(format!(
            "node.id={} and broker.id={} are two names of one setting; give one of them, or the same value",
            node.value, broker.value
        ))),
        (Some(id), None) => {
            start.insert("broker.id".to_owned(), id);
            Ok(())
        }
        (None, Some(id)) => {
            start.insert("node.id".to_owned(), id);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Parses every given value, and sorts out the names that do nothing.
fn check_given(start: &Start) -> Result<Vec<Note>, ConfigError> {
    let (mut idle, mut later, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for (name, given) in start {
        let Some(setting) = broker::find(name) else {
            if known::is_undescribed(name) || name.starts_with("listener.name.") {
                idle.push(name.as_str());
            } else {
                notes.push(Note::Warning(unknown(name, given)));
            }
            continue;
        };
        setting.parse(&given.value)?;
        match setting.effect {
            Effect::Acts => {}
            Effect::Stored => later.push(name.as_str()),
            Effect::Nothing => idle.push(name.as_str()),
        }
    }
    if !later.is_empty() {
        notes.push(Note::Warning(format!("kept, but without effect in this version of Ottla: {}", later.join(", "))));
    }
    if !idle.is_empty() {
        notes
            .push(Note::Warning(format!("settings of Apache Kafka that have no effect in Ottla: {}", idle.join(", "))));
    }
    Ok(notes)
}

fn unknown(name: &str, given: &Given) -> String {
    let hint = suggest::broker_setting(name).map_or_else(String::new, |known| format!("; did you mean {known}?"));
    format!("unknown setting {name} (from {}) is ignored{hint}", given.origin)
}

/// What would promise something that Ottla does not do: better not to start than to start without it.
fn refuse_what_cannot_be_had(start: &Start) -> Result<(), ConfigError> {
    const REFUSED: &[(&str, &str)] = &[
        ("authorizer.class.name", "this version of Ottla checks no ACLs, and starting would leave everything open"),
        ("create.topic.policy.class.name", "Ottla cannot run Java classes, so that the policy would not be kept"),
        ("alter.config.policy.class.name", "Ottla cannot run Java classes, so that the policy would not be kept"),
        ("client.quota.callback.class", "Ottla cannot run Java classes"),
        ("config.providers", "Ottla does not resolve values from providers; write them out, or use KAFKA_* variables"),
    ];
    let value = |name: &str| start.get(name).map(|given| given.value.as_str()).filter(|value| !value.is_empty());
    for (name, reason) in REFUSED {
        if let Some(value) = value(name) {
            return Err(ConfigError::Conflict(format!("{name}={value} cannot be had: {reason}. Remove it to start.")));
        }
    }
    if value("remote.log.storage.system.enable").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(ConfigError::Conflict(
            "remote.log.storage.system.enable=true: Ottla has no tiered storage".to_owned(),
        ));
    }
    if let Some(roles) = value("process.roles")
        && !split_list(roles).iter().any(|role| role == "broker")
    {
        return Err(ConfigError::Conflict(format!(
            "process.roles={roles}: Ottla is a broker that is its own controller; use broker or broker,controller"
        )));
    }
    one_controller(value("controller.quorum.voters").unwrap_or_default(), value("node.id").unwrap_or("1"))?;
    let servers = value("controller.quorum.bootstrap.servers").unwrap_or_default();
    if split_list(servers).len() > 1 {
        return Err(ConfigError::Conflict(format!(
            "controller.quorum.bootstrap.servers={servers}: Ottla is a single node, a quorum of several controllers \
             cannot be had"
        )));
    }
    Ok(())
}

/// `controller.quorum.voters` may name this node only.
fn one_controller(voters: &str, node_id: &str) -> Result<(), ConfigError> {
    const NAME: &str = "controller.quorum.voters";
    let list = split_list(voters);
    for voter in &list {
        let Some((id, _)) = voter.split_once('@') else {
            return Err(ConfigError::invalid(NAME, voters, format!("{voter} is not of the form id@host:port")));
        };
        if list.len() > 1 || id.trim() != node_id {
            return Err(ConfigError::Conflict(format!(
                "{NAME}={voters}: Ottla is a single node, only itself ({node_id}@host:port) can be its controller"
            )));
        }
    }
    Ok(())
}

/// `log.dirs`, else `log.dir`: one folder.
fn data_folder(start: &Start) -> Result<PathBuf, ConfigError> {
    let layers = Layers::at_start(start);
    let (name, text) = match layers.get("log.dirs") {
        Some(text) => ("log.dirs", text),
        None => ("log.dir", layers.get("log.dir").unwrap_or_default()),
    };
    let mut folders = split_list(text);
    if folders.len() > 1 {
        return Err(ConfigError::invalid(name, text, "Ottla keeps its data in one folder; name one"));
    }
    folders.pop().map(PathBuf::from).ok_or_else(|| ConfigError::invalid(name, text, "must name a folder"))
}

/// `address:count`, separated by commas.
fn per_ip_overrides(text: &str) -> Result<Vec<(IpAddr, usize)>, ConfigError> {
    split_list(text)
        .iter()
        .map(|pair| {
            let parsed = pair.rsplit_once(':').and_then(|(address, count)| {
                let address = address.trim().trim_start_matches('[').trim_end_matches(']');
                Some((address.parse().ok()?, count.trim().parse().ok()?))
            });
            parsed.ok_or_else(|| {
                let reason = format!("{pair} is not of the form address:count with an IP address");
                ConfigError::invalid("max.connections.per.ip.overrides", text, reason)
            })
        })
        .collect()
}
