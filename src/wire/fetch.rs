//! Fetch responses, encoded by hand: the records themselves stay where they are and are sent from there.

use bytes::{BufMut, Bytes, BytesMut};

use super::produce::TopicRef;
use super::reader::Format;
use super::writer;
use crate::types::{LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerId};
use crate::wire::ErrorCode;

/// Stored bytes whose length is known and whose content need not be in memory.
pub trait StoredBytes {
    /// How many bytes there are.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A piece of a response: bytes in memory, or records that are sent from where they are stored.
#[derive(Debug)]
pub enum Piece<R> {
    /// Encoded fields.
    Bytes(Bytes),
    /// Record batches.
    Records(R),
}

/// A Fetch response.
#[derive(Debug)]
pub struct FetchResponse<R> {
    /// How long the client is throttled, in milliseconds.
    pub throttle_time_ms: i32,
    /// Error of the whole request (v7+).
    pub error: ErrorCode,
    /// The fetch session (v7+); 0 for none.
    pub session_id: i32,
    /// What was read, by topic.
    pub topics: Vec<FetchedTopic<R>>,
    /// Where the leaders are that partitions name (v16+, tagged).
    pub leaders: Vec<NodeEndpoint>,
}

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEndpoint {
    /// The broker.
    pub node: NodeId,
    /// Its host, as clients reach it.
    pub host: Box<str>,
    /// Its port.
    pub port: i32,
    /// `broker.rack`.
    pub rack: Option<Box<str>>,
}

/// One topic of a Fetch response.
#[derive(Debug)]
pub struct FetchedTopic<R> {
    /// The topic as the request named it.
    pub topic: TopicRef,
    /// What was read, by partition.
    pub partitions: Vec<FetchedPartition<R>>,
}

/// One partition of a Fetch response.
#[derive(Debug)]
pub struct FetchedPartition<R> {
    /// Which partition.
    pub index: PartitionIndex,
    /// Its error.
    pub error: ErrorCode,
    /// High watermark; -1 where not known.
    pub high_watermark: Offset,
    /// Last stable offset (v4+).
    pub last_stable_offset: Offset,
    /// First offset of the log (v5+).
    pub log_start_offset: Offset,
    /// Where the log diverges from the fetcher's (v12+, tagged), as epoch and end offset.
    pub diverging_epoch: Option<(LeaderEpoch, Offset)>,
    /// The current leader and its epoch (v12+, tagged); Kafka tells it from v16 on, with NOT_LEADER_OR_FOLLOWER and
    /// FENCED_LEADER_EPOCH (KIP-951).
    pub current_leader: Option<(NodeId, LeaderEpoch)>,
    /// Aborted transactions for read_committed; `None` is null on the wire.
    pub aborted: Option<Vec<(ProducerId, Offset)>>,
    /// The record batches; `None` is sent as an empty set.
    pub records: Option<R>,
}

/// The first version with compact lengths and tagged fields.
const FIRST_FLEXIBLE: i16 = 12;
/// The first version that names topics by id.
const FIRST_TOPIC_ID: i16 = 13;
/// The first version that says where leaders are.
const FIRST_NODE_ENDPOINTS: i16 = 16;

/// Encodes a whole Fetch response frame (v4-v18), length and header included.
///
/// Preferred read replicas (v11+) are -1: a replica elsewhere is never preferred. Snapshot ids are a tagged field that is
/// left out: only followers read them.
pub fn encode<R: StoredBytes>(version: i16, correlation_id: i32, response: FetchResponse<R>) -> Vec<Piece<R>> {
    let format = Format::of(version, FIRST_FLEXIBLE);
    let partitions: usize = response.topics.iter().map(|topic| topic.partitions.len()).sum();
    let mut pieces = Pieces {
        // A partition's fields take up to 60 bytes besides its tags; most responses fit without growing.
        head: BytesMut::with_capacity(64 + response.topics.len() * 40 + partitions * 64),
        done: Vec::with_capacity(partitions),
    };
    let head = &mut pieces.head;
    head.put_i32(0);
    head.put_i32(correlation_id);
    writer::no_tags(head, format);
    head.put_i32(response.throttle_time_ms);
    if version >= 7 {
        head.put_i16(response.error.0);
        head.put_i32(response.session_id);
    }
    writer::length(head, format, Some(response.topics.len()));
    for topic in response.topics {
        let head = &mut pieces.head;
        match &topic.topic {
            TopicRef::Id(id) if version >= FIRST_TOPIC_ID => head.put_slice(id.0.as_bytes()),
            TopicRef::Name(name) if version < FIRST_TOPIC_ID => writer::string(head, format, name),
            // The request named topics the other way: only its own kind can be echoed.
            TopicRef::Name(_) => head.put_slice(&[0; 16]),
            TopicRef::Id(_) => writer::string(head, format, ""),
        }
        writer::length(head, format, Some(topic.partitions.len()));
        for partition in topic.partitions {
            pieces.partition(version, format, partition);
        }
        writer::no_tags(&mut pieces.head, format);
    }
    if version >= FIRST_NODE_ENDPOINTS && !response.leaders.is_empty() {
        pieces.endpoints(format, &response.leaders);
    } else {
        writer::no_tags(&mut pieces.head, format);
    }
    pieces.finish()
}

/// A response in the making.
struct Pieces<R> {
    /// Fields, and the records that follow them.
    done: Vec<(BytesMut, R)>,
    /// Fields since the last records.
    head: BytesMut,
}

impl<R: StoredBytes> Pieces<R> {
    fn partition(&mut self, version: i16, format: Format, partition: FetchedPartition<R>) {
        let head = &mut self.head;
        head.put_i32(partition.index.0);
        head.put_i16(partition.error.0);
        head.put_i64(partition.high_watermark.0);
        head.put_i64(partition.last_stable_offset.0);
        if version >= 5 {
            head.put_i64(partition.log_start_offset.0);
        }
        writer::length(head, format, partition.aborted.as_ref().map(Vec::len));
        for (producer, first_offset) in partition.aborted.iter().flatten() {
            head.put_i64(producer.0);
            head.put_i64(first_offset.0);
            writer::no_tags(head, format);
        }
        if version >= 11 {
            head.put_i32(-1);
        }
        let records = partition.records.filter(|records| !records.is_empty());
        writer::length(head, format, Some(records.as_ref().map_or(0, StoredBytes::len)));
        if let Some(records) = records {
            self.records(records);
        }
        if format.is_flexible() {
            self.tags(partition.diverging_epoch, partition.current_leader);
        }
    }

