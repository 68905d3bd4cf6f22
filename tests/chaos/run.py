#!/usr/bin/python3
"""Fault campaigns over real processes (make chaos FAULTS=60 SEED=1).

A campaign starts Pipit as a cluster in network namespaces, lets recording clients chat, injects faults from a
seeded schedule, heals, and hands the history to tests/checker. It fails on any violated invariant, on a process
that ended unasked and on a service that does not come back.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import given  # noqa: E402
import sandbox  # noqa: E402  (the folder of this script comes first)
from plants import PLANTS  # noqa: E402
from schedule import PROCESS_FAULTS, make_schedule  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECKER = ROOT / "tests/checker/checker.py"
RECOVERY_LIMIT = {"sqlite": 20.0, "mongodb": 30.0}
PROCESS_GOAL = 3.0  # seconds; later ones are marked in the table
SETTLE = 0.4
ONLY_FROM = 4000  # --only takes its faults from a schedule of this length
# FerretDB filters no ranges: each page reads the whole collection, about 30 us a message. From 900 messages on that is
# all it does, and the campaign would measure it. So it gets a new world, with an empty database, after so many faults.
FERRETDB_FAULTS = 6
ACKED_PER_FAULT = 6  # a conversation or client at least each; a history with fewer proves nothing
AIMED_ALL_BELOW = 50  # messages per second: with fewer, all of them go where recovery is waited for


class Plan:
    """How much of everything; FerretDB reads a whole collection for one page, so it gets little."""

    def __init__(self, store, rate=None):
        small = store == "mongodb"
        self.users, self.groups, self.directs = (6, 3, 3) if small else (16, 8, 10)
        self.group_members = 4 if small else 6
        self.rate = rate or (15 if small else 400)
        self.aimed = 1.0 if self.rate < AIMED_ALL_BELOW else 0.5  # share of sends, while recovery is waited for
        self.outstanding = 6 if small else 48  # of one client; a slow store is not pushed further down
        self.duplicates = 0.03
        self.member_pause = 4.0 if small else 1.5


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=60, help="over all stores together")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or 0), help="0: a random one")
    parser.add_argument("--store", choices=("both", "sqlite", "mongodb"), default="both")
    parser.add_argument("--build", default=os.environ.get("PIPIT_BUILD", str(ROOT / "build")))
    parser.add_argument("--ferretdb", default=os.environ.get("PIPIT_FERRETDB"), help="the server's program")
    parser.add_argument("--mongodb", default=os.environ.get("PIPIT_TEST_MONGODB_URI"), metavar="URI",
                        help="a server that is there, instead of FerretDB")
    parser.add_argument("--database", help=argparse.SUPPRESS)  # its database, from the outer process
    parser.add_argument("--slice", metavar="FROM:TO", help="these faults of the schedule only, such as 7:12")
    parser.add_argument("--earlier", default="0:0", help=argparse.SUPPRESS)  # acked:seconds of the worlds before
    parser.add_argument("--rate", type=float, help="messages per second")
    parser.add_argument("--only", help="classes of faults, by comma")
    parser.add_argument("--keep", action="store_true", help="keep history and logs of a good run, too")
    parser.add_argument("--schedule", action="store_true", help="print the faults and end")
    parser.add_argument("--self-test", action="store_true", help="short campaigns with planted violations")
    parser.add_argument("--plant", choices=tuple(PLANTS), help="a violation that the checker must find")
    options = parser.parse_args()
    if options.slice and (options.store == "both" or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", options.slice)):
        parser.error("--slice is FROM:TO of one --store")
    return options


class Results:
    """Of one world, or of all worlds of one store together."""

    def __init__(self, store):
        self.store, self.recoveries, self.counts = store, {}, {}
        self.problems, self.notes = [], []
        self.acked = self.delivered = 0
        self.seconds = 0.0
        self.verdict = "not checked"
        self.troubles, self.refusals = collections.Counter(), {}

    def summary(self):
        return {name: getattr(self, name) for name in ("store", "recoveries", "counts", "problems", "notes", "acked",
                                                       "delivered", "seconds", "verdict")}


def together(store, summaries):
    """One summary of a store's worlds; None stands for a world that ended without one."""
    results = Results(store)
    for of in summaries:
        if of is None:
            results.problems.append("a world ended before its campaign did")
            continue
        for kind, times in of["recoveries"].items():
            results.recoveries.setdefault(kind, []).extend(times)
            results.counts[kind] = results.counts.get(kind, 0) + of["counts"][kind]
        for name in ("problems", "notes", "acked", "delivered", "seconds"):
            setattr(results, name, getattr(results, name) + of[name])
    verdicts = [of["verdict"] if of else results.verdict for of in summaries]
    results.verdict = next(v for v in ("VIOLATED", "not checked", "holds") if v in verdicts)
    return results.summary()


