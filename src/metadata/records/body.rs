//! The bodies of metadata records: which fields in which version, as the schemas of Kafka 4.3 give them.

use bytes::Bytes;
use uuid::Uuid;

use super::{
    BrokerRegistrationChange, Endpoint, FeatureRange, MetadataRecord, OpaqueRecord, PartitionChange, PartitionRecord,
    RegisterBroker,
};
use crate::types::{LeaderEpoch, NodeId, PartitionIndex, TopicId};
use crate::wire::WireError;
use crate::wire::field_writer::{TagWriter, Writer};
use crate::wire::reader::{Format, Reader};

const FLEXIBLE: Format = Format::Flexible;

impl MetadataRecord {
    /// The kind's number and the version that this broker writes.
    pub(super) fn kind_and_version(&self) -> (u32, u32) {
        match self {
            Self::RegisterBroker(_) => (0, 4),
            Self::UnregisterBroker { .. } => (1, 0),
            Self::Topic { .. } => (2, 0),
            Self::Partition(_) => (3, 2),
            Self::Config { .. } => (4, 0),
            Self::PartitionChange(_) => (5, 2),
            Self::RemoveTopic { .. } => (9, 0),
            Self::FeatureLevel { .. } => (12, 0),
            Self::ProducerIds { .. } => (15, 0),
            Self::BrokerRegistrationChange(change) => (17, change.lowest_version()),
            Self::NoOp => (20, 0),
            Self::BeginTransaction { .. } => (23, 0),
            Self::EndTransaction => (24, 0),
            Self::AbortTransaction { .. } => (25, 0),
            Self::Other(record) => (record.kind, record.version),
        }
    }

    /// The newest version of a kind that is interpreted here.
    pub(super) const fn newest_version(kind: u32) -> Option<u32> {
        match kind {
            0 => Some(4),
            17 => Some(3),
            3 | 5 => Some(2),
            1 | 2 | 4 | 9 | 12 | 15 | 20 | 23 | 24 | 25 => Some(0),
            _ => None,
        }
    }

    pub(super) fn encode_body(&self, version: u32, out: &mut Writer<'_>) {
        match self {
            Self::RegisterBroker(record) => record.encode(out),
            Self::UnregisterBroker { broker, epoch } => {
                out.i32(broker.0);
                out.i64(*epoch);
                out.no_tags();
            }
            Self::Topic { name, id } => {
                out.string(name);
                out.uuid(id.0);
                out.no_tags();
            }
            Self::Partition(record) => record.encode(out),
            Self::Config { resource_type, resource_name, name, value } => {
                out.i8(*resource_type);
                out.string(resource_name);
                out.string(name);
                out.nullable_string(value.as_deref());
                out.no_tags();
            }
            Self::PartitionChange(record) => record.encode(out),
            Self::RemoveTopic { id } => {
                out.uuid(id.0);
                out.no_tags();
            }
            Self::FeatureLevel { name, level } => {
                out.string(name);
                out.i16(*level);
                out.no_tags();
            }
            Self::ProducerIds { broker, broker_epoch, next } => {
                out.i32(broker.0);
                out.i64(*broker_epoch);
                out.i64(*next);
                out.no_tags();
            }
            Self::BrokerRegistrationChange(record) => record.encode(version, out),
            Self::NoOp | Self::EndTransaction => out.no_tags(),
            Self::BeginTransaction { name: text } | Self::AbortTransaction { reason: text } => {
                let mut tags = TagWriter::default();
                tags.optional(0, text.as_ref(), |out, text| out.string(text));
                out.tags(&tags);
            }
            Self::Other(record) => out.raw(&record.body),
        }
    }