    /// The response's one tagged field.
    fn endpoints(&mut self, format: Format, leaders: &[NodeEndpoint]) {
        let mut field = BytesMut::new();
        writer::length(&mut field, format, Some(leaders.len()));
        for leader in leaders {
            field.put_i32(leader.node.0);
            writer::string(&mut field, format, &leader.host);
            field.put_i32(leader.port);
            match &leader.rack {
                Some(rack) => writer::string(&mut field, format, rack),
                None => writer::length(&mut field, format, None),
            }
            writer::no_tags(&mut field, format);
        }
        let head = &mut self.head;
        head.put_slice(&[1, 0]);
        writer::unsigned_varint(head, field.len() as u32);
        head.put_slice(&field);
    }

    fn tags(&mut self, diverging: Option<(LeaderEpoch, Offset)>, leader: Option<(NodeId, LeaderEpoch)>) {
        let head = &mut self.head;
        head.put_u8(u8::from(diverging.is_some()) + u8::from(leader.is_some()));
        if let Some((epoch, end_offset)) = diverging {
            // Tag 0: 12 bytes of fields and its own empty tags.
            head.put_slice(&[0, 13]);
            head.put_i32(epoch.0);
            head.put_i64(end_offset.0);
            head.put_u8(0);
        }
        if let Some((leader, epoch)) = leader {
            // Tag 1: 8 bytes of fields and its own empty tags.
            head.put_slice(&[1, 9]);
            head.put_i32(leader.0);
            head.put_i32(epoch.0);
            head.put_u8(0);
        }
    }

