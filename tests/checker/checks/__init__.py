"""The rules H1 to H11 of FORMAT.md over one pass of a history; checker.py is their command line."""
