#!/usr/bin/python3
"""Measures the checker: makes a correct history of about a million events, checks it, prints time and memory."""

import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    sends = int(sys.argv[1]) if len(sys.argv) > 1 else 13500
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        subprocess.run([sys.executable, os.path.join(HERE, "simulate.py"), "--seed", "5", "--users", "60",
                        "--groups", "12", "--sends", str(sends), "--rate", "800", "--trouble", "0.05"],
                       stdout=file, check=True)
        file.seek(0)
        count, size = sum(1 for _ in file), file.tell()
        before = time.perf_counter()
        process = subprocess.Popen([sys.executable, os.path.join(HERE, "checker.py"), file.name],
                                   stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - before
    code = os.waitstatus_to_exitcode(status)
    print(f"{count:,} events, {size / 1e6:.0f} MB: {seconds:.2f} s ({usage.ru_utime:.2f} s of processor), "
          f"{seconds / count * 1e6:.2f} us an event, {usage.ru_maxrss / 1024:.0f} MB, exit {code}")
    return code


if __name__ == "__main__":
    sys.exit(main())
