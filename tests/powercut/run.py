#!/usr/bin/python3
"""Power cuts: a real pipit-storage under load on a disk that loses its power again and again.

usage: run.py [--cuts 100] [--seed N] [--rate MESSAGES_PER_SECOND]

Each cut is an atomic copy of the disk's image while writes go on (disk.py). A child of this process, which holds
exactly what had been acknowledged before the copy began, mounts the copy, starts a fresh storage on it and
compares: every acknowledged message at its seq, dense seqs, one row per id, bodies and checksums, accounts,
members and cursors; then it sends again what was in flight, as routing would, and checks the database file.

Rounds of ten cuts: the first falls into the start of the process; in every other round each fsync takes longer,
so that cuts fall into commits; at the end of such a round the machine really goes on from the copy: storage is
killed and the next round runs on what was left. Exit status 0 only when nothing was lost.
"""

import argparse
import copy
import json
import os
import random
import select
import signal
import sys
import time
import traceback

from bus import Lost
from disk import Disk, Home
from ledger import Ledger
from load import Load
from process import BUILD, SLOW, Storage
from shim import build_shim, shim_environment

CUTS_PER_ROUND = 10
CHECKS_AT_ONCE = 2
FSYNC_DELAY_US = 12000


# --- the child: one cut


class Cut:
    """A child process that copies, checks and reports."""

    def __init__(self, home, disk, load, number, kind):
        self.home, self.disk, self.load, self.number, self.kind = home, disk, load, number, kind
        self.result = None
        receiving, self.sending = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(receiving)
            self._child()
        os.close(self.sending)
        self.pipe = os.fdopen(receiving, "rb", buffering=0)
        self.text = b""

    def fileno(self):
        return self.pipe.fileno()

    def wait_copied(self):
        """The power is off: what arrives from now on was told too late."""
        while b"\n" not in self.text and self._read():
            pass

    def _read(self):
        part = self.pipe.read(65536)
        self.text += part
        return bool(part)

    def poll(self):
        """True when the child is done; result is set."""
        if self._read():
            return False
        _, status = os.waitpid(self.pid, 0)
        lines = self.text.decode(errors="replace").splitlines()
        if status == 0 and len(lines) == 2:
            self.result = json.loads(lines[1])
        else:
            self.result = {"problems": [f"the check itself failed, status {status}: {lines[1:]}"]}
        self.pipe.close()
        return True

    def _child(self):
        status = 1
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            begin = time.monotonic()
            image, seconds = self.home.cut(self.disk, f"cut{self.number}")
            os.write(self.sending, b"copied\n")
            report = self._check(image)
            report |= {"copy_ms": seconds * 1000, "seconds": time.monotonic() - begin}
            os.write(self.sending, json.dumps(report).encode() + b"\n")
            status = 0
        except BaseException:  # reported by status
            os.write(self.sending, b"\n" + json.dumps(traceback.format_exc()).encode())
        finally:
            os._exit(status)

    def _check(self, image):
        ledger, load = self.load.ledger, self.load
        disk = Disk(image, self.home.folder / f"cut{self.number}")
        storage = Storage(disk.data, self.home.folder, f"s{self.number}")
        report = {"acked": len(ledger.acked), "rows": 0, "in_flight": 0, "had_been_stored": 0}
        try:
            bus = storage.connect()
            places = ledger.compare(ledger.read(bus))
            ledger.compare_state(bus)
            report["rows"] = len(places)
            report["in_flight"] = sum(message not in ledger.acked for message in ledger.sent)
            if not ledger.problems:  # else the first finding is the one that counts
                report["had_been_stored"] = load.recover(bus) if len(ledger.users) else load.set_up(bus) or 0
                load.run(bus, 0.01)  # it accepts new messages
            bus.close()
            code = storage.stop()
            if code != 0:
                ledger.problems.append(f"storage on the copy ended with {code}: {storage.tail()}")
            ledger.check_file(disk.data, report["rows"])
        except (Lost, TimeoutError, AssertionError) as error:
            ledger.problems.append(f"storage on the copy: {error!r}; {storage.tail()}")
        finally:
            storage.kill()
            disk.unmount()
        report["problems"] = ledger.problems[:10]
        if not ledger.problems and self.kind != "went on":
            image.unlink()
            storage.log_path.unlink()
        return report


# --- the campaign


