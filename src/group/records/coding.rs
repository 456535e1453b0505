//! The bytes of group records: which fields in which version, as the schemas of Kafka 4.3 give them.
//!
//! Keys begin with the record's kind, values with their version. Classic groups are written in version 3, the last
//! before Kafka's flexible format, as Kafka does; older values are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{
    ClassicGroupValue, ClassicMember, ClassicMemberValue, CommittedOffset, ConsumerEpoch, CurrentAssignment,
    MemberState, MemberValue, Partitions, Record, ResolvedRegex, TargetEpoch,
};
use crate::types::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId};
use crate::wire::WireError;
use crate::wire::field_writer::{TagWriter, Writer};
use crate::wire::reader::{Format, Reader};
use crate::wire::records::Encoded;

const FLEXIBLE: Format = Format::Flexible;
const CLASSIC: Format = Format::Classic;

const OFFSET: i16 = 1;
const CLASSIC_GROUP: i16 = 2;
const CONSUMER_EPOCH: i16 = 3;
const PARTITION_METADATA: i16 = 4;
const MEMBER: i16 = 5;
const TARGET_EPOCH: i16 = 6;
const TARGET: i16 = 7;
const CURRENT: i16 = 8;
const REGEX: i16 = 16;

/// The versions that values are written in.
const OFFSET_VERSION: i16 = 4;
/// The one version that can say when an offset expires.
const EXPIRING_OFFSET_VERSION: i16 = 1;
const CLASSIC_GROUP_VERSION: i16 = 3;

impl Record {
    /// Its bytes.
    pub fn encode(&self) -> Encoded {
        let mut key = BytesMut::new();
        self.encode_key(&mut Writer::classic(&mut key));
        Encoded { key: key.freeze(), value: self.encode_value().map(BytesMut::freeze) }
    }

    fn encode_key(&self, out: &mut Writer<'_>) {
        out.i16(self.kind());
        match self {
            Self::Classic(group, _)
            | Self::ConsumerEpoch(group, _)
            | Self::PartitionMetadataGone(group)
            | Self::TargetEpoch(group, _) => out.string(group),
            Self::Member(group, name, _)
            | Self::Target(group, name, _)
            | Self::Current(group, name, _)
            | Self::Regex(group, name, _) => {
                out.string(group);
                out.string(name);
            }
            Self::Offset(group, topic, partition, _) => {
                out.string(group);
                out.string(topic);
                out.i32(partition.0);
            }
        }
    }

    const fn kind(&self) -> i16 {
        match self {
            Self::Offset(..) => OFFSET,
            Self::Classic(..) => CLASSIC_GROUP,
            Self::ConsumerEpoch(..) => CONSUMER_EPOCH,
            Self::PartitionMetadataGone(..) => PARTITION_METADATA,
            Self::Member(..) => MEMBER,
            Self::TargetEpoch(..) => TARGET_EPOCH,
            Self::Target(..) => TARGET,
            Self::Current(..) => CURRENT,
            Self::Regex(..) => REGEX,
        }
    }

    fn encode_value(&self) -> Option<BytesMut> {
        let mut bytes = BytesMut::new();
        match self {
            Self::Offset(.., value) => value.as_ref()?.encode(&mut bytes),
            Self::Classic(_, value) => value.as_ref()?.encode(&mut bytes),
            Self::PartitionMetadataGone(_) => return None,
            flexible => flexible.encode_flexible(&mut Writer::new(&mut bytes))?,
        }
        Some(bytes)
    }

    /// The values that have one version, which is flexible.
    fn encode_flexible(&self, out: &mut Writer<'_>) -> Option<()> {
        out.i16(0);
        match self {
            Self::ConsumerEpoch(_, value) => value.as_ref()?.encode(out),
            Self::Member(.., value) => value.as_ref()?.encode(out),
            Self::TargetEpoch(_, value) => value.as_ref()?.encode(out),
            Self::Target(.., value) => encode_partitions(value.as_ref()?, out),
            Self::Current(.., value) => value.as_ref()?.encode(out),
            Self::Regex(.., value) => value.as_ref()?.encode(out),
            Self::Offset(..) | Self::Classic(..) | Self::PartitionMetadataGone(..) => return None,
        }
        Some(())
    }

