#!/usr/bin/env python3
"""Whether `evenkeel load` can be believed: its figures beside wrk's, and how much it drives.

    loader.py --evenkeel PATH [--runs 5]

The built-in model answers each request after 31 ms; 32 connections without a pause between
two requests are some 1,000 requests a second, and both tools keep the same loop. They take
turns, and the medians over the runs are compared. Its quantiles are those of hdrhistogram,
which it counts with; a test compares them with the times themselves.
"""
import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cost import Model, load  # noqa: E402

CONNECTIONS = 32
QUESTION = """wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"model":"evenkeel-demo","max_tokens":1,"temperature":0,' ..
  '"messages":[{"role":"user","content":"%s"}]}'
"""
SCALE = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def by_wrk(port, script, seconds):
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", script]
    said = subprocess.run([*command, f"http://127.0.0.1:{port}/v1/chat/completions"],
                          capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(said)
    found = {f"p{q}": float(n) * SCALE[unit]
             for q, n, unit in re.findall(r"^ +(50|90|99)% +([\d.]+)(us|ms|s)$", said, re.M)}
    found["rate"] = float(re.search(r"Requests/sec: +([\d.]+)", said).group(1))
    return found


def by_us(binary, port, seconds):
    report = load(binary, port, "-c", str(CONNECTIONS), "-d", f"{seconds}s", "--max-tokens", "1",
                  "--prompt-bytes", "200")
    if report["totals"]["failed"]:
        raise RuntimeError(report["failures"])
    return {**{q: report["latency"][q] for q in ("p50", "p90", "p99")},
            "rate": report["totals"]["rate"]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--evenkeel", required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=8)
    args = parser.parse_args()
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(QUESTION % ("a" * 200))
        script.flush()
        slow = Model(args.evenkeel, "--first-token", "31", "--slots", "64")
        runs = []
        try:
            by_us(args.evenkeel, slow.port, 1)
            for _ in range(args.runs):
                runs.append((by_us(args.evenkeel, slow.port, args.seconds),
                             by_wrk(slow.port, script.name, args.seconds)))
        finally:
            slow.end()
    print("| closed loop, 32 connections | evenkeel load | wrk | difference |")
    print("|---|---|---|---|")
    for figure in ("rate", "p50", "p90", "p99"):
        ours = statistics.median(run[0][figure] for run in runs)
        theirs = statistics.median(run[1][figure] for run in runs)
        unit = "requests a second" if figure == "rate" else "ms"
        print(f"| {figure}, {unit} | {ours:.2f} | {theirs:.2f} | {(ours / theirs - 1) * 100:+.2f} % |")
    fast = Model(args.evenkeel, "--slots", "256")
    try:
        rates = []
        for _ in range(args.runs):
            report = load(args.evenkeel, fast.port, "-c", "64", "-d", "4s", "--max-tokens", "10")
            if report["totals"]["failed"]:
                raise RuntimeError(report["failures"])
            rates.append(report["totals"]["rate"])
    finally:
        fast.end()
    print(f"\nWith no wait in the model, 64 connections: {statistics.median(rates):,.0f} requests "
          f"a second [{min(rates):,.0f}–{max(rates):,.0f}].")


if __name__ == "__main__":
    main()
