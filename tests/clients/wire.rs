//! Requests that librdkafka cannot send, or would not: typed ones, and bytes as they are.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// A connection to a broker.
pub struct Connection {
    stream: TcpStream,
    correlation: i32,
}

impl Connection {
    pub fn open(bootstrap: &str) -> Self {
        Self::try_open(bootstrap).expect("the broker does not accept connections")
    }

    /// Fails where no broker listens.
    pub fn try_open(bootstrap: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(bootstrap)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, correlation: 0 })
    }

    /// One request and its answer.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.try_call(version, request).expect("no answer")
    }

    /// One request and its answer, unless the broker goes away.
    pub fn try_call<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.correlation += 1;
        self.send(&frame(R::KEY, version, self.correlation, &body(version, request)));
        let mut answer = self.receive()?;
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
        assert_eq!(header.correlation_id, self.correlation);
        let response = R::Response::decode(&mut answer, version).unwrap();
        assert_eq!(answer.remaining(), 0, "the answer is longer than its schema");
        Ok(response)
    }

    /// Bytes as they are. The broker may have hung up already; that shows when the answer is read.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next answer without its length.
    pub fn receive(&mut self) -> io::Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?];
        self.stream.read_exact(&mut answer)?;
        Ok(answer.into())
    }

    /// Waits until the broker closes the connection; an answer instead is an error.
    pub fn expect_closed(&mut self) {
        let mut byte = [0; 1];
        match self.stream.read(&mut byte) {
            Ok(0) => {}
            Ok(_) => panic!("the broker answered what it should have hung up on"),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the broker neither answered nor hung up: {error}"),
        }
    }

    /// Says that nothing more comes.
    pub fn finish(&mut self) {
        // It fails when the broker has hung up, which is as good.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }
}

/// A request's body.
pub fn body<R: Encodable>(version: i16, request: &R) -> Bytes {
    let mut bytes = BytesMut::new();
    request.encode(&mut bytes, version).unwrap();
    bytes.freeze()
}

/// A whole frame: length, header, body.
pub fn frame(key: i16, version: i16, correlation: i32, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i32(0);
    let header_version = ApiKey::try_from(key).map_or(1, |api| api.request_header_version(version));
    RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("test")))
        .encode(&mut bytes, header_version)
        .unwrap();
    bytes.put_slice(body);
    let length = i32::try_from(bytes.len() - 4).unwrap();
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes.freeze()
}