    /// A record from its bytes; `None` for a kind that this version does not know: share and streams groups, or
    /// something newer.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Self>, WireError> {
        let mut key = Reader::new(key);
        let kind = key.i16()?;
        let record = match kind {
            // Version 0 of an offset's key was the same.
            0 | OFFSET => {
                let (group, topic, partition) = (shared(&mut key)?, shared(&mut key)?, PartitionIndex(key.i32()?));
                Self::Offset(group, topic, partition, optional(value, CommittedOffset::decode)?)
            }
            CLASSIC_GROUP => Self::Classic(shared(&mut key)?, optional(value, ClassicGroupValue::decode)?),
            CONSUMER_EPOCH => Self::ConsumerEpoch(shared(&mut key)?, optional(value, ConsumerEpoch::decode)?),
            PARTITION_METADATA => Self::PartitionMetadataGone(shared(&mut key)?),
            MEMBER => Self::Member(shared(&mut key)?, shared(&mut key)?, optional(value, MemberValue::decode)?),
            TARGET_EPOCH => Self::TargetEpoch(shared(&mut key)?, optional(value, TargetEpoch::decode)?),
            TARGET => Self::Target(shared(&mut key)?, shared(&mut key)?, optional(value, decode_partitions)?),
            CURRENT => Self::Current(shared(&mut key)?, shared(&mut key)?, optional(value, CurrentAssignment::decode)?),
            REGEX => Self::Regex(shared(&mut key)?, shared(&mut key)?, optional(value, ResolvedRegex::decode)?),
            _ => return Ok(None),
        };
        Ok(Some(record))
    }
}

fn shared(key: &mut Reader<'_>) -> Result<Arc<str>, WireError> {
    Ok(key.string(CLASSIC)?.into())
}

