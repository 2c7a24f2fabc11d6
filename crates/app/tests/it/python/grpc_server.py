"""A gRPC server on loopback; says its port. Messages are bytes as they come."""
import os
import time
from concurrent import futures

import grpc


def unary(request, context):
    context.send_initial_metadata((("x-first", "yes"),))
    context.set_trailing_metadata((("x-last", "yes"), ("x-pid", str(os.getpid()))))
    return b"got " + request


def server_stream(request, context):
    for number in range(int(request)):
        yield b"%d" % number
        time.sleep(0.01)


def client_stream(requests, context):
    return b"+".join(requests)


def bidi(requests, context):
    for request in requests:
        yield b"got " + request


def fail(request, context):
    context.set_trailing_metadata((("x-why", "told"),))
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, "what is this: " + request.decode())


def slow(request, context):
    time.sleep(float(request))
    return b"late"


handler = grpc.method_handlers_generic_handler("test.Echo", {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Stream": grpc.unary_stream_rpc_method_handler(server_stream),
    "Collect": grpc.stream_unary_rpc_method_handler(client_stream),
    "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Slow": grpc.unary_unary_rpc_method_handler(slow),
})
server = grpc.server(futures.ThreadPoolExecutor(32))
server.add_generic_rpc_handlers((handler,))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"serving on http://127.0.0.1:{port}", flush=True)
server.wait_for_termination()
