// Kafka's consumer in `cargo xtask bench client`: reads every partition of the topic `bench` from its
// start until it is killed, and tells how many records it has read, with their bytes, at the first
// one and every 50 ms.

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public final class BenchReader {
    private static final long INTERVAL_NANOS = 50_000_000;

    private BenchReader() {}

    /** Arguments: the bootstrap servers, the number of partitions, and settings as name=value. */
    public static void main(String[] arguments) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", arguments[0]);
        properties.put("auto.offset.reset", "earliest");
        properties.put("enable.auto.commit", "false");
        for (int i = 2; i < arguments.length; i++) {
            String[] setting = arguments[i].split("=", 2);
            properties.put(setting[0], setting[1]);
        }
        List<TopicPartition> partitions = new ArrayList<>();
        for (int i = 0; i < Integer.parseInt(arguments[1]); i++) {
            partitions.add(new TopicPartition("bench", i));
        }
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(
                        properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(partitions);
            long records = 0;
            long bytes = 0;
            long next = 0;
            while (true) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    records++;
                    bytes += record.value().length;
                }
                long now = System.nanoTime();
                if (records > 0 && now >= next) {
                    next = now + INTERVAL_NANOS;
                    System.out.println(records + " " + bytes);
                    System.out.flush();
                }
            }
        }
    }
}
