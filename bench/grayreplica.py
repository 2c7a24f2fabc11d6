#!/usr/bin/env python3
"""A model replica that serves chat completions, whole or streamed, and turns gray when told.

    grayreplica.py PORT

`POST /mode` with a mode of `MODES` as its body changes it while it runs, `GET /seen` tells
what came since: requests, and those that the mode did something to. `GET /health` answers
200 in every mode: that is what makes a failure gray. Three modes are not gray: in `gone` the
port is closed, in `reset` each connection and in `deaf` nothing at all is answered.

It has eight slots: more requests wait in line, as they do in front of an engine.
"""
import asyncio
import hashlib
import json
import random
import socket
import struct
import sys
import time

FIRST, GAP, TOKENS = 0.05, 0.005, 16
SLOTS = 8
LONG = 4096  # characters of a prompt that is long
MODES = (
    "ok", "errors", "late", "stall", "empty", "long", "trickle", "truncated",
    "model", "refuse", "rising", "slot", "endless", "hang", "lie", "gone", "reset", "deaf",
)


def tokens(prompt, count):
    """The right answer to a prompt; the client computes the same."""
    digest = hashlib.sha256(prompt.encode()).hexdigest()
    return [f" {digest[i % 60:i % 60 + 4]}" for i in range(count)]


class Replica:
    def __init__(self):
        self.set("ok")
        self.slots = asyncio.Semaphore(SLOTS)
        self.connections = 0
        self.server, self.open = None, set()

    def set(self, mode):
        assert mode in MODES, mode
        self.mode, self.since = mode, time.monotonic()
        self.requests = self.affected = 0
        if mode in ("gone", "reset"):
            if mode == "gone":
                self.server.close()
            for writer in list(self.open):
                reset(writer)

    def hit(self, share=1.0):
        """Whether the mode strikes this request."""
        strikes = random.random() < share
        self.affected += strikes
        return strikes

    async def connection(self, reader, writer):
        self.connections += 1
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.mode == "reset" or self.mode == "refuse" and self.connections % 10 == 0:
            self.affected += 1
            return reset(writer)
        self.open.add(writer)
        try:
            while await self.exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, ValueError, KeyError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()

    async def exchange(self, reader, writer):
        raw = await reader.readuntil(b"\r\n\r\n")
        lines = raw.decode("latin1").split("\r\n")
        method, path, _ = lines[0].split(" ", 2)
        fields = dict(l.lower().split(":", 1) for l in lines[1:] if ":" in l)
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        if self.mode == "deaf":
            await asyncio.sleep(3600)
        if path == "/mode":
            self.set(body.decode())
            whole(writer, b"")
        elif path == "/seen":
            whole(writer, json.dumps([self.requests, self.affected]).encode())
        elif method == "GET":
            whole(writer, b'{"object":"list","data":[{"id":"bench"}]}')
        else:
            self.requests += 1
            if not await self.answer(writer, json.loads(body)):
                return False
        await writer.drain()
        # Else a pool of kept connections would hide that new ones are refused.
        return self.mode != "refuse"

    async def answer(self, writer, body):
        mode = self.mode
        prompt = body["messages"][-1]["content"]
        answer = tokens(prompt, body.get("max_tokens", TOKENS))
        stream = body.get("stream", False)
        if mode == "hang" and self.hit():
            await asyncio.sleep(3600)
        if mode == "slot" and self.requests % 2 and self.hit():
            await asyncio.sleep(3600)
        if mode == "errors" and self.hit(0.3) or mode == "long" and len(prompt) > LONG and self.hit():
            whole(writer, b'{"error":{"message":"broken"}}', "500 Internal Server Error")
            return True
        async with self.slots:
            await asyncio.sleep(self.first(mode))
            name = "other" if mode == "model" and self.hit() else "bench"
            if mode == "lie" and self.hit():
                answer = tokens("not " + prompt, len(answer))
            if mode == "empty" and stream and self.hit():
                answer = [""] * len(answer)
            if stream:
                return await self.stream(writer, mode, name, answer)
            return await self.unary(writer, mode, name, answer)

    def first(self, mode):
        if mode == "late" and self.hit():
            return FIRST * 10
        if mode == "rising" and self.hit():
            return FIRST * 1.1 ** (time.monotonic() - self.since)
        return FIRST

    async def stream(self, writer, mode, name, answer):
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        pace = self.pace(writer, mode)
        await pace(event(name, {"role": "assistant", "content": ""}))
        for number, token in enumerate(answer):
            if number:
                await asyncio.sleep(GAP)
            if mode == "stall" and number == len(answer) // 2 and self.hit():
                await writer.drain()
                await asyncio.sleep(3600)
            if mode == "truncated" and number == len(answer) // 2 and self.hit():
                writer.write(b"0\r\n\r\n")
                return True
            await pace(event(name, {"content": token}))
            await writer.drain()
        while mode == "endless" and (number > len(answer) or self.hit()):
            number = len(answer) + 1
            await asyncio.sleep(GAP)
            await pace(event(name, {"content": " more"}))
            await writer.drain()
        await pace(event(name, {}, "stop"))
        await pace(b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        return True

    def pace(self, writer, mode):
        slow = mode == "trickle" and self.hit()

        async def give(data):
            if slow:
                # 1 kB a second.
                await asyncio.sleep(len(data) / 1000)
            writer.write(b"%x\r\n" % len(data) + data + b"\r\n")

        return give

    async def unary(self, writer, mode, name, answer):
        await asyncio.sleep(GAP * len(answer))
        if mode == "endless" and self.hit():
            await asyncio.sleep(3600)
        message = {"role": "assistant", "content": "".join(answer)}
        text = json.dumps({
            "id": "c", "object": "chat.completion", "created": 1, "model": name,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": len(answer),
                      "total_tokens": len(answer) + 1},
        }).encode()
        if mode == "stall" and self.hit():
            writer.write(head("200 OK", len(text)) + text[: len(text) // 2])
            await writer.drain()
            await asyncio.sleep(3600)
        if mode == "truncated" and self.hit():
            whole(writer, text[: len(text) // 2])
            return True
        if mode == "trickle" and self.hit():
            writer.write(head("200 OK", len(text)))
            for at in range(0, len(text), 100):
                await asyncio.sleep(0.1)
                writer.write(text[at : at + 100])
                await writer.drain()
            return True
        whole(writer, text)
        return True


def event(name, delta, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": name,
             "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def head(status, length):
    return (
        f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n"
        f"content-length: {length}\r\n\r\n"
    ).encode()


def whole(writer, body, status="200 OK"):
    writer.write(head(status, len(body)) + body)


def reset(writer):
    """Closes with RST at once."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def main():
    replica = Replica()
    server = await asyncio.start_server(
        replica.connection, "127.0.0.1", int(sys.argv[1]), backlog=1024, reuse_address=True
    )
    replica.server = server
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
