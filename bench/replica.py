#!/usr/bin/env python3
"""A model replica for the benchmarks: right answers after 200 to 400 ms, or a fault.

    replica.py PORT [MODE]

Modes: ok, hang, 500, 429, truncated, empty, reset. `POST /mode` with the mode as its body
changes it while it runs. `GET /health` answers 200 unless the mode is `hang` or `reset`.
"""
import asyncio
import json
import random
import socket
import struct
import sys

MODE = "ok"


def answer(prompt):
    """What a right answer to this prompt is; the client computes the same."""
    text = " ".join(prompt.split()[::-1]) * 2
    return json.dumps(
        {
            "id": "cmpl-1",
            "object": "text_completion",
            "model": "bench",
            "choices": [{"index": 0, "text": text, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
    ).encode()


def head(status, length, extra=""):
    return (
        f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n"
        f"content-length: {length}\r\n{extra}\r\n"
    ).encode()


def reset(writer):
    """Closes with RST, as a process that is killed with unread input does."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def respond(writer, body):
    mode = MODE
    await asyncio.sleep(random.uniform(0.2, 0.4))
    if mode == "500":
        text = b'{"error":{"message":"broken"}}'
        writer.write(head("500 Internal Server Error", len(text)) + text)
    elif mode == "429":
        text = b'{"error":{"message":"busy"}}'
        writer.write(head("429 Too Many Requests", len(text)) + text)
    elif mode == "empty":
        writer.write(head("200 OK", 0))
    elif mode == "truncated":
        text = answer(json.loads(body)["prompt"])
        text = text[: len(text) // 2]
        writer.write(head("200 OK", len(text)) + text)
    elif mode == "reset":
        reset(writer)
    elif mode == "hang":
        await asyncio.sleep(3600)
    else:
        text = answer(json.loads(body)["prompt"])
        writer.write(head("200 OK", len(text)) + text)


async def serve(reader, writer):
    global MODE
    try:
        while True:
            raw = await reader.readuntil(b"\r\n\r\n")
            lines = raw.decode("latin1").split("\r\n")
            method, path, _ = lines[0].split(" ", 2)
            fields = dict(l.lower().split(":", 1) for l in lines[1:] if ":" in l)
            body = await reader.readexactly(int(fields.get("content-length", 0)))
            if path == "/mode" and method == "POST":
                MODE = body.decode()
                writer.write(head("200 OK", 0))
            elif path == "/health":
                if MODE == "hang":
                    await asyncio.sleep(3600)
                elif MODE == "reset":
                    reset(writer)
                else:
                    writer.write(head("200 OK", 0))
            else:
                await respond(writer, body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, ValueError, KeyError):
        pass
    finally:
        writer.close()


async def main():
    global MODE
    if len(sys.argv) > 2:
        MODE = sys.argv[2]
    server = await asyncio.start_server(
        serve, "127.0.0.1", int(sys.argv[1]), backlog=1024, reuse_address=True
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
