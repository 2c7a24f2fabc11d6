#!/usr/bin/env python3
"""Streams under faults, side by side: what a client that never retries sees.

    streams.py --evenkeel PATH [--only PART,…] [--proxy evenkeel,nginx,haproxy] [--json FILE]

Three replicas of the built-in model behind relays of their own, 30 streams a second of 100
tokens that are 5 ms apart. Each stream's text is compared byte for byte with what a healthy
replica says, and the longest gap between two tokens is measured. All of it on loopback;
only processes started here are ended.
"""
import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from faults import Evenkeel, Haproxy, Nginx, chosen_proxies, free_port  # noqa: E402

RATE = 30
TOKENS = 100
WARM = 3.0  # before the fault
AFTER = 6.0  # after it began
PROMPTS = [f"Tell me of the sea, part {i}" for i in range(8)]


class Replica:
    """The built-in model, and a relay in front of it that can break."""

    def __init__(self, binary):
        self.binary = binary
        self.model_port = free_port()
        self.port = free_port()
        self.mode = "pass"
        self.open = set()
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [self.binary, "model", "--listen", f"127.0.0.1:{self.model_port}", "--pace", "5",
             "--slots", "64"],
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.model_port), 0.2).close()
                return
            except OSError:
                time.sleep(0.01)
        raise RuntimeError("a replica did not start")

    async def listen(self):
        self.server = await asyncio.start_server(self.relay, "127.0.0.1", self.port)

    async def relay(self, reader, writer):
        self.open.add(writer)
        try:
            up = await asyncio.open_connection("127.0.0.1", self.model_port)
        except OSError:
            # Nobody there: the relay is not, either.
            writer.transport.abort()
            self.open.discard(writer)
            return
        self.open.add(up[1])
        try:
            await asyncio.gather(self.pump(reader, up[1]), self.pump(up[0], writer))
        except asyncio.CancelledError:
            pass
        for side in (writer, up[1]):
            side.close()
            self.open.discard(side)

    async def pump(self, reader, writer):
        try:
            while data := await reader.read(65536):
                while self.mode == "stall":
                    await asyncio.sleep(0.05)
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except OSError:
            writer.transport.abort()

    def cut(self):
        for writer in list(self.open):
            writer.transport.abort()

    def end(self):
        self.server.close()
        self.process.kill()
        self.process.wait()


class Client:
    def __init__(self, port, right):
        self.port, self.right = port, right
        self.results = []  # (failure or None, longest gap)
        self.under_way = 0

    async def one(self, number):
        prompt = PROMPTS[number % len(PROMPTS)]
        self.under_way += 1
        gaps = [0.0]
        try:
            failure = await asyncio.wait_for(self.stream(prompt, gaps), 30)
        except asyncio.TimeoutError:
            failure = "timeout"
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            failure = f"broken: {type(error).__name__}"
        self.under_way -= 1
        self.results.append((failure, max(gaps)))

    async def stream(self, prompt, gaps):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        body = json.dumps(request(prompt, True)).encode()
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            status = head.split(b" ", 2)[1]
            if status != b"200":
                return f"status {status.decode()}"
            text, ends, last = "", [], None
            async for data in events(reader):
                if data == "[DONE]":
                    ends.append(data)
                    continue
                event = json.loads(data)
                if event.get("error"):
                    return f"error event: {event['error'].get('code')}"
                for choice in event["choices"]:
                    piece = choice["delta"].get("content")
                    if piece:
                        now = time.monotonic()
                        if last is not None:
                            gaps.append(now - last)
                        last = now
                        text += piece
                    if choice.get("finish_reason"):
                        ends.append(choice["finish_reason"])
            if ends != ["length", "[DONE]"]:
                return f"broken: ended with {ends}"
            return None if text == self.right[prompt] else "wrong text"
        finally:
            writer.close()

    async def drive(self, seconds, fault):
        tasks, began, number, faulted = [], time.monotonic(), 0, None
        while (now := time.monotonic() - began) < seconds:
            if faulted is None and now >= WARM:
                self.flying = self.under_way
                faulted = asyncio.create_task(fault())
            while number < now * RATE:
                tasks.append(asyncio.create_task(self.one(number)))
                number += 1
            await asyncio.sleep(0.002)
        await faulted
        await asyncio.gather(*tasks)


async def events(reader):
    """The data of each event of a chunked answer."""
    buffer = b""
    while True:
        size = int((await reader.readline()).split(b";")[0], 16)
        buffer += await reader.readexactly(size)
        await reader.readexactly(2)
        while b"\n\n" in buffer:
            block, buffer = buffer.split(b"\n\n", 1)
            for line in block.split(b"\n"):
                if line.startswith(b"data: "):
                    yield line[6:].decode()
        if size == 0:
            return


