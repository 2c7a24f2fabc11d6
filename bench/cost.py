#!/usr/bin/env python3
"""What forwarding costs, side by side: CPU, latency, memory.

    cost.py --evenkeel PATH [--runs 5] [--only unary,stream,paced,latency,memory]

The same replicas (the built-in model) behind Evenkeel, nginx and HAProxy, driven by
`evenkeel load`. CPU is the proxy's own (all its serving processes), read from /proc before
and after. Medians over the runs; proxies take turns within each run, so that the machine's
drift meets all of them.
"""
import argparse
import glob
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from faults import Evenkeel, Haproxy, Nginx, free_port  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")


class Model:
    """One replica: the built-in model."""

    def __init__(self, binary, *more):
        self.port = free_port()
        self.process = subprocess.Popen(
            [binary, "model", "--listen", f"127.0.0.1:{self.port}", *more],
            stderr=subprocess.DEVNULL,
        )

    def end(self):
        self.process.kill()
        self.process.wait()


class Forwarding(Evenkeel):
    """Evenkeel that does what the other two do: streams pass, and are not carried on."""

    name = "evenkeel, resume off"

    def write(self, replicas, extra=""):
        super().write(replicas, "[service.resume]\nenabled = false\n" + extra)


class Direct:
    """No proxy."""

    name = "direct"

    def __init__(self, binary, replicas, directory, read_timeout=None):
        self.port = replicas[0].port
        self.process = None

    def end(self):
        pass


PROGRAMS = [Forwarding, Evenkeel, Nginx, Haproxy]


def children(pid):
    found = [pid]
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with open(path) as f:
            for child in f.read().split():
                found += children(int(child))
    return found


def serving(proxy):
    """The processes that serve: a gateway, or a proxy's master and workers."""
    pids = children(proxy.process.pid)
    if not isinstance(proxy, Evenkeel):
        return pids
    named = lambda p: b"\0gateway\0" in open(f"/proc/{p}/cmdline", "rb").read()
    return [p for p in pids if named(p)]


def cpu(proxy):
    total = 0.0
    for pid in serving(proxy):
        # Nanoseconds of each thread, finer than the clock ticks of /proc/PID/stat.
        for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            with open(path) as f:
                total += int(f.read().split()[0]) / 1e9
    return total


def rss(proxy):
    """Private and shared memory of the serving processes, in bytes (PSS)."""
    total = 0
    for pid in serving(proxy):
        with open(f"/proc/{pid}/smaps_rollup") as f:
            for line in f:
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def load(binary, port, *more):
    command = [binary, "load", f"http://127.0.0.1:{port}", "--json", *more]
    done = subprocess.run(command, capture_output=True, text=True)
    if not done.stdout:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def ready(binary, proxy):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if load(binary, proxy.port, "-n", "4", "-c", "1", "--max-tokens", "1")["totals"]["ok"] == 4:
                return
        except (RuntimeError, json.JSONDecodeError):
            pass
        time.sleep(0.05)
    raise RuntimeError(f"{proxy.name} does not serve")


