#!/usr/bin/python3
"""Writes a correct history of a simulated system with faults: to measure the checker, and to plant violations in."""

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from simulation.world import Simulation  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--seed", type=int, default=1)
    add("--users", type=int, default=8)
    add("--groups", type=int, default=3)
    add("--sends", type=int, default=400)
    add("--rate", type=float, default=100.0, help="sends per simulated second")
    add("--trouble", type=float, default=0.15, help="share of sends whose first attempt goes wrong")
    add("--calm", action="store_true", help="without faults and changes of membership")
    options = parser.parse_args()
    simulation = Simulation(options.seed, options.users, options.groups, options.sends, options.rate, options.trouble,
                            changes=not options.calm, faults=not options.calm)
    for event in simulation.run():
        sys.stdout.write(json.dumps(event, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
