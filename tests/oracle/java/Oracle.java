import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;

/**
 * Answers questions about the classes Kafka generates for its messages, one line each:
 *
 * <pre>
 *   decode CLASS VERSION HEX   ->  ok HEX JSON   (the value, encoded again and as JSON)
 *   encode CLASS VERSION JSON  ->  ok HEX
 *                              ->  error MESSAGE
 * </pre>
 */
public final class Oracle {
    private static final ObjectMapper MAPPER = new ObjectMapper();
    private static final HexFormat HEX = HexFormat.of();
    private static final Map<String, Oracle> ORACLES = new HashMap<>();

    private final Class<?> type;
    private final Method fromJson;
    private final Method toJson;

    private Oracle(String name) throws ReflectiveOperationException {
        type = Class.forName(name);
        Class<?> converter = Class.forName(name + "JsonConverter");
        fromJson = converter.getMethod("read", JsonNode.class, short.class);
        toJson = converter.getMethod("write", type, short.class, boolean.class);
    }

    public static void main(String[] arguments) throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var output = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            output.println(answer(line).replace('\n', ' '));
            output.flush();
        }
    }

    private static String answer(String line) {
        try {
            String[] words = line.split(" ", 4);
            Oracle oracle = ORACLES.get(words[1]);
            if (oracle == null) {
                oracle = new Oracle(words[1]);
                ORACLES.put(words[1], oracle);
            }
            short version = Short.parseShort(words[2]);
            return switch (words[0]) {
                case "decode" -> oracle.decode(version, HEX.parseHex(words[3]));
                case "encode" -> oracle.encode(version, words[3]);
                default -> throw new IllegalArgumentException(words[0]);
            };
        } catch (InvocationTargetException problem) {
            return "error " + problem.getCause();
        } catch (Exception problem) {
            return "error " + problem;
        }
    }

    private String decode(short version, byte[] bytes) throws Exception {
        ByteBuffer buffer = ByteBuffer.wrap(bytes);
        Message message = (Message) type.getConstructor().newInstance();
        message.read(new ByteBufferAccessor(buffer), version);
        if (buffer.hasRemaining()) {
            return "error " + buffer.remaining() + " bytes left over";
        }
        JsonNode json = (JsonNode) toJson.invoke(null, message, version, false);
        return "ok " + hex(message, version) + " " + MAPPER.writeValueAsString(json);
    }

    private String encode(short version, String json) throws Exception {
        return "ok " + hex((Message) fromJson.invoke(null, MAPPER.readTree(json), version), version);
    }

    private static String hex(Message message, short version) {
        var cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(buffer), cache, version);
        return HEX.formatHex(buffer.array(), 0, buffer.position());
    }
}