class Bench:
    def __init__(self, binary, runs):
        self.binary, self.runs = binary, runs

    def rounds(self, replicas, classes, measure):
        """Runs `measure(proxy)` for each proxy in turn, `runs` times."""
        results = {c.name: [] for c in classes}
        for _ in range(self.runs):
            for c in classes:
                directory = tempfile.mkdtemp(prefix="evenkeel-bench-")
                proxy = c(self.binary, replicas, directory, "120s")
                try:
                    ready(self.binary, proxy)
                    results[c.name].append(measure(proxy))
                finally:
                    proxy.end()
                    shutil.rmtree(directory, ignore_errors=True)
        return results

    def models(self, *more):
        models = [Model(self.binary, "--slots", "64", *more) for _ in range(3)]
        time.sleep(0.3)
        return models

    def cpu_per(self, unit, models, arguments, count):
        def measure(proxy):
            load(self.binary, proxy.port, *arguments, "-d", "1s")
            before = cpu(proxy)
            report = load(self.binary, proxy.port, *arguments, "-d", "4s")
            used = cpu(proxy) - before
            if report["totals"]["failed"]:
                raise RuntimeError(f"{proxy.name}: {report['failures'][:2]}")
            return used / count(report) * 1e6

        results = self.rounds(models, PROGRAMS, measure)
        for m in models:
            m.end()
        self.row(f"CPU per {unit}, µs", results, 1)

    def row(self, what, results, digits):
        medians = {k: statistics.median(v) for k, v in results.items()}
        base = medians.get("nginx")
        cells = []
        for name, value in medians.items():
            ratio = f" ({value / base:.2f} ×)" if base and name.startswith("evenkeel") else ""
            spread = f"{min(results[name]):.{digits}f}–{max(results[name]):.{digits}f}"
            cells.append(f"{name} {value:.{digits}f}{ratio} [{spread}]")
        print(f"| {what} | " + " | ".join(cells) + " |", flush=True)

    def unary(self):
        arguments = ["-c", "32", "--prompt-bytes", "200", "--max-tokens", "10"]
        self.cpu_per("unary request", self.models(), arguments, lambda r: r["totals"]["ok"])

    def stream(self):
        arguments = ["-c", "32", "-s", "--max-tokens", "50", "--prompt-bytes", "200"]
        self.cpu_per("50-token stream", self.models(), arguments, lambda r: r["totals"]["ok"])

    def paced(self):
        arguments = ["-c", "64", "-s", "--max-tokens", "200", "--prompt-bytes", "200"]
        models = self.models("--pace", "5")
        self.cpu_per("token at 5 ms", models, arguments, lambda r: r["totals"]["tokens"])

    def latency(self):
        models = self.models()
        arguments = ["--rate", "1000", "--even", "--max-tokens", "10"]

        def measure(proxy):
            load(self.binary, proxy.port, *arguments, "-d", "1s")
            report = load(self.binary, proxy.port, *arguments, "-d", "5s")
            return report["latency"]["p50"], report["latency"]["p99"]

        classes = [Direct, *PROGRAMS]
        results = self.rounds(models, classes, measure)
        for m in models:
            m.end()
        for at, name in ((0, "p50"), (1, "p99")):
            direct = results["direct"]
            added = {
                k: [v[at] - d[at] for v, d in zip(vs, direct)]
                for k, vs in results.items()
                if k != "direct"
            }
            self.row(f"{name} added at 1,000/s, ms", added, 3)

    def memory(self):
        models = [Model(self.binary, "--slots", "9000", "--pace", "1000") for _ in range(3)]
        time.sleep(0.3)
        start, each = {}, {}
        for c in PROGRAMS:
            directory = tempfile.mkdtemp(prefix="evenkeel-bench-")
            proxy = c(self.binary, models, directory, "120s")
            try:
                ready(self.binary, proxy)
                before = rss(proxy)
                start[c.name] = [before / 1e6]
                command = [
                    self.binary, "load", f"http://127.0.0.1:{proxy.port}", "--json",
                    "-c", "8000", "-s", "--max-tokens", "12", "-n", "8000", "--timeout", "90s",
                ]  # fmt: skip
                loader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
                most = 0
                while loader.poll() is None:
                    most = max(most, rss(proxy))
                    time.sleep(0.5)
                report = json.loads(loader.stdout.read())
                if report["totals"]["ok"] < 8000:
                    print(f"{c.name}: {report['outcomes']}", file=sys.stderr)
                each[c.name] = [(most - before) / 8000 / 1024]
            finally:
                proxy.end()
                shutil.rmtree(directory, ignore_errors=True)
        for m in models:
            m.end()
        self.row("memory at start, MB", start, 1)
        self.row("memory per open stream at 8,000, KiB", each, 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--evenkeel", required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="unary,stream,paced,latency,memory")
    args = parser.parse_args()
    bench = Bench(args.evenkeel, args.runs)
    print("| what | median [range] | | |\n|---|---|---|---|")
    for name in args.only.split(","):
        getattr(bench, name)()


if __name__ == "__main__":
    main()
