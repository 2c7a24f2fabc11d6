#!/usr/bin/env python3
"""A model server that speaks KServe V2 and needs nothing but Python.

    classifier.py --port PORT --model FILE.json

The model is a logistic regression: names of features, a weight for each, a bias, two labels.
Its weights are read once, at the start, as model servers do.
"""
import argparse
import json
import math
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Model:
    def __init__(self, path):
        with open(path) as file:
            kept = json.load(file)
        self.name, self.features = kept["name"], kept["features"]
        self.weights, self.bias = kept["weights"], kept["bias"]
        self.labels = kept["labels"]
        if len(self.weights) != len(self.features):
            raise SystemExit(f"{path}: {len(self.weights)} weights for {len(self.features)} features")

    def rows(self, request):
        """The rows of a request's one input; `ValueError` says what is wrong with it."""
        try:
            given = request["inputs"][0]
            rows, width = given["shape"]
            data = [float(value) for value in flat(given["data"])]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"one input with `shape` [rows, features] and `data` is needed: {error}")
        if width != len(self.features) or len(data) != rows * width or rows < 1:
            raise ValueError(f"{len(self.features)} features a row are needed, in order: "
                             + ", ".join(self.features))
        return [data[at : at + width] for at in range(0, len(data), width)]

    def probability(self, row):
        z = self.bias + sum(w * x for w, x in zip(self.weights, row))
        return 1 / (1 + math.exp(-max(-500.0, min(500.0, z))))

    def answer(self, request):
        found = [self.probability(row) for row in self.rows(request)]
        named = [self.labels[p >= 0.5] for p in found]
        return {
            "model_name": self.name,
            "id": request.get("id", ""),
            "outputs": [
                {"name": "probability", "datatype": "FP64", "shape": [len(found)], "data": found},
                {"name": "label", "datatype": "BYTES", "shape": [len(found)], "data": named},
            ],
        }


def flat(data):
    for value in data:
        if isinstance(value, list):
            yield from flat(value)
        else:
            yield value


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    model = None

    def log_message(self, *_):
        pass

    def say(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        model = f"/v2/models/{self.model.name}"
        if self.path in ("/v2/health/live", "/v2/health/ready", f"{model}/ready"):
            self.say(200, {})
        elif self.path == model:
            self.say(200, {"name": self.model.name, "platform": "python", "inputs": [
                {"name": "features", "datatype": "FP64", "shape": [-1, len(self.model.features)]}]})
        else:
            self.say(404, {"error": f"there is nothing at {self.path}"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path != f"/v2/models/{self.model.name}/infer":
            return self.say(404, {"error": f"there is nothing at {self.path}"})
        try:
            self.say(200, self.model.answer(json.loads(body)))
        except ValueError as error:
            self.say(400, {"error": str(error)})


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    args = parser.parse_args()
    Handler.model = Model(args.model)
    Server(("127.0.0.1", args.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
