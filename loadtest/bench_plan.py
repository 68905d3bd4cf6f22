"""What `make bench` runs, and what has to come out."""

import statistics

CONFIGURATION = {"store": "sqlite, synchronous=FULL", "generator": "on the same cores as the servers",
                 "peer": "mosquitto, set_tcp_nodelay true, nothing persisted"}


class Step:
    """One load, offered to Pipit, and to mosquitto too when `peer`."""

    def __init__(self, label, scenario, *, clients=500, seconds=10, rounds=1, peer=False, protocol="mqtt", **options):
        self.label, self.scenario, self.clients, self.seconds = label, scenario, clients, seconds
        self.count, self.peer, self.protocol, self.options = rounds, peer, protocol, options

    def rounds(self, quick):
        return 1 if quick else self.count

    def command(self, server, name, quick):
        seconds = min(self.seconds, 2) if quick else self.seconds
        clients = min(self.clients, 100) if quick else self.clients
        options = {"clients": clients, "seconds": seconds, "protocol": self.protocol} | self.options
        if quick and "idle" in options:
            options |= {"idle": 100, "clients": clients + 100}
        if name == "mosquitto":
            options["port"] = server.mqtt_port
            options |= ({"send-topic": "g/{group}", "inbox": "g/{group}"} if self.scenario == "group" else
                        {"send-topic": "u/{peer}", "inbox": "u/{me}"})
        else:
            options |= {"port": server.ws_port if self.protocol == "ws" else server.mqtt_port,
                        "ws-port": server.ws_port, "rest-port": server.rest_port, "accounts": server.accounts}
            if self.scenario in ("group", "send"):
                options["groups"] = server.groups
        return [self.scenario] + [str(part) for key, value in options.items() for part in (f"--{key}", value)]


class World:
    """The steps that share one Pipit."""

    def __init__(self, accounts, *steps, group_size=50, quick_accounts=200, **options):
        self.count, self.steps, self.group_size = accounts, steps, group_size
        self.quick_count, self.options = quick_accounts, options

    def accounts(self, quick):
        return min(self.count, self.quick_count) if quick else self.count


PAIRS = "one to one, 500 MQTT clients, QoS 1"
PAIRS_WS = "one to one, 500 WebSocket clients"
PACED = "one to one at 5,000 a second"
GROUPS_0 = "groups of 50, inbox at QoS 0"
GROUPS_1 = "groups of 50, inbox at QoS 1"
IDLE = "10,000 idle connections, {}"
STORM = "10,000 clients come back at once"
SLOW = "one to one, every fsync 2 ms slower"
SLOW_PACED = "5,000 a second, every fsync 2 ms slower"
MIXED = "4,000 users log in at once and chat"
LOGIN = "logins as fast as they go"
SEND = "sends over REST"
FULL = "18,000 idle connections, MQTT"
FEW = "one to one beside 100 idle connections"
CROWD = "one to one beside 15,000 idle connections"
FILL = "one to one for {} s"
EARLY = "one to one, a million stored"
LATE = "one to one, three millions stored"
SPREAD = "one to one, 2 connection and 2 routing instances"


def worlds():
    return [
        World(500,
              Step(PAIRS, "direct", rounds=3, peer=True),
              Step(PACED, "direct", rate=5000, rounds=3, peer=True),
              Step(PAIRS_WS, "direct", protocol="ws"),
              Step(GROUPS_0, "group", window=1, rounds=3, peer=True, **{"inbox-qos": 0}),
              Step(GROUPS_1, "group", window=1, rounds=3, peer=True, **{"inbox-qos": 1}),
              Step(SEND, "send", links=32),
              Step(LOGIN, "login", clients=200, seconds=60)),
        World(500, Step(IDLE.format("MQTT"), "idle", clients=10000, seconds=20)),
        World(500, Step(IDLE.format("WebSocket"), "idle", clients=10000, seconds=20, protocol="ws"),
              Step(STORM, "reconnect-storm", clients=10000, seconds=60)),
        World(600, Step(FEW, "direct", clients=600, rounds=2, idle=100),
              Step(CROWD, "direct", clients=15500, rounds=2, idle=15000), group_size=0),
        World(500, Step(FULL, "idle", clients=18000), group_size=0),
        # At 55,000 a second.
        World(500, Step(FILL.format(17), "direct", seconds=17), Step(EARLY, "direct", seconds=5),
              Step(FILL.format(30), "direct", seconds=30), Step(LATE, "direct", seconds=5), group_size=0),
        World(500, Step(SPREAD, "direct", rounds=3, doors=2), connections=2, routings=2, group_size=0),
        World(500, Step(SLOW, "direct"), Step(SLOW_PACED, "direct", rate=5000), fsync_delay_us=2000, group_size=0),
        World(4000, Step(MIXED, "mixed", clients=4000, seconds=60, links=256), group_size=0),
    ]


