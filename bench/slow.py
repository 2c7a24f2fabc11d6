#!/usr/bin/env python3
"""One replica of three is 20 times slower: what clients see once that is known.

    slow.py --evenkeel PATH

Three replicas of the built-in model with eight slots each and answers of 20 ms; load at
half of what two of them can do. The first seconds, in which it becomes known, are warm-up.
All of it on loopback; only processes started here are ended.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cost import Model, ready  # noqa: E402
from faults import Evenkeel  # noqa: E402

TOKENS, PACE, SLOTS = 10, 2, 8
# Two replicas of eight slots, each answer 20 ms: half of 800 a second.
RATE = 400


def measure(binary, slow):
    paces = [PACE * 20 if slow else PACE, PACE, PACE]
    replicas = [Model(binary, "--pace", str(pace), "--slots", str(SLOTS)) for pace in paces]
    with tempfile.TemporaryDirectory() as directory:
        proxy = Evenkeel(binary, replicas, directory)
        try:
            ready(binary, proxy)
            out = subprocess.run(
                [binary, "load", f"http://127.0.0.1:{proxy.port}", "-r", str(RATE), "-d", "20s",
                 "--warm-up", "10s", "--max-tokens", str(TOKENS), "--json"],
                capture_output=True, text=True, check=True,
            ).stdout
        finally:
            proxy.end()
            for replica in replicas:
                replica.end()
    return json.loads(out)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--evenkeel", required=True)
    binary = os.path.abspath(parser.parse_args().evenkeel)
    print("| one of three replicas | failed | p50, ms | p99, ms | max, ms |")
    print("|---|---|---|---|---|", flush=True)
    for name, slow in [("as fast as the others", False), ("20 times slower", True)]:
        report = measure(binary, slow)
        latency = report["latency"]
        cells = [f"{latency[key]:.1f}" for key in ("p50", "p99", "max")]
        print(f"| {name} | {report['totals']['failed']} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
