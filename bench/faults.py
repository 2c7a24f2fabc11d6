#!/usr/bin/env python3
"""Faults under load, side by side: what a client that never retries sees.

    faults.py --evenkeel PATH [--only PART,…] [--proxy evenkeel,nginx,haproxy] [--json FILE]

One call makes the whole table of README.md: fault by fault, the programs take turns, so
that what else the machine does meets all of them. `--only` takes the faults whose names
hold one of the parts. Nothing is left out silently: a program that is not installed ends it.

Three replicas whose answers take 200 to 400 ms, 150 requests a second, at least 30 in
flight when the fault comes. Every answer is compared with the right one. All of it on
loopback; only processes started here are ended.
"""
import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from replica import answer  # noqa: E402

RATE = 150
WARM = 2.0  # before the fault
AFTER = 6.0  # after it began
NORMAL = 0.4  # slowest right answer


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Replica:
    """One replica process."""

    def __init__(self):
        self.port = free_port()
        self.process = None
        self.mode = "ok"
        self.start()

    def start(self):
        command = [sys.executable, os.path.join(HERE, "replica.py"), str(self.port), self.mode]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def wait(self):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                time.sleep(0.01)
        raise RuntimeError("a replica did not start")

    def set(self, mode):
        self.mode = mode
        url = f"http://127.0.0.1:{self.port}/mode"
        urllib.request.urlopen(url, data=mode.encode(), timeout=5).read()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)

    def cont(self):
        self.process.send_signal(signal.SIGCONT)


class Evenkeel:
    name, title = "evenkeel", "Evenkeel"

    def __init__(self, binary, replicas, directory, read_timeout=None):
        self.binary, self.dir = binary, directory
        self.port, self.admin = free_port(), free_port()
        self.file = os.path.join(directory, "evenkeel.toml")
        self.write(replicas)
        log = open(os.path.join(directory, "evenkeel.log"), "w")
        self.process = subprocess.Popen([binary, "up", "-c", self.file], stderr=log)

    def write(self, replicas, extra=""):
        text = f"""
state_dir = "{self.dir}/state"
[gateway]
listen = "127.0.0.1:{self.port}"
[admin]
listen = "127.0.0.1:{self.admin}"
[[service]]
name = "bench"
models = ["bench", "evenkeel-demo"]
{extra}
"""
        for replica in replicas:
            text += f'[[service.replica]]\nurl = "http://127.0.0.1:{replica.port}"\n'
        with open(self.file, "w") as out:
            out.write(text)

    def reload(self, replicas):
        self.write(replicas, '[service.retry]\nmax_attempts = 4\n')
        self.process.send_signal(signal.SIGHUP)

    def upgrade(self):
        self.process.send_signal(signal.SIGUSR2)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Nginx:
    name, title = "nginx", "nginx"

    def __init__(self, binary, replicas, directory, read_timeout="4s"):
        self.port = free_port()
        servers = "\n".join(
            f"server 127.0.0.1:{r.port} max_fails=1 fail_timeout=2s;" for r in replicas
        )
        self.file = os.path.join(directory, "nginx.conf")
        with open(self.file, "w") as out:
            out.write(
                f"""
worker_processes 2; daemon off; pid {directory}/nginx.pid; error_log /dev/null;
events {{ worker_connections 20000; }}
http {{
  access_log off;
  client_body_temp_path {directory}/b; proxy_temp_path {directory}/p;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  upstream r {{ least_conn; {servers} keepalive 256; }}
  server {{
    listen 127.0.0.1:{self.port};
    location / {{
      proxy_pass http://r; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_connect_timeout 1s; proxy_read_timeout {read_timeout};
      proxy_next_upstream error timeout http_500 http_502 http_503 http_504 non_idempotent;
      proxy_next_upstream_tries 3;
    }}
  }}
}}
"""
            )
        self.process = subprocess.Popen(["nginx", "-c", self.file], stderr=subprocess.DEVNULL)

    def reload(self, _):
        self.process.send_signal(signal.SIGHUP)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


