package pipit;

import static io.gatling.javaapi.core.CoreDsl.*;
import static io.gatling.javaapi.http.HttpDsl.*;

import io.gatling.http.action.ws.WsInboundMessage;
import io.gatling.javaapi.core.ChainBuilder;
import io.gatling.javaapi.core.ScenarioBuilder;
import io.gatling.javaapi.core.Session;
import io.gatling.javaapi.core.Simulation;
import io.gatling.javaapi.http.HttpProtocolBuilder;
import java.time.Duration;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;

/**
 * Logging in, direct chat and group chat, `users` of each for `seconds`. A direct user is two people of whom one writes
 * and the other reads. A group user writes on one device and reads on another, which is owed the messages of all
 * members, this one's too. Reading has a WebSocket of its own because Gatling throws away what arrived unasked when it
 * sends.
 */
public final class PipitSimulation extends Simulation {
    private static final String URL = System.getProperty("url", "http://127.0.0.1:8080");
    private static final String WS = System.getProperty("ws", "ws://127.0.0.1:8083/v1/ws");
    private static final String PASSWORD = System.getProperty("password", "quiet-otter-lamp");
    private static final String FILE = System.getProperty("accounts", "accounts.txt");
    private static final int USERS = Integer.getInteger("users", 2);
    private static final int SECONDS = Integer.getInteger("seconds", 10);
    private static final int PAUSE_MS = Integer.getInteger("pause", 1000);
    private static final int BYTES = Integer.getInteger("bytes", 100);
    private static final int ARRIVAL_MS = 5000; // after the end, for what is still on its way

    private final Accounts accounts = new Accounts(FILE, 4 * USERS + 1);
    private final List<String> loginNames = accounts.take(USERS);
    private final List<String> directNames = accounts.take(2 * USERS);
    private final List<String> groupNames = accounts.take(USERS);
    private final String owner = accounts.take(1).get(0);
    private String group;

    // --- REST

    private static ChainBuilder login(String name, String token, String device) {
        return exec(http("login")
                .post("/v1/login")
                .body(StringBody("{\"user\":\"#{" + name + "}\",\"password\":\"" + PASSWORD
                        + "\",\"device\":{\"name\":\"" + device + "\"#{device}}}"))
                .check(status().is(200))
                .check(jsonPath("$.access_token").saveAs(token))
                .check(jsonPath("$.device.id").saveAs("device_id")));
    }

    /** A login without an id makes a new device. */
    private static ChainBuilder newDevice() {
        return exec(session -> session.set("device", ""));
    }

    private static ChainBuilder head(String token) {
        return exec(http("conversation")
                .get("/v1/conversations/#{conversation}")
                .header("Authorization", "Bearer #{" + token + "}")
                .check(status().is(200))
                .check(jsonPath("$.head").ofLong().saveAs("head")));
    }

    // --- WebSocket

    private static ChainBuilder connect(String socket, String token) {
        return exec(ws("connect")
                        .wsName(socket)
                        .connect(WS)
                        .subprotocol("pipit.v1")
                        .await(10)
                        .on(ws.checkTextMessage("connect: hello").check(jsonPath("$.t").is("hello"))))
                .exitHereIfFailed()
                .exec(ws("authenticate")
                        .wsName(socket)
                        .sendText("{\"t\":\"auth\",\"id\":1,\"d\":{\"token\":\"#{" + token + "}\"}}")
                        .await(10)
                        .on(ws.checkTextMessage("authenticate: ok")
                                .matching(jsonPath("$.id").is("1"))
                                .check(jsonPath("$.t").is("ok"))))
                .exitHereIfFailed();
    }

    private static ChainBuilder send(String label) {
        return exec(session -> session.set("number", session.getLong("number") + 1))
                .exec(ws(label + ": send")
                        .wsName("writer")
                        .sendText(PipitSimulation::frame)
                        .await(10)
                        .on(ws.checkTextMessage(label + ": sent to acknowledged")
                                .matching(jsonPath("$.id").is(session -> "" + (session.getLong("number") + 1)))
                                .check(jsonPath("$.t").is("ok"))));
    }

    private static String frame(Session session) {
        long number = session.getLong("number");
        return "{\"t\":\"send\",\"id\":" + (number + 1) + ",\"d\":{\"conversation\":\""
                + session.getString("conversation") + "\",\"message\":\"" + messageId() + "\",\"body\":{\"text\":\""
                + Inbox.text(number, BYTES) + "\"}}}";
    }

    /** A fresh UUID version 7. */
    private static UUID messageId() {
        ThreadLocalRandom random = ThreadLocalRandom.current();
        return new UUID(System.currentTimeMillis() << 16 | 0x7000 | random.nextInt(0x1000),
                random.nextLong() >>> 2 | 0x8000000000000000L);
    }

