//! The first acknowledged record after a start, without a client's own waiting: one connection, one request, again
//! until it succeeds.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

use crate::frames;

const VERSION: i16 = 9;

/// Asks until one record is acknowledged with acks=all.
pub fn wait_until_acknowledged(address: SocketAddr, topic: &str, limit: Duration) -> io::Result<()> {
    let frame = produce_frame(topic).map_err(io::Error::other)?;
    let started = Instant::now();
    loop {
        let refusal = match attempt(address, &frame) {
            Ok(0) => return Ok(()),
            Ok(code) => io::Error::other(format!("error code {code}")),
            Err(error) => error,
        };
        if started.elapsed() > limit {
            return Err(io::Error::other(format!("nothing acknowledged within {limit:?}: {refusal}")));
        }
        // tidy: may sleep: nothing tells when another process begins to serve; 0.2 ms is the resolution of the figure.
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn attempt(address: SocketAddr, frame: &[u8]) -> io::Result<i16> {
    let mut connection = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    connection.set_read_timeout(Some(Duration::from_secs(30)))?;
    connection.write_all(frame)?;
    let mut length = [0; 4];
    connection.read_exact(&mut length)?;
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap_or(0).min(1 << 20)];
    connection.read_exact(&mut answer)?;
    let response = frames::decode::<ProduceRequest>(VERSION, answer.into())?;
    let partition = response.responses.first().and_then(|topic| topic.partition_responses.first());
    partition.map(|partition| partition.error_code).ok_or_else(|| io::Error::other("an empty answer"))
}

fn produce_frame(topic: &str) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let record = Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: -1,
        timestamp: 1_700_000_000_000,
        key: None,
        value: Some(Bytes::from_static(b"the first record after a start")),
        headers: IndexMap::default(),
    };
    let mut batch = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut batch, [&record], &options)?;
    let data = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partition_data(vec![PartitionProduceData::default().with_records(Some(batch.freeze()))]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![data]);
    Ok(frames::encode(VERSION, 1, &request)?)
}
