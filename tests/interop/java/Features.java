// The commands of the Java peer for the tests of features: topics with properties, records with their
// places and times, offsets by time, groups without members, quotas. README.md has them.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListOffsetsResult;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

final class Features {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Duration STALL = Duration.ofSeconds(30);

    private final String bootstrap;

    Features(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    /** Returns the answer to a command; null when it is none of these. */
    ObjectNode run(JsonNode command) throws Exception {
        try (Admin admin = Admin.create(settings(command))) {
            switch (command.get("cmd").asText()) {
                case "topic.create":
                    return create(admin, command);
                case "topic.delete":
                    admin.deleteTopics(List.of(topic(command))).all().get();
                    return JSON.createObjectNode();
                case "configs.alter":
                    return alter(admin, command);
                case "configs.describe":
                    return describe(admin, command);
                case "records.send":
                    return send(command);
                case "records.read":
                    return read(command);
                case "records.delete":
                    return delete(admin, command);
                case "offsets.list":
                    return list(admin, command);
                case "offsets.commit":
                    return commit(admin, command);
                case "offsets.committed":
                    return committed(admin, command);
                case "quota.set":
                    return quota(admin, command);
                default:
                    return null;
            }
        } catch (ExecutionException problem) {
            // A refusal is an answer; the test knows which is right.
            return JSON.createObjectNode().put("code", code(problem));
        }
    }

    private static int code(ExecutionException problem) {
        return Errors.forException(problem.getCause()).code();
    }

    private static String topic(JsonNode command) {
        return command.get("topic").asText();
    }

    private Properties settings(JsonNode command) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        command.path("settings").properties().forEach(entry ->
                settings.put(entry.getKey(), entry.getValue().asText()));
        return settings;
    }

    private static Map<String, String> words(JsonNode object) {
        Map<String, String> words = new TreeMap<>();
        object.properties().forEach(entry -> words.put(entry.getKey(), entry.getValue().asText()));
        return words;
    }

    private static ObjectNode create(Admin admin, JsonNode command) throws Exception {
        NewTopic topic = new NewTopic(topic(command), command.get("partitions").asInt(), (short) 1);
        topic.configs(words(command.path("configs")));
        admin.createTopics(List.of(topic)).all().get();
        return JSON.createObjectNode();
    }

