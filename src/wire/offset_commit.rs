//! OffsetCommit, whose v10 names topics by id: `kafka-protocol` codes its response, but not its request.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition as CratePartition, OffsetCommitResponseTopic as CrateTopic,
};
use kafka_protocol::messages::{ApiKey, OffsetCommitResponse as CrateResponse};
use kafka_protocol::protocol::StrBytes;

use super::produce::TopicRef;
use super::reader::{Format, Reader};
use super::{ErrorCode, WireError, message, schema};
use crate::types::{LeaderEpoch, Offset, PartitionIndex, TopicId};

/// The first version without a retention time.
const NO_RETENTION: i16 = 5;
/// The first version with leader epochs.
const FIRST_LEADER_EPOCH: i16 = 6;
/// The first version for static members.
const FIRST_INSTANCE_ID: i16 = 7;
/// The first version with compact lengths and tagged fields.
const FIRST_FLEXIBLE: i16 = 8;
/// The first version that names topics by id.
const FIRST_TOPIC_ID: i16 = 10;

/// An OffsetCommit request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitRequest {
    /// The group.
    pub group: Arc<str>,
    /// The member's generation (classic) or epoch (consumer protocol); -1 for a client without membership.
    pub generation: i32,
    /// The member; empty for a client without membership.
    pub member_id: String,
    /// `group.instance.id` of a static member (v7+).
    pub instance_id: Option<String>,
    /// How long to keep the offsets, where the client says so (below v5). Milliseconds.
    pub retention_ms: Option<i64>,
    /// What to commit, by topic.
    pub topics: Vec<CommitTopic>,
}

/// A topic of an OffsetCommit request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitTopic {
    /// Which topic: by name, by id from v10 on.
    pub topic: TopicRef,
    /// What to commit, by partition.
    pub partitions: Vec<CommitPartition>,
}

/// A partition of an OffsetCommit request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitPartition {
    /// Which partition.
    pub index: PartitionIndex,
    /// The next record to process.
    pub offset: Offset,
    /// The leader epoch of the last record that was processed; -1 where it is not told (v6+).
    pub leader_epoch: LeaderEpoch,
    /// What the client wants to keep with it; empty where it sent null.
    pub metadata: Arc<str>,
}

/// Decodes the body of an OffsetCommit request (v2-v10).
///
/// # Errors
///
/// Where the version is not known, or the bytes do not fit it.
pub fn decode(version: i16, body: &[u8]) -> Result<OffsetCommitRequest, WireError> {
    // Every count below is covered by bytes, and what they stand for by the budget of the walk.
    schema::check(ApiKey::OffsetCommit as i16, version, body)?;
    let format = Format::of(version, FIRST_FLEXIBLE);
    let mut reader = Reader::new(body);
    let group = reader.string(format)?.into();
    let generation = reader.i32()?;
    let member_id = reader.string(format)?.to_owned();
    let instance_id =
        if version < FIRST_INSTANCE_ID { None } else { reader.nullable_string(format)?.map(ToOwned::to_owned) };
    let retention_ms = if version < NO_RETENTION { Some(reader.i64()?).filter(|time| *time != -1) } else { None };
    let count = reader.array(format, 1)?;
    let topics = (0..count).map(|_| topic(version, &mut reader)).collect::<Result<_, _>>()?;
    Ok(OffsetCommitRequest { group, generation, member_id, instance_id, retention_ms, topics })
}

fn topic(version: i16, reader: &mut Reader<'_>) -> Result<CommitTopic, WireError> {
    let format = Format::of(version, FIRST_FLEXIBLE);
    let topic = if version < FIRST_TOPIC_ID {
        TopicRef::Name(reader.string(format)?.into())
    } else {
        TopicRef::Id(TopicId(reader.uuid()?))
    };
    let count = reader.array(format, 1)?;
    let partitions = (0..count).map(|_| partition(version, reader)).collect::<Result<_, _>>()?;
    reader.skip_tags(format)?;
    Ok(CommitTopic { topic, partitions })
}

