import java.time.Duration;
import java.util.Arrays;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * One instance of a Kafka Streams application, until it is told to stop:
 * {@code Streams words|balances BOOTSTRAP STATE-FOLDER PROCESSING-GUARANTEE}.
 *
 * <p>Values begin with a number of their own, so that the driver can tell the records of a topic apart; nothing is
 * cached, so that every change of a table becomes a record.
 */
public final class Streams {
    private Streams() {
    }

    public static void main(String[] arguments) {
        String application = arguments[0];
        StreamsBuilder builder = new StreamsBuilder();
        switch (application) {
            case "words" -> countWords(builder);
            case "balances" -> joinBalances(builder);
            default -> throw new IllegalArgumentException(application);
        }
        KafkaStreams streams = new KafkaStreams(builder.build(), settings(arguments));
        streams.setStateListener((now, before) -> System.out.println("state: " + now));
        streams.setUncaughtExceptionHandler(error -> {
            Told.error("replaced", error);
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(30))));
        streams.start();
    }

    /** How often each word occurs in the topic {@code lines}; both the repartition and the count go through topics. */
    private static void countWords(StreamsBuilder builder) {
        builder.stream("lines", Consumed.with(Serdes.String(), Serdes.String()))
            .flatMapValues(line -> Arrays.asList(line.split(" ")).subList(1, line.split(" ").length))
            .groupBy((id, word) -> word, Grouped.with(Serdes.String(), Serdes.String()))
            .count(Materialized.with(Serdes.String(), Serdes.Long()))
            .toStream()
            .mapValues(count -> Long.toString(count))
            .to("counts", Produced.with(Serdes.String(), Serdes.String()));
    }

    /**
     * What each customer has ordered and paid: how many records of either kind, and the sum of their amounts. Two tables
     * with a changelog each, and a join of them that looks into the other's table with every change.
     */
    private static void joinBalances(StreamsBuilder builder) {
        sum(builder, "orders").join(sum(builder, "payments"), (ordered, paid) -> ordered + " " + paid)
            .toStream()
            .to("joined", Produced.with(Serdes.String(), Serdes.String()));
    }

    private static KTable<String, String> sum(StreamsBuilder builder, String topic) {
        Materialized<String, String, KeyValueStore<Bytes, byte[]>> store = Materialized.as("sum-of-" + topic);
        return builder.stream(topic, Consumed.with(Serdes.String(), Serdes.String()))
            .groupByKey()
            .aggregate(() -> "0 0", (customer, value, sums) -> {
                String[] parts = sums.split(" ");
                long amount = Long.parseLong(value.split(" ")[1]);
                return (Long.parseLong(parts[0]) + 1) + " " + (Long.parseLong(parts[1]) + amount);
            }, store.withKeySerde(Serdes.String()).withValueSerde(Serdes.String()));
    }

    private static Properties settings(String[] arguments) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[0]);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[1]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[2]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, arguments[3]);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 50);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG), 4000);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG), 500);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG), 4000);
        settings.put(StreamsConfig.RECONNECT_BACKOFF_MAX_MS_CONFIG, 200);
        return settings;
    }
}
