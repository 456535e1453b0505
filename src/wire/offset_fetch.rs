//! OffsetFetch, in one form for all versions: from v8 on it asks for many groups at once (KIP-709), and v10 names
//! topics by id, of which `kafka-protocol` codes the response, but not the request.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup as CrateGroup, OffsetFetchResponsePartition as CrateOldPartition,
    OffsetFetchResponsePartitions as CratePartition, OffsetFetchResponseTopic as CrateOldTopic,
    OffsetFetchResponseTopics as CrateTopic,
};
use kafka_protocol::messages::{ApiKey, OffsetFetchResponse as CrateResponse};

use super::message::{self, text};
use super::offset_commit::crate_name;
use super::produce::TopicRef;
use super::reader::{Format, Reader};
use super::{ErrorCode, WireError, schema};
use crate::types::{LeaderEpoch, Offset, PartitionIndex, TopicId};

/// The first version whose response has a code for the group.
const FIRST_GROUP_ERROR: i16 = 2;
/// The first version with compact lengths and tagged fields.
const FIRST_FLEXIBLE: i16 = 6;
/// The first version that may ask for stable offsets only.
const FIRST_REQUIRE_STABLE: i16 = 7;
/// The first version that asks for many groups.
const FIRST_GROUPS: i16 = 8;
/// The first version that tells the member and its epoch.
const FIRST_MEMBER: i16 = 9;
/// The first version that names topics by id.
const FIRST_TOPIC_ID: i16 = 10;

/// An OffsetFetch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchRequest {
    /// The groups; one below v8.
    pub groups: Vec<FetchGroup>,
    /// Whether offsets that a transaction may still change are to be held back (v7+).
    pub require_stable: bool,
}

/// A group of an OffsetFetch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchGroup {
    /// The group.
    pub group: Arc<str>,
    /// The member that asks, where it tells (v9+).
    pub member_id: Option<String>,
    /// Its epoch; -1 where it does not tell (v9+).
    pub member_epoch: i32,
    /// Which topics; `None` for all that have offsets.
    pub topics: Option<Vec<FetchTopic>>,
}

/// A topic of an OffsetFetch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTopic {
    /// Which topic: by name, by id from v10 on.
    pub topic: TopicRef,
    /// Which partitions.
    pub partitions: Vec<PartitionIndex>,
}

/// Decodes the body of an OffsetFetch request (v1-v10).
///
/// # Errors
///
/// Where the version is not known, or the bytes do not fit it.
pub fn decode(version: i16, body: &[u8]) -> Result<OffsetFetchRequest, WireError> {
    // Every count below is covered by bytes, and what they stand for by the budget of the walk.
    schema::check(ApiKey::OffsetFetch as i16, version, body)?;
    let format = Format::of(version, FIRST_FLEXIBLE);
    let mut reader = Reader::new(body);
    let groups = if version < FIRST_GROUPS {
        let group = reader.string(format)?.into();
        vec![FetchGroup { group, member_id: None, member_epoch: -1, topics: topics(version, &mut reader)? }]
    } else {
        let count = reader.array(format, 1)?;
        (0..count).map(|_| group(version, &mut reader)).collect::<Result<_, _>>()?
    };
    let require_stable = version >= FIRST_REQUIRE_STABLE && reader.boolean()?;
    Ok(OffsetFetchRequest { groups, require_stable })
}

fn group(version: i16, reader: &mut Reader<'_>) -> Result<FetchGroup, WireError> {
    let format = Format::of(version, FIRST_FLEXIBLE);
    let group = reader.string(format)?.into();
    let (member_id, member_epoch) = if version < FIRST_MEMBER {
        (None, -1)
    } else {
        (reader.nullable_string(format)?.map(ToOwned::to_owned), reader.i32()?)
    };
    let topics = topics(version, reader)?;
    reader.skip_tags(format)?;
    Ok(FetchGroup { group, member_id, member_epoch, topics })
}

fn topics(version: i16, reader: &mut Reader<'_>) -> Result<Option<Vec<FetchTopic>>, WireError> {
    let count = reader.nullable_array(Format::of(version, FIRST_FLEXIBLE), 1)?;
    count.map(|count| (0..count).map(|_| topic(version, reader)).collect()).transpose()
}

