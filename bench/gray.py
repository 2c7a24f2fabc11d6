#!/usr/bin/env python3
"""Gray failures: how soon one replica of three that answers wrongly, late or not at all gets
no new traffic, while its health endpoint says that all is well.

    gray.py --evenkeel PATH [--only MODE,…] [--seconds 15]

30 requests a second, three in five as streams, one in four with a long prompt; every answer
is compared with the right one. Detected is when the authority calls the replica suspect or
isolated; affected are the requests that the fault did something to until then. The limit is
20 of them or 10 s. All of it on loopback; only processes started here are ended.
"""
import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from faults import Evenkeel, free_port  # noqa: E402
from grayreplica import LONG, TOKENS, tokens  # noqa: E402

RATE, WARM = 30, 8.0
PATIENCE = 20.0
LIMIT_S, LIMIT_REQUESTS = 10.0, 20

MODES = {
    "errors": "30 % errors",
    "late": "first token 10 times later",
    "stall": "stalls in the middle",
    "empty": "empty deltas",
    "long": "only long prompts fail",
    "trickle": "1 kB a second",
    "truncated": "answers truncated",
    "model": "another model answers",
    "refuse": "every tenth connection reset",
    "rising": "latency rises 10 % a second",
    "slot": "half of the requests hang",
    "endless": "answers never end",
    "hang": "all requests hang",
    "lie": "wrong answers, golden probes of 2 s",
}


