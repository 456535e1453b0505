//! ConsumerGroupDescribe.

use std::collections::BTreeMap;

use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member as DescribedMember, TopicPartitions,
};
use kafka_protocol::protocol::StrBytes;

use super::{ConsumerGroup, Member};
use crate::group::config::{Assignor, GroupsConfig};
use crate::metadata::image::Image;
use crate::types::{PartitionIndex, TopicId};
use crate::wire::message::text;

/// `member_type` of a member of the classic protocol, from version 1 on.
const CLASSIC: i8 = 0;
/// `member_type` of a member of the consumer protocol.
const CONSUMER: i8 = 1;

impl ConsumerGroup {
    /// The group as ConsumerGroupDescribe tells it. Topics that are gone are left out. Costs as much as the group has
    /// members and partitions.
    pub fn describe(&self, image: &Image, config: &GroupsConfig) -> DescribedGroup {
        let fallback = config.assignors.first().map_or("", |assignor: &Assignor| assignor.name());
        DescribedGroup::default()
            .with_group_id(kafka_protocol::messages::GroupId(text(&self.id)))
            .with_group_state(StrBytes::from_string(self.state().to_string()))
            .with_group_epoch(self.epoch())
            .with_assignment_epoch(self.target_epoch())
            .with_assignor_name(text(self.preferred_assignor().unwrap_or(fallback)))
            .with_members(self.members.iter().map(|(id, member)| self.describe_member(image, id, member)).collect())
    }

    fn describe_member(&self, image: &Image, id: &str, member: &Member) -> DescribedMember {
        let told = &member.told;
        let names = told.topic_names.iter().map(|name| TopicName(text(name)));
        let mut held: BTreeMap<TopicId, Vec<PartitionIndex>> = BTreeMap::new();
        for (topic, partition) in member.partitions() {
            held.entry(topic).or_default().push(partition);
        }
        for partitions in held.values_mut() {
            partitions.sort_unstable();
        }
        let target = self.target(id).into_iter().flatten();
        DescribedMember::default()
            .with_member_id(text(id))
            .with_instance_id(told.instance_id.as_deref().map(text))
            .with_rack_id(told.rack_id.as_deref().map(text))
            .with_member_epoch(member.current.epoch)
            .with_client_id(text(&told.client_id))
            .with_client_host(text(&told.client_host))
            .with_subscribed_topic_names(names.collect())
            .with_subscribed_topic_regex(told.topic_regex.as_deref().map(text))
            .with_assignment(assignment(image, held.iter()))
            .with_target_assignment(assignment(image, target))
            .with_member_type(if member.is_classic() { CLASSIC } else { CONSUMER })
    }
}

fn assignment<'a>(
    image: &Image,
    partitions: impl Iterator<Item = (&'a TopicId, &'a Vec<PartitionIndex>)>,
) -> Assignment {
    let topics = partitions.filter_map(|(id, partitions)| {
        let topic = image.topic_by_id(*id)?;
        let partitions = partitions.iter().map(|partition| partition.0).collect();
        Some(
            TopicPartitions::default()
                .with_topic_id(id.0)
                .with_topic_name(TopicName(text(&topic.name)))
                .with_partitions(partitions),
        )
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