    /// The fields so far go before the records; what follows goes into the rest of the same buffer.
    fn records(&mut self, records: R) {
        self.done.push((self.head.split(), records));
    }

    /// Writes the frame's length, which is known only now, into its first four bytes.
    fn finish(mut self) -> Vec<Piece<R>> {
        let length =
            self.head.len() + self.done.iter().map(|(head, records)| head.len() + records.len()).sum::<usize>();
        let first = self.done.first_mut().map_or(&mut self.head, |(head, _)| head);
        writer::set_frame_length(first, length);
        let last = Piece::Bytes(self.head.freeze());
        let pairs = self.done.into_iter();
        pairs.flat_map(|(head, records)| [Piece::Bytes(head.freeze()), Piece::Records(records)]).chain([last]).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kafka_protocol::messages::{FetchResponse as CrateResponse, ResponseHeader};
    use kafka_protocol::protocol::{Decodable, HeaderVersion};
    use proptest::prelude::*;

    use super::*;
    use crate::types::TopicId;

    impl StoredBytes for Vec<u8> {
        fn len(&self) -> usize {
            self.len()
        }
    }

    fn frame(pieces: Vec<Piece<Vec<u8>>>) -> Bytes {
        let mut all = BytesMut::new();
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => all.extend_from_slice(&bytes),
                Piece::Records(records) => all.extend_from_slice(&records),
            }
        }
        all.freeze()
    }

    /// Reads a frame with the other implementation; checks that nothing is left.
    fn read(version: i16, mut frame: Bytes) -> CrateResponse {
        let length = frame.split_to(4);
        assert_eq!(length[..], i32::try_from(frame.len()).unwrap().to_be_bytes());
        let header = ResponseHeader::decode(&mut frame, CrateResponse::header_version(version)).unwrap();
        assert_eq!(header.correlation_id, 77);
        let response = CrateResponse::decode(&mut frame, version).unwrap();
        assert!(frame.is_empty());
        response
    }

    fn partition(index: i32, records: Option<Vec<u8>>) -> FetchedPartition<Vec<u8>> {
        FetchedPartition {
            index: PartitionIndex(index),
            error: ErrorCode::NONE,
            high_watermark: Offset(10),
            last_stable_offset: Offset(9),
            log_start_offset: Offset(1),
            diverging_epoch: None,
            current_leader: None,
            aborted: None,
            records,
        }
    }

    fn response(version: i16, partitions: Vec<FetchedPartition<Vec<u8>>>) -> FetchResponse<Vec<u8>> {
        let topic =
            if version < 13 { TopicRef::Name("t".into()) } else { TopicRef::Id(TopicId(uuid::Uuid::from_u128(7))) };
        let topics = vec![FetchedTopic { topic, partitions }];
        FetchResponse { throttle_time_ms: 5, error: ErrorCode::NONE, session_id: 3, topics, leaders: Vec::new() }
    }

