"""The openai package's files and batches through Evenkeel (argument 1), before models."""
import json
import sys
import time

import openai

client = openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="any", max_retries=0, timeout=30)
ENDPOINT = "/v1/chat/completions"
OVER = ("completed", "failed", "expired", "cancelled")


def lines(count, **changes):
    body = {"model": "test", "max_tokens": 4, "temperature": 0}
    return "".join(
        json.dumps({"custom_id": f"r-{n}", "method": "POST", "url": ENDPOINT, "body": body | {
            "messages": [{"role": "user", "content": f"ü {n}"}]} | changes}) + "\n"
        for n in range(count)
    ).encode()


def upload(content):
    return client.files.create(file=("lines.jsonl", content), purpose="batch")


def order(content, endpoint=ENDPOINT):
    return client.batches.create(
        input_file_id=upload(content).id, endpoint=endpoint, completion_window="24h")


def wait(batch):
    for _ in range(1000):
        batch = client.batches.retrieve(batch.id)
        if batch.status in OVER:
            return batch
        time.sleep(0.02)
    raise SystemExit(f"it never ends: {batch}")


def read(file_id):
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


# A batch says what the same requests say one by one.
batch = wait(order(lines(20)))
assert batch.status == "completed" and batch.request_counts.completed == 20, batch
output = {line["custom_id"]: line["response"] for line in read(batch.output_file_id)}
assert len(output) == 20, output
for n in (0, 19):
    alone = client.chat.completions.create(
        model="test", max_tokens=4, temperature=0,
        messages=[{"role": "user", "content": f"ü {n}"}])
    line = output[f"r-{n}"]
    assert line["status_code"] == 200 and line["request_id"], line
    said = line["body"]["choices"][0]["message"]["content"]
    assert said == alone.choices[0].message.content, (said, alone)

# What no model can answer is an error of its line, in the words that a client gets.
batch = wait(order(lines(2, model="nobody-serves-this")))
assert batch.status == "completed" and batch.request_counts.failed == 2, batch
error = read(batch.error_file_id)[0]["response"]
assert error["status_code"] == 404, error
assert error["body"]["error"]["code"] == "model_not_found", error

# Large files pass both ways, byte for byte.
large = b'{"x": "' + bytes(range(35, 91)) * 400_000 + b'"}\n'
file = upload(large)
assert file.bytes == len(large), file
assert client.files.content(file.id).read() == large
assert client.files.delete(file.id).deleted
try:
    client.files.retrieve(file.id)
    raise SystemExit("it is still there")
except openai.NotFoundError as gone:
    assert gone.body["message"], gone.body

# Only what is served here can be ordered, and nothing of this is a model.
for endpoint in ("/v1/nowhere", "/v1/files"):
    try:
        order(lines(1), endpoint)
        raise SystemExit(f"{endpoint} was taken")
    except openai.BadRequestError as wrong:
        assert wrong.param == "endpoint", wrong.body
assert [model.id for model in client.models.list()] == ["test"]

# A cancelled batch has every line in one of two files.
batch = order(lines(2000))
while client.batches.retrieve(batch.id).request_counts.completed < 3:
    time.sleep(0.02)
assert client.batches.cancel(batch.id).status == "cancelling"
batch = wait(batch)
assert batch.status == "cancelled", batch
good, rest = read(batch.output_file_id), read(batch.error_file_id)
assert len(good) == batch.request_counts.completed and len(good) + len(rest) == 2000, batch
