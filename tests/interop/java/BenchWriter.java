// Kafka's producer in `cargo xtask bench client`: writes the values of a file to the topic `bench`, over
// and over, as fast as it is let, until it is killed, and tells how many records were acknowledged, with
// their bytes, at the first one and every 50 ms.

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Properties;
import org.apache.kafka.clients.producer.Callback;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public final class BenchWriter {
    private static final long INTERVAL_NANOS = 50_000_000;
    private static final int SENDS_BETWEEN_LOOKS = 256;

    /** Written by the producer's thread alone. */
    private static volatile long acknowledged;

    private BenchWriter() {}

    /** Arguments: the bootstrap servers, the file, the bytes of a value, and settings as name=value. */
    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", arguments[0]);
        for (int i = 3; i < arguments.length; i++) {
            String[] setting = arguments[i].split("=", 2);
            properties.put(setting[0], setting[1]);
        }
        byte[] file = Files.readAllBytes(Path.of(arguments[1]));
        int size = Integer.parseInt(arguments[2]);
        byte[][] values = new byte[file.length / size][];
        for (int i = 0; i < values.length; i++) {
            values[i] = Arrays.copyOfRange(file, i * size, (i + 1) * size);
        }
        Callback callback =
                (metadata, error) -> {
                    if (error != null) {
                        error.printStackTrace();
                        System.exit(1);
                    }
                    acknowledged = acknowledged + 1;
                };
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(
                        properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            long next = 0;
            int turn = 0;
            while (true) {
                for (int i = 0; i < SENDS_BETWEEN_LOOKS; i++) {
                    producer.send(new ProducerRecord<>("bench", values[turn]), callback);
                    turn = turn + 1 == values.length ? 0 : turn + 1;
                }
                long now = System.nanoTime();
                long records = acknowledged;
                if (records > 0 && now >= next) {
                    next = now + INTERVAL_NANOS;
                    System.out.println(records + " " + records * size);
                    System.out.flush();
                }
            }
        }
    }
}