fn topic(version: i16, reader: &mut Reader<'_>) -> Result<FetchTopic, WireError> {
    let format = Format::of(version, FIRST_FLEXIBLE);
    let topic = if version < FIRST_TOPIC_ID {
        TopicRef::Name(reader.string(format)?.into())
    } else {
        TopicRef::Id(TopicId(reader.uuid()?))
    };
    let count = reader.array(format, size_of::<i32>())?;
    let partitions = (0..count).map(|_| reader.i32().map(PartitionIndex)).collect::<Result<_, _>>()?;
    reader.skip_tags(format)?;
    Ok(FetchTopic { topic, partitions })
}

/// An OffsetFetch response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetFetchResponse {
    /// How long the client is to wait before it asks again (v3+). Milliseconds.
    pub throttle_time_ms: i32,
    /// The groups of the request, in its order.
    pub groups: Vec<FetchedGroup>,
}

/// A group of an OffsetFetch response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedGroup {
    /// The group.
    pub group: Arc<str>,
    /// What is wrong with the group as a whole (v2+).
    pub error: ErrorCode,
    /// The offsets, by topic.
    pub topics: Vec<FetchedTopic>,
}

/// A topic of an OffsetFetch response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic {
    /// As the request named it; by id from v10 on where it asked for all.
    pub topic: TopicRef,
    /// The offsets, by partition.
    pub partitions: Vec<FetchedPartition>,
}

/// A partition of an OffsetFetch response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition {
    /// Which partition.
    pub index: PartitionIndex,
    /// The next record to process; -1 where nothing was committed.
    pub offset: Offset,
    /// The leader epoch of the last record that was processed; -1 where it is not known (v5+).
    pub leader_epoch: LeaderEpoch,
    /// What the client kept with it.
    pub metadata: Arc<str>,
    /// Why there is no offset; none where there is, or nothing was committed.
    pub error: ErrorCode,
}

impl FetchedPartition {
    /// A partition without an offset: for lack of one, or for a reason.
    pub fn without_offset(index: PartitionIndex, error: ErrorCode) -> Self {
        Self { index, offset: Offset(-1), leader_epoch: LeaderEpoch::NONE, metadata: "".into(), error }
    }
}

impl FetchGroup {
    /// What a group that is refused as a whole gets: a code, or one for each partition where the version has no place
    /// for that.
    pub fn refused(&self, version: i16, error: ErrorCode) -> FetchedGroup {
        let group = Arc::clone(&self.group);
        if version >= FIRST_GROUP_ERROR {
            return FetchedGroup { group, error, topics: Vec::new() };
        }
        let partition = |index: &PartitionIndex| FetchedPartition::without_offset(*index, error);
        let topic = |topic: &FetchTopic| FetchedTopic {
            topic: topic.topic.clone(),
            partitions: topic.partitions.iter().map(partition).collect(),
        };
        FetchedGroup { group, error, topics: self.topics.iter().flatten().map(topic).collect() }
    }
}

/// Encodes a whole OffsetFetch response frame (v1-v10). Below v8 it holds the first group alone, as the request did.
///
/// # Errors
///
/// Where the version is not known.
pub fn encode_response(version: i16, correlation_id: i32, response: &OffsetFetchResponse) -> Result<Bytes, WireError> {
    let body = CrateResponse::default().with_throttle_time_ms(response.throttle_time_ms);
    let body = match response.groups.first() {
        Some(group) if version < FIRST_GROUPS => {
            body.with_error_code(group.error.0).with_topics(group.topics.iter().map(old_topic).collect())
        }
        _ => body.with_groups(response.groups.iter().map(crate_group).collect()),
    };
    message::encode_response(ApiKey::OffsetFetch, version, correlation_id, &body)
}

fn crate_group(group: &FetchedGroup) -> CrateGroup {
    let partition = |partition: &FetchedPartition| {
        CratePartition::default()
            .with_partition_index(partition.index.0)
            .with_committed_offset(partition.offset.0)
            .with_committed_leader_epoch(partition.leader_epoch.0)
            .with_metadata(Some(text(&partition.metadata)))
            .with_error_code(partition.error.0)
    };
    let topic = |topic: &FetchedTopic| {
        let (name, id) = crate_name(&topic.topic);
        let partitions = topic.partitions.iter().map(partition).collect();
        CrateTopic::default().with_name(name.into()).with_topic_id(id).with_partitions(partitions)
    };
    CrateGroup::default()
        .with_group_id(text(&group.group).into())
        .with_error_code(group.error.0)
        .with_topics(group.topics.iter().map(topic).collect())
}