    /** Takes what the reader has got and reports each message, and each thing that is wrong. */
    private static ChainBuilder read(String label) {
        return exec(ws.processUnmatchedMessages("reader", (messages, session) -> {
                    Inbox inbox = session.get("inbox");
                    messages.forEach(message -> {
                        if (message instanceof WsInboundMessage.Text text) {
                            inbox.frame(text.timestamp(), text.message());
                        }
                    });
                    List<String> problems = inbox.takeProblems();
                    problems.forEach(problem -> System.err.println(label + ": " + problem));
                    return session.set("latencies", inbox.takeLatencies()).set("problems", problems);
                }))
                .foreach("#{latencies}", "latency")
                .on(dummy(label + ": sent to received", session -> session.getInt("latency")))
                .foreach("#{problems}", "problem")
                .on(dummy(label + ": check", 0).withSuccess(false));
    }

    /** Everything that the server has must have come. */
    private static ChainBuilder checkArrivals(String label) {
        return head("reading_token")
                .exec(session -> session.set("ended", System.currentTimeMillis()))
                .asLongAs(session -> missing(session) > 0
                        && System.currentTimeMillis() - session.getLong("ended") < ARRIVAL_MS)
                .on(pause(Duration.ofMillis(20)).exec(read(label)))
                .exec(session -> {
                    if (missing(session) > 0) {
                        System.err.println(label + ": lost: " + missing(session) + " messages");
                    }
                    return session;
                })
                .exec(dummy(label + ": everything arrived", 0).withSuccess(session -> missing(session) == 0));
    }

    private static long missing(Session session) {
        return session.<Inbox>get("inbox").missing(session.getLong("head"));
    }

    /** From now on: write, read, and at the end check. */
    private static ChainBuilder chat(String label) {
        return exec(session -> session.set("number", 0L)
                        .set("inbox", new Inbox(session.getString("conversation"), session.getLong("head"))))
                .during(SECONDS)
                .on(exec(send(label))
                        .pause(Duration.ofMillis(PAUSE_MS / 2), Duration.ofMillis(PAUSE_MS * 3L / 2))
                        .exec(read(label)))
                .exec(checkArrivals(label))
                .exec(ws("close").wsName("writer").close())
                .exec(ws("close").wsName("reader").close());
    }

    // --- scenarios

    private final ScenarioBuilder login = scenario("Login")
            .feed(listFeeder(Accounts.records(loginNames, 1)).queue())
            .exec(newDevice())
            .during(SECONDS)
            .on(exec(login("name", "token", "Gatling"))
                    .doIf(session -> session.contains("device_id"))
                    .then(exec(session -> session.set("device", ",\"id\":\"" + session.getString("device_id") + "\"")))
                    .pause(Duration.ofMillis(PAUSE_MS / 2), Duration.ofMillis(PAUSE_MS * 3L / 2)));

    private final ScenarioBuilder direct = scenario("Direct chat")
            .feed(listFeeder(Accounts.records(directNames, 2)).queue())
            .exec(newDevice(), login("name", "writing_token", "Gatling"), login("peer", "reading_token", "Gatling"))
            .exitHereIfFailed()
            .exec(http("begin direct conversation")
                    .post("/v1/conversations")
                    .header("Authorization", "Bearer #{writing_token}")
                    .body(StringBody("{\"kind\":\"direct\",\"user\":\"#{peer}\"}"))
                    .check(status().in(200, 201))
                    .check(jsonPath("$.id").saveAs("conversation"))
                    .check(jsonPath("$.head").ofLong().saveAs("head")))
            .exitHereIfFailed()
            .exec(connect("reader", "reading_token"), connect("writer", "writing_token"), chat("direct"));

    private final ScenarioBuilder groupChat = scenario("Group chat")
            .feed(listFeeder(Accounts.records(groupNames, 1)).queue())
            .exec(session -> session.set("conversation", group))
            .exec(newDevice(), login("name", "reading_token", "Gatling reads"))
            .exec(login("name", "writing_token", "Gatling writes"))
            .exitHereIfFailed()
            .exec(connect("reader", "reading_token"), head("reading_token"))
            .exitHereIfFailed()
            .exec(connect("writer", "writing_token"), chat("group"));

    private final HttpProtocolBuilder protocol = http.baseUrl(URL)
            .contentTypeHeader("application/json")
            .disableWarmUp()
            .wsUnmatchedInboundMessageBufferSize(100_000);

    public PipitSimulation() {
        setUp(
                        login.injectOpen(rampUsers(USERS).during(1)),
                        direct.injectOpen(rampUsers(USERS).during(1)),
                        groupChat.injectOpen(rampUsers(USERS).during(1)))
                .protocols(protocol)
                .assertions(
                        global().failedRequests().count().is(0L),
                        details("login").successfulRequests().count().gt(0L),
                        details("direct: sent to received").successfulRequests().count().gt(0L),
                        details("group: sent to received").successfulRequests().count().gt(0L));
    }

    @Override
    public void before() {
        group = Accounts.makeGroup(URL, PASSWORD, owner, groupNames);
    }
}
