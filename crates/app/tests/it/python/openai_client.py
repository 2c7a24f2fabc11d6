"""The openai package against Evenkeel (argument 1); right is what a model says directly (argument 2)."""
import sys
import threading

import openai

through, direct = (
    openai.OpenAI(base_url=f"{url}/v1", api_key="of-the-client", max_retries=0, timeout=10)
    for url in sys.argv[1:3]
)
MODEL = "test"
asked = dict(
    model=MODEL, messages=[{"role": "user", "content": "Tell me of the sea"}],
    max_tokens=24, temperature=0, seed=1,
)

# A whole answer, and the same as a stream.
right = direct.chat.completions.create(**asked).choices[0].message.content
assert right, "the model says nothing"
got = through.chat.completions.create(**asked)
assert got.choices[0].message.content == right, got
assert got.usage.completion_tokens > 0 and got.model == MODEL
raw = through.chat.completions.with_raw_response.create(**asked)
assert raw.headers["x-request-id"], raw.headers

pieces, finish, usage = [], None, None
stream = through.chat.completions.create(
    **asked, stream=True, stream_options={"include_usage": True}
)
for chunk in stream:
    usage = chunk.usage or usage
    for choice in chunk.choices:
        pieces.append(choice.delta.content or "")
        finish = choice.finish_reason or finish
assert "".join(pieces) == right and finish in ("stop", "length"), (pieces, finish)
assert usage and usage.completion_tokens == got.usage.completion_tokens, usage

# Completions, responses, embeddings, the list of models.
text = dict(model=MODEL, prompt="Once", max_tokens=8, temperature=0)
assert through.completions.create(**text).choices[0].text == direct.completions.create(**text).choices[0].text
words = dict(model=MODEL, input=["one", "two"])
ours, theirs = through.embeddings.create(**words), direct.embeddings.create(**words)
assert [e.embedding for e in ours.data] == [e.embedding for e in theirs.data] and len(ours.data) == 2
said = dict(model=MODEL, input="Tell me of the sea", max_output_tokens=8, temperature=0)
assert through.responses.create(**said).output_text == direct.responses.create(**said).output_text
assert MODEL in [m.id for m in through.models.list()]

# Errors are the package's own types, with what it needs to tell them apart.
try:
    through.chat.completions.create(**{**asked, "model": "nobody"})
    raise AssertionError("a model that does not exist")
except openai.NotFoundError as error:
    assert error.code == "model_not_found" and error.param == "model", error.body
try:
    through.chat.completions.create(**{**asked, "messages": "none"})
    raise AssertionError("messages that are none")
except openai.BadRequestError as error:
    assert error.type == "invalid_request_error", error.body
try:
    through.with_options(timeout=10).chat.completions.create(
        **asked, extra_headers={"x-request-timeout": "1ms"}
    )
    raise AssertionError("a deadline that has passed")
except openai.InternalServerError as error:
    assert error.status_code == 504, error

# Leaving in the middle.
stream = through.chat.completions.create(**{**asked, "max_tokens": 4000}, stream=True)
for number, chunk in enumerate(stream):
    if number == 3:
        stream.close()
        break

# Many at once.
answers = []


def ask():
    answers.append(through.chat.completions.create(**asked).choices[0].message.content)


threads = [threading.Thread(target=ask) for _ in range(16)]
[t.start() for t in threads]
[t.join() for t in threads]
assert answers == [right] * 16, answers
print("all right")
