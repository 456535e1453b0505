//! Listening sockets: binding them, and accepting connections whatever the system runs out of.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tracing::{debug, warn};

use super::connection::Connection;
use super::{Service, Shared};
use crate::api::Peer;

/// Where to listen.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// The listener's name, as in `listeners=NAME://host:port`.
    pub name: Arc<str>,
    /// A host name or address; empty for every address of the machine.
    pub host: String,
    /// The port; 0 lets the system choose.
    pub port: u16,
    /// Connections that wait to be accepted (`socket.listen.backlog.size`).
    pub backlog: u32,
    /// The kernel's send buffer (`socket.send.buffer.bytes`); `None` leaves it to the system.
    pub send_buffer: Option<u32>,
    /// The kernel's receive buffer (`socket.receive.buffer.bytes`); `None` leaves it to the system.
    pub receive_buffer: Option<u32>,
}

impl ListenerConfig {
    /// A listener with the system's buffer sizes.
    pub fn new(name: &str, host: &str, port: u16) -> Self {
        let (name, host) = (name.into(), host.to_owned());
        Self { name, host, port, backlog: 50, send_buffer: None, receive_buffer: None }
    }
}

/// A listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("listeners={name}://{host}:{port} cannot be bound: {source}; {advice}")]
pub struct BindError {
    name: Arc<str>,
    host: String,
    port: u16,
    advice: &'static str,
    source: io::Error,
}

/// A bound listener.
#[derive(Debug)]
pub(super) struct Listener {
    name: Arc<str>,
    address: SocketAddr,
    socket: TcpListener,
}

impl Listener {
    pub(super) fn bind(config: &ListenerConfig) -> Result<Self, BindError> {
        let bound = bind_first(config).and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (address, socket) = bound.map_err(|source| BindError {
            name: Arc::clone(&config.name),
            host: config.host.clone(),
            port: config.port,
            advice: advice(&source),
            source,
        })?;
        Ok(Self { name: Arc::clone(&config.name), address, socket })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections for ever.
    pub(super) async fn accept_all<S: Service>(self, shared: Arc<Shared<S>>) {
        loop {
            shared.quota.has_room().await;
            match self.socket.accept().await {
                Ok((stream, remote)) => self.admit(&shared, stream, remote),
                Err(error) if is_exhausted(&error) => {
                    // The client stays in the backlog. Whatever frees a descriptor is worth trying again for.
                    warn!(listener = &*self.name, "cannot accept a connection: {error}; raise the limit of open files");
                    let _ = tokio::time::timeout(RETRY_ACCEPT, shared.quota.freed()).await;
                }
                // The client has gone, or the network had an error that is the connection's own.
                Err(error) => debug!(listener = &*self.name, "a connection failed before it was accepted: {error}"),
            }
        }
    }

    fn admit<S: Service>(&self, shared: &Arc<Shared<S>>, stream: TcpStream, remote: SocketAddr) {
        let remote = canonical(remote);
        let permit = match shared.quota.admit(remote.ip()) {
            Ok(permit) => permit,
            Err(limit) => {
                let listener = &*self.name;
                debug!(client = %remote, listener, "connection refused: max.connections.per.ip is {limit}");
                return;
            }
        };
        let local = stream.local_addr().map_or(self.address, canonical);
        if let Err(error) = prepare(&stream) {
            debug!(client = %remote, "socket option refused: {error}");
        }
        let peer = Arc::new(Peer { remote, local, listener: Arc::clone(&self.name) });
        tokio::spawn(Connection::new(stream, Arc::clone(shared), peer, permit));
    }
}

/// How long to wait for a descriptor that something other than a connection frees.
const RETRY_ACCEPT: Duration = Duration::from_millis(500);

/// Small replies leave at once, and a client that vanished is noticed.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(unix)]
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    Ok(())
}

/// An IPv4 client of an IPv6 socket is an IPv4 client.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Binds the first of the host's addresses that can be bound.
fn bind_first(config: &ListenerConfig) -> io::Result<TcpListener> {
    let addresses: Vec<SocketAddr> = if config.host.is_empty() {
        // The IPv6 wildcard serves both families; a machine without IPv6 has only the other.
        let wildcards: [IpAddr; 2] = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
        wildcards.map(|ip| SocketAddr::new(ip, config.port)).into()
    } else {
        let host = config.host.trim_start_matches('[').trim_end_matches(']');
        let mut addresses: Vec<SocketAddr> = (host, config.port).to_socket_addrs()?.collect();
        // As Java, and so Kafka, does: of localhost's two addresses most clients dial the older one.
        addresses.sort_by_key(SocketAddr::is_ipv6);
        addresses
    };
    let mut result = Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
    for address in addresses {
        result = bind_one(config, address);
        match &result {
            Ok(_) => break,
            // Falling through to the other family would split the port between two programs.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => break,
            Err(_) => {}
        }
    }
    result
}

fn bind_one(config: &ListenerConfig, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    #[cfg(unix)]
    {
        // After a restart the port is free at once. On Windows the option means something else.
        socket.set_reuseaddr(true)?;
        if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
            rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
        }
    }
    // Accepted sockets inherit these; the receive buffer has to be known before the window is negotiated.
    if let Some(bytes) = config.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = config.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(address)?;
    socket.listen(config.backlog)
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program uses the port: stop it, or choose another port (0 for any)",
        io::ErrorKind::AddrNotAvailable => "the address is not one of this machine's",
        io::ErrorKind::PermissionDenied => "ports below 1024 need more rights: choose a higher one",
        _ => "check the host name and the port",
    }
}

/// Whether the process or the system has run out of something that comes back.
fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    // Windows has one limit on sockets where Unix has one on files for the process and one for the system.
    #[cfg(unix)]
    const LIMITS: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    #[cfg(not(unix))]
    const LIMITS: [Errno; 2] = [Errno::MFILE, Errno::NOBUFS];
    Errno::from_io_error(error).is_some_and(|errno| LIMITS.contains(&errno))
}
