//! The shards of a coordinator: one for each partition of its topic, found by name where Kafka finds them.

use std::sync::Arc;

use super::running::{Live, Running};
use super::{Outcome, World};
use crate::types::PartitionIndex;
use crate::wire::ErrorCode;

/// All shards of one coordinator.
pub(super) struct Shards<L: Live>(Vec<Arc<Running<L>>>);

impl<L: Live> Clone for Shards<L> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<L: Live> Shards<L> {
    /// One for each partition that the topic has now; none is loaded yet.
    pub fn new(world: &Arc<World>, beside: &L::Beside) -> Self {
        let count = world.metadata.image().topic(L::TOPIC).map_or(0, |topic| topic.partitions.len());
        let shard = |index| Arc::new(Running::new(Arc::clone(world), beside.clone(), PartitionIndex(index)));
        Self((0..i32::try_from(count).unwrap_or(i32::MAX)).map(shard).collect())
    }

    /// Begins to load what earlier brokers wrote. Needs the runtime.
    pub fn load_written(&self) {
        let written: Vec<_> = self.used().map(Arc::clone).collect();
        if !written.is_empty() {
            tokio::spawn(async move {
                for shard in written {
                    shard.loaded().await;
                }
            });
        }
    }

    /// The shard where Kafka looks for a group or a transactional id.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE where the topic is not there.
    pub fn of(&self, name: &str) -> Result<&Arc<Running<L>>, ErrorCode> {
        let count = i32::try_from(self.0.len()).ok().filter(|count| *count > 0);
        let shard = count.and_then(|count| self.at(PartitionIndex(partition_of(name, count))));
        shard.ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)
    }

    /// The shard of a partition.
    pub fn at(&self, index: PartitionIndex) -> Option<&Arc<Running<L>>> {
        self.0.get(usize::try_from(index.0).ok()?)
    }

    /// All of them, in the order of partitions.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Running<L>>> {
        self.0.iter()
    }

    fn used(&self) -> impl Iterator<Item = &Arc<Running<L>>> {
        self.iter().filter(|shard| shard.is_on_disk())
    }

    /// One turn of the shard of a group or a transactional id.
    pub fn run<T, F>(&self, name: &str, op: F) -> Outcome<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut L::Shard, &mut L::Turn<'_>) -> T + Send + 'static,
    {
        match self.of(name) {
            Ok(shard) => shard.run(|live| live.turn(op)),
            Err(code) => Outcome::Now(Err(code)),
        }
    }

    /// One turn of every shard that has ever been used, in the order of partitions.
    pub fn run_all<T, F>(&self, op: F) -> Vec<Outcome<T>>
    where
        T: Send + 'static,
        F: FnOnce(&mut L::Shard, &mut L::Turn<'_>) -> T + Clone + Send + 'static,
    {
        let turn = |shard: &Arc<Running<L>>| {
            let op = op.clone();
            shard.run(|live| live.turn(op))
        };
        self.used().map(turn).collect()
    }
}

/// The partition of a coordinator's topic where Kafka looks for a name.
pub(super) fn partition_of(name: &str, count: i32) -> i32 {
    // Kafka takes the hash without its sign; clearing the bit of the sign would give other partitions. The hash that has
    // no positive is 0 to it.
    java_hash(name).checked_abs().unwrap_or(0) % count
}

/// Java's `String.hashCode`.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hash_as_in_java() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("abc"), 96354);
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
        // Java counts UTF-16 units, of which the last has two.
        assert_eq!(java_hash("ü😀"), (252 * 31 + 0xd83d) * 31 + 0xde00);
    }

    #[test]
    fn a_group_is_where_kafka_looks_for_it() {
        assert_eq!(java_hash("static-new"), -111_475_263);
        assert_eq!([3, 50].map(|count| partition_of("static-new", count)), [0, 13]);
        assert_eq!(partition_of("polygenelubricants", 50), 0);
        assert_eq!(partition_of("abc", 50), 4);
    }
}
