//! The smallest conversation with a broker: is it there, and does it answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// ApiVersions version 0, correlation id 7, no client id.
const API_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];

/// Asks for ApiVersions once and returns the answer's body: error code and the list of APIs.
pub fn api_versions(address: SocketAddr) -> io::Result<Vec<u8>> {
    converse(address).map(|(_, answer)| answer)
}

/// A connection that has asked once and is idle from now on.
pub fn idle_connection(address: SocketAddr) -> io::Result<TcpStream> {
    converse(address).map(|(connection, _)| connection)
}

fn converse(address: SocketAddr) -> io::Result<(TcpStream, Vec<u8>)> {
    let mut connection = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    connection.write_all(&API_VERSIONS)?;
    let mut length = [0; 4];
    connection.read_exact(&mut length)?;
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap_or(0).min(1 << 20)];
    connection.read_exact(&mut answer)?;
    if answer.len() < 10 || answer[..4] != [0, 0, 0, 7] {
        return Err(io::Error::other("that is no answer to ApiVersions"));
    }
    Ok((connection, answer.split_off(4)))
}

/// Waits until the broker answers ApiVersions; `still_alive` may end the wait with an error.
pub fn wait_until_ready(
    address: SocketAddr,
    limit: Duration,
    mut still_alive: impl FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let asked = Instant::now();
    loop {
        let Err(error) = api_versions(address) else { return Ok(()) };
        still_alive()?;
        if asked.elapsed() > limit {
            return Err(io::Error::other(format!("no broker answers at {address} after {limit:?}: {error}")));
        }
        // tidy: may sleep: nothing tells when another process begins to listen; 0.2 ms is the resolution of start times.
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// A port that nobody listens on now; for a broker that cannot choose one itself.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