fn partition(version: i16, reader: &mut Reader<'_>) -> Result<CommitPartition, WireError> {
    let format = Format::of(version, FIRST_FLEXIBLE);
    let index = PartitionIndex(reader.i32()?);
    let offset = Offset(reader.i64()?);
    let leader_epoch = if version < FIRST_LEADER_EPOCH { LeaderEpoch::NONE } else { LeaderEpoch(reader.i32()?) };
    let metadata = reader.nullable_string(format)?.unwrap_or_default().into();
    reader.skip_tags(format)?;
    Ok(CommitPartition { index, offset, leader_epoch, metadata })
}

/// An OffsetCommit response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetCommitResponse {
    /// How long the client is to wait before it asks again (v3+).
    pub throttle_time_ms: i32,
    /// A code for each partition, by topic, in the order of the request.
    pub topics: Vec<CommittedTopic>,
}

/// A topic of an OffsetCommit response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedTopic {
    /// As the request named it.
    pub topic: TopicRef,
    /// The partitions with what came of them.
    pub partitions: Vec<(PartitionIndex, ErrorCode)>,
}

impl OffsetCommitRequest {
    /// The response that gives every partition the same code.
    pub fn all(&self, code: ErrorCode) -> OffsetCommitResponse {
        let topic = |topic: &CommitTopic| CommittedTopic {
            topic: topic.topic.clone(),
            partitions: topic.partitions.iter().map(|partition| (partition.index, code)).collect(),
        };
        OffsetCommitResponse { throttle_time_ms: 0, topics: self.topics.iter().map(topic).collect() }
    }
}

/// Encodes a whole OffsetCommit response frame (v2-v10).
///
/// # Errors
///
/// Where the version is not known.
pub fn encode_response(version: i16, correlation_id: i32, response: &OffsetCommitResponse) -> Result<Bytes, WireError> {
    let partition = |&(index, code): &(PartitionIndex, ErrorCode)| {
        CratePartition::default().with_partition_index(index.0).with_error_code(code.0)
    };
    let topic = |topic: &CommittedTopic| {
        let (name, id) = crate_name(&topic.topic);
        let partitions = topic.partitions.iter().map(partition).collect();
        CrateTopic::default().with_name(name.into()).with_topic_id(id).with_partitions(partitions)
    };
    let body = CrateResponse::default()
        .with_throttle_time_ms(response.throttle_time_ms)
        .with_topics(response.topics.iter().map(topic).collect());
    message::encode_response(ApiKey::OffsetCommit, version, correlation_id, &body)
}

