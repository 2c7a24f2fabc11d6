#!/usr/bin/env python3
"""How soon a replica that is dead, hung or lying gets no new traffic; and how soon a
supervised one that died runs again.

    detect.py --evenkeel PATH [--only PART,…] [--rounds 8] [--rate 120]

Three replicas, 120 requests a second (or none), one of them fails; a new Evenkeel for every
round. Detected is when the authority calls the replica suspect or isolated: from then on it
gets no new traffic while another one is there. Counted from just before the fault is made
until the event's own time. A restart is counted from just before the kill until the new process is
there. All of it on loopback; only processes started here are ended.
"""
import argparse
import asyncio
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from faults import Evenkeel, free_port  # noqa: E402
from gray import GOLDEN, Replica, blocking, events, one  # noqa: E402
from grayreplica import tokens  # noqa: E402

RATE, WARM, QUIET = 120, 3.0, 3.0
# Probes come every 2 s: the rounds meet them at different moments.
PHASE = 2.0
PATIENCE = 8.0
COPIES, RESTARTS = 4, 20


def kill(replica):
    replica.process.kill()


def stop(replica):
    replica.process.send_signal(signal.SIGSTOP)


def mode(name):
    def turn(replica):
        try:
            replica.ask("/mode", name.encode(), tries=1)
        except (OSError, RuntimeError):
            # It resets the connection that told it to.
            pass

    return turn


# Name, what is done, with traffic, limit in seconds.
FAULTS = [
    ("kill -9", kill, True, 0.05),
    ("connections refused", mode("gone"), True, 0.05),
    ("connections reset", mode("reset"), True, 0.05),
    ("requests hang, health fine", mode("hang"), True, 1.0),
    ("SIGSTOP", stop, True, 1.0),
    ("nothing is answered, no traffic", mode("deaf"), False, 3.0),
    ("SIGSTOP, no traffic", stop, False, 3.0),
    ("kill -9, no traffic", kill, False, 3.0),
    ("lies, golden probes of 2 s", mode("lie"), True, 4.0),
]


async def load(port, until, results):
    began, number, tasks = time.monotonic(), 0, []
    while not until.is_set():
        while number < (time.monotonic() - began) * RATE:
            tasks.append(asyncio.create_task(one(port, number, results)))
            number += 1
        await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)


