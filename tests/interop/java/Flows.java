// Kafka Streams in the Java peer: instances of one application that counts words, and says of each
// count which label its word has. It needs a repartition topic, a changelog and a table.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.Stores;

final class Flows {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Duration CLOSE = Duration.ofSeconds(30);

    private final String bootstrap;
    private final Map<String, KafkaStreams> instances = new HashMap<>();

    Flows(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    ObjectNode run(JsonNode command) {
        String name = command.get("instance").asText();
        switch (command.get("cmd").asText()) {
            case "streams.start": {
                KafkaStreams streams = new KafkaStreams(
                        topology(command).build(), settings(command));
                instances.put(name, streams);
                streams.start();
                return JSON.createObjectNode();
            }
            case "streams.stop":
                if (!instances.remove(name).close(CLOSE)) {
                    throw new IllegalStateException("it did not close in " + CLOSE);
                }
                return JSON.createObjectNode();
            default: {
                KafkaStreams streams = instances.get(name);
                int active = streams.metadataForLocalThreads().stream()
                        .mapToInt(thread -> thread.activeTasks().size()).sum();
                return JSON.createObjectNode()
                        .put("state", streams.state().toString()).put("active", active);
            }
        }
    }

    private Properties settings(JsonNode command) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("application.id", command.get("application").asText());
        settings.put("state.dir", command.get("folder").asText());
        // Every count is told, not the last of some.
        settings.put("statestore.cache.max.bytes", "0");
        settings.put("commit.interval.ms", "200");
        settings.put("repartition.purge.interval.ms", "200");
        // A count waits for the labels that are older than it.
        settings.put("max.task.idle.ms", "300");
        settings.put("consumer.auto.offset.reset", "earliest");
        // An instance that is closed does not say so to its group.
        settings.put("consumer.session.timeout.ms", "6000");
        settings.put("consumer.heartbeat.interval.ms", "1000");
        return settings;
    }

    private static StreamsBuilder topology(JsonNode command) {
        String application = command.get("application").asText();
        StreamsBuilder builder = new StreamsBuilder();
        var texts = Consumed.with(Serdes.String(), Serdes.String());
        KTable<String, String> labels = builder.table(application + "-labels", texts,
                Materialized.as(Stores.inMemoryKeyValueStore("labels")));
        builder.stream(application + "-lines", texts)
                .flatMapValues(line -> List.of(line.split(" ")))
                .groupBy((key, word) -> word, Grouped.with("words", Serdes.String(), Serdes.String()))
                .count(Materialized.<String, Long>as(Stores.inMemoryKeyValueStore("counts"))
                        .withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()))
                .toStream()
                .leftJoin(labels, (count, label) -> count + " " + label,
                        Joined.with(Serdes.String(), Serdes.Long(), Serdes.String()))
                .to(application + "-counts", Produced.with(Serdes.String(), Serdes.String()));
        return builder;
    }
}