# --- thresholds


def _values(runs, label, server, member):
    """Of each round, in their order; a member may be a path: delivery_ms.p99."""
    found = []
    for run in sorted((run for run in runs if run["label"] == label and run["server"] == server),
                      key=lambda run: run["round"]):
        value = run["result"]
        for part in member.split("."):
            value = value.get(part, {}) if isinstance(value, dict) else None
        found.append(value if isinstance(value, (int, float)) else None)
    return found


def _median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def _own(member):
    return lambda runs, label: _median(_values(runs, label, "pipit", member))


def _ratio(member):
    def value(runs, label):
        pairs = zip(_values(runs, label, "pipit", member), _values(runs, label, "mosquitto", member))
        return _median([ours / theirs for ours, theirs in pairs if ours is not None and theirs])
    return value


def _against(member, other):
    """Against another step's median."""
    def value(runs, label):
        ours, theirs = _own(member)(runs, label), _own(member)(runs, other)
        return ours / theirs if ours is not None and theirs else None
    return value


THRESHOLDS = (
    ("rate against mosquitto's", PAIRS, _ratio("acked_per_second"), ">=", 0.6, "x"),
    ("CPU a message at saturation", PAIRS, _own("server_cpu_us_per_message"), "<=", 35, "us"),
    ("p99 at 5,000 a second", PACED, _own("delivery_ms.p99"), "<=", 8, "ms"),
    ("CPU a message at 5,000 a second", PACED, _own("server_cpu_us_per_message"), "<=", 60, "us"),
    ("p99 at 5,000 a second, slow fsync", SLOW_PACED, _own("delivery_ms.p99"), "<=", 20, "ms"),
    ("rate with slow fsync against without", SLOW, _against("acked_per_second", PAIRS), ">=", 0.5, "x"),
    ("deliveries a second to groups", GROUPS_0, _own("delivered_per_second"), ">=", 60000, "/s"),
    ("CPU a delivery against mosquitto's, QoS 0", GROUPS_0, _ratio("server_cpu_us_per_delivery"), "<=", 1, "x"),
    ("CPU a delivery against mosquitto's, QoS 1", GROUPS_1, _ratio("server_cpu_us_per_delivery"), "<=", 1, "x"),
    ("memory a connection, MQTT", IDLE.format("MQTT"), _own("pss_kib_per_connection"), "<=", 4, "KiB"),
    ("memory a connection, WebSocket", IDLE.format("WebSocket"), _own("pss_kib_per_connection"), "<=", 4, "KiB"),
    ("CPU a message beside 15,000 connections, beside 100", CROWD, _against("server_cpu_us_per_message", FEW), "<=",
     1.15, "x"),
    ("CPU a message, 3 millions stored, 1 million", LATE, _against("server_cpu_us_per_message", EARLY), "<=", 1.15, "x"),
    ("the last of 10,000 is back", STORM, _own("back_ms.max"), "<=", 10000, "ms"),
    ("p99 of messages while users log in", MIXED, _own("delivery_during_logins_ms.p99"), "<=", 100, "ms"),
    ("CPU a message, 2 and 2 instances against one", SPREAD, _against("server_cpu_us_per_message", PAIRS), "<=", 1.3,
     "x"),
)


def _wrong(runs):
    """Lost, duplicated, reordered, refused, missing and closed over all of Pipit's runs."""
    members = ("lost", "duplicated", "reordered", "refused", "missing", "closed")
    return sum(run["result"].get(member, 0) for run in runs if run["server"] == "pipit" for member in members)


def thresholds(runs, quick, only):
    """A quick run says nothing of speed, only whether everything arrived."""
    found = [{"name": "lost, duplicated, reordered, refused, missing or closed", "value": _wrong(runs), "limit": 0,
              "relation": "<=", "unit": "", "passed": _wrong(runs) == 0}]
    for name, label, measure, relation, limit, unit in THRESHOLDS:
        if quick or only not in label:
            continue
        value = measure(runs, label)
        passed = value is not None and (value >= limit if relation == ">=" else value <= limit)
        found.append({"name": name, "value": None if value is None else round(value, 3), "limit": limit,
                      "relation": relation, "unit": unit, "passed": passed})
    return found