async def detected(proxy, since):
    """The first event that takes the replica out, or none in time."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for event in await blocking(events, proxy.admin):
            if (event["replica"] == "bench-0" and event["to"] in ("suspect", "isolated")
                    and event["at_unix_ms"] / 1000 >= since - 0.001):
                return event
        await asyncio.sleep(0.01)
    return None


async def drive(proxy, replica, turn, traffic, later):
    results, enough = [], asyncio.Event()
    driving = asyncio.create_task(load(proxy.port, enough, results))
    await asyncio.sleep(WARM + later)
    if not traffic:
        enough.set()
        await driving
        await asyncio.sleep(QUIET)
    since = time.time()
    await blocking(turn, replica)
    event = await detected(proxy, since)
    # What was under way there must end well, too.
    await asyncio.sleep(0.3)
    enough.set()
    await driving
    took = max(0.0, event["at_unix_ms"] / 1000 - since) if event else None
    return took, event, [failure for _, _, failure in results if failure], len(results)


def round_of(binary, turn, traffic, golden, later):
    directory = tempfile.mkdtemp(prefix="evenkeel-detect-")
    replicas = [Replica() for _ in range(3)]
    proxy = None
    try:
        [r.ask("/health") for r in replicas]
        right = "".join(tokens("who are you", 4)).strip()
        proxy = Evenkeel(binary, replicas, directory)
        if golden:
            proxy.end()
            proxy.write(replicas, GOLDEN % right)
            log = open(os.path.join(directory, "evenkeel.log"), "w")
            proxy.process = subprocess.Popen([binary, "up", "-c", proxy.file], stderr=log)
        serves(proxy)
        return asyncio.run(drive(proxy, replicas[0], turn, traffic, later))
    finally:
        if proxy:
            proxy.end()
        for r in replicas:
            r.process.kill()
            r.process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def serves(proxy):
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            if len({e["replica"] for e in events(proxy.admin) if e["to"] == "healthy"}) >= 3:
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise RuntimeError("Evenkeel does not serve")


def faults(binary, wanted, rounds):
    print("| fault of one of three | limit, s | median, s | max, s | as | clients: failed | met |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name, turn, traffic, limit in FAULTS:
        if wanted and not any(part in name for part in wanted):
            continue
        times, states, failed, asked = [], set(), [], 0
        for number in range(rounds):
            took, event, failures, requests = round_of(
                binary, turn, traffic, "golden" in name, PHASE * number / rounds)
            times.append(PATIENCE if took is None else took)
            states.add(event["to"] if event else "nothing")
            failed += failures
            asked += requests
            print(f"    {took} {event and event['why']} {failures[:3]}", file=sys.stderr)
        kinds = ", ".join(f"{failed.count(k)} {k}" for k in sorted(set(failed))) or "0"
        print(f"| {name} | {limit:g} | {statistics.median(times):.3f} | {max(times):.3f} | "
              f"{', '.join(sorted(states))} | {kinds} of {asked} | "
              f"{'yes' if max(times) <= limit else '**no**'} |", flush=True)


def children(pid):
    """Processes below one, with what they run."""
    found = {}
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as ids:
                for child in ids.read().split():
                    found |= {child: command(child)} | children(child)
    except OSError:
        pass
    return found


def command(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as line:
            return line.read().replace("\0", " ")
    except OSError:
        return ""


def restart_round(binary, directory):
    """Kills each copy once; until another process of the same command is there."""
    port, admin = free_port(), free_port()
    file = os.path.join(directory, "evenkeel.toml")
    with open(file, "w") as out:
        out.write(f"""
state_dir = "{directory}/state"
[gateway]
listen = "127.0.0.1:{port}"
[admin]
listen = "127.0.0.1:{admin}"
[[service]]
name = "bench"
models = ["bench"]
[[service.replica]]
command = ["{binary}", "model", "--model", "bench", "--listen", "127.0.0.1:{{port}}"]
copies = {COPIES}
""")
    up = subprocess.Popen([binary, "up", "-c", file], stderr=subprocess.DEVNULL)
    times = []
    try:
        deadline = time.monotonic() + 15
        models = lambda: {p for p, c in children(up.pid).items() if " model " in c}  # noqa: E731
        while len(models()) < COPIES and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(2)
        for pid in sorted(models()):
            before = models()
            since = time.monotonic()
            os.kill(int(pid), signal.SIGKILL)
            while not models() - before and time.monotonic() < since + PATIENCE:
                time.sleep(0.0005)
            times.append(time.monotonic() - since)
            time.sleep(1)
    finally:
        up.terminate()
        up.wait(20)
    return times


def restarts(binary):
    times = []
    while len(times) < RESTARTS:
        with tempfile.TemporaryDirectory() as directory:
            times += restart_round(binary, directory)
    met = "yes" if max(times) <= 0.1 else "**no**"
    print("\n| a supervised replica is killed | limit, s | median, s | max, s | met |")
    print("|---|---|---|---|---|")
    print(f"| its next process is there ({len(times)} first restarts) | 0.1 | "
          f"{statistics.median(times):.3f} | {max(times):.3f} | {met} |", flush=True)


def main():
    global RATE
    parser = argparse.ArgumentParser()
    parser.add_argument("--evenkeel", required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--rate", type=int, default=RATE, help="requests a second")
    args = parser.parse_args()
    RATE = args.rate
    binary = os.path.abspath(args.evenkeel)
    wanted = [part for part in args.only.split(",") if part]
    if wanted != ["restart"]:
        faults(binary, wanted, args.rounds)
    if not wanted or "restart" in wanted:
        restarts(binary)


if __name__ == "__main__":
    main()
