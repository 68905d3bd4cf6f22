"""A correct chat system in a made-up time, with faults: it writes the histories that checker.py must pass."""