    #[test]
    fn every_version_is_read_by_another_implementation() {
        for version in 4..=18 {
            let mut moved = partition(2, None);
            moved.error = ErrorCode::NOT_LEADER_OR_FOLLOWER;
            moved.current_leader = Some((NodeId(4), LeaderEpoch(6)));
            let mut diverged = partition(3, Some(Vec::new()));
            diverged.diverging_epoch = Some((LeaderEpoch(2), Offset(5)));
            let mut aborted = partition(4, Some(b"xyz".to_vec()));
            aborted.aborted = Some(vec![(ProducerId(8), Offset(2)), (ProducerId(9), Offset(3))]);
            let large = partition(1, Some(vec![7; 300]));
            let mut sent = response(version, vec![large, moved, diverged, aborted]);
            let endpoint = |node, rack| NodeEndpoint { node: NodeId(node), host: "h".into(), port: 9, rack };
            sent.leaders = vec![endpoint(4, None), endpoint(5, Some("r".into()))];
            let read = read(version, frame(encode(version, 77, sent)));

            assert_eq!(read.throttle_time_ms, 5);
            assert_eq!((read.error_code, read.session_id), (0, if version >= 7 { 3 } else { 0 }));
            let endpoints: Vec<_> = read.node_endpoints.iter().collect();
            assert_eq!(endpoints.len(), if version >= 16 { 2 } else { 0 });
            if let [first, second] = endpoints.as_slice() {
                assert_eq!((first.node_id.0, &*first.host, first.port, &first.rack), (4, "h", 9, &None));
                assert_eq!((second.node_id.0, second.rack.as_deref()), (5, Some("r")));
            }
            let topic = &read.responses[0];
            assert_eq!(&**topic.topic, if version < 13 { "t" } else { "" });
            assert_eq!(topic.topic_id.as_u128(), if version < 13 { 0 } else { 7 });
            let all = &topic.partitions;
            assert_eq!(all.iter().map(|partition| partition.partition_index).collect::<Vec<_>>(), [1, 2, 3, 4]);
            assert_eq!((all[0].high_watermark, all[0].last_stable_offset), (10, 9));
            assert_eq!(all[0].log_start_offset, if version >= 5 { 1 } else { -1 });
            assert_eq!(all[0].records.as_deref(), Some(&[7; 300][..]));
            assert_eq!(all[0].preferred_read_replica.0, -1);
            assert_eq!(all[0].aborted_transactions, None);
            assert_eq!(all[1].error_code, 6);
            assert_eq!(all[1].records.as_deref(), Some(&[][..]));
            let aborted = all[3].aborted_transactions.as_ref().unwrap();
            assert_eq!(aborted.iter().map(|a| (a.producer_id.0, a.first_offset)).collect::<Vec<_>>(), [(8, 2), (9, 3)]);
            let tagged = version >= 12;
            assert_eq!(all[1].current_leader.leader_id.0, if tagged { 4 } else { -1 });
            assert_eq!(all[1].current_leader.leader_epoch, if tagged { 6 } else { -1 });
            assert_eq!(
                (all[2].diverging_epoch.epoch, all[2].diverging_epoch.end_offset),
                if tagged { (2, 5) } else { (-1, -1) }
            );
            assert_eq!(all[0].diverging_epoch.epoch, -1);
        }
    }

    #[test]
    fn records_are_pieces_of_their_own() {
        let pieces = encode(12, 1, response(12, vec![partition(0, Some(vec![1; 9])), partition(1, None)]));
        let kinds: Vec<bool> = pieces.iter().map(|piece| matches!(piece, Piece::Records(_))).collect();
        assert_eq!(kinds, [false, true, false]);
        let empty = encode::<Vec<u8>>(4, 1, response(4, Vec::new()));
        assert_eq!(empty.len(), 1);
    }

    proptest! {
        #[test]
        fn any_response_reads_back(
            version in 4_i16..=18,
            sizes in proptest::collection::vec(proptest::option::of(0_usize..20_000), 0..20),
            aborted in proptest::option::of(proptest::collection::vec((any::<i64>(), any::<i64>()), 0..200)),
        ) {
            let partitions = sizes.iter().enumerate().map(|(index, size)| {
                let mut sent = partition(index as i32, size.map(|size| vec![index as u8; size]));
                sent.aborted = aborted.as_ref().map(|all| all.iter().map(|&(p, o)| (ProducerId(p), Offset(o))).collect());
                sent
            });
            let read = read(version, frame(encode(version, 77, response(version, partitions.collect()))));
            for (read, size) in read.responses[0].partitions.iter().zip(&sizes) {
                prop_assert_eq!(read.records.as_ref().map(Bytes::len), Some(size.unwrap_or(0)));
                prop_assert_eq!(read.aborted_transactions.as_ref().map(Vec::len), aborted.as_ref().map(Vec::len));
            }
        }
    }
}
