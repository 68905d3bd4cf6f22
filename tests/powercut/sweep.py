#!/usr/bin/python3
"""Every call that pipit-storage makes on its data files fails once, in every way it can.

usage: sweep.py [--points 240 | --all] [--seed N] [--only TEXT] [--keep-going]

A scripted session (session.py) runs once to list its calls, then once for each point: this call of that file, with
EIO, ENOSPC, a short write, a torn write and SIGKILL, or a power cut before it. Afterwards: exit or refusal as
promised, no acknowledgement after a failed fsync, a restart without faults on what is left (after a failed fsync or
a power cut: on what the disk had), nothing acknowledged lost, nothing twice.

Points are drawn so that every call of every file in every phase comes first with each of its faults; more points
go on through the calls between. The list of calls is compared with strace's: none may escape. Exit status 0 only
when there was no violation.
"""

import argparse
import collections
import concurrent.futures
import multiprocessing
import random
import re
import signal
import sys
import time
import traceback

from bus import Lost
from disk import Home
from process import BUILD, SLOW
from session import Fault, Session
from shim import build_shim

WRITES = ("EIO", "EIO+", "ENOSPC", "short", "full", "torn", "kill", "stop")
KINDS = {
    "open": ("EIO", "ENOSPC", "kill", "stop"),
    "mkdir": ("EIO", "ENOSPC", "kill", "stop"),
    "pread": ("EIO",),
    "pwrite": WRITES,
    "write": WRITES,
    "fdatasync": ("EIO", "ENOSPC", "kill", "stop"),
    "fsync": ("EIO", "ENOSPC", "kill", "stop"),
    "ftruncate": ("EIO", "EIO+", "kill", "stop"),
    "unlink": ("EIO", "kill", "stop"),
    "rename": ("EIO", "kill", "stop"),
}
SCRIPTS = ("new store", "old store")
AT_ONCE = 2
STRACE_SECONDS = 20


def wait_for_end_of(trace, pid):
    """strace is a process of its own: until it has told that the traced one ended. It pads short pids with blanks."""
    end = re.compile(rf"^{pid} +\+\+\+ exited", re.MULTILINE)
    deadline = time.monotonic() + STRACE_SECONDS
    while not end.search(trace.read_text(errors="replace")):
        if time.monotonic() > deadline:
            raise AssertionError(f"strace does not tell the end of {pid}: {trace.read_text(errors='replace')[-500:]}")
        time.sleep(0.01)