/// A topic's name and id; the one that the request did not give, which its version does not carry, is empty.
pub fn crate_name(topic: &TopicRef) -> (StrBytes, uuid::Uuid) {
    match topic {
        TopicRef::Name(name) => (StrBytes::from_string(String::from(&**name)), uuid::Uuid::nil()),
        TopicRef::Id(id) => (StrBytes::default(), id.0),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::OffsetCommitRequest as CrateRequest;
    use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    use kafka_protocol::protocol::Encodable;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::message::text;

    /// A request as the crate writes it.
    fn crate_encoded(version: i16) -> Bytes {
        let partition = |index, metadata: Option<&str>| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(index)
                .with_committed_offset(100)
                .with_committed_leader_epoch(if version < 6 { -1 } else { 4 })
                .with_committed_metadata(metadata.map(text))
        };
        let topic = |name, partitions| {
            OffsetCommitRequestTopic::default().with_name(text(name).into()).with_partitions(partitions)
        };
        let request = CrateRequest::default()
            .with_group_id(text("g").into())
            .with_generation_id_or_member_epoch(5)
            .with_member_id(text("m"))
            .with_group_instance_id((version >= 7).then(|| text("i")))
            .with_retention_time_ms(if version <= 4 { 60_000 } else { -1 })
            .with_topics(vec![topic("t", vec![partition(1, Some("x")), partition(2, None)]), topic("u", vec![])]);
        let mut out = BytesMut::new();
        request.encode(&mut out, version).unwrap();
        out.freeze()
    }

    fn expected(version: i16) -> OffsetCommitRequest {
        let partition = |index, metadata: &str| CommitPartition {
            index: PartitionIndex(index),
            offset: Offset(100),
            leader_epoch: LeaderEpoch(if version < 6 { -1 } else { 4 }),
            metadata: metadata.into(),
        };
        OffsetCommitRequest {
            group: "g".into(),
            generation: 5,
            member_id: "m".into(),
            instance_id: (version >= 7).then(|| "i".into()),
            retention_ms: (version <= 4).then_some(60_000),
            topics: vec![
                CommitTopic {
                    topic: TopicRef::Name("t".into()),
                    partitions: vec![partition(1, "x"), partition(2, "")],
                },
                CommitTopic { topic: TopicRef::Name("u".into()), partitions: vec![] },
            ],
        }
    }

    fn id(number: u128) -> TopicId {
        TopicId(uuid::Uuid::from_u128(number))
    }

    /// Group, epoch, member, no instance; one topic by its id with one partition of five fields and empty tags.
    const V10: &[u8] = &[
        2, b'g', 0, 0, 0, 5, 2, b'm', 0, //
        2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, //
        2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 4, 2, b'x', 0, //
        0, 0,
    ];

    #[test]
    fn requests_of_the_crate_are_read() {
        for version in 2..=9 {
            assert_eq!(decode(version, &crate_encoded(version)), Ok(expected(version)), "v{version}");
        }
        let mut no_retention = crate_encoded(4).to_vec();
        no_retention[10..18].fill(0xff);
        assert_eq!(decode(4, &no_retention).unwrap().retention_ms, None);
    }

    #[test]
    fn version_10_names_topics_by_id() {
        let mut request = expected(10);
        request.instance_id = None;
        request.topics.truncate(1);
        request.topics[0].topic = TopicRef::Id(id(7));
        request.topics[0].partitions.truncate(1);
        assert_eq!(decode(10, V10), Ok(request));
        assert_eq!(decode(11, V10), Err(WireError::Unsupported { key: 8, version: 11 }));
        assert_eq!(decode(1, V10), Err(WireError::Unsupported { key: 8, version: 1 }));
    }

    #[test]
    fn responses_name_topics_as_the_request_did() {
        let request = decode(10, V10).unwrap();
        let v10 = encode_response(10, 9, &request.all(ErrorCode::NOT_COORDINATOR)).unwrap();
        let expected = [
            &[0, 0, 0, 37, 0, 0, 0, 9, 0, 0, 0, 0, 0, 2][..],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7],
            &[2, 0, 0, 0, 1, 0, 16, 0, 0, 0],
        ];
        assert_eq!(v10[4..], expected.concat()[4..]);
        assert_eq!(usize::from(v10[3]), v10.len() - 4);
        let mut response = decode(2, &crate_encoded(2)).unwrap().all(ErrorCode::NONE);
        response.topics.truncate(1);
        response.topics[0].partitions[1].1 = ErrorCode::OFFSET_METADATA_TOO_LARGE;
        let fields = [&[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2][..], &[0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 12]].concat();
        assert_eq!(encode_response(2, 9, &response).unwrap()[8..], fields);
        assert_eq!(encode_response(3, 9, &response).unwrap()[8..], [&[0, 0, 0, 0], &fields[..]].concat());
    }

    proptest! {
        #[test]
        fn damaged_requests_never_panic(version in 2_i16..=10, at: prop::sample::Index, value: u8, tail in 0_usize..8) {
            let mut bytes = if version == 10 { V10.to_vec() } else { crate_encoded(version).to_vec() };
            let at = at.index(bytes.len());
            bytes[at] = value;
            bytes.truncate(bytes.len() - tail);
            let _ = decode(version, &bytes);
        }
    }
}
