import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.coordinator.group.api.assignor.PartitionAssignor;
import org.apache.kafka.coordinator.group.api.assignor.SubscribedTopicDescriber;
import org.apache.kafka.coordinator.group.api.assignor.SubscriptionType;
import org.apache.kafka.coordinator.group.assignor.RangeAssignor;
import org.apache.kafka.coordinator.group.assignor.UniformAssignor;
import org.apache.kafka.coordinator.group.modern.Assignment;
import org.apache.kafka.coordinator.group.modern.GroupSpecImpl;
import org.apache.kafka.coordinator.group.modern.MemberSubscriptionAndAssignmentImpl;

/**
 * Has the coordinator's assignors divide partitions, one line each:
 *
 * <pre>
 *   assign {"assignor": NAME, "alike": BOOL, "topics": {N: COUNT}, "members":
 *           [{"id": ID, "instance": ID, "topics": [N], "target": {N: [PARTITION]}}]}
 *       ->  ok {ID: {N: [PARTITION]}}
 *       ->  error MESSAGE
 * </pre>
 *
 * A topic's id is a small number, and members come in the order of their ids: then the hash tables
 * inside are walked in the order of ids as well, and the result is the same everywhere.
 */
public final class Assignors {
    private static final ObjectMapper MAPPER = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var output = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            output.println(answer(line.substring("assign ".length())).replace('\n', ' '));
            output.flush();
        }
    }

    private static String answer(String question) {
        try {
            return "ok " + MAPPER.writeValueAsString(assign(MAPPER.readTree(question)));
        } catch (Exception problem) {
            return "error " + problem;
        }
    }

    private static Map<String, Map<Long, Set<Integer>>> assign(JsonNode question) {
        Map<String, MemberSubscriptionAndAssignmentImpl> members = new LinkedHashMap<>();
        Map<Uuid, Map<Integer, String>> owners = new LinkedHashMap<>();
        for (JsonNode member : question.get("members")) {
            Set<Uuid> topics = new LinkedHashSet<>();
            member.get("topics").forEach(topic -> topics.add(id(topic.asLong())));
            Map<Uuid, Set<Integer>> target = new TreeMap<>();
            member.get("target").properties().forEach(of -> {
                Uuid topic = id(Long.parseLong(of.getKey()));
                for (JsonNode partition : of.getValue()) {
                    target.computeIfAbsent(topic, __ -> new TreeSet<>()).add(partition.asInt());
                    owners.computeIfAbsent(topic, __ -> new LinkedHashMap<>())
                        .put(partition.asInt(), member.get("id").asText());
                }
            });
            members.put(member.get("id").asText(), new MemberSubscriptionAndAssignmentImpl(
                Optional.empty(),
                Optional.ofNullable(member.get("instance").textValue()),
                topics,
                new Assignment(target)
            ));
        }
        boolean alike = question.get("alike").asBoolean();
        var group = new GroupSpecImpl(
            Collections.unmodifiableMap(members),
            alike ? SubscriptionType.HOMOGENEOUS : SubscriptionType.HETEROGENEOUS,
            owners
        );
        JsonNode counts = question.get("topics");
        var describer = new SubscribedTopicDescriber() {
            @Override
            public int numPartitions(Uuid topic) {
                JsonNode count = counts.get(Long.toString(topic.getLeastSignificantBits()));
                return count == null ? -1 : count.asInt();
            }

            @Override
            public Set<String> racksForPartition(Uuid topic, int partition) {
                return Set.of();
            }
        };
        PartitionAssignor assignor = switch (question.get("assignor").asText()) {
            case "uniform" -> new UniformAssignor();
            case "range" -> new RangeAssignor();
            default -> throw new IllegalArgumentException("no such assignor");
        };
        Map<String, Map<Long, Set<Integer>>> result = new TreeMap<>();
        assignor.assign(group, describer).members().forEach((member, assignment) -> {
            Map<Long, Set<Integer>> topics = new TreeMap<>();
            assignment.partitions().forEach((topic, partitions) ->
                topics.put(topic.getLeastSignificantBits(), new TreeSet<>(partitions)));
            result.put(member, topics);
        });
        return result;
    }

    private static Uuid id(long number) {
        return new Uuid(0, number);
    }
}