    pub(super) fn decode_body(kind: u32, version: u32, input: &mut Reader<'_>) -> Result<Self, WireError> {
        let record = match kind {
            0 => Self::RegisterBroker(RegisterBroker::decode(version, input)?),
            3 => Self::Partition(PartitionRecord::decode(version, input)?),
            5 => Self::PartitionChange(PartitionChange::decode(input)?),
            17 => Self::BrokerRegistrationChange(BrokerRegistrationChange::decode(input)?),
            23 => Self::BeginTransaction { name: tagged_text(input)? },
            25 => Self::AbortTransaction { reason: tagged_text(input)? },
            1 | 2 | 4 | 9 | 12 | 15 | 20 | 24 => {
                let record = Self::decode_plain(kind, input)?;
                input.skip_tags(FLEXIBLE)?;
                record
            }
            kind => {
                let body = Bytes::copy_from_slice(input.take(input.remaining())?);
                Self::Other(OpaqueRecord { kind, version, body })
            }
        };
        Ok(record)
    }

    /// The kinds without tagged fields of their own, up to these.
    fn decode_plain(kind: u32, input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match kind {
            1 => Self::UnregisterBroker { broker: NodeId(input.i32()?), epoch: input.i64()? },
            2 => Self::Topic { name: text(input)?, id: TopicId(input.uuid()?) },
            4 => Self::Config {
                resource_type: input.i8()?,
                resource_name: text(input)?,
                name: text(input)?,
                value: input.nullable_string(FLEXIBLE)?.map(str::to_owned),
            },
            9 => Self::RemoveTopic { id: TopicId(input.uuid()?) },
            12 => Self::FeatureLevel { name: text(input)?, level: input.i16()? },
            15 => Self::ProducerIds { broker: NodeId(input.i32()?), broker_epoch: input.i64()?, next: input.i64()? },
            24 => Self::EndTransaction,
            _ => Self::NoOp,
        })
    }
}

impl RegisterBroker {
    fn encode(&self, out: &mut Writer<'_>) {
        out.i32(self.broker.0);
        // Whether it is a broker that migrates from ZooKeeper: there are none since 4.0.
        out.boolean(false);
        out.uuid(self.incarnation);
        out.i64(self.epoch);
        out.array(&self.endpoints, |out, endpoint| {
            out.string(&endpoint.name);
            out.string(&endpoint.host);
            out.u16(endpoint.port);
            out.i16(endpoint.security_protocol);
            out.no_tags();
        });
        out.array(&self.features, |out, feature| {
            out.string(&feature.name);
            out.i16(feature.min);
            out.i16(feature.max);
            out.no_tags();
        });
        out.nullable_string(self.rack.as_deref());
        out.boolean(self.fenced);
        out.boolean(self.in_controlled_shutdown);
        let mut tags = TagWriter::default();
        tags.optional(0, some_unless_empty(&self.log_dirs), put_uuids);
        tags.optional(1, self.cordoned_log_dirs.as_ref(), put_uuids);
        out.tags(&tags);
    }

    fn decode(version: u32, input: &mut Reader<'_>) -> Result<Self, WireError> {
        let broker = NodeId(input.i32()?);
        if version >= 2 {
            input.boolean()?;
        }
        let incarnation = input.uuid()?;
        let epoch = input.i64()?;
        let endpoints = array(input, 7, |input| {
            let endpoint = Endpoint {
                name: text(input)?,
                host: text(input)?,
                port: input.i16()? as u16,
                security_protocol: input.i16()?,
            };
            input.skip_tags(FLEXIBLE)?;
            Ok(endpoint)
        })?;
        let features = array(input, 6, |input| {
            let feature = FeatureRange { name: text(input)?, min: input.i16()?, max: input.i16()? };
            input.skip_tags(FLEXIBLE)?;
            Ok(feature)
        })?;
        let mut record = Self {
            broker,
            incarnation,
            epoch,
            endpoints,
            features,
            rack: input.nullable_string(FLEXIBLE)?.map(str::to_owned),
            fenced: input.boolean()?,
            in_controlled_shutdown: if version >= 1 { input.boolean()? } else { false },
            ..Self::default()
        };
        let mut tags = input.tags(FLEXIBLE)?;
        while let Some((tag, content)) = tags.next_field()? {
            let content = &mut Reader::new(content);
            match tag {
                0 => record.log_dirs = uuids(content)?,
                1 => record.cordoned_log_dirs = nullable_array(content, 16, Reader::uuid)?,
                _ => {}
            }
        }
        Ok(record)
    }
}

