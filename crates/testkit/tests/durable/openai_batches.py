"""The openai package against files and batches (argument 1: the base URL)."""
import io
import json
import sys
import time

import openai

client = openai.OpenAI(
    base_url=sys.argv[1], api_key="of-the-client", max_retries=0, timeout=10,
    default_headers={"x-evenkeel-key-id": "a"},
)
ENDPOINT = "/v1/chat/completions"
OVER = ("completed", "failed", "expired", "cancelled")


def strict(value):
    """Whether an object is what the package says it is: its parser lets everything pass."""
    type(value).model_validate(value.model_dump(), strict=True)
    return value


def lines(count, **changes):
    made = (
        {"custom_id": f"r-{n}", "method": "POST", "url": ENDPOINT,
         "body": {"model": "m", "messages": [{"role": "user", "content": f"ü {n}"}]}} | changes
        for n in range(count)
    )
    return "".join(json.dumps(line) + "\n" for line in made).encode()


def upload(content, name="lines.jsonl", **more):
    return strict(client.files.create(file=(name, content), purpose="batch", **more))


def order(file, **more):
    return strict(client.batches.create(
        input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h", **more))


def wait(batch):
    for _ in range(1000):
        batch = strict(client.batches.retrieve(batch.id))
        if batch.status in OVER:
            return batch
        time.sleep(0.02)
    raise SystemExit(f"it never ends: {batch}")


def read(file_id):
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


def refused(kind, call, *args, **named):
    try:
        got = call(*args, **named)
    except kind as error:
        assert error.body["message"] and error.body["type"], error.body
        return error
    raise SystemExit(f"not refused: {got}")


# Files: uploaded in whatever way, listed page by page, read back, deleted.
content = lines(25)
file = upload(content, name='a "b" ü.jsonl')
assert file.filename == 'a "b" ü.jsonl' and file.bytes == len(content), file
assert strict(client.files.retrieve(file.id)) == file
assert client.files.content(file.id).read() == content
short = upload(io.BytesIO(b"{}"), expires_after={"anchor": "created_at", "seconds": 3600})
assert short.expires_at == short.created_at + 3600, short
large = upload(b'{"x": "' + b"y" * 3_000_000 + b'"}\n')
assert client.files.content(large.id).read().count(b"y") == 3_000_000
ids = [each.id for each in client.files.list(limit=1)]
assert ids == [large.id, short.id, file.id], ids
assert [f.id for f in client.files.list(order="asc", purpose="batch")] == ids[::-1]
assert strict(client.files.delete(short.id)).deleted
assert refused(openai.NotFoundError, client.files.retrieve, short.id).status_code == 404
assert refused(openai.BadRequestError, client.files.create, file=b"x", purpose="no").param == "purpose"

# A batch to its end.
batch = order(file, metadata={"k": "v"}, output_expires_after={"anchor": "created_at", "seconds": 3600})
assert batch.status == "validating" and batch.metadata == {"k": "v"}, batch
batch = wait(batch)
assert batch.status == "completed" and batch.model == "m", batch
assert (batch.request_counts.total, batch.request_counts.completed) == (25, 25), batch
output = read(batch.output_file_id)
assert [line["custom_id"] for line in output] == [f"r-{n}" for n in range(25)]
assert output[7]["response"]["body"]["messages"][0]["content"] == "ü 7", output[7]
about = client.files.retrieve(batch.output_file_id)
assert about.purpose == "batch_output" and about.expires_at == about.created_at + 3600, about
assert batch.error_file_id is None and batch.errors is None, batch

# One whose file makes no sense.
bad = wait(order(upload(lines(1) + b"nonsense\n" + lines(1) + lines(1, url="/v1/embeddings", custom_id="u"))))
assert bad.status == "failed" and bad.failed_at, bad
told = [(error.code, error.line, error.param) for error in bad.errors.data]
assert told == [("invalid_json_line", 2, None), ("duplicate_custom_id", 3, "custom_id"),
                ("invalid_url", 4, "url")], told

# One that is cancelled: what was answered is there, and so is every other line.
batch = order(upload(lines(3000)))
while client.batches.retrieve(batch.id).request_counts.completed < 4:
    time.sleep(0.02)
assert strict(client.batches.cancel(batch.id)).status == "cancelling"
batch = wait(batch)
assert batch.status == "cancelled" and batch.cancelled_at >= batch.cancelling_at, batch
good, rest = read(batch.output_file_id), read(batch.error_file_id)
assert len(good) == batch.request_counts.completed and len(good) + len(rest) == 3000, batch
assert {line["error"]["code"] for line in rest} == {"batch_cancelled"}
assert refused(openai.ConflictError, client.batches.cancel, batch.id).status_code == 409

# Orders that make no sense, and lists.
assert refused(openai.BadRequestError, client.batches.create, input_file_id=file.id,
               endpoint="/v1/nowhere", completion_window="24h").param == "endpoint"
assert refused(openai.BadRequestError, client.batches.create, input_file_id=file.id,
               endpoint=ENDPOINT, completion_window="1h").code == "invalid_value"
assert refused(openai.BadRequestError, client.batches.create, input_file_id="file-none",
               endpoint=ENDPOINT, completion_window="24h").param == "input_file_id"
assert [strict(each).id for each in client.batches.list(limit=1)][0] == batch.id
assert len(list(client.batches.list(limit=2))) == 3
other = client.with_options(default_headers={"x-evenkeel-key-id": "b"})
refused(openai.NotFoundError, other.batches.retrieve, batch.id)
assert list(other.files.list()) == []
