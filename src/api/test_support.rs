//! A broker without a network, for the tests of this room: requests go to their handlers, replies are decoded.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{CreateTopicsRequest, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request as Message};

use super::{Peer, Reply, Request, Response};
use crate::broker::Broker;
use crate::config::BrokerConfig;
use crate::metadata::MetadataStore;
use crate::server::Service;
use crate::storage::disk::Disk;
use crate::storage::faulty_disk::FaultyDisk;
use crate::storage::{Durability, LogManager, PartitionLog, StorageConfig};
use crate::types::PartitionIndex;
use crate::wire::fetch::Piece;
use crate::wire::header::RequestHeader;
pub use crate::wire::message::text;

/// A broker on a disk that counts.
pub struct TestBroker {
    pub broker: Arc<Broker>,
    pub disk: FaultyDisk,
}

impl TestBroker {
    /// Acknowledges from the page cache, so that nothing waits for another thread.
    pub fn new() -> Self {
        Self::open(FaultyDisk::new(), Durability::Os)
    }

    /// On a disk that may hold something already.
    pub fn open(disk: FaultyDisk, durability: Durability) -> Self {
        let storage = StorageConfig { dir: PathBuf::from("/data"), durability, producer_id_expiration_ms: 86_400_000 };
        let config = BrokerConfig { storage, ..BrokerConfig::default() };
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let logs = LogManager::open(Arc::clone(&shared), config.storage.clone()).unwrap();
        let metadata = MetadataStore::open(shared.as_ref(), Arc::clone(&logs), &config).unwrap();
        Self { broker: Arc::new(Broker::new(config, metadata, logs)), disk }
    }

    /// Stage one.
    pub fn start<R: Message>(&self, version: i16, request: &R) -> Reply {
        let mut body = BytesMut::new();
        request.encode(&mut body, version).unwrap();
        let header =
            RequestHeader { api_key: R::KEY, api_version: version, correlation_id: 7, client_id: Some("test".into()) };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9092));
        let peer = Peer { remote: address, local: address, listener: "PLAINTEXT".into() };
        self.broker.call(Request { header, body, peer: Arc::new(peer) }).unwrap()
    }

    /// Both stages, for an answer that waits for nothing.
    pub async fn call<R: Message>(&self, version: i16, request: &R) -> R::Response {
        let mut reply = self.start(version, request);
        let response = loop {
            reply = match reply {
                Reply::Now(response) => break response,
                Reply::Later(later) | Reply::Parked(later, _) => break later.await.unwrap(),
                Reply::Staged(stage) => stage.await.unwrap(),
                Reply::Nothing => panic!("no answer"),
            };
        };
        decode::<R>(version, response)
    }

    pub async fn create(&self, name: &str, partitions: i32) {
        let topic = CreatableTopic::default()
            .with_name(TopicName(text(name)))
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let response =
            self.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000)).await;
        assert_eq!(response.topics[0].error_code, 0);
    }

    pub fn log(&self, topic: &str, partition: i32) -> Arc<dyn PartitionLog> {
        self.broker.logs.get(topic, PartitionIndex(partition)).unwrap().unwrap()
    }
}

/// An answer as a client reads it.
pub fn decode<R: Message>(version: i16, response: Response) -> R::Response {
    let mut frame = BytesMut::new();
    for piece in response.0 {
        match piece {
            Piece::Bytes(bytes) => frame.extend_from_slice(&bytes),
            Piece::Records(slice) => {
                let start = frame.len();
                frame.resize(start + slice.length, 0);
                assert_eq!(slice.file.read_at(&mut frame[start..], slice.position).unwrap(), slice.length);
            }
        }
    }
    let mut frame: Bytes = frame.freeze();
    assert_eq!(frame.get_i32() as usize, frame.len());
    let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version)).unwrap();
    assert_eq!(header.correlation_id, 7);
    let body = R::Response::decode(&mut frame, version).unwrap();
    assert!(frame.is_empty());
    body
}

/// What a reply's second stage says when it is looked at once.
pub fn poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}
