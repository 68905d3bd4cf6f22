package pipit;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.ArrayList;
import java.util.List;

/** One reading WebSocket's frames: takes the latency of each message and has a Stream check it. */
final class Inbox {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final String conversation;
    private final Stream stream;
    private List<Integer> latencies = new ArrayList<>();
    private List<String> problems = new ArrayList<>();

    Inbox(String conversation, long start) {
        this.conversation = conversation;
        this.stream = new Stream(start);
    }

    /** A text of {@code bytes} bytes: the sender's number and the time. */
    static String text(long number, int bytes) {
        String text = "gatling " + number + " " + System.currentTimeMillis() + " ";
        return text + ".".repeat(Math.max(0, bytes - text.length()));
    }

    void frame(long arrived, String frame) {
        try {
            JsonNode root = JSON.readTree(frame);
            JsonNode data = root.path("d");
            if (root.path("t").asText().equals("msg") && data.path("conversation").asText().equals(conversation)) {
                String[] words = data.path("body").path("text").asText().split(" ");
                problems.addAll(stream.delivered(
                        data.path("seq").asLong(), data.path("from").asText(), Long.parseLong(words[1])));
                latencies.add((int) Math.max(0, arrived - Long.parseLong(words[2])));
            }
        } catch (JsonProcessingException | NumberFormatException | ArrayIndexOutOfBoundsException wrong) {
            problems.add("not a message of this test: " + frame);
        }
    }

    List<Integer> takeLatencies() {
        List<Integer> taken = latencies;
        latencies = new ArrayList<>();
        return taken;
    }

    List<String> takeProblems() {
        List<String> taken = problems;
        problems = new ArrayList<>();
        return taken;
    }

    long missing(long head) {
        return stream.missing(head);
    }
}
