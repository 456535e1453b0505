import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * A second producer with the transactional id of a first one, and what the first one is told at each of its calls:
 * {@code Fence BOOTSTRAP same|other}; with {@code other} the second has an id of its own.
 *
 * <p>Every line is {@code CASE CALL: ok} or the errors that the call ended with. In the end {@code fenced} has to hold, for
 * each case, what the first had committed before and what the second committed after.
 */
public final class Fence {
    private static final TopicPartition TOPIC = new TopicPartition("fenced", 0);

    private final String bootstrap;
    private final String suffix;

    private Fence(String bootstrap, String suffix) {
        this.bootstrap = bootstrap;
        this.suffix = suffix;
    }

    private interface Call {
        void run() throws ExecutionException, InterruptedException;
    }

    public static void main(String[] arguments) {
        Fence fence = new Fence(arguments[0], arguments[1].equals("same") ? "" : "-other");
        fence.open("open-send", first -> {
            tell("open-send send", () -> send(first, "open-send lost"));
            tell("open-send commit", first::commitTransaction);
            tell("open-send abort", first::abortTransaction);
        });
        fence.open("open-commit", first -> tell("open-commit commit", first::commitTransaction));
        fence.open("open-abort", first -> {
            tell("open-abort abort", first::abortTransaction);
            tell("open-abort begin", first::beginTransaction);
        });
        fence.open("open-offsets", first -> {
            tell("open-offsets offsets", () -> fence.offsets(first));
            tell("open-offsets commit", first::commitTransaction);
        });
        fence.idle("idle-send", first -> {
            tell("idle-send begin", first::beginTransaction);
            tell("idle-send send", () -> send(first, "idle-send lost"));
            tell("idle-send commit", first::commitTransaction);
        });
        fence.idle("idle-offsets", first -> {
            tell("idle-offsets begin", first::beginTransaction);
            tell("idle-offsets offsets", () -> fence.offsets(first));
            tell("idle-offsets commit", first::commitTransaction);
        });
    }

    private interface Attempts {
        void by(KafkaProducer<String, String> first);
    }

    /** The first has a transaction open when the second comes. */
    private void open(String name, Attempts attempts) {
        try (var first = producer(name, ""); var second = producer(name, suffix)) {
            first.initTransactions();
            whole(first, name + " before");
            first.beginTransaction();
            tell(name + " write", () -> send(first, name + " lost"));
            second.initTransactions();
            attempts.by(first);
            whole(second, name + " after");
        }
    }

    /** The first has ended its transaction when the second comes, and the second has one open when the first goes on. */
    private void idle(String name, Attempts attempts) {
        try (var first = producer(name, ""); var second = producer(name, suffix)) {
            first.initTransactions();
            whole(first, name + " before");
            second.initTransactions();
            second.beginTransaction();
            tell(name + " write", () -> send(second, name + " between"));
            attempts.by(first);
            tell(name + " end", second::commitTransaction);
            whole(second, name + " after");
        }
    }

    private static void whole(KafkaProducer<String, String> producer, String value) {
        producer.beginTransaction();
        tell(value, () -> send(producer, value));
        producer.commitTransaction();
    }

    private static void send(KafkaProducer<String, String> producer, String value)
            throws ExecutionException, InterruptedException {
        producer.send(new ProducerRecord<>(TOPIC.topic(), TOPIC.partition(), null, value)).get();
    }

    private void offsets(KafkaProducer<String, String> producer) {
        Properties settings = new Properties();
        settings.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        settings.put(ConsumerConfig.GROUP_ID_CONFIG, "fence");
        settings.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class.getName());
        settings.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class.getName());
        try (var consumer = new KafkaConsumer<String, String>(settings)) {
            producer.sendOffsetsToTransaction(Map.of(TOPIC, new OffsetAndMetadata(1)), consumer.groupMetadata());
        }
    }

    private static void tell(String call, Call body) {
        try {
            body.run();
            System.out.println(call + ": ok");
        } catch (ExecutionException error) {
            Told.error(call, error.getCause());
        } catch (KafkaException | IllegalStateException error) {
            Told.error(call, error);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    private KafkaProducer<String, String> producer(String name, String suffix) {
        Properties settings = new Properties();
        settings.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        settings.put(ProducerConfig.TRANSACTIONAL_ID_CONFIG, name + suffix);
        settings.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class.getName());
        settings.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, StringSerializer.class.getName());
        return new KafkaProducer<>(settings);
    }
}
