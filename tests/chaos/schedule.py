"""Which faults, on whom, how hard and how long: a pure function of seed, count and store, so that a run replays.

A target is chosen by service and place (`pick`), because instances come and go.
"""

import random

# class: (weight, stores that it applies to, is it over at once with the process dead)
BOTH = ("sqlite", "mongodb")
CLASSES = {
    "kill": (6, BOTH),
    "kill-several": (3, BOTH),
    "freeze": (4, BOTH),
    "two-owners": (1, BOTH),
    "partition": (4, BOTH),
    "partition-one-way": (3, BOTH),
    "packet-loss": (3, BOTH),
    "delay": (2, BOTH),
    "disk-full": (2, BOTH),
    "slow-disk": (2, BOTH),
    "fsync-error": (2, ("sqlite",)),
    "write-error": (2, ("sqlite",)),
    "clock-step": (3, BOTH),
    "client-reset": (2, BOTH),
    "bus-reset": (2, BOTH),
    "instance-added": (1, BOTH),
    "instance-drained": (1, BOTH),
    "rolling-restart": (2, BOTH),
    "database-kill": (3, ("mongodb",)),
    "database-freeze": (2, ("mongodb",)),
}
# Faults after which a process has to be there again within 3 s.
PROCESS_FAULTS = ("kill", "kill-several", "fsync-error", "write-error", "rolling-restart", "database-kill")
SERVICES = ("connection", "routing", "storage", "auth")
# Who talks to whom: where a cut hurts. "everybody" is the whole network.
LINKS = {"connection": ("routing", "auth", "clients", "everybody"),
         "routing": ("storage", "connection", "everybody"),
         "storage": ("routing", "auth", "database", "everybody"),
         "auth": ("storage", "routing", "clients", "everybody")}
KILLS_MIN = 4  # one of each service, when there are faults enough
SEVERAL = (("routing", "routing"), ("connection", "connection"), ("auth", "auth"), ("storage", "routing"),
           ("connection", "routing"), ("storage", "connection"),
           ("storage", "routing", "routing", "auth", "auth", "connection", "connection"))


class Fault:
    def __init__(self, number, kind, **parameters):
        self.number, self.kind = number, kind
        self.__dict__.update(parameters)
        self.parameters = parameters

    def __repr__(self):
        shown = " ".join(f"{k}={v}" for k, v in self.parameters.items())
        return f"{self.kind} {shown}"


def parameters(kind, rng, turn):
    """`turn` counts the faults of this class, so that each service has its turn."""
    service, pick = SERVICES[turn % 4], rng.randrange(100)
    seconds = round(rng.uniform(1.0, 2.5), 2)
    if kind == "kill":
        return {"service": service, "pick": pick}
    if kind == "kill-several":
        return {"services": SEVERAL[(turn + rng.randrange(len(SEVERAL))) % len(SEVERAL)]}
    if kind == "freeze":
        return {"service": service, "pick": pick, "seconds": seconds}
    if kind == "two-owners":
        return {"service": "routing", "pick": pick, "seconds": 10.0}
    if kind in ("partition", "partition-one-way"):
        far = rng.choice(LINKS[service])
        return {"service": service, "pick": pick, "far": far, "seconds": seconds,
                "inward": rng.random() < 0.5}
    if kind == "packet-loss":
        return {"service": service, "pick": pick, "share": round(rng.uniform(0.05, 0.3), 2),
                "seconds": round(seconds + 1, 2)}
    if kind == "delay":
        return {"service": service, "pick": pick, "delay_ms": rng.choice((20, 50, 150)),
                "seconds": round(seconds + 1, 2)}
    if kind in ("disk-full", "slow-disk", "fsync-error", "write-error", "database-kill", "database-freeze"):
        return {"seconds": seconds, "leave": rng.choice((0, 4096, 65536)), "delay_ms": rng.choice((50, 150, 400)),
                "calls": rng.randint(1, 5)}
    if kind == "clock-step":
        return {"service": SERVICES[(turn + 1) % 4], "pick": pick, "seconds": seconds,
                "step_s": rng.choice((-1, 1)) * rng.choice((1, 30, 600, 3600))}
    if kind in ("client-reset", "bus-reset"):
        return {"pick": pick, "service": ("routing", "storage")[turn % 2]}
    if kind in ("instance-added", "instance-drained"):
        return {"service": ("routing", "connection", "auth")[turn % 3], "pick": pick}
    return {"service": service}  # rolling-restart


def make_schedule(seed, count, store):
    """Every class that applies once (while the count allows), then by weight, in random order."""
    rng = random.Random(f"{seed}/{store}/schedule")
    kinds = [kind for kind, (_, stores) in CLASSES.items() if store in stores]
    weights = [CLASSES[kind][0] for kind in kinds]
    first = list(kinds)
    rng.shuffle(first)
    first += ["kill"] * (KILLS_MIN - 1)
    chosen = first[:count] + rng.choices(kinds, weights, k=max(0, count - len(first)))
    rng.shuffle(chosen)
    turns, faults = {}, []
    for number, kind in enumerate(chosen, 1):
        turn = turns[kind] = turns.get(kind, -1) + 1
        faults.append(Fault(number, kind, **parameters(kind, rng, turn)))
    return faults
