#!/usr/bin/python3
"""Fault campaigns over real processes (make chaos FAULTS=60 SEED=1).

A campaign starts Pipit as a cluster in network namespaces, lets recording clients chat, injects faults from a
seeded schedule, heals, and hands the history to tests/checker. It fails on any violated invariant, on a process
that ended unasked and on a service that does not come back.
"""

import argparse
import asyncio
import os
import pathlib
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import sandbox  # noqa: E402  (the folder of this script comes first)

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECKER = ROOT / "tests/checker/checker.py"
RECOVERY_LIMIT = {"sqlite": 20.0, "mongodb": 30.0}
SETTLE = 0.4


class Plan:
    """How much of everything; FerretDB reads a whole collection for one page, so it gets little."""

    def __init__(self, store, rate=None):
        small = store == "mongodb"
        self.users, self.groups, self.directs = (8, 5, 5) if small else (16, 8, 10)
        self.group_members = 4 if small else 6
        self.rate = rate or (24 if small else 400)
        self.duplicates = 0.03
        self.member_pause = 3.0 if small else 1.5


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=60, help="over all stores together")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or 0), help="0: a random one")
    parser.add_argument("--store", choices=("both", "sqlite", "mongodb"), default="both")
    parser.add_argument("--build", default=os.environ.get("PIPIT_BUILD", str(ROOT / "build")))
    parser.add_argument("--ferretdb", default=os.environ.get("PIPIT_FERRETDB"), help="the server's program")
    parser.add_argument("--rate", type=float, help="messages per second")
    parser.add_argument("--only", help="classes of faults, by comma")
    parser.add_argument("--keep", action="store_true", help="keep history and logs of a good run, too")
    parser.add_argument("--schedule", action="store_true", help="print the faults and end")
    parser.add_argument("--self-test", action="store_true", help="planted violations must be found")
    return parser.parse_args()


class Results:
    """Of one store's campaign."""

    def __init__(self, store):
        self.store, self.recoveries, self.counts = store, {}, {}
        self.problems, self.notes = [], []
        self.acked = self.delivered = 0
        self.seconds = 0.0
        self.verdict = "not checked"


async def campaign(store, faults, options, folder, results):
    from campaign import Campaign
    from finals import Finals
    from history import History
    from nemesis import Nemesis
    from world import World

    started = time.monotonic()
    sanitized = "address" in options.build or "thread" in options.build
    world = World(folder, options.build, store, options.ferretdb, preload_clock=not sanitized, faults=len(faults))
    history = History(folder / "history.jsonl")
    work = Campaign(world, history, options.seed, Plan(store, options.rate))
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
        begun = time.monotonic()
        for done, fault in enumerate(faults):
            await one_fault(nemesis, work, fault, results)
            progress(results, work, nemesis, fault, done + 1, len(faults), begun)
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
        results.problems.append(f"fault {fault.number} ({fault.kind} {nemesis.target}): no new acknowledgement in "
                                f"{limit:.0f} s for clients {sorted(watch.devices)[:6]} and conversations "
                                f"{sorted(watch.conversations)[:6]}")
    results.counts[fault.kind] = results.counts.get(fault.kind, 0) + 1
    await asyncio.sleep(SETTLE)


def progress(results, work, nemesis, fault, done, total, begun):
    spent = time.monotonic() - begun
    left = spent / done * (total - done)
    print(f"[{results.store} {done}/{total}] {fault.kind} {nemesis.target}: back after "
          f"{results.recoveries[fault.kind][-1]:.2f} s; acked {work.acked}, {work.acked / spent:.0f}/s, "
          f"eta {int(left // 60)}:{int(left % 60):02d}", flush=True)


def check(history, results):
    """Runs the checker; its words are the verdict."""
    done = subprocess.run([sys.executable, str(CHECKER), str(history)], capture_output=True, text=True)
    results.report = done.stdout + done.stderr
    results.verdict = "holds" if done.returncode == 0 else "VIOLATED"
    return done.returncode == 0


def table(all_results, seed):
    print(f"\nseed {seed}")
    print(f"{'class':20} {'store':8} {'faults':>6} {'back p50':>9} {'max':>7}")
    for results in all_results:
        for kind in sorted(results.recoveries):
            times = results.recoveries[kind]
            print(f"{kind:20} {results.store:8} {len(times):6} {statistics.median(times):8.2f}s {max(times):6.2f}s")
    for results in all_results:
        print(f"{results.store}: {sum(results.counts.values())} faults of {len(results.counts)} classes, "
              f"{results.acked} acknowledged, {results.delivered} deliveries, {results.seconds:.0f} s, "
              f"invariants: {results.verdict}, problems: {len(results.problems)}")
        for what, seconds in results.notes:
            print(f"  {what} after {seconds:.2f} s")


def inside(options):
    """One store in a world of its own; results as the exit code and words."""
    from schedule import PROCESS_FAULTS, make_schedule  # noqa: F401

    store, folder = options.store, pathlib.Path(os.environ["PIPIT_CHAOS_FOLDER"])
    faults = make_schedule(options.seed, options.faults, store)
    if options.only:
        faults = [f for f in make_schedule(options.seed, options.faults * 40, store)
                  if f.kind in options.only.split(",")][:options.faults]
    results = Results(store)
    good = False
    try:
        asyncio.run(campaign(store, faults, options, folder, results))
        good = check(folder / "history.jsonl", results) and not results.problems
    finally:
        if not good and hasattr(results, "report"):
            print(results.report)
        for line in results.problems:
            print(f"problem: {line}")
        if hasattr(results, "troubles"):
            print("troubles:", dict(results.troubles.most_common(8)), "refusals:", dict(results.refusals))
        table([results], options.seed)
    return 0 if good else 1


def main():
    options = arguments()
    if os.environ.get(sandbox.MARK):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return inside(options)
    options.seed = options.seed or random.randrange(1, 1 << 31)
    stores = ("sqlite", "mongodb") if options.store == "both" else (options.store,)
    print(f"SEED={options.seed}", flush=True)
    code = 0
    for store in stores:
        count = options.faults // len(stores)
        folder = pathlib.Path(tempfile.mkdtemp(prefix="pipit-chaos-"))
        command = [sys.executable, __file__, "--store", store, "--seed", str(options.seed), "--faults", str(count),
                   "--build", options.build]
        for name in ("ferretdb", "rate", "only"):
            if getattr(options, name):
                command += [f"--{name}", str(getattr(options, name))]
        environment = {**os.environ, sandbox.MARK: "1", "PIPIT_CHAOS_FOLDER": str(folder)}
        result = subprocess.run([*sandbox.unshare(), *command], env=environment).returncode
        if result == 0 and not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"history and logs: {folder}")
        code = code or result
    return code


if __name__ == "__main__":
    sys.exit(main())