class Replica:
    def __init__(self):
        self.port = free_port()
        command = [sys.executable, os.path.join(HERE, "grayreplica.py"), str(self.port)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def ask(self, path, body=None, tries=20):
        url = f"http://127.0.0.1:{self.port}{path}"
        for attempt in range(tries):
            try:
                return urllib.request.urlopen(url, data=body, timeout=5).read()
            except OSError:
                time.sleep(0.05 * (attempt + 1))
        raise RuntimeError("a replica does not answer")


def prompt_of(number):
    text = f"question {number} " * 3
    return text + "x" * (LONG * 2) if number % 4 == 0 else text


async def one(port, number, results):
    """One request on a connection of its own; what became of it."""
    prompt, stream = prompt_of(number), number % 5 < 3
    body = json.dumps({
        "model": "bench", "max_tokens": TOKENS, "temperature": 0, "stream": stream,
        "messages": [{"role": "user", "content": prompt}],
    }).encode()
    began = time.monotonic()
    writer = None
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: b\r\nconnection: close\r\n"
                b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
            raw = await reader.read(-1)
        failure = judge(raw, stream, "".join(tokens(prompt, TOKENS)))
    except (OSError, TimeoutError) as error:
        failure = type(error).__name__
    finally:
        if writer:
            writer.close()
    results.append((began, time.monotonic() - began, failure))


def judge(raw, stream, right):
    head, _, body = raw.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if status != [b"200"]:
        return f"status {status}"
    text, finish, model = "", None, None
    if stream:
        for line in body.decode("utf8", "replace").split("\n"):
            if line.startswith("data: {"):
                data = json.loads(line[6:])
                if "error" in data:
                    return "error event"
                model = data.get("model", model)
                for choice in data["choices"]:
                    text += choice["delta"].get("content") or ""
                    finish = choice.get("finish_reason") or finish
    else:
        at, end = body.find(b"{"), body.rfind(b"}")
        data = json.loads(body[at : end + 1])
        model, choice = data["model"], data["choices"][0]
        text, finish = choice["message"]["content"], choice["finish_reason"]
    if not finish:
        return "no finish"
    if text != right:
        return "wrong text"
    return None if model == "bench" else "other model"


def events(port):
    raw = urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/events?after=0", timeout=5).read()
    return [e for e in json.loads(raw) if e["event"] == "health"]


async def blocking(call, *arguments):
    return await asyncio.get_running_loop().run_in_executor(None, call, *arguments)


async def drive(proxy, replica, mode, seconds):
    results, tasks, number = [], [], 0
    began, turned, seen = time.monotonic(), None, None
    affected = {}

    async def watch():
        """When it was detected, and how many were affected by then."""
        while True:
            for event in await blocking(events, proxy.admin):
                gone = event["to"] in ("suspect", "isolated")
                if gone and event["replica"] == "bench-0" and event["at_unix_ms"] / 1000 >= turned[1]:
                    affected["until"] = json.loads(await blocking(replica.ask, "/seen"))
                    affected["event"] = event
                    return
            await asyncio.sleep(0.02)

    while (now := time.monotonic() - began) < WARM + seconds or turned is None:
        if turned is None and now >= WARM:
            await blocking(replica.ask, "/mode", mode.encode())
            turned = (time.monotonic(), time.time())
            seen = asyncio.create_task(watch())
        while number < now * RATE:
            tasks.append(asyncio.create_task(one(proxy.port, number, results)))
            number += 1
        await asyncio.sleep(0.005)
    affected["in_all"] = json.loads(await blocking(replica.ask, "/seen"))
    seen.cancel()
    await asyncio.gather(*tasks)
    return results, turned, affected


GOLDEN = """
golden = [{ path = "/v1/chat/completions", prompt = "who are you", max_tokens = 4, expect = "%s", interval = "2s" }]
"""


def run(binary, mode, seconds):
    directory = tempfile.mkdtemp(prefix="evenkeel-gray-")
    replicas = [Replica() for _ in range(3)]
    proxy = None
    try:
        [r.ask("/health") for r in replicas]
        if mode == "lie":
            write = Evenkeel.write
            right = "".join(tokens("who are you", 4)).strip()
            Evenkeel.write = lambda s, r: write(s, r, GOLDEN % right)
        proxy = Evenkeel(binary, replicas, directory)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                events(proxy.admin)
                break
            except OSError:
                time.sleep(0.05)
        time.sleep(1)
        results, turned, affected = asyncio.run(drive(proxy, replicas[0], mode, seconds))
        history = events(proxy.admin)
    finally:
        if proxy:
            proxy.end()
        for r in replicas:
            r.process.kill()
            r.process.wait()
        shutil.rmtree(directory, ignore_errors=True)
    return judge_run(results, turned, affected, history)


def judge_run(results, turned, affected, history):
    after = [r for r in results if r[0] >= turned[0]]
    failed = [f for _, _, f in after if f]
    others = [e for e in history if e["replica"] != "bench-0"
              and e["to"] in ("suspect", "isolated") and e["at_unix_ms"] / 1000 >= turned[1]]
    event = affected.get("event")
    return {
        "detected_s": round(event["at_unix_ms"] / 1000 - turned[1], 2) if event else None,
        "as": event["to"] if event else None,
        "why": event["why"] if event else None,
        "until": affected.get("until", affected["in_all"])[1],
        "in_all": affected["in_all"][1],
        "requests": len(after),
        "failed": {k: failed.count(k) for k in sorted(set(failed))},
        "slowest": round(max(w for _, w, _ in after), 2),
        "changes": sum(e["replica"] == "bench-0" for e in history),
        "others": [f"{e['replica']} {e['to']}: {e['why']}" for e in others],
        "before": [f for b, _, f in results if b < turned[0] and f],
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--evenkeel", required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    wanted = args.only.split(",") if args.only else MODES
    print("| one of three | detected after, s | as | affected until then | affected in "
          f"{args.seconds:.0f} s | clients: failed | slowest, s | met |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    bad = 0
    for mode in wanted:
        r = run(os.path.abspath(args.evenkeel), mode, args.seconds)
        at = r["detected_s"]
        met = at is not None and (at <= LIMIT_S or r["until"] <= LIMIT_REQUESTS) and not r["others"]
        bad += not met
        kinds = ", ".join(f"{n} {k}" for k, n in r["failed"].items()) or "0"
        print(f"| {MODES[mode]} | {at} | {r['as']} | {r['until']} | {r['in_all']} | "
              f"{kinds} of {r['requests']} | {r['slowest']} | {'yes' if met else '**no**'} |",
              flush=True)
        if args.verbose or r["others"] or r["before"]:
            print(f"    {r['why']}; changes {r['changes']}; others {r['others']}; before {r['before'][:3]}",
                  file=sys.stderr, flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