impl BrokerRegistrationChange {
    /// The lowest version that can say it, as Kafka chooses.
    fn lowest_version(&self) -> u32 {
        if self.cordoned_log_dirs.is_some() {
            3
        } else if !self.log_dirs.is_empty() {
            2
        } else {
            u32::from(self.in_controlled_shutdown.is_some())
        }
    }

    fn encode(&self, _version: u32, out: &mut Writer<'_>) {
        out.i32(self.broker.0);
        out.i64(self.epoch);
        let mut tags = TagWriter::default();
        tags.optional(0, self.fenced.as_ref(), |out, fenced| out.i8(if *fenced { 1 } else { -1 }));
        tags.optional(1, self.in_controlled_shutdown.as_ref(), |out, state| out.i8(i8::from(*state)));
        tags.optional(2, some_unless_empty(&self.log_dirs), put_uuids);
        tags.optional(3, self.cordoned_log_dirs.as_ref(), put_uuids);
        out.tags(&tags);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut record = Self { broker: NodeId(input.i32()?), epoch: input.i64()?, ..Self::default() };
        let mut tags = input.tags(FLEXIBLE)?;
        while let Some((tag, content)) = tags.next_field()? {
            let content = &mut Reader::new(content);
            match tag {
                // -1 unfenced, 1 fenced, 0 unchanged.
                0 => record.fenced = three_states(content.i8()?),
                1 => record.in_controlled_shutdown = three_states(content.i8()?),
                2 => record.log_dirs = uuids(content)?,
                3 => record.cordoned_log_dirs = nullable_array(content, 16, Reader::uuid)?,
                _ => {}
            }
        }
        Ok(record)
    }
}

impl PartitionRecord {
    fn encode(&self, out: &mut Writer<'_>) {
        out.i32(self.partition.0);
        out.uuid(self.topic.0);
        for nodes in [&self.replicas, &self.isr, &self.removing, &self.adding] {
            put_nodes(out, nodes);
        }
        out.i32(self.leader.0);
        out.i32(self.leader_epoch.0);
        out.i32(self.partition_epoch);
        put_uuids(out, &self.directories);
        let mut tags = TagWriter::default();
        let recovering = Some(&self.leader_recovery_state).filter(|state| **state != 0);
        tags.optional(0, recovering, |out, state| out.i8(*state));
        tags.optional(1, self.eligible_leaders.as_ref(), put_nodes);
        tags.optional(2, self.last_known_eligible.as_ref(), put_nodes);
        out.tags(&tags);
    }

    fn decode(version: u32, input: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut record = Self {
            partition: PartitionIndex(input.i32()?),
            topic: TopicId(input.uuid()?),
            replicas: nodes(input)?,
            isr: nodes(input)?,
            removing: nodes(input)?,
            adding: nodes(input)?,
            leader: NodeId(input.i32()?),
            leader_recovery_state: 0,
            leader_epoch: LeaderEpoch(input.i32()?),
            partition_epoch: input.i32()?,
            directories: if version >= 1 { uuids(input)? } else { Vec::new() },
            eligible_leaders: None,
            last_known_eligible: None,
        };
        let mut tags = input.tags(FLEXIBLE)?;
        while let Some((tag, content)) = tags.next_field()? {
            let content = &mut Reader::new(content);
            match tag {
                0 => record.leader_recovery_state = content.i8()?,
                1 => record.eligible_leaders = nullable_nodes(content)?,
                2 => record.last_known_eligible = nullable_nodes(content)?,
                _ => {}
            }
        }
        Ok(record)
    }
}