class Place:
    """Where in a store's campaign this world is: FIRST to LAST of `total` faults, and what earlier worlds did."""

    def __init__(self, options):
        self.total = len(schedule(options))
        self.first, self.last = stretch(options, self.total)
        acked, seconds = options.earlier.split(":")
        self.acked, self.seconds = int(acked), float(seconds)


async def campaign(store, options, folder, results):
    from campaign import Campaign
    from finals import Finals
    from history import History
    from nemesis import Nemesis
    from plants import Planter
    from world import World

    started = time.monotonic()
    place = Place(options)
    faults = schedule(options)[place.first - 1:place.last]
    sanitized = "address" in options.build or "thread" in options.build
    server = given.Server(options.mongodb, options.database) if options.mongodb else options.ferretdb
    world = World(folder, options.build, store, server, preload_clock=not sanitized, faults=len(faults))
    history = History(folder / "history.jsonl")
    work = Campaign(world, history, f"{options.seed}/{place.first}", Plan(store, options.rate), options.plant)
    nemesis = Nemesis(world, history, work)
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: work.broken(context.get("message"), context.get("exception")))
    try:
        await world.create()
        await work.setup()
        work.begin()
        await asyncio.sleep(1.0)
        print(f"{store}: {len(world.instances)} instances, {len(work.devices())} clients, "
              f"{len(work.conversations)} conversations after {time.monotonic() - started:.1f} s", flush=True)
        await Planter(world, work).run()
        for number, fault in enumerate(faults, place.first):
            await one_fault(nemesis, work, fault, results)
            progress(results, work, nemesis, fault, number, place, started)
        await world.dump_metrics("end")
        await nemesis.heal()
        history.event("nemesis", "heal", "ok")
        await Finals(world, history, work).run()
    finally:
        for device in work.devices():
            await device.stop()
        await world.destroy()
        history.close()
        results.problems += world.problems + work.problems
        results.acked, results.delivered = work.acked, history.delivered
        results.notes += nemesis.notes
        results.troubles, results.refusals = work.troubles, work.refusals
        results.seconds = time.monotonic() - started


async def one_fault(nemesis, work, fault, results):
    limit = RECOVERY_LIMIT[results.store]
    since = await asyncio.wait_for(nemesis.inflict(fault), 90)
    watch = await work.recovered(since, limit)
    results.recoveries.setdefault(fault.kind, []).append(watch.slowest if watch.done.is_set() else limit)
    if not watch.done.is_set():
        await nemesis.world.dump_metrics(f"fault-{fault.number}")
        results.problems.append(f"fault {fault.number} ({fault.kind} {nemesis.target}): no new acknowledgement in "
                                f"{limit:.0f} s for clients {sorted(watch.devices)[:6]} and conversations "
                                f"{sorted(watch.conversations)[:6]}")
    results.counts[fault.kind] = results.counts.get(fault.kind, 0) + 1
    await nemesis.newcomer_works()
    await asyncio.sleep(SETTLE)


def progress(results, work, nemesis, fault, number, place, started):
    spent = place.seconds + time.monotonic() - started
    acked = place.acked + work.acked
    left = spent / number * (place.total - number)
    print(f"[{results.store} {number}/{place.total}] {fault.kind} {nemesis.target}: back after "
          f"{results.recoveries[fault.kind][-1]:.2f} s; acked {acked}, {acked / spent:.0f}/s, "
          f"eta {int(left // 60)}:{int(left % 60):02d}", flush=True)


def check(history, results):
    """Runs the checker; its words are the verdict."""
    faults = sum(results.counts.values())
    done = subprocess.run([sys.executable, str(CHECKER), "--strict-live", "--min-faults", str(faults), "--min-acked",
                           str(faults * ACKED_PER_FAULT), str(history)], capture_output=True, text=True)
    results.report = done.stdout + done.stderr
    results.verdict = "holds" if done.returncode == 0 else "VIOLATED"
    return done.returncode == 0


def table(summaries, seed):
    print(f"\nseed {seed}")
    print(f"{'class':20} {'store':8} {'faults':>6} {'back p50':>9} {'max':>8}")
    for of in summaries:
        for kind, times in sorted(of["recoveries"].items()):
            late = " !" if kind in PROCESS_FAULTS and max(times) > PROCESS_GOAL else ""
            print(f"{kind:20} {of['store']:8} {len(times):6} {statistics.median(times):8.2f}s {max(times):7.2f}s{late}")
    for of in summaries:
        print(f"{of['store']}: {sum(of['counts'].values())} faults of {len(of['counts'])} classes, {of['acked']} "
              f"acknowledged, {of['delivered']} deliveries in {of['seconds']:.0f} s; invariants: {of['verdict']}; "
              f"problems: {len(of['problems'])}")
        for what, seconds in of["notes"]:
            print(f"  {what} after {seconds:.2f} s")


