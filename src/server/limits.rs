//! How many connections there may be: `max.connections`, `max.connections.per.ip` and its overrides.
//!
//! As in Kafka: a connection above its address's limit is closed at once; when there are `max.connections`, no more
//! are accepted until one closes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What a client may take from the broker.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest request in bytes (`socket.request.max.bytes`).
    pub request_max_bytes: usize,
    /// Bytes of requests that are read but not answered, over all connections (`queued.max.request.bytes`).
    pub queued_max_request_bytes: usize,
    /// Open connections in all (`max.connections`).
    pub max_connections: usize,
    /// Open connections from one address (`max.connections.per.ip`).
    pub max_connections_per_ip: usize,
    /// The same for single addresses (`max.connections.per.ip.overrides`).
    pub max_connections_per_ip_overrides: HashMap<IpAddr, usize>,
    /// After how long without a byte a connection is closed (`connections.max.idle.ms`); `None` for never.
    pub connections_max_idle: Option<std::time::Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_max_bytes: 100 * 1024 * 1024,
            queued_max_request_bytes: 256 * 1024 * 1024,
            max_connections: usize::MAX,
            max_connections_per_ip: usize::MAX,
            max_connections_per_ip_overrides: HashMap::new(),
            connections_max_idle: Some(std::time::Duration::from_mins(10)),
        }
    }
}

/// Counts the connections that are open.
#[derive(Debug)]
pub(super) struct ConnectionQuota {
    max: usize,
    max_per_ip: usize,
    overrides: HashMap<IpAddr, usize>,
    open: Mutex<Open>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    per_ip: HashMap<IpAddr, usize>,
}

/// One open connection; dropping it makes room for another.
#[derive(Debug)]
pub(super) struct Permit {
    quota: Arc<ConnectionQuota>,
    ip: IpAddr,
}

impl ConnectionQuota {
    pub(super) fn new(limits: &Limits, max: usize) -> Self {
        Self {
            max,
            max_per_ip: limits.max_connections_per_ip,
            overrides: limits.max_connections_per_ip_overrides.clone(),
            open: Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// Counts a connection from this address; the error is the limit that it would pass.
    pub(super) fn admit(self: &Arc<Self>, ip: IpAddr) -> Result<Permit, usize> {
        let limit = self.overrides.get(&ip).copied().unwrap_or(self.max_per_ip);
        let mut open = self.open.lock();
        let from_here = open.per_ip.entry(ip).or_default();
        if *from_here >= limit {
            if *from_here == 0 {
                open.per_ip.remove(&ip);
            }
            return Err(limit);
        }
        *from_here += 1;
        open.total += 1;
        drop(open);
        Ok(Permit { quota: Arc::clone(self), ip })
    }

    /// Waits until there are fewer connections than `max.connections`.
    pub(super) async fn has_room(&self) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.open.lock().total < self.max {
                return;
            }
            freed.await;
        }
    }

    /// Waits until a connection closes.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.quota.open.lock();
        open.total = open.total.saturating_sub(1);
        if let Some(count) = open.per_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                open.per_ip.remove(&self.ip);
            }
        }
        drop(open);
        // All listeners may wait; each looks again.
        self.quota.freed.notify_waiters();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_limit() {
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let limits = Limits {
            max_connections_per_ip: 1,
            max_connections_per_ip_overrides: HashMap::from([(two, 2), (IpAddr::from([10, 0, 0, 3]), 0)]),
            ..Limits::default()
        };
        let quota = Arc::new(ConnectionQuota::new(&limits, 10));
        let first = quota.admit(one).unwrap();
        assert_eq!(quota.admit(one).unwrap_err(), 1);
        let _others = (quota.admit(two).unwrap(), quota.admit(two).unwrap());
        assert_eq!(quota.admit(two).unwrap_err(), 2);
        assert_eq!(quota.admit(IpAddr::from([10, 0, 0, 3])).unwrap_err(), 0);
        drop(first);
        assert_eq!(quota.open.lock().per_ip.len(), 1, "addresses without connections are forgotten");
        assert!(quota.admit(one).is_ok());
    }
}