class Campaign:
    def __init__(self, home, arguments):
        self.home, self.arguments = home, arguments
        self.random = random.Random(arguments.seed)
        self.shim = build_shim(home.folder)
        self.running, self.done = [], []
        self.number = self.round = 0
        self.told = 0  # acknowledged messages of finished ledgers
        self.image = self.load = self.storage = self.disk = None
        self.begin = time.monotonic()

    def enough(self):
        return self.number >= self.arguments.cuts or any(cut.result["problems"] for cut in self.done)

    def cut(self, kind):
        self.number += 1
        cut = Cut(self.home, self.disk, self.load, self.number, kind)
        self.running.append(cut)
        return cut

    def reap(self, block=False):
        """Takes results of finished children; with block, waits for one."""
        if not self.running:
            return
        ready = select.select(self.running, [], [], 60 * SLOW if block else 0)[0]
        if block and not ready:
            raise TimeoutError(f"the check of cut {self.running[0].number} does not end")
        for cut in ready:
            if cut.poll():
                self.running.remove(cut)
                self.done.append(cut)
                self.progress()

    def progress(self):
        done, total = len(self.done), self.arguments.cuts
        if not sys.stdout.isatty() and done % 25 and done != total:
            return
        acked = self.told + len(self.load.ledger.acked)
        text = f"{done}/{total} cuts  {acked} messages acknowledged  {time.monotonic() - self.begin:.0f} s"
        print(f"\r{text} " if sys.stdout.isatty() else text, end="" if sys.stdout.isatty() else "\n", flush=True)

    def play_round(self):
        slow = self.round % 2 == 1
        if self.image is None:
            self.told += len(self.load.ledger.acked) if self.load else 0
            self.load = Load(Ledger(), self.random.random(), rate=self.arguments.rate)
        self.disk = self.home.disk(f"disk{self.round}", self.image)
        extra = shim_environment(self.shim, self.disk.data, delay_us=FSYNC_DELAY_US) if slow else None
        self.storage = Storage(self.disk.data, self.home.folder, f"main{self.round}", extra)
        time.sleep(self.random.uniform(0, 0.03))
        self.cut("start")
        bus = self.storage.connect()
        if self.image is None:
            self.load.set_up(bus)
        else:
            self.load.recover(bus)
            self.image.unlink()
            self.image = None
        goes_on = not slow
        for index in range(CUTS_PER_ROUND - 1):
            self.load.run(bus, self.random.uniform(0.02, 0.2))
            while len(self.running) >= CHECKS_AT_ONCE:
                self.load.run(bus, 0.01)
                self.reap()
            if self.enough():
                break
            if index == CUTS_PER_ROUND - 2 and goes_on:
                self.power_off()
            else:
                self.cut("slow disk" if slow else "load")
        bus.close()
        self.storage.kill()
        self.disk.remove()
        self.round += 1

    def power_off(self):
        """Nothing that arrives after this copy counts; the next round runs on the copy."""
        snapshot = copy.deepcopy(self.load.ledger.problems)
        cut = self.cut("went on")
        cut.wait_copied()
        self.storage.kill()
        while cut in self.running:
            self.reap(block=True)
        assert snapshot == self.load.ledger.problems
        if not cut.result["problems"]:
            self.image = self.home.images / f"cut{cut.number}.img"

    def play(self):
        while not self.enough() and not self.load_problems():
            self.play_round()
        while self.running:
            self.reap(block=True)

    def load_problems(self):
        return self.load.ledger.problems if self.load else []

    def stop(self):
        for cut in self.running:
            os.kill(cut.pid, signal.SIGKILL)
            os.waitpid(cut.pid, 0)
        if self.storage:
            self.storage.kill()


def report(campaign):
    seconds = time.monotonic() - campaign.begin
    campaign.told += len(campaign.load.ledger.acked)
    print(f"\n{'cuts':12} {'number':>7} {'acked rows':>11} {'rows':>9} {'in flight':>10} {'of them stored':>15} "
          f"{'violations':>11}")
    problems = [f"load: {text}" for text in campaign.load_problems()]
    for kind in ("start", "load", "slow disk", "went on"):
        cuts = [cut.result for cut in campaign.done if cut.kind == kind]
        bad = sum(bool(cut["problems"]) for cut in cuts)
        total = [sum(cut.get(key, 0) for cut in cuts) for key in ("acked", "rows", "in_flight", "had_been_stored")]
        print(f"{kind:12} {len(cuts):7} {total[0]:11} {total[1]:9} {total[2]:10} {total[3]:15} {bad:11}")
    for cut in campaign.done:
        problems += [f"cut {cut.number} ({cut.kind}): {text}" for text in cut.result["problems"]]
    copies = sorted(cut.result.get("copy_ms", 0) for cut in campaign.done)
    middle = copies[len(copies) // 2] if copies else 0
    acked = sum(cut.result.get("acked", 0) for cut in campaign.done)
    print(f"{len(campaign.done)} cuts in {seconds:.1f} s; {campaign.told} messages acknowledged, {acked} "
          f"times looked for; copy {middle:.1f} ms, at most {copies[-1] if copies else 0:.1f} ms; seed {campaign.arguments.seed}")
    return problems


def keep(campaign, problems):
    folder = campaign.home.kept()
    for cut in campaign.done:
        image = campaign.home.images / f"cut{cut.number}.img"
        if cut.result["problems"] and image.exists():
            campaign.home.keep(image, image.name)
    for log in campaign.home.folder.glob("*.log"):
        (folder / log.name).write_bytes(log.read_bytes())
    with open(folder / "acknowledged.jsonl", "w") as out:
        for message, place in campaign.load.ledger.acked.items():
            out.write(json.dumps({"id": message.hex(), "conversation": place[0], "seq": place[1]}) + "\n")
    for text in problems[:20]:
        print(f"VIOLATION {text}")
    print(f"Images, logs and acknowledgements are kept in {folder}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--rate", type=int, default=4000)
    arguments = parser.parse_args()
    if not (BUILD / "pipit-storage").exists():
        parser.error(f"{BUILD}/pipit-storage does not exist; set PIPIT_BUILD")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    home = Home()
    campaign = None
    try:
        campaign = Campaign(home, arguments)
        try:
            campaign.play()
        except (Lost, TimeoutError, AssertionError) as error:
            campaign.load.ledger.problems.append(f"{error!r}: {campaign.storage.tail()}")
            while campaign.running:
                campaign.reap(block=True)
        problems = report(campaign)
        if problems:
            keep(campaign, problems)
        return 1 if problems or len(campaign.done) < arguments.cuts else 0
    finally:
        if campaign:
            campaign.stop()
        home.close()


if __name__ == "__main__":
    sys.exit(main())