def found(results, plant):
    """Did one of the checks that a plant is for speak up?"""
    spoke = set(re.findall(r"^ *(H\d+) +\d+ violation", getattr(results, "report", ""), re.M))
    return bool(spoke & set(PLANTS[plant]))


def inside(options):
    """One store, in a world of its own."""
    store, folder = options.store, pathlib.Path(os.environ["PIPIT_CHAOS_FOLDER"])
    results = Results(store)
    good = False
    try:
        asyncio.run(campaign(store, options, folder, results))
        good = check(folder / "history.jsonl", results) and not results.problems
        if options.plant:
            good = found(results, options.plant)
    finally:
        if not good and hasattr(results, "report"):
            print(results.report)
        for line in results.problems:
            print(f"problem: {line}")
        print(f"{store}: troubles {dict(results.troubles.most_common(6))}, refusals {dict(results.refusals)}")
    (folder / "results.json").write_text(json.dumps(results.summary()))
    return 0 if good else 1


def schedule(options):
    """All faults of one store's campaign, in all of its worlds."""
    if options.only:
        faults = make_schedule(options.seed, ONLY_FROM, options.store)
        return [f for f in faults if f.kind in options.only.split(",")][:options.faults]
    return make_schedule(options.seed, options.faults, options.store)


def stretch(options, total):
    """The first and the last fault, from 1, that --slice asks for."""
    first, last = (int(n) for n in options.slice.split(":")) if options.slice else (1, total)
    return first, min(last, total)


def outside(options, plant=None):
    """Runs one store's campaign, each of its worlds after the other; returns its exit code and summary."""
    first, last = stretch(options, len(schedule(options)))
    ferretdb = options.store == "mongodb" and not options.mongodb
    step = FERRETDB_FAULTS if ferretdb else max(1, last - first + 1)
    code, summaries = 0, []
    for start in range(first, last + 1, step):
        earlier = together(options.store, summaries) if summaries else Results(options.store).summary()
        result, summary = one_world(options, plant, start, min(start + step - 1, last), earlier)
        code = code or result
        summaries.append(summary)
    return code, together(options.store, summaries) if summaries else None


def one_world(options, plant, first, last, earlier):
    """Faults FIRST to LAST in a world of their own; returns its exit code and summary, None when it had none."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pipit-chaos-"))
    is_given = options.store == "mongodb" and options.mongodb
    database = given.fresh_name() if is_given else None
    again = ["--seed", options.seed, "--store", options.store, "--faults", options.faults,
             "--slice", f"{first}:{last}"]
    for name, value in (("only", options.only), ("rate", options.rate), ("plant", plant)):
        again += [f"--{name}", value] if value else []
    command = [sys.executable, "-B", __file__, *again, "--build", options.build,
               "--earlier", f"{earlier['acked']}:{earlier['seconds']:.1f}"]
    for name, value in (("ferretdb", options.ferretdb), ("mongodb", options.mongodb), ("database", database)):
        command += [f"--{name}", value] if value else []
    environment = {**os.environ, sandbox.MARK: "1", "PIPIT_CHAOS_FOLDER": str(folder)}
    with given.way_out(options.mongodb, folder, database) if is_given else contextlib.nullcontext():
        code = subprocess.run([*sandbox.unshare(), *map(str, command)], env=environment).returncode
    summary = folder / "results.json"
    found_summary = json.loads(summary.read_text()) if summary.exists() else None
    if code == 0 and not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"history and logs: {folder}; again: tests/chaos/run.py {' '.join(map(str, again))}", flush=True)
    return code, found_summary


def self_test(options):
    """Planted violations must be found; returns the exit code."""
    missed = []
    options.store, options.faults = "sqlite", 1
    options.only, options.rate, options.slice = "kill,client-reset", 200, None
    for plant in PLANTS:
        code, _ = outside(options, plant)
        print(f"{'ok  ' if code == 0 else 'FAIL'} planted {plant}", flush=True)
        missed += [plant] if code else []
    return 1 if missed else 0


def main():
    options = arguments()
    if os.environ.get(sandbox.MARK):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return inside(options)
    options.seed = options.seed or random.randrange(1, 1 << 31)
    stores = ("sqlite", "mongodb") if options.store == "both" else (options.store,)
    print(f"SEED={options.seed}", flush=True)
    if options.self_test:
        return self_test(options)
    code, summaries = 0, []
    for place, store in enumerate(stores):
        of_store = argparse.Namespace(**vars(options))
        of_store.store = store
        of_store.faults = options.faults // len(stores) + (place < options.faults % len(stores))
        if options.schedule:
            for number, fault in enumerate(schedule(of_store), 1):
                print(store, number, fault)
            continue
        result, summary = outside(of_store, options.plant)
        code = code or result
        summaries += [summary] if summary else []
    if options.schedule:
        return 0
    if not summaries:
        print("that is no fault at all")
        return 2
    table(summaries, options.seed)
    return code


if __name__ == "__main__":
    sys.exit(main())
