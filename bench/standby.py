#!/usr/bin/env python3
"""How soon a standby answers when the only active replica is killed, by how far it is prepared.

    standby.py --evenkeel PATH [--rounds 5] [--load-time MS]

One active replica and one standby of the built-in model, whose model "loads" for a second;
100 requests a second, which wait meanwhile. Two times: from the kill until the first answer that
a client got for a request sent after it, as the clients saw it; and what Evenkeel itself says it
took (from when too few took traffic to the standby's first byte). All of it on loopback; only
processes started here are ended.
"""
import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cost import Model  # noqa: E402
from faults import free_port  # noqa: E402

RATE, WARM, AFTER = 100, 2.0, 1.0
BODY = json.dumps({"model": "evenkeel-demo", "max_tokens": 4, "temperature": 0,
                   "messages": [{"role": "user", "content": "who are you"}]}).encode()


class Up:
    def __init__(self, binary, active, level, load_time, directory):
        self.port, self.admin = free_port(), free_port()
        calls = 'load = { path = "/wake_up" }\nunload = { path = "/sleep" }' * (level == "warm")
        more = ', "--unloaded"' * (level == "warm")
        file = os.path.join(directory, "evenkeel.toml")
        with open(file, "w") as out:
            out.write(f"""
state_dir = "{directory}/state"
[gateway]
listen = "127.0.0.1:{self.port}"
[admin]
listen = "127.0.0.1:{self.admin}"
[[service]]
name = "bench"
models = ["*"]
[[service.replica]]
url = "http://127.0.0.1:{active.port}"
[[service.replica]]
role = "standby"
standby = "{level}"
{calls}
command = ["{binary}", "model", "--listen", "127.0.0.1:{{port}}", "--load-time", "{load_time}"{more}]
""")
        log = open(os.path.join(directory, "evenkeel.log"), "w")
        self.process = subprocess.Popen([binary, "up", "-c", file], stderr=log)

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as answer:
            return answer.read().decode()

    def prepared(self, level):
        rests = {"hot": ("healthy", "ready"), "warm": ("stopped", "ready"),
                 "cold": ("stopped", "stopped")}[level]
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                replicas = json.loads(self.get("/api/v1/snapshot"))["services"][0]["replicas"]
                active, standby = replicas
                is_now = (standby["health"], standby["process"]["phase"])
                if active["gate"] == "open" and is_now == rests:
                    return
            except (OSError, ValueError, KeyError):
                pass
            time.sleep(0.05)
        raise RuntimeError(f"the {level} standby is not prepared")

    def took(self, level):
        name = f'evenkeel_promotion_seconds_sum{{service="bench",level="{level}"}} '
        for line in self.get("/metrics").splitlines():
            if line.startswith(name):
                return float(line[len(name):])
        return None


async def one(port, results):
    sent = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n"
                     b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY)
                     + BODY)
        answer = await reader.read()
        writer.close()
        good = answer.startswith(b"HTTP/1.1 200") and b'"finish_reason"' in answer
    except OSError:
        good = False
    results.append((sent, time.monotonic(), good))


async def drive(up, active, level):
    results, tasks = [], []
    began, number, killed = time.monotonic(), 0, None
    end = began + 60
    while time.monotonic() < end:
        now = time.monotonic()
        while number < (now - began) * RATE:
            tasks.append(asyncio.create_task(one(up.port, results)))
            number += 1
        if killed is None and now > began + WARM:
            killed = time.monotonic()
            active.process.kill()
        if killed and any(sent > killed and good for sent, _, good in results) and end > now + AFTER:
            end = now + AFTER
        await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)
    after = [done for sent, done, good in results if good and sent > killed]
    first = min(after) - killed if after else None
    longest = max(done - sent for sent, done, _ in results)
    return first, longest, sum(not good for _, _, good in results), len(results)


def round_of(binary, level, load_time):
    directory = tempfile.mkdtemp(prefix="evenkeel-standby-")
    active = Model(binary)
    up = Up(binary, active, level, load_time, directory)
    try:
        up.prepared(level)
        seen = asyncio.run(drive(up, active, level))
        return *seen, up.took(level)
    finally:
        up.process.terminate()
        up.process.wait(30)
        active.end()
        shutil.rmtree(directory, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--evenkeel", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--load-time", type=int, default=1000)
    args = parser.parse_args()
    binary = os.path.abspath(args.evenkeel)
    print("| standby | kill to first answer, s: median | max | as Evenkeel says, s: median | max "
          "| longest wait of a request, s | failed |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for level in ("hot", "warm", "cold"):
        rounds = [round_of(binary, level, args.load_time) for _ in range(args.rounds)]
        print(f"    {rounds}", file=sys.stderr)
        first, longest, failed, asked, took = map(list, zip(*rounds))
        cells = [f"{value:.3f}" for value in (
            statistics.median(first), max(first), statistics.median(took), max(took),
            max(longest))]
        print(f"| {level} | " + " | ".join(cells) + f" | {sum(failed)} of {sum(asked)} |",
              flush=True)


if __name__ == "__main__":
    main()