class Haproxy:
    name, title = "haproxy", "HAProxy"

    def __init__(self, binary, replicas, directory, read_timeout="4s"):
        self.port = free_port()
        servers = "\n".join(
            f"  server r{i} 127.0.0.1:{r.port} check inter 500ms fall 1 rise 1"
            for i, r in enumerate(replicas)
        )
        self.file = os.path.join(directory, "haproxy.cfg")
        with open(self.file, "w") as out:
            out.write(
                f"""
global
  maxconn 9000
defaults
  mode http
  timeout connect 1s
  timeout client 30s
  timeout server {read_timeout}
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response response-timeout 500 502 503 504
frontend f
  bind 127.0.0.1:{self.port}
  default_backend b
backend b
  balance leastconn
  option httpchk GET /health
  http-request disable-l7-retry if {{ method -m str NONE }}
{servers}
"""
            )
        self.process = subprocess.Popen(
            ["haproxy", "-W", "-f", self.file], stderr=subprocess.DEVNULL
        )

    def reload(self, _):
        self.process.send_signal(signal.SIGUSR2)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


class Client:
    """Sends at a rate over kept-alive connections, and judges every answer."""

    def __init__(self, port):
        self.port = port
        self.idle = []
        self.results = []  # (sent at, waited, text of the failure or None)
        self.under_way = 0

    async def connection(self):
        if self.idle:
            return self.idle.pop()
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def one(self, number):
        words = " ".join(f"w{number}x{i}" for i in range(25))
        body = json.dumps({"model": "bench", "prompt": words, "max_tokens": 16}).encode()
        began = time.monotonic()
        self.under_way += 1
        try:
            failure = await asyncio.wait_for(self.exchange(body, answer(words)), 30)
        except asyncio.TimeoutError:
            failure = "timeout"
        except (OSError, asyncio.IncompleteReadError) as error:
            failure = type(error).__name__
        self.under_way -= 1
        self.results.append((began, time.monotonic() - began, failure))

    async def exchange(self, body, right):
        # A kept-alive connection that the proxy closed meanwhile is the client's to replace.
        for fresh in (False, True):
            if fresh:
                self.idle.clear()
            reader, writer = await self.connection()
            writer.write(
                b"POST /v1/completions HTTP/1.1\r\nhost: bench\r\n"
                b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
                + body
            )
            try:
                raw = await reader.readuntil(b"\r\n\r\n")
                break
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                writer.close()
                partial = getattr(error, "partial", b"")
                if fresh or partial:
                    raise
        lines = raw.decode("latin1").lower().split("\r\n")
        status = lines[0].split(" ")[1]
        fields = dict(l.split(":", 1) for l in lines[1:] if ":" in l)
        if "content-length" in fields:
            text = await reader.readexactly(int(fields["content-length"]))
        else:
            text = await self.chunks(reader)
        if "close" in fields.get("connection", ""):
            writer.close()
        else:
            self.idle.append((reader, writer))
        if status != "200":
            return f"status {status}"
        return None if text == right else "wrong answer"

    async def chunks(self, reader):
        text = b""
        while True:
            size = int((await reader.readline()).split(b";")[0], 16)
            text += await reader.readexactly(size)
            await reader.readexactly(2)
            if size == 0:
                return text

    async def drive(self, seconds, fault):
        tasks, began, number = [], time.monotonic(), 0
        faulted = None
        while (now := time.monotonic() - began) < seconds:
            if faulted is None and now >= WARM:
                if self.under_way < 30:
                    print(f"only {self.under_way} in flight at the fault", file=sys.stderr)
                faulted = asyncio.create_task(fault())
            while number < now * RATE:
                tasks.append(asyncio.create_task(self.one(number)))
                number += 1
            await asyncio.sleep(0.002)
        outage = await faulted
        await asyncio.gather(*tasks)
        return outage or 0


async def blocking(call, *arguments):
    await asyncio.get_running_loop().run_in_executor(None, call, *arguments)


