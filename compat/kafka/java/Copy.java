import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.ApplicationRecoverableException;
import org.apache.kafka.common.errors.InvalidTxnStateException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * One instance that reads a topic, writes its records to the same partition of another, and commits its offsets with
 * them, until it is told to stop: {@code Copy BOOTSTRAP TRANSACTIONAL-ID GROUP-PROTOCOL inside|outside}; with
 * {@code outside} the offsets are committed beside the transaction, which is what a check has to notice.
 */
public final class Copy {
    private static final Duration PATIENCE = Duration.ofSeconds(30);

    private final KafkaConsumer<String, String> consumer;
    private final KafkaProducer<String, String> producer;
    private final boolean offsetsInside;
    private final AtomicBoolean running = new AtomicBoolean(true);

    private Copy(String[] arguments) {
        consumer = new KafkaConsumer<>(forConsumer(arguments[0], arguments[2]));
        producer = new KafkaProducer<>(forProducer(arguments[0], arguments[1]));
        offsetsInside = arguments[3].equals("inside");
    }

    public static void main(String[] arguments) {
        Copy copy = new Copy(arguments);
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> copy.stop(main)));
        int status = 0;
        try {
            copy.run();
        } catch (ApplicationRecoverableException | InvalidTxnStateException error) {
            // Another has its transactional id, or the broker has aborted what took too long and was to be committed:
            // this producer can do nothing more, a new one can.
            Told.error("fatal", error);
            status = 3;
        } catch (KafkaException error) {
            error.printStackTrace();
            status = 1;
        }
        copy.close();
        // An exit would wait for the hook, and the hook waits for this thread.
        Runtime.getRuntime().halt(status);
    }

    private void stop(Thread main) {
        running.set(false);
        try {
            main.join(PATIENCE.toMillis());
        } catch (InterruptedException error) {
            Told.error("interrupted", error);
        }
    }

    private void run() {
        untilInTime(producer::initTransactions);
        System.out.println("state: RUNNING");
        consumer.subscribe(List.of("in"));
        while (running.get()) {
            ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(100));
            if (!records.isEmpty()) {
                transaction(records);
            }
        }
    }

    /** What was polled goes through as a whole, or is polled again. */
    private void transaction(ConsumerRecords<String, String> records) {
        try {
            producer.beginTransaction();
            copy(records);
            if (offsetsInside) {
                producer.sendOffsetsToTransaction(ends(records), consumer.groupMetadata());
            } else {
                consumer.commitSync(ends(records));
            }
            untilInTime(producer::commitTransaction);
        } catch (ApplicationRecoverableException | InvalidTxnStateException error) {
            throw error;
        } catch (KafkaException error) {
            Told.error("aborted", error);
            untilInTime(producer::abortTransaction);
            rewind();
        }
    }

    private void copy(ConsumerRecords<String, String> records) {
        for (ConsumerRecord<String, String> record : records) {
            producer.send(new ProducerRecord<>("out", record.partition(), record.key(), record.value()));
        }
    }

    private static Map<TopicPartition, OffsetAndMetadata> ends(ConsumerRecords<String, String> records) {
        Map<TopicPartition, OffsetAndMetadata> ends = new HashMap<>();
        for (TopicPartition partition : records.partitions()) {
            List<ConsumerRecord<String, String>> some = records.records(partition);
            ends.put(partition, new OffsetAndMetadata(some.get(some.size() - 1).offset() + 1));
        }
        return ends;
    }

    /** Back to what is committed, as what was polled since then was not copied. */
    private void rewind() {
        Map<TopicPartition, OffsetAndMetadata> committed = untilKnown();
        for (TopicPartition partition : consumer.assignment()) {
            OffsetAndMetadata offset = committed.get(partition);
            if (offset == null) {
                consumer.seekToBeginning(List.of(partition));
            } else {
                consumer.seek(partition, offset);
            }
        }
    }

    private Map<TopicPartition, OffsetAndMetadata> untilKnown() {
        while (true) {
            try {
                return consumer.committed(consumer.assignment());
            } catch (TimeoutException error) {
                Told.error("again", error);
            }
        }
    }

    /** These calls may be repeated, and have to be, until they have ended. */
    private static void untilInTime(Runnable call) {
        while (true) {
            try {
                call.run();
                return;
            } catch (TimeoutException error) {
                Told.error("again", error);
            }
        }
    }

    private void close() {
        consumer.close();
        producer.close(PATIENCE);
    }

    private static Properties forConsumer(String bootstrap, String groupProtocol) {
        Properties settings = new Properties();
        settings.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        settings.put(ConsumerConfig.GROUP_ID_CONFIG, "copy");
        settings.put(ConsumerConfig.GROUP_PROTOCOL_CONFIG, groupProtocol);
        settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        settings.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false);
        settings.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
        settings.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, 50);
        settings.put(ConsumerConfig.RECONNECT_BACKOFF_MAX_MS_CONFIG, 200);
        settings.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class.getName());
        settings.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class.getName());
        if (groupProtocol.equals("classic")) {
            settings.put(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG, 4000);
            settings.put(ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG, 500);
        }
        return settings;
    }

    private static Properties forProducer(String bootstrap, String transactionalId) {
        Properties settings = new Properties();
        settings.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        settings.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class.getName());
        settings.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, StringSerializer.class.getName());
        settings.put(ProducerConfig.RECONNECT_BACKOFF_MAX_MS_CONFIG, 200);
        settings.put(ProducerConfig.TRANSACTIONAL_ID_CONFIG, transactionalId);
        settings.put(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG, 4000);
        return settings;
    }
}
