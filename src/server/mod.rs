//! Listeners, connections, ordered replies, memory limits.
//!
//! This room moves bytes and knows nothing of what they ask for: a [`Service`] does. It decides what a client may
//! take (semantics rules 33 and 34): how many connections, how large a request, how many in flight, how much memory.

mod connection;
mod limits;
mod listener;
mod memory;
pub mod receive;
mod registry;
mod replies;
mod sendfile;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{info, warn};

pub use limits::Limits;
pub use listener::{BindError, ListenerConfig};

use crate::api::{Refused, Reply, Request};
use limits::ConnectionQuota;
use listener::Listener;
use memory::Budget;
use receive::BufferPool;
use registry::{Registry, Signal};

/// Answers requests.
pub trait Service: Send + Sync + 'static {
    /// Stage one: when it returns, all that fixes the request's order has happened. The rest is in the reply, which
    /// is polled once at once and then when all earlier requests of its connection are answered.
    fn call(&self, request: Request) -> Result<Reply, Refused>;
}

/// What the server needs to know before it starts.
#[derive(Clone, Debug, Default)]
pub struct ServerConfig {
    /// Where to listen.
    pub listeners: Vec<ListenerConfig>,
    /// What clients may take.
    pub limits: Limits,
}

/// Bound listeners. Clients can connect from now on, and are served once it runs.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Listener>,
    limits: Limits,
    max_connections: usize,
}

/// What all connections share.
struct Shared<S> {
    service: S,
    limits: Limits,
    quota: Arc<ConnectionQuota>,
    memory: Budget,
    pool: BufferPool,
    registry: Registry,
}

impl Server {
    /// Binds all listeners. Call it inside a tokio runtime.
    pub fn bind(config: ServerConfig) -> Result<Self, BindError> {
        let max_connections = config.limits.max_connections.min(descriptors::for_connections());
        let listeners = config.listeners.iter().map(Listener::bind).collect::<Result<_, _>>()?;
        Ok(Self { listeners, limits: config.limits, max_connections })
    }

    /// The listeners' names and addresses, with the ports that the system chose for port 0.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.listeners.iter().map(|listener| (listener.name(), listener.address()))
    }

    /// Serves until `shutdown` ends. Then accepts nothing more, lets the requests in flight be answered for at most
    /// `drain`, and closes all connections.
    pub async fn run<S: Service>(self, service: S, shutdown: impl Future<Output = ()>, drain: Duration) {
        let shared = Arc::new(Shared::new(service, self.limits, self.max_connections));
        let mut tasks = JoinSet::new();
        for listener in self.listeners {
            tasks.spawn(listener.accept_all(Arc::clone(&shared)));
        }
        tasks.spawn(sweep(Arc::clone(&shared)));
        shutdown.await;
        tasks.shutdown().await;
        shared.drain(drain).await;
    }
}

impl<S: Service> Shared<S> {
    fn new(service: S, limits: Limits, max_connections: usize) -> Self {
        Self {
            service,
            quota: Arc::new(ConnectionQuota::new(&limits, max_connections)),
            memory: Budget::new(limits.queued_max_request_bytes),
            pool: BufferPool::default(),
            registry: Registry::default(),
            limits,
        }
    }

    async fn drain(&self, bound: Duration) {
        self.registry.signal_all(Signal::Drain);
        if tokio::time::timeout(bound, self.registry.empty()).await.is_err() {
            info!("closing {} connections whose requests are still unanswered", self.registry.len());
            self.registry.signal_all(Signal::Close);
            // A handler that never returns must not keep the broker from stopping.
            if tokio::time::timeout(bound, self.registry.empty()).await.is_err() {
                warn!("{} connections did not close", self.registry.len());
            }
        }
    }
}

/// Ticks without a byte after which a half-received request is dropped while others wait for memory.
const STALLED_TICKS: u32 = 2;
const LONGEST_TICK: Duration = Duration::from_secs(5);

/// Looks for idle connections now and then: one timer for all of them.
async fn sweep<S: Service>(shared: Arc<Shared<S>>) {
    let idle = shared.limits.connections_max_idle;
    let tick = idle.map_or(LONGEST_TICK, |idle| (idle / 8).clamp(Duration::from_millis(1), LONGEST_TICK));
    let idle_ticks = idle.map(|idle| u32::try_from(idle.as_millis() / tick.as_millis()).unwrap_or(u32::MAX));
    let mut timer = tokio::time::interval(tick);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let stalled = shared.memory.is_waited_for().then_some(STALLED_TICKS);
        shared.registry.sweep(idle_ticks, stalled);
        shared.pool.clear();
    }
}

mod descriptors {
    //! How many files and sockets the process may have open.

    /// Part of the descriptors that is kept for segments and everything else that is not a connection.
    const KEPT: usize = 4;

    /// Raises the limit as far as the system lets it and returns how many connections fit. Without this share a crowd
    /// of clients could keep the broker from opening its own segments.
    #[cfg(unix)]
    pub(super) fn for_connections() -> usize {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        let limit = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        (limit - limit / KEPT).max(1)
    }

    #[cfg(not(unix))]
    pub(super) fn for_connections() -> usize {
        usize::MAX / KEPT
    }
}

#[cfg(test)]
mod tests;
