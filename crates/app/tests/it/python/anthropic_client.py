"""The anthropic package against Evenkeel (argument 1); right is what a model says directly (argument 2)."""
import sys

import anthropic

through, direct = (
    anthropic.Anthropic(base_url=url, api_key="of-the-client", max_retries=0, timeout=10)
    for url in sys.argv[1:3]
)
asked = dict(
    model="test", messages=[{"role": "user", "content": "Tell me of the sea"}],
    max_tokens=24, extra_body={"temperature": 0},
)
right = direct.messages.create(**asked).content[0].text
got = through.messages.create(**asked)
assert got.content[0].text == right and got.usage.output_tokens > 0, got
with through.messages.stream(**asked) as stream:
    assert "".join(stream.text_stream) == right
    last = stream.get_final_message()
assert last.stop_reason in ("end_turn", "max_tokens"), last
try:
    through.messages.create(**{**asked, "model": "nobody"})
    raise AssertionError("a model that does not exist")
except anthropic.NotFoundError as error:
    assert error.body["error"]["type"] == "not_found_error", error.body
try:
    through.messages.create(**asked, extra_headers={"x-request-timeout": "soon"})
    raise AssertionError("a deadline that is none")
except anthropic.BadRequestError as error:
    assert error.body["error"]["type"] == "invalid_request_error", error.body
print("all right")
