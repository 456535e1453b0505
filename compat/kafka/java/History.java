import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.message.ProduceRequestData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.SimpleRecord;
import org.apache.kafka.common.requests.AbstractResponse;
import org.apache.kafka.common.requests.ProduceRequest;
import org.apache.kafka.common.requests.RequestHeader;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * A history of transactions of every kind, the same on each broker, for tools to look at: {@code History HOST PORT}.
 *
 * <p>The broker must not verify transactions, or it would not let any hang. Those that are open stay so when this ends.
 */
public final class History {
    private static final int MINUTES = 10;
    private static final long UNKNOWN_PRODUCER = 4711;

    private final String host;
    private final int port;
    private final Admin admin;

    private History(String host, int port) {
        this.host = host;
        this.port = port;
        Properties settings = new Properties();
        settings.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, host + ":" + port);
        admin = Admin.create(settings);
    }

    public static void main(String[] arguments) throws Exception {
        History history = new History(arguments[0], Integer.parseInt(arguments[1]));
        history.admin.createTopics(List.of(topic("t", 2), topic("hung", 2))).all().get();
        history.ended();
        history.idempotent();
        history.fenced();
        history.hanging();
        history.open();
        // What is open stays so: nobody is told that its producer goes.
        Runtime.getRuntime().halt(0);
    }

    private static NewTopic topic(String name, int partitions) {
        return new NewTopic(name, partitions, (short) 1);
    }

    private void ended() throws Exception {
        try (var empty = producer("empty"); var committed = producer("committed"); var aborted = producer("aborted")) {
            empty.initTransactions();
            committed.initTransactions();
            for (int number = 0; number < 3; number++) {
                committed.beginTransaction();
                send(committed, "t", number % 2);
                committed.sendOffsetsToTransaction(Map.of(partition("t", 0), new OffsetAndMetadata(number)), group());
                committed.commitTransaction();
            }
            aborted.initTransactions();
            aborted.beginTransaction();
            send(aborted, "t", 0);
            send(aborted, "t", 1);
            aborted.abortTransaction();
            aborted.beginTransaction();
            aborted.commitTransaction();
        }
    }

    private void idempotent() throws Exception {
        try (var producer = producer(null)) {
            send(producer, "t", 0);
            send(producer, "t", 1);
        }
    }

    private void fenced() throws Exception {
        try (var first = producer("fenced"); var second = producer("fenced")) {
            first.initTransactions();
            first.beginTransaction();
            send(first, "t", 0);
            second.initTransactions();
            try {
                first.commitTransaction();
                throw new IllegalStateException("the first was not fenced");
            } catch (ProducerFencedException expected) {
                first.close(Duration.ZERO);
            }
            second.beginTransaction();
            send(second, "t", 0);
            second.commitTransaction();
        }
    }

    /** Transactions that only partitions know of: of a producer that is in another, of one in none, of an unknown one. */
    private void hanging() throws Exception {
        for (String name : List.of("hanging", "hanging-idle")) {
            KafkaProducer<String, String> producer = producer(name);
            producer.initTransactions();
            if (name.equals("hanging")) {
                producer.beginTransaction();
                send(producer, "t", 0);
            }
            TransactionDescription known = admin.describeTransactions(List.of(name)).description(name).get();
            sendUnverified(name, known.producerId(), (short) known.producerEpoch(), 0);
        }
        sendUnverified("nobody", UNKNOWN_PRODUCER, (short) 5, 1);
    }

    private void open() throws Exception {
        KafkaProducer<String, String> producer = producer("open");
        producer.initTransactions();
        producer.beginTransaction();
        send(producer, "t", 0);
        send(producer, "t", 1);
        producer.sendOffsetsToTransaction(Map.of(partition("t", 0), new OffsetAndMetadata(1)), group());
    }

    /** A batch that is an hour old, by a version that leaves it to the producer to add its partitions before. */
    private void sendUnverified(String transactionalId, long producerId, short epoch, int partition) throws IOException {
        short version = 11;
        var records = MemoryRecords.withTransactionalRecords(Compression.NONE, producerId, epoch, 0,
            new SimpleRecord(System.currentTimeMillis() - Duration.ofHours(1).toMillis(), "hanging".getBytes()));
        var data = new ProduceRequestData().setAcks((short) -1).setTimeoutMs(10_000).setTransactionalId(transactionalId);
        data.topicData().add(new ProduceRequestData.TopicProduceData().setName("hung").setPartitionData(List.of(
            new ProduceRequestData.PartitionProduceData().setIndex(partition).setRecords(records))));
        var header = new RequestHeader(ApiKeys.PRODUCE, version, "history", 1);
        ByteBuffer request = new ProduceRequest(data, version).serializeWithHeader(header);
        try (Socket socket = new Socket(host, port)) {
            var output = new DataOutputStream(socket.getOutputStream());
            output.writeInt(request.remaining());
            output.write(request.array(), request.arrayOffset() + request.position(), request.remaining());
            var input = new DataInputStream(socket.getInputStream());
            var answer = AbstractResponse.parseResponse(ByteBuffer.wrap(input.readNBytes(input.readInt())), header);
            if (!answer.errorCounts().keySet().equals(Set.of(Errors.NONE))) {
                throw new IllegalStateException(transactionalId + ": " + answer.errorCounts());
            }
        }
    }

    private static TopicPartition partition(String topic, int partition) {
        return new TopicPartition(topic, partition);
    }

    private ConsumerGroupMetadata group() {
        Properties settings = new Properties();
        settings.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, host + ":" + port);
        settings.put(ConsumerConfig.GROUP_ID_CONFIG, "group");
        settings.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class.getName());
        settings.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class.getName());
        try (var consumer = new KafkaConsumer<String, String>(settings)) {
            return consumer.groupMetadata();
        }
    }

    private static void send(KafkaProducer<String, String> producer, String topic, int partition)
            throws ExecutionException, InterruptedException {
        producer.send(new ProducerRecord<>(topic, partition, null, "value")).get();
    }

    private KafkaProducer<String, String> producer(String transactionalId) {
        Properties settings = new Properties();
        settings.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, host + ":" + port);
        settings.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class.getName());
        settings.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, StringSerializer.class.getName());
        if (transactionalId != null) {
            settings.put(ProducerConfig.TRANSACTIONAL_ID_CONFIG, transactionalId);
            settings.put(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG, (int) Duration.ofMinutes(MINUTES).toMillis());
        }
        return new KafkaProducer<>(settings);
    }
}