def scenarios():
    """Name → fault; one during which nobody can be served gives how long that was."""

    async def kill_one(rs, proxy):
        rs[0].kill()

    async def kill_two(rs, proxy):
        rs[0].process.kill(), rs[1].process.kill()

    async def stop_one(rs, proxy):
        rs[0].stop()
        await asyncio.sleep(4)
        rs[0].cont()

    def mode(name):
        async def fault(rs, proxy):
            await blocking(rs[0].set, name)

        return fault

    async def flapping(rs, proxy):
        for _ in range(6):
            rs[0].kill()
            await asyncio.sleep(0.2)
            rs[0].start()
            await asyncio.sleep(0.6)

    async def rolling(rs, proxy):
        for r in rs:
            r.kill()
            await asyncio.sleep(0.1)
            r.start()
            await blocking(r.wait)
            await asyncio.sleep(1)

    async def all_gone(rs, proxy):
        began = time.monotonic()
        for r in rs:
            r.process.kill()
        await asyncio.sleep(2)
        for r in rs:
            r.process.wait()
            r.start()
        # The outage lasts until the first one listens again.
        await blocking(rs[0].wait)
        return time.monotonic() - began

    async def reload(rs, proxy):
        proxy.reload(rs)

    async def upgrade(rs, proxy):
        proxy.upgrade()

    return {
        "kill -9 one": kill_one,
        "kill -9 two": kill_two,
        "SIGSTOP one, 4 s": stop_one,
        "one hangs": mode("hang"),
        "one answers 500": mode("500"),
        "one answers 429": mode("429"),
        "one truncates JSON": mode("truncated"),
        "one answers empty": mode("empty"),
        "one resets": mode("reset"),
        "one killed every 0.8 s": flapping,
        "rolling restart": rolling,
        "all gone for 2 s": all_gone,
        "reload": reload,
        "upgrade": upgrade,
    }


def run(proxy_class, binary, name, fault):
    """What one program did about one fault; `None` where it cannot be had of it."""
    if name == "upgrade" and not hasattr(proxy_class, "upgrade"):
        return None
    directory = tempfile.mkdtemp(prefix="evenkeel-bench-")
    replicas = [Replica() for _ in range(3)]
    proxy = None
    try:
        for r in replicas:
            r.wait()
        proxy = proxy_class(binary, replicas, directory)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", proxy.port), 0.2).close()
                break
            except OSError:
                time.sleep(0.02)
        client = Client(proxy.port)
        outage = asyncio.run(client.drive(WARM + AFTER, lambda: fault(replicas, proxy)))
    finally:
        if proxy:
            proxy.end()
        for r in replicas:
            r.process.kill()
            r.process.wait()
    failed = [f for _, _, f in client.results if f]
    kinds = {k: failed.count(k) for k in sorted(set(failed))}
    worst = max(w for _, w, _ in client.results)
    log = os.path.join(directory, "evenkeel.log")
    if os.environ.get("KEEP_LOGS") and os.path.exists(log):
        shutil.copy(log, os.path.join(os.environ["KEEP_LOGS"], f"{name}.log"))
    shutil.rmtree(directory, ignore_errors=True)
    return {
        "requests": len(client.results),
        "failed": len(failed),
        "kinds": kinds,
        "beyond_normal_s": round(max(0.0, worst - NORMAL - outage), 2),
    }


def chosen_proxies(names, binary):
    """The programs by their names, or an end that says what is missing."""
    known = {c.name: c for c in (Evenkeel, Nginx, Haproxy)}
    chosen = []
    for name in names.split(","):
        if name not in known:
            sys.exit(f"there is no `{name}`; known are {', '.join(known)}")
        if not shutil.which(binary if name == "evenkeel" else name):
            sys.exit(f"{name} is not installed; install it or leave it out with --proxy")
        chosen.append(known[name])
    return chosen


def chosen_faults(only):
    """The faults whose names hold one of these parts; all of them without parts."""
    parts = [part.strip() for part in only.split(",") if part.strip()]
    found = scenarios()
    for part in parts:
        if not any(part in name for name in found):
            sys.exit(f"no fault is called `{part}`; there are: {'; '.join(found)}")
    return {n: f for n, f in found.items() if not parts or any(p in n for p in parts)}


def cell(result):
    if result is None:
        return "–"
    return f"{result['failed']} failed, +{result['beyond_normal_s']} s"


def row(*cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--evenkeel", required=True)
    parser.add_argument("--proxy", default="evenkeel,nginx,haproxy")
    parser.add_argument("--only", default="")
    parser.add_argument("--json")
    args = parser.parse_args()
    random.seed(1)
    chosen = chosen_proxies(args.proxy, args.evenkeel)
    faults = chosen_faults(args.only)
    table = {}
    row("fault", *(c.title for c in chosen))
    print("|---|" + "---|" * len(chosen))
    for name, fault in faults.items():
        table[name] = {c.name: run(c, args.evenkeel, name, fault) for c in chosen}
        row(name, *map(cell, table[name].values()))
    if args.json:
        with open(args.json, "w") as out:
            json.dump(table, out, indent=1)
    ours = [results["evenkeel"] for results in table.values() if results.get("evenkeel")]
    bad = [r for r in ours if r["failed"] or r["beyond_normal_s"] > 1.5]
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
