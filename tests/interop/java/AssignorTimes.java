import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.coordinator.group.api.assignor.GroupAssignment;
import org.apache.kafka.coordinator.group.api.assignor.SubscribedTopicDescriber;
import org.apache.kafka.coordinator.group.api.assignor.SubscriptionType;
import org.apache.kafka.coordinator.group.assignor.UniformAssignor;
import org.apache.kafka.coordinator.group.modern.Assignment;
import org.apache.kafka.coordinator.group.modern.GroupSpecImpl;
import org.apache.kafka.coordinator.group.modern.MemberSubscriptionAndAssignmentImpl;

/**
 * How long the uniform assignor of Kafka's group coordinator takes when one of many members leaves:
 *
 * <pre>
 *   AssignorTimes MEMBERS TOPICS PARTITIONS RUNS   ->   MILLISECONDS NEEDLESS
 * </pre>
 *
 * Members leave and come back in turn: RUNS times for the compiler, and RUNS times to be measured, of
 * which the median is told. What the coordinator does before and after (its maps of the group, the
 * records) is not in it. NEEDLESS counts the partitions that went from one who stayed to another.
 */
public final class AssignorTimes {
    private static final UniformAssignor ASSIGNOR = new UniformAssignor();

    public static void main(String[] arguments) {
        int members = Integer.parseInt(arguments[0]);
        int topics = Integer.parseInt(arguments[1]);
        int partitions = Integer.parseInt(arguments[2]);
        int runs = Integer.parseInt(arguments[3]);
        Set<Uuid> ids = new HashSet<>();
        for (int topic = 1; topic <= topics; topic++) {
            ids.add(new Uuid(0, topic));
        }
        var describer = new SubscribedTopicDescriber() {
            @Override
            public int numPartitions(Uuid topic) {
                return ids.contains(topic) ? partitions : -1;
            }

            @Override
            public Set<String> racksForPartition(Uuid topic, int partition) {
                return Set.of();
            }
        };
        Map<String, Map<Uuid, Set<Integer>>> targets = new HashMap<>();
        for (int member = 0; member < members; member++) {
            targets.put(name(member), Map.of());
        }
        divide(targets, ids, describer);
        List<Double> times = new ArrayList<>();
        int needless = 0;
        for (int run = 0; run < 2 * runs; run++) {
            String leaver = name(run * 41 % members);
            var before = targets.remove(leaver);
            var owners = owners(targets);
            double took = divide(targets, ids, describer);
            if (run >= runs) {
                times.add(took);
                var after = owners(targets);
                needless = Math.max(needless, moved(owners, after));
            }
            if (before.isEmpty()) {
                throw new IllegalStateException(leaver + " had nothing");
            }
            targets.put(leaver, Map.of());
            divide(targets, ids, describer);
        }
        Collections.sort(times);
        System.out.println(times.get(times.size() / 2) + " " + needless);
    }

    /** Divides anew and returns how many milliseconds the assignor took. */
    private static double divide(
        Map<String, Map<Uuid, Set<Integer>>> targets,
        Set<Uuid> ids,
        SubscribedTopicDescriber describer
    ) {
        Map<String, MemberSubscriptionAndAssignmentImpl> members = new HashMap<>();
        targets.forEach((member, target) -> members.put(member, new MemberSubscriptionAndAssignmentImpl(
            Optional.empty(), Optional.empty(), ids, new Assignment(target))));
        var group = new GroupSpecImpl(members, SubscriptionType.HOMOGENEOUS, owners(targets));
        long start = System.nanoTime();
        GroupAssignment assignment = ASSIGNOR.assign(group, describer);
        long took = System.nanoTime() - start;
        assignment.members().forEach((member, of) -> targets.put(member, of.partitions()));
        return took / 1e6;
    }

    /** Returns who has each partition, as the coordinator keeps it. */
    private static Map<Uuid, Map<Integer, String>> owners(Map<String, Map<Uuid, Set<Integer>>> targets) {
        Map<Uuid, Map<Integer, String>> owners = new HashMap<>();
        targets.forEach((member, target) -> target.forEach((topic, indexes) -> indexes.forEach(
            index -> owners.computeIfAbsent(topic, __ -> new HashMap<>()).put(index, member))));
        return owners;
    }

    private static int moved(Map<Uuid, Map<Integer, String>> before, Map<Uuid, Map<Integer, String>> after) {
        int moved = 0;
        for (var topic : before.entrySet()) {
            for (var partition : topic.getValue().entrySet()) {
                String now = after.getOrDefault(topic.getKey(), Map.of()).get(partition.getKey());
                moved += partition.getValue().equals(now) ? 0 : 1;
            }
        }
        return moved;
    }

    private static String name(int member) {
        return String.format("m%04d", member);
    }
}
