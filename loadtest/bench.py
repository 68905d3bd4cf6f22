#!/usr/bin/env python3
"""Measures Pipit against mosquitto on this machine and writes a report.

usage: bench.py [--build build] [--out bench] [--quick] [--only TEXT]

The two take turns with the same MQTT load, on the same cores, from the same generator (pipit-load): what others do on
the machine hits both, and ratios mean something where absolute numbers do not. Writes OUT/bench.json and
OUT/report.html and prints a table. Exit status: 0 every threshold holds, 1 one does not, 2 wrong usage or no start.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

import bench_plan
from bench_world import ROOT, Mosquitto, Pipit


def flush_ms(folder):
    """What one fsync of a page costs where the store will be."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        times = []
        for _ in range(50):
            file.write(b"x" * 4096)
            file.flush()
            begin = time.monotonic()
            os.fsync(file.fileno())
            times.append(time.monotonic() - begin)
    return round(sorted(times)[len(times) // 2] * 1000, 3)


def describe_machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith(("model name", "Model"))),
               platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    release = dict(line.rstrip().split("=", 1) for line in open("/etc/os-release") if "=" in line)
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_mib": memory, "kernel": platform.release(),
            "os": release.get("PRETTY_NAME", "").strip('"'), "flush_ms": flush_ms(tempfile.gettempdir())}


def git(*arguments):
    done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True)
    return done.stdout.strip()


class Bench:
    def __init__(self, arguments):
        self.build, self.quick = pathlib.Path(arguments.build).resolve(), arguments.quick
        self.only = arguments.only
        self.runs, self.begin = [], time.monotonic()
        self.done = self.planned = 0

    def load(self, server, name, step, round_number):
        """One run of the generator."""
        self.done += 1
        minutes, seconds = divmod(int(time.monotonic() - self.begin), 60)
        print(f"[{self.done}/{self.planned}] {minutes}:{seconds:02d}  {step.label}, {name}", file=sys.stderr, flush=True)
        command = [self.build / "pipit-load", *step.command(server, name, self.quick)]
        command += ["--pids", ",".join(map(str, server.pids()))]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode not in (0, 1) or not done.stdout:
            # A threshold without its value does not hold.
            print(f"bench: {step.label}, {name}: {done.stderr.strip()[-500:]}", file=sys.stderr)
            return
        self.runs.append({"scenario": step.scenario, "label": step.label, "server": name, "round": round_number,
                          "result": json.loads(done.stdout)})

    def play(self, world):
        """All steps of one world: the same servers, one step after the other, the servers in turn."""
        steps = [step for step in world.steps if self.only in step.label]
        if not steps:
            return
        with contextlib.ExitStack() as stack:
            pipit = stack.enter_context(Pipit(self.build, world.accounts(self.quick), world.group_size, **world.options))
            peer = stack.enter_context(Mosquitto()) if any(step.peer for step in steps) else None
            for step in steps:
                for number in range(1, step.rounds(self.quick) + 1):
                    self.load(pipit, "pipit", step, number)
                    if step.peer:
                        self.load(peer, "mosquitto", step, number)

    def run(self):
        worlds = bench_plan.worlds()
        self.planned = sum(step.rounds(self.quick) * (2 if step.peer else 1)
                           for world in worlds for step in world.steps if self.only in step.label)
        if not self.planned:
            raise SystemExit(f"bench: no step has '{self.only}' in its name")
        for world in worlds:
            try:
                self.play(world)
            except SystemExit as problem:  # what was measured before is not thrown away
                print(problem, file=sys.stderr)
        return {
            "pipit_bench": 1,
            "machine": describe_machine(),
            "commit": git("rev-parse", "--short", "HEAD") or "unknown",
            "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "configuration": bench_plan.CONFIGURATION | {"quick": self.quick},
            "runs": self.runs,
            "thresholds": bench_plan.thresholds(self.runs, self.quick, self.only),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=str(ROOT / "build"))
    parser.add_argument("--out", default="bench")
    parser.add_argument("--quick", action="store_true", help="short runs and few clients: whether it works at all")
    parser.add_argument("--only", default="", help="steps whose name contains this text")
    arguments = parser.parse_args()
    if not (pathlib.Path(arguments.build) / "pipit-load").exists():
        parser.error(f"{arguments.build}/pipit-load does not exist; run make build")
    out = pathlib.Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    try:
        document = Bench(arguments).run()
    except SystemExit as problem:
        print(problem, file=sys.stderr)
        return 2
    (out / "bench.json").write_text(json.dumps(document))
    print(f"The report is {out / 'report.html'}", file=sys.stderr)
    return subprocess.run([sys.executable, ROOT / "loadtest/report.py", out / "bench.json",
                           "--html", out / "report.html"]).returncode


if __name__ == "__main__":
    sys.exit(main())
