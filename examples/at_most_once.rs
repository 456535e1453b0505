//! At most once: the consumer commits before it processes, so that a crash in between loses the record in flight.
//!
//!     cargo run --example at_most_once -- 127.0.0.1:9092

mod support;

use std::error::Error;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use support::{CRASHES_AT, Processed, Quiet, Scene};

fn main() -> Result<(), Box<dyn Error>> {
    show(&support::address())
}

/// Consumes with a crash, goes on with a second consumer, and says what that comes to.
pub fn show(bootstrap: &str) -> Result<(), Box<dyn Error>> {
    let scene = Scene::set_up(bootstrap, "at-most-once")?;
    let mut processed = Processed::default();
    // The consumer is gone after this line, without another word about its offsets: that is what a crash comes to.
    consume(&scene.consumer()?, &mut processed, Some(CRASHES_AT))?;
    println!("the first consumer crashed: record {CRASHES_AT} is committed and not processed; a second one takes over");
    consume(&scene.consumer()?, &mut processed, None)?;
    processed.must_be(0)?;
    println!(
        "At most once: record {CRASHES_AT} is lost, and none was processed twice. The second consumer began at the \
         committed offset, which was already behind it."
    );
    Ok(())
}

/// Commits, then processes, up to the end of the partition or to the crash.
fn consume(
    consumer: &BaseConsumer<Quiet>,
    processed: &mut Processed,
    crashes_at: Option<usize>,
) -> Result<(), Box<dyn Error>> {
    while let Some((number, message)) = support::next(consumer)? {
        // The offset after this record; it is on the broker's disk when this returns.
        consumer.commit_message(&message, CommitMode::Sync)?;
        if crashes_at == Some(number) {
            return Ok(());
        }
        processed.process(number)?;
    }
    Ok(())
}