/// A value by its version, or a tombstone.
fn optional<T>(
    value: Option<&[u8]>,
    decode: impl FnOnce(i16, &mut Reader<'_>) -> Result<T, WireError>,
) -> Result<Option<T>, WireError> {
    let Some(value) = value else { return Ok(None) };
    let mut input = Reader::new(value);
    let version = input.i16()?;
    decode(version, &mut input).map(Some)
}

const fn newest(version: i16, newest: i16) -> Result<(), WireError> {
    if version >= 0 && version <= newest {
        return Ok(());
    }
    Err(WireError::Invalid("a record version that this version of Ottla does not know"))
}

impl CommittedOffset {
    fn encode(&self, bytes: &mut BytesMut) {
        let expires = self.expire_timestamp != TimestampMs::NONE;
        let version = if expires { EXPIRING_OFFSET_VERSION } else { OFFSET_VERSION };
        let mut out = if expires { Writer::classic(bytes) } else { Writer::new(bytes) };
        out.i16(version);
        out.i64(self.offset.0);
        if !expires {
            out.i32(self.leader_epoch.0);
        }
        out.string(&self.metadata);
        out.i64(self.commit_timestamp.0);
        if expires {
            return out.i64(self.expire_timestamp.0);
        }
        let mut tags = TagWriter::default();
        if self.topic_id != TopicId::ZERO {
            tags.field(0, |out| out.uuid(self.topic_id.0));
        }
        out.tags(&tags);
    }

    fn decode(version: i16, input: &mut Reader<'_>) -> Result<Self, WireError> {
        newest(version, OFFSET_VERSION)?;
        let format = Format::of(version, 4);
        let offset = Offset(input.i64()?);
        let leader_epoch = if version >= 3 { LeaderEpoch(input.i32()?) } else { LeaderEpoch::NONE };
        let metadata = input.string(format)?.into();
        let commit_timestamp = TimestampMs(input.i64()?);
        let expire_timestamp = if version == 1 { TimestampMs(input.i64()?) } else { TimestampMs::NONE };
        let mut topic_id = TopicId::ZERO;
        for_tag(input, format, 0, |content| {
            topic_id = TopicId(content.uuid()?);
            Ok(())
        })?;
        Ok(Self { offset, leader_epoch, metadata, commit_timestamp, expire_timestamp, topic_id })
    }
}

impl ClassicGroupValue {
    fn encode(&self, bytes: &mut BytesMut) {
        let mut out = Writer::classic(bytes);
        out.i16(CLASSIC_GROUP_VERSION);
        out.string(&self.protocol_type);
        out.i32(self.generation);
        out.nullable_string(self.protocol.as_deref());
        out.nullable_string(self.leader.as_deref());
        out.i64(self.state_timestamp);
        out.array(&self.members, |out, member| {
            out.string(&member.member_id);
            out.nullable_string(member.instance_id.as_deref());
            out.string(&member.client_id);
            out.string(&member.client_host);
            out.i32(member.rebalance_timeout_ms);
            out.i32(member.session_timeout_ms);
            out.bytes(&member.subscription);
            out.bytes(&member.assignment);
        });
    }

    fn decode(version: i16, input: &mut Reader<'_>) -> Result<Self, WireError> {
        newest(version, 4)?;
        let format = Format::of(version, 4);
        let mut group = Self {
            protocol_type: owned(input, format)?,
            generation: input.i32()?,
            protocol: input.nullable_string(format)?.map(str::to_owned),
            leader: input.nullable_string(format)?.map(str::to_owned),
            state_timestamp: if version >= 2 { input.i64()? } else { -1 },
            members: Vec::new(),
        };
        for _ in 0..input.array(format, 1)? {
            group.members.push(ClassicMemberValue::decode(version, format, input)?);
        }
        input.skip_tags(format)?;
        Ok(group)
    }
}

impl ClassicMemberValue {
    fn decode(version: i16, format: Format, input: &mut Reader<'_>) -> Result<Self, WireError> {
        let member_id = owned(input, format)?;
        let instance_id = if version >= 3 { input.nullable_string(format)?.map(str::to_owned) } else { None };
        let (client_id, client_host) = (owned(input, format)?, owned(input, format)?);
        let rebalance = if version >= 1 { Some(input.i32()?) } else { None };
        let session_timeout_ms = input.i32()?;
        let member = Self {
            member_id,
            instance_id,
            client_id,
            client_host,
            // Before there were two, a rebalance waited as long as a session lasts.
            rebalance_timeout_ms: rebalance.filter(|ms| *ms >= 0).unwrap_or(session_timeout_ms),
            session_timeout_ms,
            subscription: Bytes::copy_from_slice(input.bytes(format)?),
            assignment: Bytes::copy_from_slice(input.bytes(format)?),
        };
        input.skip_tags(format)?;
        Ok(member)
    }
}

impl ConsumerEpoch {
    fn encode(self, out: &mut Writer<'_>) {
        out.i32(self.epoch);
        let mut tags = TagWriter::default();
        if self.metadata_hash != 0 {
            tags.field(0, |out| out.i64(self.metadata_hash));
        }
        out.tags(&tags);
    }

    fn decode(version: i16, input: &mut Reader<'_>) -> Result<Self, WireError> {
        newest(version, 0)?;
        let mut value = Self { epoch: input.i32()?, metadata_hash: 0 };
        for_tag(input, FLEXIBLE, 0, |content| {
            value.metadata_hash = content.i64()?;
            Ok(())
        })?;
        Ok(value)
    }
}

impl MemberValue {
    fn encode(&self, out: &mut Writer<'_>) {
        out.nullable_string(self.instance_id.as_deref());
        out.nullable_string(self.rack_id.as_deref());
        out.string(&self.client_id);
        out.string(&self.client_host);
        out.array(&self.topic_names, |out, name| out.string(name));
        out.nullable_string(self.topic_regex.as_deref());
        out.i32(self.rebalance_timeout_ms);
        out.nullable_string(self.server_assignor.as_deref());
        let mut tags = TagWriter::default();
        tags.field(0, |out| {
            // Null is said too: Kafka takes a member that leaves the field out for one of the classic protocol.
            let Some(classic) = &self.classic else { return out.i8(0) };
            out.i8(1);
            out.i32(classic.session_timeout_ms);
            out.array(&classic.protocols, |out, (name, metadata)| {
                out.string(name);
                out.bytes(metadata);
                out.no_tags();
            });
            out.no_tags();
        });
        out.tags(&tags);
    }

    fn decode(version: i16, input: &mut Reader<'_>) -> Result<Self, WireError> {
        newest(version, 0)?;
        let mut member = Self {
            instance_id: input.nullable_string(FLEXIBLE)?.map(str::to_owned),
            rack_id: input.nullable_string(FLEXIBLE)?.map(str::to_owned),
            client_id: owned(input, FLEXIBLE)?,
            client_host: owned(input, FLEXIBLE)?,
            topic_names: names(input)?,
            topic_regex: input.nullable_string(FLEXIBLE)?.map(str::to_owned),
            rebalance_timeout_ms: input.i32()?,
            server_assignor: input.nullable_string(FLEXIBLE)?.map(str::to_owned),
            classic: None,
        };
        for_tag(input, FLEXIBLE, 0, |content| {
            if content.i8()? == 1 {
                member.classic = Some(ClassicMember::decode(content)?);
            }
            Ok(())
        })?;
        Ok(member)
    }
}

impl ClassicMember {
    fn decode(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut member = Self { session_timeout_ms: input.i32()?, protocols: Vec::new() };
        for _ in 0..input.array(FLEXIBLE, 1)? {
            let name = owned(input, FLEXIBLE)?;
            member.protocols.push((name, Bytes::copy_from_slice(input.bytes(FLEXIBLE)?)));
            input.skip_tags(FLEXIBLE)?;
        }
        input.skip_tags(FLEXIBLE)?;
        Ok(member)
    }
}

impl TargetEpoch {
    fn encode(self, out: &mut Writer<'_>) {
        out.i32(self.epoch);
        let mut tags = TagWriter::default();
        if self.timestamp != 0 {
            tags.field(0, |out| out.i64(self.timestamp));
        }
        out.tags(&tags);
    }

    fn decode(version: i16, input: &mut Reader<'_>) -> Result<Self, WireError> {
        newest(version, 0)?;
        let mut value = Self { epoch: input.i32()?, timestamp: 0 };
        for_tag(input, FLEXIBLE, 0, |content| {
            value.timestamp = content.i64()?;
            Ok(())
        })?;
        Ok(value)
    }
}

fn encode_partitions(partitions: &Partitions, out: &mut Writer<'_>) {
    out.length(partitions.len());
    for (topic, indices) in partitions {
        out.uuid(topic.0);
        out.array(indices, |out, index| out.i32(index.0));
        out.no_tags();
    }
    out.no_tags();
}

fn decode_partitions(version: i16, input: &mut Reader<'_>) -> Result<Partitions, WireError> {
    newest(version, 0)?;
    let mut partitions = Partitions::new();
    for _ in 0..input.array(FLEXIBLE, 1)? {
        let topic = TopicId(input.uuid()?);
        let indices: &mut Vec<PartitionIndex> = partitions.entry(topic).or_default();
        for _ in 0..input.array(FLEXIBLE, 4)? {
            indices.push(PartitionIndex(input.i32()?));
        }
        // Kafka's sets have no order.
        indices.sort_unstable();
        input.skip_tags(FLEXIBLE)?;
    }
    input.skip_tags(FLEXIBLE)?;
    Ok(partitions)
}

/// Partitions with the epoch at which each was given.
type Given = BTreeMap<TopicId, BTreeMap<PartitionIndex, i32>>;

impl CurrentAssignment {
    fn encode(&self, out: &mut Writer<'_>) {
        out.i32(self.epoch);
        out.i32(self.previous_epoch);
        out.i8(self.state as i8);
        encode_given(&self.assigned, out);
        encode_given(&self.pending_revocation, out);
        out.no_tags();
    }

    fn decode(version: i16, input: &mut Reader<'_>) -> Result<Self, WireError> {
        newest(version, 0)?;
        let (epoch, previous_epoch) = (input.i32()?, input.i32()?);
        let state = match input.i8()? {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            _ => MemberState::Unknown,
        };
        let assigned = decode_given(epoch, input)?;
        let pending_revocation = decode_given(epoch, input)?;
        input.skip_tags(FLEXIBLE)?;
        Ok(Self { epoch, previous_epoch, state, assigned, pending_revocation })
    }
}

fn encode_given(given: &Given, out: &mut Writer<'_>) {
    out.length(given.len());
    for (topic, partitions) in given {
        out.uuid(topic.0);
        let (indices, epochs): (Vec<_>, Vec<_>) = partitions.iter().map(|(index, epoch)| (index.0, *epoch)).unzip();
        out.array(&indices, |out, index| out.i32(*index));
        let mut tags = TagWriter::default();
        tags.field(0, |out| out.array(&epochs, |out, epoch| out.i32(*epoch)));
        out.tags(&tags);
    }
}

/// Partitions without epochs were written before Kafka 4.3: the member's epoch stands for them.
fn decode_given(member_epoch: i32, input: &mut Reader<'_>) -> Result<Given, WireError> {
    let mut given = Given::new();
    for _ in 0..input.array(FLEXIBLE, 1)? {
        let topic = TopicId(input.uuid()?);
        let mut indices = Vec::new();
        for _ in 0..input.array(FLEXIBLE, 4)? {
            indices.push(PartitionIndex(input.i32()?));
        }
        let mut epochs = Vec::new();
        for_tag(input, FLEXIBLE, 0, |content| {
            for _ in 0..content.nullable_array(FLEXIBLE, 4)?.unwrap_or(0) {
                epochs.push(content.i32()?);
            }
            Ok(())
        })?;
        let epoch = |position: usize| epochs.get(position).copied().unwrap_or(member_epoch);
        given.entry(topic).or_default().extend(indices.iter().enumerate().map(|(at, index)| (*index, epoch(at))));
    }
    Ok(given)
}

impl ResolvedRegex {
    fn encode(&self, out: &mut Writer<'_>) {
        out.array(&self.topics, |out, name| out.string(name));
        out.i64(self.version);
        out.i64(self.timestamp);
        out.no_tags();
    }

    fn decode(version: i16, input: &mut Reader<'_>) -> Result<Self, WireError> {
        newest(version, 0)?;
        let value = Self { topics: names(input)?, version: input.i64()?, timestamp: input.i64()? };
        input.skip_tags(FLEXIBLE)?;
        Ok(value)
    }
}

fn owned(input: &mut Reader<'_>, format: Format) -> Result<String, WireError> {
    Ok(input.string(format)?.to_owned())
}

fn names(input: &mut Reader<'_>) -> Result<Vec<String>, WireError> {
    let count = input.array(FLEXIBLE, 1)?;
    let mut names = (0..count).map(|_| owned(input, FLEXIBLE)).collect::<Result<Vec<_>, _>>()?;
    names.sort_unstable();
    Ok(names)
}

/// Reads the tagged fields at the end of a structure; those with other tags are skipped.
fn for_tag(
    input: &mut Reader<'_>,
    format: Format,
    wanted: u32,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut tags = input.tags(format)?;
    while let Some((tag, content)) = tags.next_field()? {
        if tag == wanted {
            read(&mut Reader::new(content))?;
        }
    }
    Ok(())
}
