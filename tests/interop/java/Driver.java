// The Java peer: Kafka's own clients and tools, told what to do by JSON lines on stdin, answering by
// JSON lines on stdout. tests/interop/README.md has the commands and events; driver.py and main.go
// speak the same.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;
import org.apache.kafka.common.utils.Exit;

public final class Driver {
    private static final ObjectMapper JSON = new ObjectMapper();
    /** Only this stream carries the protocol: a tool that prints gets another `System.out`. */
    private static final PrintStream WIRE =
            new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);

    private final String bootstrap;
    private final Map<String, Member> members = new HashMap<>();
    private final Map<String, Load> loads = new HashMap<>();
    private final Flows flows;

    private Driver(String bootstrap) {
        this.bootstrap = bootstrap;
        this.flows = new Flows(bootstrap);
    }

    public static void main(String[] args) throws IOException {
        System.setOut(System.err);
        Driver driver = new Driver(args[0]);
        InputStream stdin = System.in;
        BufferedReader lines =
                new BufferedReader(new InputStreamReader(stdin, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode command = JSON.readTree(line);
            ObjectNode reply = JSON.createObjectNode().put("id", command.get("id").asLong());
            try {
                reply.set("ok", driver.run(command));
            } catch (Exception | LinkageError problem) {
                reply.put("error", String.valueOf(problem));
            }
            say(reply);
        }
        // The harness closed our stdin: it is gone or done with us, and members need no farewell.
        Runtime.getRuntime().halt(0);
    }

    private static synchronized void say(ObjectNode line) {
        WIRE.println(line);
        WIRE.flush();
    }

    private ObjectNode run(JsonNode command) throws Exception {
        switch (command.get("cmd").asText()) {
            case "version":
                return JSON.createObjectNode().put("version", AppInfoParser.getVersion());
            case "create":
                return create(command);
            case "produce":
                return produce(command);
            case "consume":
                return consume(command);
            case "committed":
                return committed(command);
            case "member.start": {
                Member member = new Member(command);
                members.put(member.name, member);
                member.start();
                return JSON.createObjectNode();
            }
            case "member.stop":
                members.remove(command.get("member").asText()).finish();
                return JSON.createObjectNode();
            case "load.start": {
                Load load = new Load(command);
                loads.put(load.name, load);
                load.start();
                return JSON.createObjectNode();
            }
            case "load.stop":
                return JSON.createObjectNode().put("sent", loads.remove(command.get("load").asText()).finish());
            case "tool":
                return tool(command);
            case "streams.start":
            case "streams.stop":
            case "streams.tasks":
                return flows.run(command);
            default: {
                ObjectNode answer = new Features(bootstrap).run(command);
                if (answer == null) {
                    throw new IllegalArgumentException("unknown command");
                }
                return answer;
            }
        }
    }

    private Properties settings() {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        return settings;
    }

    private ObjectNode create(JsonNode command) throws Exception {
        try (Admin admin = Admin.create(settings())) {
            NewTopic topic = new NewTopic(
                    command.get("topic").asText(), command.get("partitions").asInt(), (short) 1);
            admin.createTopics(List.of(topic)).all().get();
        }
        return JSON.createObjectNode();
    }

    private KafkaProducer<byte[], byte[]> producer(String codec) {
        Properties settings = settings();
        settings.put("compression.type", codec);
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private ObjectNode produce(JsonNode command) throws Exception {
        String topic = command.get("topic").asText();
        int partitions = command.get("partitions").asInt();
        long from = command.get("from").asLong();
        long until = from + command.get("count").asLong();
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer(command.get("codec").asText())) {
            for (long i = from; i < until; i++) {
                Sample sample = new Sample(command.get("seed").asLong(), i);
                int partition = (int) (i % partitions);
                long timestamp = command.get("base_ts").asLong() + i;
                sent.add(producer.send(new ProducerRecord<>(
                        topic, partition, timestamp, sample.key, sample.value, sample.headers)));
            }
            for (Future<RecordMetadata> future : sent) {
                future.get();
            }
        }
        return JSON.createObjectNode();
    }

    private ObjectNode consume(JsonNode command) throws Exception {
        boolean values = command.path("values").asBoolean();
        List<TopicPartition> partitions = partitions(command);
        Map<TopicPartition, Tally> tallies = new HashMap<>();
        partitions.forEach(partition -> tallies.put(partition, new Tally()));
        ArrayNode seen = JSON.createArrayNode();
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(settings())) {
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            long deadline = System.nanoTime() + STALL.toNanos();
            while (partitions.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    deadline = System.nanoTime() + STALL.toNanos();
                    tallies.get(new TopicPartition(record.topic(), record.partition())).add(record);
                    if (values) {
                        String value = new String(record.value(), StandardCharsets.UTF_8);
                        seen.addArray().add(record.partition()).add(record.offset())
                                .add(Long.parseLong(value));
                    }
                }
                if (System.nanoTime() > deadline) {
                    throw new IllegalStateException("no record for " + STALL + ", ends " + ends);
                }
            }
        }
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode digests = answer.putArray("partitions");
        for (TopicPartition partition : partitions) {
            digests.addObject().put("count", tallies.get(partition).count)
                    .put("sha256", tallies.get(partition).finish());
        }
        if (values) {
            answer.set("records", seen);
        }
        return answer;
    }

    private ObjectNode committed(JsonNode command) {
        Properties settings = settings();
        settings.put("group.id", command.get("group").asText());
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode offsets = answer.putArray("offsets");
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(settings)) {
            List<TopicPartition> partitions = partitions(command);
            Map<TopicPartition, OffsetAndMetadata> found = consumer.committed(Set.copyOf(partitions));
            for (TopicPartition partition : partitions) {
                OffsetAndMetadata offset = found.get(partition);
                offsets.add(offset == null ? -1 : offset.offset());
            }
        }
        return answer;
    }

    private static List<TopicPartition> partitions(JsonNode command) {
        return IntStream.range(0, command.get("partitions").asInt())
                .mapToObj(index -> new TopicPartition(command.get("topic").asText(), index))
                .collect(Collectors.toList());
    }

    private static KafkaConsumer<byte[], byte[]> consumer(Properties settings) {
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    /**
     * Runs the `main` of one of Kafka's tools with its own stdin, stdout and stderr. Where the tool
     * would end the process, its shutdown hooks run and its thread stops for good.
     */
    private static ObjectNode tool(JsonNode command) throws Exception {
        String[] arguments = JSON.convertValue(command.get("args"), String[].class);
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ByteArrayOutputStream err = new ByteArrayOutputStream();
        PrintStream oldOut = System.out;
        PrintStream oldErr = System.err;
        InputStream oldIn = System.in;
        System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
        System.setIn(new ByteArrayInputStream(
                command.path("stdin").asText("").getBytes(StandardCharsets.UTF_8)));
        List<Runnable> hooks = new ArrayList<>();
        CompletableFuture<Integer> ended = new CompletableFuture<>();
        Exit.Procedure stop = (status, message) -> {
            hooks.forEach(Runnable::run);
            ended.complete(status);
            LockSupport.park();
            throw new IllegalStateException("a tool went on after its end");
        };
        Exit.setExitProcedure(stop);
        Exit.setHaltProcedure(stop);
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook));
        Thread thread = new Thread(() -> {
            try {
                Class.forName(command.get("class").asText()).getMethod("main", String[].class)
                        .invoke(null, (Object) arguments);
                hooks.forEach(Runnable::run);
                ended.complete(0);
            } catch (InvocationTargetException thrown) {
                thrown.getCause().printStackTrace();
                ended.complete(1);
            } catch (ReflectiveOperationException problem) {
                ended.completeExceptionally(problem);
            }
        });
        thread.setDaemon(true);
        thread.start();
        try {
            int status = ended.get(TOOL_SECONDS, TimeUnit.SECONDS);
            return JSON.createObjectNode()
                    .put("stdout", out.toString(StandardCharsets.UTF_8))
                    .put("stderr", err.toString(StandardCharsets.UTF_8))
                    .put("status", status);
        } finally {
            System.setOut(oldOut);
            System.setErr(oldErr);
            System.setIn(oldIn);
            Exit.resetExitProcedure();
            Exit.resetHaltProcedure();
            Exit.resetShutdownHookAdder();
        }
    }

    /** One member of a group: reads, reports, commits what it reported, until told to leave. */
    private final class Member extends Thread implements ConsumerRebalanceListener {
        private final String name;
        private final JsonNode command;
        private final KafkaConsumer<byte[], byte[]> consumer;
        /** Whether the client commits by itself. */
        private final boolean automatic;
        private volatile boolean leaving;

        Member(JsonNode command) {
            this.command = command;
            name = command.get("member").asText();
            Properties settings = settings();
            settings.put("group.id", command.get("group").asText());
            settings.put("client.id", name);
            settings.put("enable.auto.commit", "false");
            settings.put("auto.offset.reset", "earliest");
            if (command.has("session_ms")) {
                settings.put("session.timeout.ms", command.get("session_ms").asText());
            }
            command.path("settings").properties().forEach(
                    setting -> settings.put(setting.getKey(), setting.getValue().asText()));
            automatic = "true".equals(settings.get("enable.auto.commit"));
            consumer = consumer(settings);
        }

        private void subscribe() {
            if (command.has("pattern")) {
                consumer.subscribe(Pattern.compile(command.get("pattern").asText()), this);
            } else if (command.has("regex")) {
                consumer.subscribe(new SubscriptionPattern(command.get("regex").asText()), this);
            } else {
                consumer.subscribe(List.of(command.get("topic").asText()), this);
            }
        }

        @Override
        public void run() {
            try (consumer) {
                subscribe();
                while (!leaving) {
                    ArrayNode seen = JSON.createArrayNode();
                    for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                        seen.addArray().add(record.partition()).add(record.offset());
                    }
                    if (!seen.isEmpty()) {
                        // Told first: a commit that was made is then of records that were told.
                        say((ObjectNode) event("records").set("records", seen));
                        if (!automatic) {
                            commit();
                        }
                    }
                }
            } catch (RuntimeException problem) {
                say(event("failed").put("error", String.valueOf(problem)));
            }
        }

        private void commit() {
            ArrayNode offsets = JSON.createArrayNode();
            for (TopicPartition partition : consumer.assignment()) {
                try {
                    long position = consumer.position(partition, Duration.ZERO);
                    offsets.addArray().add(partition.partition()).add(position);
                } catch (TimeoutException unknown) {
                    // It is about to be given up before its position was looked up, and never will be.
                }
            }
            try {
                consumer.commitSync();
                say((ObjectNode) event("committed").set("offsets", offsets));
            } catch (RuntimeException problem) {
                say(event("commit_failed").put("error", String.valueOf(problem)));
            }
        }

        private ObjectNode event(String kind) {
            return JSON.createObjectNode().put("event", kind).put("member", name);
        }

        private void tell(String kind, Collection<TopicPartition> partitions) {
            ObjectNode line = event(kind);
            ArrayNode indexes = line.putArray("partitions");
            partitions.stream().map(TopicPartition::partition).sorted().forEach(indexes::add);
            say(line);
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            tell("assigned", partitions);
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            tell("revoked", partitions);
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> partitions) {
            tell("lost", partitions);
        }

        void finish() throws InterruptedException {
            leaving = true;
            join();
        }
    }

    /** A producer at work until told to stop: the n-th record's value is n, in decimal. */
    private final class Load extends Thread {
        private final String name;
        private final String topic;
        private final int partitions;
        private final KafkaProducer<byte[], byte[]> producer;
        private final Semaphore inFlight = new Semaphore(LOAD_IN_FLIGHT);
        private final ConcurrentLinkedQueue<long[]> acked = new ConcurrentLinkedQueue<>();
        private final AtomicLong sent = new AtomicLong();
        private volatile boolean stopping;

        Load(JsonNode command) {
            name = command.get("load").asText();
            topic = command.get("topic").asText();
            partitions = command.get("partitions").asInt();
            producer = producer("none");
        }

        @Override
        public void run() {
            try (producer) {
                long told = System.nanoTime();
                while (!stopping) {
                    long seq = sent.getAndIncrement();
                    byte[] value = Long.toString(seq).getBytes(StandardCharsets.UTF_8);
                    int partition = (int) (seq % partitions);
                    inFlight.acquire();
                    producer.send(new ProducerRecord<>(topic, partition, null, value), (done, problem) -> {
                        inFlight.release();
                        if (problem == null) {
                            acked.add(new long[] {done.partition(), done.offset(), seq});
                        } else {
                            say(event("failed").put("seq", seq).put("error", String.valueOf(problem)));
                        }
                    });
                    Thread.sleep(0, LOAD_PAUSE_NANOS);
                    if (System.nanoTime() - told > LOAD_REPORT_NANOS) {
                        told = System.nanoTime();
                        report();
                    }
                }
                producer.flush();
            } catch (InterruptedException | RuntimeException problem) {
                say(event("failed").put("error", String.valueOf(problem)));
            }
            report();
        }

        private void report() {
            ArrayNode records = JSON.createArrayNode();
            for (long[] ack = acked.poll(); ack != null; ack = acked.poll()) {
                records.addArray().add(ack[0]).add(ack[1]).add(ack[2]);
            }
            say((ObjectNode) event("acked").set("records", records));
        }

        private ObjectNode event(String kind) {
            return JSON.createObjectNode().put("event", kind).put("load", name);
        }

        long finish() throws InterruptedException {
            stopping = true;
            join();
            return sent.get();
        }
    }

    /** The i-th record of a seed: the same bytes in every driver and in the harness. */
    private static final class Sample {
        private final byte[] key;
        private final byte[] value;
        private final List<Header> headers = new ArrayList<>();

        Sample(long seed, long i) {
            long x = mix(seed * 1_000_003L + i);
            key = i % 10 == 0 ? null : text("key-" + (x >>> 32) % 17);
            if (i % 13 == 5) {
                value = null;
            } else {
                value = new byte[i % 50 == 7 ? 20_000 : (int) (x & 0xff)];
                boolean dull = (x >>> 8 & 1) == 1;
                for (int j = 0; j < value.length; j++) {
                    value[j] = (byte) (dull ? 'a' + j % 7 : mix(x + j));
                }
            }
            switch ((int) (i % 4)) {
                case 1:
                    headers.add(new RecordHeader("trace", text(Long.toString(i))));
                    break;
                case 2:
                    headers.add(new RecordHeader("twice", text("1")));
                    headers.add(new RecordHeader("twice", (byte[]) null));
                    break;
                case 3:
                    headers.add(new RecordHeader("empty", new byte[0]));
                    break;
                default:
                    break;
            }
        }

        private static byte[] text(String text) {
            return text.getBytes(StandardCharsets.UTF_8);
        }

        private static long mix(long seed) {
            long z = seed + 0x9E3779B97F4A7C15L;
            z = (z ^ z >>> 30) * 0xBF58476D1CE4E5B9L;
            z = (z ^ z >>> 27) * 0x94D049BB133111EBL;
            return z ^ z >>> 31;
        }
    }

    /** Counts and digests the records of one partition in the order they were read. */
    private static final class Tally {
        private final MessageDigest digest = sha256();
        private long count;

        void add(ConsumerRecord<byte[], byte[]> record) throws IOException {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            DataOutputStream out = new DataOutputStream(bytes);
            out.writeLong(record.offset());
            out.writeLong(record.timestamp());
            field(out, record.key());
            field(out, record.value());
            Header[] headers = record.headers().toArray();
            out.writeInt(headers.length);
            for (Header header : headers) {
                field(out, header.key().getBytes(StandardCharsets.UTF_8));
                field(out, header.value());
            }
            digest.update(bytes.toByteArray());
            count++;
        }

        private static void field(DataOutputStream out, byte[] bytes) throws IOException {
            out.writeInt(bytes == null ? -1 : bytes.length);
            if (bytes != null) {
                out.write(bytes);
            }
        }

        private static MessageDigest sha256() {
            try {
                return MessageDigest.getInstance("SHA-256");
            } catch (java.security.NoSuchAlgorithmException problem) {
                throw new IllegalStateException(problem);
            }
        }

        String finish() {
            return HexFormat.of().formatHex(digest.digest());
        }
    }

    private static final long TOOL_SECONDS = 60;
    private static final Duration STALL = Duration.ofSeconds(30);
    private static final int LOAD_IN_FLIGHT = 200;
    private static final int LOAD_PAUSE_NANOS = 500_000;
    private static final long LOAD_REPORT_NANOS = 20_000_000;
}
