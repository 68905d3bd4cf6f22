package pipit;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** The people of this run, out of the file that loadtest/accounts.py writes, and the group that some of them are in. */
final class Accounts {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final List<String> names;
    private int taken;

    Accounts(String file, int needed) {
        try {
            names = Files.readAllLines(Path.of(file)).stream().map(line -> line.split(" ")[0]).toList();
        } catch (IOException wrong) {
            throw new UncheckedIOException(wrong);
        }
        if (names.size() < needed) {
            throw new IllegalArgumentException(file + " has " + names.size() + " accounts, needed are " + needed);
        }
    }

    List<String> take(int count) {
        taken += count;
        return names.subList(taken - count, taken);
    }

    /** Feeder records of {@code width} people each: name, peer. */
    static List<Map<String, Object>> records(List<String> names, int width) {
        List<Map<String, Object>> records = new ArrayList<>();
        for (int i = 0; i + width <= names.size(); i += width) {
            records.add(Map.of("name", names.get(i), "peer", names.get(i + width - 1)));
        }
        return records;
    }

    /** Makes a group of {@code members} and returns its id. */
    static String makeGroup(String url, String password, String owner, List<String> members) {
        String token = post(url + "/v1/login", "", Map.of("user", owner, "password", password))
                .path("access_token").asText();
        return post(url + "/v1/conversations", token, Map.of("kind", "group", "title", "Gatling", "members", members))
                .path("id").asText();
    }

    private static JsonNode post(String url, String token, Map<String, Object> body) {
        try {
            HttpRequest request = HttpRequest.newBuilder(URI.create(url))
                    .header("Content-Type", "application/json")
                    .header("Authorization", "Bearer " + token)
                    .POST(HttpRequest.BodyPublishers.ofString(JSON.writeValueAsString(body)))
                    .build();
            HttpResponse<String> answer =
                    HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
            if (answer.statusCode() >= 300) {
                throw new IllegalStateException(url + ": " + answer.statusCode() + " " + answer.body());
            }
            return JSON.readTree(answer.body());
        } catch (IOException wrong) {
            throw new UncheckedIOException(wrong);
        } catch (InterruptedException wrong) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(wrong);
        }
    }
}
