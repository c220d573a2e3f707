"""What a stranger tries on a fleet over mutual TLS: by fuzzers, by waiting, and by scanners that others have written.

`python -m ddnn_lab.benchmarks.scan` runs them all, an honest caller beside each.
"""