class Sweep:
    def __init__(self, home):
        self.home = home
        self.shim = build_shim(home.folder)
        self.old = None  # what `old store` begins with

    def prepare(self):
        session = Session(self.home, "prepared", self.shim)
        try:
            session.prepare()
            session.disk.unmount()
            self.old = (session.disk.image, session.ledger, session.heads)
        finally:
            session.storage.kill()

    def session(self, script, name, fault=None, wrapper=()):
        if script == "new store":
            session = Session(self.home, name, self.shim, fault, wrapper=wrapper)
            if wrapper or (fault and fault.phase in ("start", "chat")):
                session.bulk_requests = 0  # comes later, and takes most of the time
            return session
        image, ledger, heads = self.old
        session = Session(self.home, name, self.shim, fault, ledger.copy(), image, wrapper)
        session.heads = dict(heads)
        return session

    def play(self, session, script):
        if script == "new store":
            session.play_new_store()
        else:
            session.play_old_store()

    def list_calls(self, script):
        """[(phase, call, file, number)] of a run without faults."""
        session = self.session(script, "reference")
        try:
            self.play(session, script)
            session.verify()
            if session.ledger.problems:
                raise AssertionError(f"without any fault: {session.ledger.problems[:3]}")
            lines = session.calls_log.read_text().splitlines()
            session.calls_log.unlink()
        finally:
            session.close()
        found, phases = [], session.phases + [(None, len(lines))]
        for (phase, begin), (_, end) in zip(phases, phases[1:]):
            for line in lines[begin:end]:
                _, call, file, number, _ = line.split()
                found.append((phase, call, file, int(number)))
        return found

    def check_against_strace(self, script):
        """The shim's counts are strace's. Returns them."""
        trace = self.home.folder / "trace"
        session = self.session(script, "traced", wrapper=("strace", "-D", "-f", "-y", "-q", "-o", str(trace), "-e",
                               "trace=open,openat,creat,pread64,preadv,pwrite64,pwritev,write,writev,fdatasync,fsync,"
                               "sync_file_range,ftruncate,truncate,fallocate,unlink,unlinkat,rename,renameat,renameat2,"
                               "mkdir,mkdirat"))
        try:
            self.play(session, script)
            ours = collections.Counter()
            for line in session.calls_log.read_text().splitlines():
                _, call, file, _, _ = line.split()
                ours[(call, file)] += 1
            session.calls_log.unlink()
            data = str(session.disk.data)
            wait_for_end_of(trace, session.traced.pid)
        finally:
            session.close()
        theirs = collections.Counter()
        for line in trace.read_text(errors="replace").splitlines():
            place = re.match(r"\d+ +(\w+)\((?:\d+<([^>]*)>|(?:AT_FDCWD\S*, )?\"([^\"]*)\")", line)
            if place is None:
                continue
            path = place[2] or place[3]
            if path == data or path.startswith(data + "/"):
                call = place[1].removesuffix("at").removesuffix("64")
                theirs[(call, path[len(data) + 1 :] or ".")] += 1
        if ours != theirs:
            raise AssertionError(f"calls seen by the shim alone {ours - theirs}, by strace alone {theirs - ours}")
        return ours

    def run_point(self, number, script, fault):
        """(problems, outcome, rows, acked, exit seconds)."""
        session = None
        try:
            session = self.session(script, f"p{number}", fault)
            self.play(session, script)
            rows = session.verify()
        except (Lost, TimeoutError, AssertionError) as error:
            session.ledger.problems.append(f"{error!r}"[:2000])
            rows = 0
        finally:
            if session:
                if session.ledger.problems:
                    self._keep(session, number)
                session.close()
        for path in self.home.folder.glob(f"p{number}[.-]*"):
            path.unlink()
        return session.ledger.problems, session.outcome, rows, len(session.ledger.acked), session.exit_seconds

    def _keep(self, session, number):
        session.storage.kill()
        folder = self.home.kept()
        for path in self.home.folder.glob(f"p{number}[.-]*"):
            if path.suffix in (".log", ".calls"):
                (folder / path.name).write_bytes(path.read_bytes())
        if session.disk.mounted():
            session.disk.unmount()
            self.home.keep(session.disk.image, session.disk.image.name)
            session.disk.image.unlink()


# --- choosing points


def strata(calls):
    """{(script, phase, call, file, kind): [numbers]}"""
    found = collections.defaultdict(list)
    for script, listed in calls.items():
        for phase, call, file, number in listed:
            for kind in KINDS[call]:
                found[(script, phase, call, file, kind)].append(number)
    return found


def spread(count, offset):
    """0..count-1 in an order whose every beginning is spread evenly."""
    seen, step = set(), 0
    while len(seen) < count:
        value, base, rest = offset, 0.5, step
        while rest:
            value += base * (rest & 1)
            base, rest = base / 2, rest >> 1
        index = int(value % 1 * count)
        step += 1
        if index not in seen:
            seen.add(index)
            yield index


def choose(found, count, seed):
    dice = random.Random(seed)
    keys = sorted(found)
    dice.shuffle(keys)
    orders = {key: spread(len(found[key]), dice.random()) for key in keys}
    points = []
    while orders and (count is None or len(points) < count):
        for key in keys:
            if key in orders and (count is None or len(points) < count):
                index = next(orders[key], None)
                if index is None:
                    del orders[key]
                else:
                    points.append((key[0], Fault(*key[1:4], found[key][index], key[4])))
    return points