def request(prompt, stream):
    return {
        "model": "evenkeel-demo", "stream": stream, "temperature": 0, "max_tokens": TOKENS,
        "ignore_eos": True, "messages": [{"role": "user", "content": prompt}],
    }


def references(replica):
    right = {}
    for prompt in PROMPTS:
        ask = urllib.request.Request(
            f"http://127.0.0.1:{replica.model_port}/v1/chat/completions",
            json.dumps(request(prompt, False)).encode(), {"content-type": "application/json"},
        )
        answer = json.load(urllib.request.urlopen(ask, timeout=30))
        right[prompt] = answer["choices"][0]["message"]["content"]
    return right


def scenarios():
    async def kill(rs):
        for r in rs:
            r.process.kill()
            r.cut()

    async def stop(rs):
        for r in rs:
            r.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(4)
        for r in rs:
            r.process.send_signal(signal.SIGCONT)

    async def cut(rs):
        for r in rs:
            r.cut()

    async def stall(rs):
        for r in rs:
            r.mode = "stall"
        await asyncio.sleep(4)
        for r in rs:
            r.mode = "pass"

    found = {}
    for name, fault in [("kill -9", kill), ("SIGSTOP 4 s", stop), ("cut", cut), ("stall 4 s", stall)]:
        for count, word in [(1, "one"), (2, "two")]:
            found[f"{name}, {word}"] = (lambda f, n: lambda rs: f(rs[:n]))(fault, count)
    return found


async def measure(proxy_class, binary, name, fault):
    replicas = [Replica(binary) for _ in range(3)]
    for replica in replicas:
        await replica.listen()
    with tempfile.TemporaryDirectory() as directory:
        loop = asyncio.get_running_loop()
        right = await loop.run_in_executor(None, references, replicas[0])
        # A proxy whose read timeout is shorter than a stall breaks sooner, not less.
        proxy = proxy_class(binary, replicas, directory)
        try:
            await ready(proxy.port)
            client = Client(proxy.port, right)
            await client.drive(WARM + AFTER, lambda: fault(replicas))
        finally:
            await loop.run_in_executor(None, proxy.end)
            for replica in replicas:
                replica.process.send_signal(signal.SIGCONT)
                replica.end()
    failures = [f for f, _ in client.results if f]
    return {
        "proxy": proxy_class.name, "fault": name, "streams": len(client.results),
        "in_flight": client.flying,
        "broken": sum(not f.startswith("wrong") for f in failures),
        "wrong": sum(f.startswith("wrong") for f in failures),
        "longest_gap": max(gap for _, gap in client.results),
        "kinds": sorted(set(failures)),
    }


async def ready(port):
    deadline = time.monotonic() + 15
    body = json.dumps(request("ready", False) | {"max_tokens": 1}).encode()
    while time.monotonic() < deadline:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: b\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n" % len(body) + body
            )
            line = await asyncio.wait_for(reader.readline(), 2)
            writer.close()
            if b" 200 " in line:
                return
        except (OSError, asyncio.TimeoutError):
            pass
        await asyncio.sleep(0.05)
    raise RuntimeError("the proxy is not ready")


def cell(result):
    text = f"{result['broken']} of {result['in_flight']} broken"
    if result["wrong"]:
        text += f", {result['wrong']} wrong"
    return f"{text}, {result['longest_gap']:.2f} s"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--evenkeel", required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--proxy", default="evenkeel,nginx,haproxy")
    parser.add_argument("--json")
    options = parser.parse_args()
    binary = os.path.abspath(options.evenkeel)
    proxies = chosen_proxies(options.proxy, binary)
    parts = [part for part in options.only.split(",") if part]
    print("| fault (streams under way: broken, longest gap) | "
          + " | ".join(p.title for p in proxies) + " |")
    print("|---" * (len(proxies) + 1) + "|", flush=True)
    every = []
    for name, fault in scenarios().items():
        if parts and not any(part.strip() in name for part in parts):
            continue
        row = []
        for proxy in proxies:
            result = asyncio.run(measure(proxy, binary, name, fault))
            every.append(result)
            row.append(cell(result))
            if result["kinds"] and proxy.name == "evenkeel":
                print(result["kinds"], file=sys.stderr)
        print(f"| {name} | " + " | ".join(row) + " |", flush=True)
    if options.json:
        with open(options.json, "w") as out:
            json.dump(every, out, indent=1)


if __name__ == "__main__":
    main()
