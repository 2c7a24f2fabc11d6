#!/usr/bin/env python3
"""More than the replicas can take: who is served, who is refused, and how fast.

    overload.py --evenkeel PATH [--only twice,tenfold,tiers,recovery] [--json FILE]

Three replicas (the built-in model) with four slots each, streams of 240 ms. Clients come at
a rate of their own and try again four times, as OpenAI's libraries do. The capacity is
measured first, by as many clients as there are slots. All of it on loopback; only processes
started here are ended.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cost import Model, load, ready  # noqa: E402
from faults import Evenkeel  # noqa: E402

SLOTS = 4
REPLICAS = 3
TOKENS = 20
MODEL = ["--slots", str(SLOTS), "--first-token", "50", "--pace", "10", "--queue", "100000"]
STREAM = ["-s", "--max-tokens", str(TOKENS), "--prompt-bytes", "200"]
# Requests with this header are given up first.
ROUTE = """
[[service.route]]
path = "/"
headers = { x-class = "batch" }
tier = "best_effort"
"""


class Bench:
    def __init__(self, binary):
        self.binary = binary
        self.models = [Model(binary, *MODEL) for _ in range(REPLICAS)]
        self.results = {}
        time.sleep(0.3)

    def end(self):
        for model in self.models:
            model.end()

    def gateway(self):
        return Gateway(self.binary, self.models)

    def load(self, gateway, *more):
        return load(self.binary, gateway.port, *STREAM, *more)

    def open(self, gateway, rate, seconds, *more, retries=4):
        """Clients at a rate; a process, whose report comes later."""
        command = [
            self.binary, "load", f"http://127.0.0.1:{gateway.port}", "--json", *STREAM,
            "--rate", f"{rate:.1f}", "-d", f"{seconds}s", "--max-in-flight", "16000",
            "--timeout", "30s", "--retries", str(retries), *more,
        ]  # fmt: skip
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def row(self, what, limit, value, good):
        self.results[what] = value
        print(f"| {what} | {limit} | {value} | {'yes' if good else '**no**'} |", flush=True)

    def measure_capacity(self):
        with self.gateway() as gateway:
            self.load(gateway, "-c", str(SLOTS * REPLICAS), "-d", "3s")
            report = self.load(gateway, "-c", str(SLOTS * REPLICAS), "-d", "8s")
        self.capacity = goodput(report, 1, 7)
        self.normal = report["ttft"]["p99"]
        print(f"capacity: {self.capacity:.1f} answers a second, TTFT p99 {self.normal:.0f} ms\n")
        print("| what | limit | measured | met |\n|---|---|---|---|")

    def overload(self, name, factor, seconds=30):
        with self.gateway() as gateway:
            report = finish(self.open(gateway, factor * self.capacity, seconds))
        # The first seconds find out what the replicas can start.
        share = goodput(report, 5, seconds) / self.capacity
        refused = report["refused_wait"]
        self.row(f"{name}: goodput, share of capacity", "≥ 0.95", f"{share:.3f}", share >= 0.95)
        self.row(
            f"{name}: refusals, ms at p99 ({refused['count']} of them; p50 {refused['p50']:.1f})",
            "< 10", f"{refused['p99']:.1f}", refused["p99"] < 10,
        )  # fmt: skip
        print(f"<!-- {name}: ttft p50 {report['ttft']['p50']:.0f} p99 {report['ttft']['p99']:.0f}"
              f" ms, {report['outcomes']['http_5xx']} given up -->", flush=True)

    def tiers(self, seconds=30):
        with self.gateway() as gateway:
            flood = self.open(gateway, 5 * self.capacity, seconds + 6, "-H", "x-class: batch")
            time.sleep(3)
            core = finish(self.open(gateway, 0.5 * self.capacity, seconds, retries=0))
            flood = finish(flood)
        served = core["totals"]["success"]
        self.row("core at half the capacity, best effort at five times it: core served",
                 "≥ 0.999", f"{served:.4f}", served >= 0.999)
        share = (goodput(core, 5, seconds) + goodput(flood, 8, seconds)) / self.capacity
        self.row("the same: goodput of both, share of capacity", "≥ 0.95", f"{share:.3f}", share >= 0.95)
        print(f"<!-- core ttft p50 {core['ttft']['p50']:.0f} p99 {core['ttft']['p99']:.0f} ms -->")

    def recovery(self, seconds=15):
        with self.gateway() as gateway:
            flood = self.open(gateway, 10 * self.capacity, seconds, retries=0)
            time.sleep(seconds)
            # From the moment at which the flood ends.
            after = finish(self.open(gateway, 0.5 * self.capacity, 8, retries=0))
            finish(flood)
        normal = 2 * self.normal + 250
        late = [s["at_s"] for s in after["timeline"] if s["failed"] or (s["p99_ms"] or 0) > normal]
        back = max(late) + 1 if late else 0
        self.row("back to normal after ten times the capacity, s", "≤ 2", back, back <= 2)


class Gateway:
    def __init__(self, binary, models):
        self.binary = binary
        self.directory = tempfile.mkdtemp(prefix="evenkeel-bench-")
        self.inner = Evenkeel.__new__(Evenkeel)
        self.models = models

    def __enter__(self):
        class Tiered(Evenkeel):
            def write(self, replicas, extra=""):
                super().write(replicas, extra)
                with open(self.file, "a") as out:
                    out.write(ROUTE)

        self.inner = Tiered(self.binary, self.models, self.directory)
        self.port = self.inner.port
        ready(self.binary, self.inner)
        return self

    def __exit__(self, *_):
        self.inner.end()
        shutil.rmtree(self.directory, ignore_errors=True)


def finish(process):
    out, _ = process.communicate()
    return json.loads(out)


def goodput(report, start, end):
    """Good answers a second, between two seconds of a run."""
    seconds = [s for s in report["timeline"] if start <= s["at_s"] < end]
    return sum(s["ok"] for s in seconds) / max(1, len(seconds))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--evenkeel", required=True)
    parser.add_argument("--only", default="twice,tenfold,tiers,recovery")
    parser.add_argument("--json")
    args = parser.parse_args()
    bench = Bench(args.evenkeel)
    runs = {
        "twice": lambda: bench.overload("twice the capacity", 2),
        "tenfold": lambda: bench.overload("ten times the capacity", 10),
        "tiers": bench.tiers,
        "recovery": bench.recovery,
    }
    try:
        bench.measure_capacity()
        for name in args.only.split(","):
            runs[name]()
    finally:
        bench.end()
    if args.json:
        with open(args.json, "w") as out:
            json.dump(bench.results, out, indent=1)


if __name__ == "__main__":
    main()