# --- running them


sweep = None  # of this process; the pool's workers are forked from it


def begin_worker():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the folder is the parent's to clear away


def work(item):
    number, script, fault = item
    try:
        return item, sweep.run_point(number, script, fault)
    except Exception:
        return item, ([f"the sweep itself failed: {traceback.format_exc()}"], "error", 0, 0, None)


def run_points(points, keep_going):
    """Stops at the first violation, but lets the points that run beside it come to their end."""
    results, begin = [], time.monotonic()
    forking = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(AT_ONCE, forking, begin_worker) as pool:
        jobs = [pool.submit(work, (number, script, fault)) for number, (script, fault) in enumerate(points)]
        for job in concurrent.futures.as_completed(jobs):
            results.append(job.result())
            if sys.stdout.isatty() or len(results) % 50 == 0 or len(results) == len(points):
                bad = sum(bool(found[0]) for _, found in results)
                print(f"{len(results)}/{len(points)} points  {bad} violations  {time.monotonic() - begin:.0f} s",
                      end="\r" if sys.stdout.isatty() else "\n", flush=True)
            if results[-1][1][0] and not keep_going:
                pool.shutdown(cancel_futures=True)
                break
    return results


def report(results, begin, arguments):
    table = collections.defaultdict(collections.Counter)
    for (_, _, fault), (problems, outcome, *_) in results:
        table[(fault.call, fault.kind)]["VIOLATION" if problems else outcome] += 1
    outcomes = sorted({outcome for row in table.values() for outcome in row})
    print("\n" + f"{'fault':18}" + "".join(f"{outcome:>20}" for outcome in outcomes))
    for (call, kind), row in sorted(table.items()):
        print(f"{call + ' ' + kind:18}" + "".join(f"{row[outcome] or '':>20}" for outcome in outcomes))
    reached = sum(result[1] != "not reached" for _, result in results)
    exits = [result[4] for _, result in results if result[4] is not None]
    print(f"{len(results)} points, {reached} reached, {sum(result[3] for _, result in results)} acknowledged messages "
          f"looked for in {time.monotonic() - begin:.1f} s; exit after a failed fsync within "
          f"{max(exits, default=0) * 1000:.0f} ms; seed {arguments.seed}")
    problems = [f"{script}, {fault}: {text}" for (_, script, fault), result in results for text in result[0][:2]]
    if not arguments.only and reached < 0.9 * len(results):
        problems.append("too many points were not reached")
    return problems


def main():
    global sweep
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=240)
    parser.add_argument("--all", action="store_true", help="every point; hours")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="points whose description contains this text")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first violation")
    arguments = parser.parse_args()
    if not (BUILD / "pipit-storage").exists():
        parser.error(f"{BUILD}/pipit-storage does not exist; set PIPIT_BUILD")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    home, begin = Home(), time.monotonic()
    try:
        sweep = Sweep(home)
        sweep.prepare()
        calls = {}
        for script in SCRIPTS:
            seen = sweep.check_against_strace(script) if SLOW == 1 and not arguments.only else {}
            calls[script] = sweep.list_calls(script)
            agreed = f"; strace and shim agree on {sum(seen.values())} of one run" if seen else ""
            print(f"{script}: {len(calls[script])} calls on data files{agreed}")
        found = strata(calls)
        if arguments.only:
            found = {key: numbers for key, numbers in found.items() if arguments.only in " ".join(key)}
        print(f"{sum(map(len, found.values()))} points of {len(found)} sorts")
        results = run_points(choose(found, None if arguments.all else arguments.points, arguments.seed),
                             arguments.keep_going)
        problems = report(results, begin, arguments)
        for text in problems[:20]:
            print(f"VIOLATION {text}")
        if problems:
            print(f"Images and logs are kept in {home.kept()}")
        return 1 if problems or not results else 0
    finally:
        home.close()


if __name__ == "__main__":
    sys.exit(main())