impl PartitionChange {
    fn encode(&self, out: &mut Writer<'_>) {
        out.i32(self.partition.0);
        out.uuid(self.topic.0);
        let mut tags = TagWriter::default();
        tags.optional(0, self.isr.as_ref(), put_nodes);
        tags.optional(1, self.leader.as_ref(), |out, leader| out.i32(leader.0));
        tags.optional(2, self.replicas.as_ref(), put_nodes);
        tags.optional(3, self.removing.as_ref(), put_nodes);
        tags.optional(4, self.adding.as_ref(), put_nodes);
        tags.optional(5, self.leader_recovery_state.as_ref(), |out, state| out.i8(*state));
        tags.optional(6, self.eligible_leaders.as_ref(), put_nodes);
        tags.optional(7, self.last_known_eligible.as_ref(), put_nodes);
        tags.optional(8, self.directories.as_ref(), put_uuids);
        out.tags(&tags);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut record =
            Self { partition: PartitionIndex(input.i32()?), topic: TopicId(input.uuid()?), ..Self::default() };
        let mut tags = input.tags(FLEXIBLE)?;
        while let Some((tag, content)) = tags.next_field()? {
            let content = &mut Reader::new(content);
            match tag {
                0 => record.isr = nullable_nodes(content)?,
                // -2 says that it did not change.
                1 => record.leader = Some(NodeId(content.i32()?)).filter(|leader| leader.0 != -2),
                2 => record.replicas = nullable_nodes(content)?,
                3 => record.removing = nullable_nodes(content)?,
                4 => record.adding = nullable_nodes(content)?,
                5 => record.leader_recovery_state = Some(content.i8()?).filter(|state| *state != -1),
                6 => record.eligible_leaders = nullable_nodes(content)?,
                7 => record.last_known_eligible = nullable_nodes(content)?,
                8 => record.directories = nullable_array(content, 16, Reader::uuid)?,
                _ => {}
            }
        }
        Ok(record)
    }
}

fn three_states(value: i8) -> Option<bool> {
    match value {
        0 => None,
        value => Some(value > 0),
    }
}

fn some_unless_empty(ids: &Vec<Uuid>) -> Option<&Vec<Uuid>> {
    Some(ids).filter(|ids| !ids.is_empty())
}

#[allow(clippy::ptr_arg)] // Called through `TagWriter::optional`, which hands out what the record holds.
fn put_uuids(out: &mut Writer<'_>, ids: &Vec<Uuid>) {
    out.array(ids, |out, id| out.uuid(*id));
}

#[allow(clippy::ptr_arg)]
fn put_nodes(out: &mut Writer<'_>, nodes: &Vec<NodeId>) {
    out.array(nodes, |out, node| out.i32(node.0));
}

fn text(input: &mut Reader<'_>) -> Result<String, WireError> {
    input.string(FLEXIBLE).map(str::to_owned)
}

/// The text in tagged field 0 of a structure without other fields.
fn tagged_text(input: &mut Reader<'_>) -> Result<Option<String>, WireError> {
    let mut found = None;
    let mut tags = input.tags(FLEXIBLE)?;
    while let Some((tag, content)) = tags.next_field()? {
        if tag == 0 {
            found = Reader::new(content).nullable_string(FLEXIBLE)?.map(str::to_owned);
        }
    }
    Ok(found)
}

/// An array whose elements take at least `min` bytes each, so that a lying count allocates nothing.
fn nullable_array<'a, T>(
    input: &mut Reader<'a>,
    min: usize,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T, WireError>,
) -> Result<Option<Vec<T>>, WireError> {
    let Some(count) = input.nullable_array(FLEXIBLE, min)? else { return Ok(None) };
    (0..count).map(|_| item(input)).collect::<Result<_, _>>().map(Some)
}

fn array<'a, T>(
    input: &mut Reader<'a>,
    min: usize,
    item: impl FnMut(&mut Reader<'a>) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    nullable_array(input, min, item)?.ok_or(WireError::Invalid("null for an array that must be there"))
}

fn uuids(input: &mut Reader<'_>) -> Result<Vec<Uuid>, WireError> {
    array(input, 16, Reader::uuid)
}

fn nullable_nodes(input: &mut Reader<'_>) -> Result<Option<Vec<NodeId>>, WireError> {
    nullable_array(input, 4, |input| input.i32().map(NodeId))
}

fn nodes(input: &mut Reader<'_>) -> Result<Vec<NodeId>, WireError> {
    array(input, 4, |input| input.i32().map(NodeId))
}
