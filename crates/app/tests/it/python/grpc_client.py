"""A gRPC client of Evenkeel (argument 1). `all`: every kind of call. `load`: unary calls until
standard input ends, of which none may fail."""
import sys
import threading
import time

import grpc

channel = grpc.insecure_channel(sys.argv[1])


def method(kind, name):
    return getattr(channel, kind)(f"/test.Echo/{name}")


def everything():
    unary = method("unary_unary", "Unary")
    answer, call = unary.with_call(b"hello", timeout=5)
    assert answer == b"got hello"
    assert ("x-first", "yes") in call.initial_metadata(), call.initial_metadata()
    assert ("x-last", "yes") in call.trailing_metadata(), call.trailing_metadata()
    large = bytes(1 << 20)
    assert unary(large, timeout=5) == b"got " + large
    numbers = [int(n) for n in method("unary_stream", "Stream")(b"50", timeout=5)]
    assert numbers == list(range(50)), numbers
    assert method("stream_unary", "Collect")(iter([b"a", b"b", b"c"]), timeout=5) == b"a+b+c"

    # Each next message depends on the last answer.
    heard, told = [], threading.Semaphore(1)

    def say():
        for number in range(5):
            told.acquire(timeout=5)
            yield b"%d" % number

    for answer in method("stream_stream", "Bidi")(say(), timeout=10):
        heard.append(answer)
        told.release()
    assert heard == [b"got %d" % n for n in range(5)], heard

    try:
        method("unary_unary", "Fail")(b"nonsense", timeout=5)
        raise AssertionError("a call that fails")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        assert error.details() == "what is this: nonsense", error
        assert ("x-why", "told") in error.trailing_metadata(), error.trailing_metadata()
    began = time.monotonic()
    try:
        method("unary_unary", "Slow")(b"5", timeout=0.3)
        raise AssertionError("a deadline that passes")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert time.monotonic() - began < 1
    try:
        method("unary_unary", "Nothing")(b"", timeout=5)
        raise AssertionError("a method that does not exist")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error


def load():
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    counts, slowest, lock = {}, 0.0, threading.Lock()
    unary = method("unary_unary", "Unary")

    def work():
        nonlocal slowest
        while not ended.is_set():
            began = time.monotonic()
            answer, call = unary.with_call(b"hello", timeout=5)
            assert answer == b"got hello"
            pid = dict(call.trailing_metadata())["x-pid"]
            with lock:
                counts[pid] = counts.get(pid, 0) + 1
                slowest = max(slowest, time.monotonic() - began)
                if sum(counts.values()) == 200:
                    print("under way", flush=True)

    failures = []

    def guarded():
        try:
            work()
        except Exception as error:  # told below
            failures.append(repr(error))

    threads = [threading.Thread(target=guarded) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not failures, failures
    assert len(counts) == 2, counts
    assert slowest < 1.5, slowest


everything() if sys.argv[2] == "all" else load()
print("all right")