    private static ObjectNode alter(Admin admin, JsonNode command) throws Exception {
        List<AlterConfigOp> operations = new ArrayList<>();
        words(command.get("configs")).forEach((name, value) -> operations.add(
                new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET)));
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic(command));
        admin.incrementalAlterConfigs(Map.of(resource, operations)).all().get();
        return JSON.createObjectNode();
    }

    private static ObjectNode describe(Admin admin, JsonNode command) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic(command));
        ConfigEntry entry = admin.describeConfigs(List.of(resource),
                new org.apache.kafka.clients.admin.DescribeConfigsOptions().includeSynonyms(true))
                .all().get().get(resource).get(command.get("key").asText());
        ObjectNode answer = JSON.createObjectNode()
                .put("value", entry.value()).put("source", source(entry.source()));
        ArrayNode synonyms = answer.putArray("synonyms");
        entry.synonyms().forEach(synonym -> synonyms.addArray()
                .add(synonym.name()).add(synonym.value()).add(source(synonym.source())));
        return answer;
    }

    /** Returns the number that the wire has for a source. */
    private static int source(ConfigEntry.ConfigSource source) {
        switch (source) {
            case DYNAMIC_TOPIC_CONFIG:
                return 1;
            case DYNAMIC_BROKER_CONFIG:
                return 2;
            case DYNAMIC_DEFAULT_BROKER_CONFIG:
                return 3;
            case STATIC_BROKER_CONFIG:
                return 4;
            case DEFAULT_CONFIG:
                return 5;
            default:
                return 0;
        }
    }

    private ObjectNode send(JsonNode command) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode results = answer.putArray("results");
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(
                settings(command), new ByteArraySerializer(), new ByteArraySerializer())) {
            for (JsonNode record : command.get("records")) {
                sent.add(producer.send(new ProducerRecord<>(topic(command),
                        record.get(0).isNull() ? null : record.get(0).asInt(),
                        record.get(1).isNull() ? null : record.get(1).asLong(),
                        bytes(record.get(2)), bytes(record.get(3)))));
            }
            producer.flush();
            for (Future<RecordMetadata> future : sent) {
                try {
                    RecordMetadata done = future.get();
                    results.addArray().add(done.offset()).add(done.timestamp());
                } catch (ExecutionException problem) {
                    results.add(code(problem));
                }
            }
            double throttled = 0;
            for (Metric metric : producer.metrics().values()) {
                if (metric.metricName().name().equals("produce-throttle-time-max")) {
                    throttled = Math.max(throttled, (Double) metric.metricValue());
                }
            }
            answer.put("throttled", throttled > 0);
        }
        return answer;
    }

    /** A number stands for a text of so many letters. */
    private static byte[] bytes(JsonNode value) {
        if (value.isNull()) {
            return null;
        }
        String text = value.isNumber() ? "x".repeat(value.asInt()) : value.asText();
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static JsonNode text(byte[] bytes) {
        if (bytes == null) {
            return JSON.nullNode();
        }
        return bytes.length > 100
                ? JSON.getNodeFactory().numberNode(bytes.length)
                : JSON.getNodeFactory().textNode(new String(bytes, StandardCharsets.UTF_8));
    }

    private ObjectNode read(JsonNode command) {
        Properties settings = settings(command);
        settings.put("auto.offset.reset", "earliest");
        // A reader that stops at the end need not wait there for long.
        settings.put("fetch.max.wait.ms", "50");
        TopicPartition partition =
                new TopicPartition(topic(command), command.get("partition").asInt());
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode records = answer.putArray("records");
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(
                settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, command.get("from").asLong());
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            long deadline = System.nanoTime() + STALL.toNanos();
            while (consumer.position(partition) < end) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    ArrayNode row = records.addArray().add(record.offset()).add(record.timestamp())
                            .add(record.timestampType().toString());
                    row.add(text(record.key())).add(text(record.value()));
                }
                if (System.nanoTime() > deadline) {
                    throw new IllegalStateException("no record for " + STALL + ", end " + end);
                }
            }
        }
        return answer;
    }

    private static ObjectNode delete(Admin admin, JsonNode command) throws Exception {
        TopicPartition partition =
                new TopicPartition(topic(command), command.get("partition").asInt());
        RecordsToDelete before = RecordsToDelete.beforeOffset(command.get("before").asLong());
        long low = admin.deleteRecords(Map.of(partition, before)).lowWatermarks()
                .get(partition).get().lowWatermark();
        return JSON.createObjectNode().put("low", low);
    }

    private static ObjectNode list(Admin admin, JsonNode command) throws Exception {
        TopicPartition partition =
                new TopicPartition(topic(command), command.get("partition").asInt());
        JsonNode at = command.get("at");
        OffsetSpec spec = at.isNumber() ? OffsetSpec.forTimestamp(at.asLong())
                : at.asText().equals("earliest") ? OffsetSpec.earliest()
                : at.asText().equals("latest") ? OffsetSpec.latest()
                : OffsetSpec.maxTimestamp();
        ListOffsetsResult.ListOffsetsResultInfo found =
                admin.listOffsets(Map.of(partition, spec)).partitionResult(partition).get();
        return JSON.createObjectNode()
                .put("offset", found.offset()).put("timestamp", found.timestamp());
    }

    private static ObjectNode commit(Admin admin, JsonNode command) throws Exception {
        TopicPartition partition =
                new TopicPartition(topic(command), command.get("partition").asInt());
        String metadata = new String(bytes(command.get("metadata")), StandardCharsets.UTF_8);
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        offsets.put(partition, new OffsetAndMetadata(command.get("offset").asLong(), metadata));
        admin.alterConsumerGroupOffsets(command.get("group").asText(), offsets)
                .partitionResult(partition).get();
        return JSON.createObjectNode();
    }

    private static ObjectNode committed(Admin admin, JsonNode command) throws Exception {
        Map<String, JsonNode> rows = new TreeMap<>();
        admin.listConsumerGroupOffsets(command.get("group").asText())
                .partitionsToOffsetAndMetadata().get().forEach((partition, offset) -> {
                    ArrayNode row = JSON.createArrayNode()
                            .add(partition.topic()).add(partition.partition()).add(offset.offset());
                    row.add(text(offset.metadata().getBytes(StandardCharsets.UTF_8)));
                    rows.put(partition.toString(), row);
                });
        ObjectNode answer = JSON.createObjectNode();
        answer.putArray("offsets").addAll(rows.values());
        return answer;
    }

    /** Sets a quota for a client id, or removes it when its value is null. */
    private static ObjectNode quota(Admin admin, JsonNode command) throws Exception {
        ClientQuotaEntity entity = new ClientQuotaEntity(
                Map.of(ClientQuotaEntity.CLIENT_ID, command.get("client").asText()));
        JsonNode rate = command.get("rate");
        ClientQuotaAlteration.Op operation = new ClientQuotaAlteration.Op(
                command.get("key").asText(), rate.isNull() ? null : rate.asDouble());
        admin.alterClientQuotas(List.of(new ClientQuotaAlteration(entity, List.of(operation))))
                .all().get();
        return JSON.createObjectNode();
    }
}
