#!/usr/bin/python3
"""Negative controls: bugs planted on purpose, each of which its check must find.

usage: run.py [--only NAME] [--all] [--fits] [--list]

Without --all: the bugs of the storage, against the power cuts and the failing calls of tests/powercut. --fits plants
those for the fault campaign, too, without running it: they still fit the source and compile. A bug is
compiled from an edited copy of its one file, outside the tree, and linked with the objects of $PIPIT_BUILD (which
must be built and current); the tree is not touched. Exit status 0 only when every bug was caught, for its reason.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import bugs

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PIPIT_BUILD", ROOT / "build")).resolve()
SERVICES = ("auth", "connection", "routing", "storage")
CHECKS = {
    "powercut": ("tests/powercut/run.py",),
    "sweep": ("tests/powercut/sweep.py",),
    "chaos": ("tests/chaos/run.py",),
}
CHECK_SECONDS = 300
CLEAR_SECONDS = 15


def planted_text(bug):
    text = (ROOT / bug.file).read_text()
    for old, new in bug.edits:
        if text.count(old) != 1:
            raise RuntimeError(f"{bug.file} has this text {text.count(old)} times instead of once:\n{old}")
        text = text.replace(old, new)
    return text


def compile_command(bug):
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        if entry["file"].endswith(f"/{bug.file}"):
            return entry["directory"], shlex.split(entry["command"]), entry["file"]
    raise RuntimeError(f"{BUILD} does not compile {bug.file}")


def run(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stdout[-3000:]}")
    return done.stdout


def build(bug, folder):
    """A build folder whose one service has the bug."""
    service = bug.file.split("/")[1]
    source = folder / "source" / bug.file
    source.parent.mkdir(parents=True)
    source.write_text(planted_text(bug))
    directory, command, original = compile_command(bug)
    target = folder / f"{source.name}.o"
    output = command.index("-o")
    wanted = []
    for index, word in enumerate(command):
        if word in ("-MD", "-MT", "-MF") or command[index - 1] in ("-MT", "-MF"):
            continue  # dependencies belong to the real build
        wanted.append(str(target) if index == output + 1 else str(source) if word == original else word)
    run([*wanted, "-w"], cwd=directory)  # what a bug leaves unused is not the point
    library = f"libpipit_{service}.a"
    shutil.copy(BUILD / library, folder / library)
    run(["ar", "r", folder / library, target])
    program = f"pipit-{service}"
    link = run(["ninja", "-C", str(BUILD), "-t", "commands", "-s", program]).strip().splitlines()[-1]
    for old, new in ((f" -o {program} ", f" -o {folder / program} "), (f" {library} ", f" {folder / library} ")):
        if link.count(old) != 1:
            raise RuntimeError(f"the link command has {old!r} {link.count(old)} times: {link}")
        link = link.replace(old, new)
    run(["sh", "-c", link], cwd=BUILD)
    for name in SERVICES:
        if not (folder / f"pipit-{name}").exists() and (BUILD / f"pipit-{name}").exists():
            (folder / f"pipit-{name}").symlink_to(BUILD / f"pipit-{name}")


def end_group(running):
    """Ends a check and all that it started."""
    os.killpg(running.pid, signal.SIGTERM)  # it clears its disks away
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.wait(CLEAR_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def check(bug, folder):
    """(caught, output)."""
    command = ["/usr/bin/python3", "-B", *CHECKS[bug.check], *bug.arguments]
    # What the check keeps as evidence goes with the bug. The disks stay where the next run clears up after a killed one.
    evidence = "TMPDIR" if bug.check == "chaos" else "PIPIT_KEPT"
    environment = os.environ | {"PIPIT_BUILD": str(folder), evidence: str(folder)}
    said = folder / "said"  # no pipe: a grandchild that hangs would hold it open after its parent's end
    with open(said, "w") as output:
        running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output,
                                   start_new_session=True)
    try:
        status = running.wait(CHECK_SECONDS)
    except BaseException as why:
        end_group(running)
        if not isinstance(why, subprocess.TimeoutExpired):
            raise
        return False, f"the check did not end in {CHECK_SECONDS} s: {said.read_text(errors='replace')}"
    text = said.read_text(errors="replace")
    return status == 1 and re.search(bug.finds, text) is not None, text


def judge(bug, plant_only):
    """Prints one line; True when the bug was caught, or planted."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pipit-planted-") as name:
        folder = pathlib.Path(name)
        try:
            build(bug, folder)
            built = time.monotonic()
            if plant_only:
                print(f"{bug.name:36} can be planted (built in {built - begin:.1f} s)", flush=True)
                return True
            caught, text = check(bug, folder)
        except RuntimeError as error:
            print(f"{bug.name:36} cannot be planted: {error}", flush=True)
            return False
    found = re.search(f".*({bug.finds}).*", text)
    says = found[0].strip()[:100] if found else ""
    print(f"{bug.name:36} {'caught' if caught else 'MISSED'} by {bug.check} in {time.monotonic() - built:.1f} s"
          f" (built in {built - begin:.1f} s)  {says}", flush=True)
    if not caught:
        print(text[-6000:])
    return caught


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="this bug")
    parser.add_argument("--all", action="store_true", help="those for the fault campaign, too; some minutes each")
    parser.add_argument("--fits", action="store_true", help="plant those, but do not run the campaign")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the check is ended, too
    wanted = bugs.STORAGE + bugs.CAMPAIGN
    if arguments.only:
        wanted = [bug for bug in wanted if bug.name == arguments.only]
    if not wanted:
        parser.error(f"there is no bug named {arguments.only}")
    if arguments.list:
        for bug in wanted:
            print(f"{bug.name:36} {bug.check:9} {bug.file}")
        return 0
    tried = [bug for bug in wanted if bug in bugs.STORAGE or arguments.all or arguments.only]
    caught = [judge(bug, False) for bug in tried]
    planted = [judge(bug, True) for bug in wanted if bug not in tried and arguments.fits]
    print(f"{sum(caught)} of {len(caught)} planted bugs caught"
          + (f"; {sum(planted)} of {len(planted)} others can be planted" if planted else ""))
    return 0 if all(caught) and all(planted) else 1


if __name__ == "__main__":
    sys.exit(main())