fn old_topic(topic: &FetchedTopic) -> CrateOldTopic {
    let partition = |partition: &FetchedPartition| {
        CrateOldPartition::default()
            .with_partition_index(partition.index.0)
            .with_committed_offset(partition.offset.0)
            .with_committed_leader_epoch(partition.leader_epoch.0)
            .with_metadata(Some(text(&partition.metadata)))
            .with_error_code(partition.error.0)
    };
    CrateOldTopic::default()
        .with_name(crate_name(&topic.topic).0.into())
        .with_partitions(topic.partitions.iter().map(partition).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::OffsetFetchRequest as CrateRequest;
    use kafka_protocol::messages::offset_fetch_request::{
        OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    };
    use kafka_protocol::protocol::Encodable;
    use proptest::prelude::*;

    use super::*;

    fn crate_request(version: i16, all: bool) -> CrateRequest {
        if version < 8 {
            let topic =
                OffsetFetchRequestTopic::default().with_name(text("t").into()).with_partition_indexes(vec![1, 2]);
            return CrateRequest::default()
                .with_group_id(text("g").into())
                .with_topics((!all).then(|| vec![topic]))
                .with_require_stable(version >= 7);
        }
        let topic = OffsetFetchRequestTopics::default().with_name(text("t").into()).with_partition_indexes(vec![1, 2]);
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(text("g").into())
            .with_member_id((version >= 9).then(|| text("m")))
            .with_member_epoch(if version >= 9 { 3 } else { -1 })
            .with_topics((!all).then(|| vec![topic]));
        let second = OffsetFetchRequestGroup::default().with_group_id(text("h").into()).with_topics(Some(vec![]));
        CrateRequest::default().with_topics(Some(vec![])).with_groups(vec![group, second]).with_require_stable(true)
    }

    fn crate_encoded(version: i16, all: bool) -> Bytes {
        let mut out = BytesMut::new();
        crate_request(version, all).encode(&mut out, version).unwrap();
        out.freeze()
    }

    fn expected(version: i16, all: bool) -> OffsetFetchRequest {
        let name = if version < 10 { TopicRef::Name("t".into()) } else { TopicRef::Id(id(7)) };
        let topic = FetchTopic { topic: name, partitions: vec![PartitionIndex(1), PartitionIndex(2)] };
        let first = FetchGroup {
            group: "g".into(),
            member_id: (version >= 9).then(|| "m".into()),
            member_epoch: if version >= 9 { 3 } else { -1 },
            topics: (!all).then(|| vec![topic]),
        };
        let second = FetchGroup { group: "h".into(), member_id: None, member_epoch: -1, topics: Some(vec![]) };
        let groups = if version < 8 { vec![first] } else { vec![first, second] };
        OffsetFetchRequest { groups, require_stable: version >= 7 }
    }

    fn id(number: u128) -> TopicId {
        TopicId(uuid::Uuid::from_u128(number))
    }

    /// Two groups: one with a member and a topic by its id, one with neither.
    const V10: &[u8] = &[
        3, 2, b'g', 2, b'm', 0, 0, 0, 3, //
        2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, //
        2, b'h', 0, 0xff, 0xff, 0xff, 0xff, 1, 0, //
        1, 0,
    ];

    #[test]
    fn requests_of_the_crate_are_read() {
        for version in 1..=9 {
            assert_eq!(decode(version, &crate_encoded(version, false)), Ok(expected(version, false)), "v{version}");
        }
        for version in 2..=9 {
            assert_eq!(decode(version, &crate_encoded(version, true)), Ok(expected(version, true)), "v{version}");
        }
        assert!(decode(1, &crate_encoded(1, true)).is_err(), "v1 cannot ask for all");
    }

    #[test]
    fn version_10_names_topics_by_id() {
        assert_eq!(decode(10, V10), Ok(expected(10, false)));
        assert_eq!(decode(11, V10), Err(WireError::Unsupported { key: 9, version: 11 }));
        assert_eq!(decode(0, V10), Err(WireError::Unsupported { key: 9, version: 0 }));
    }

    fn response(topic: TopicRef) -> OffsetFetchResponse {
        let offset = FetchedPartition {
            index: PartitionIndex(1),
            offset: Offset(9),
            leader_epoch: LeaderEpoch(4),
            metadata: "x".into(),
            error: ErrorCode::NONE,
        };
        let none = FetchedPartition::without_offset(PartitionIndex(2), ErrorCode::UNSTABLE_OFFSET_COMMIT);
        let topics = vec![FetchedTopic { topic, partitions: vec![offset, none] }];
        OffsetFetchResponse {
            throttle_time_ms: 0,
            groups: vec![FetchedGroup { group: "g".into(), error: ErrorCode::NONE, topics }],
        }
    }

    /// The fields of the two partitions in the flexible format.
    const PARTITIONS: [&[u8]; 3] = [
        &[3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 4, 2, b'x', 0, 0, 0],
        &[0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 88, 0],
        &[0],
    ];

    #[test]
    fn responses_name_topics_as_the_request_did() {
        let start: &[u8] = &[0, 0, 0, 7, 0, 0, 0, 0, 0, 2, 2, b'g', 2];
        let v8 = encode_response(8, 7, &response(TopicRef::Name("t".into()))).unwrap();
        assert_eq!(v8[4..], [start, &[2, b't'], &PARTITIONS.concat(), &[0, 0, 0, 0]].concat());
        let v10 = encode_response(10, 7, &response(TopicRef::Id(id(7)))).unwrap();
        let uuid: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        assert_eq!(v10[4..], [start, uuid, &PARTITIONS.concat(), &[0, 0, 0, 0]].concat());
        assert_eq!(usize::from(v10[3]), v10.len() - 4);
    }

    #[test]
    fn old_responses_hold_one_group() {
        let response = response(TopicRef::Name("t".into()));
        let v7 = encode_response(7, 7, &response).unwrap();
        let start: &[u8] = &[0, 0, 0, 7, 0, 0, 0, 0, 0, 2, 2, b't'];
        assert_eq!(v7[4..], [start, &PARTITIONS.concat(), &[0, 0, 0]].concat());
        let v1 = encode_response(1, 7, &response).unwrap();
        let partitions = [
            &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, b'x', 0, 0][..],
            &[0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 88],
        ];
        let start: &[u8] = &[0, 0, 0, 7, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2];
        assert_eq!(v1[4..], [start, &partitions.concat()].concat());
        for version in 1..=10 {
            assert!(encode_response(version, 7, &response).is_ok(), "v{version}");
            assert!(encode_response(version, 7, &OffsetFetchResponse::default()).is_ok(), "v{version}");
        }
    }

    #[test]
    fn a_refused_group_has_its_code_where_the_version_has_a_place_for_it() {
        let group = &decode(1, &crate_encoded(1, false)).unwrap().groups[0];
        let new = group.refused(2, ErrorCode::NOT_COORDINATOR);
        assert_eq!((new.error, new.topics.len()), (ErrorCode::NOT_COORDINATOR, 0));
        let old = group.refused(1, ErrorCode::NOT_COORDINATOR);
        let partition = |index| FetchedPartition::without_offset(PartitionIndex(index), ErrorCode::NOT_COORDINATOR);
        assert_eq!(old.topics[0].partitions, [partition(1), partition(2)]);
        for (version, group) in [(1, old), (2, new)] {
            let response = OffsetFetchResponse { throttle_time_ms: 0, groups: vec![group] };
            assert!(encode_response(version, 7, &response).unwrap().ends_with(&[0, 16]), "v{version}");
        }
    }

    proptest! {
        #[test]
        fn damaged_requests_never_panic(version in 1_i16..=10, at: prop::sample::Index, value: u8, tail in 0_usize..8) {
            let mut bytes = if version == 10 { V10.to_vec() } else { crate_encoded(version, false).to_vec() };
            let at = at.index(bytes.len());
            bytes[at] = value;
            bytes.truncate(bytes.len() - tail);
            let _ = decode(version, &bytes);
        }
    }
}
