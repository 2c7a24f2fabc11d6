"""Streams whose replica dies in the middle, read by the openai and anthropic packages.

Arguments: Evenkeel, and a model that answers the same directly. Before each stream's middle
the script says `under way NAME` and whoever started it kills the replica that serves it.
"""
import sys

import anthropic
import openai

url, direct_url = sys.argv[1:3]
options = dict(api_key="of-the-client", max_retries=0, timeout=20)
through, direct = (openai.OpenAI(base_url=f"{u}/v1", **options) for u in (url, direct_url))
MODEL, TOKENS, SAID = "test", 120, [{"role": "user", "content": "Tell me of the sea"}]
more = {"ignore_eos": True}


def read(name, stream, piece):
    """The text of a stream; says when it is under way."""
    text, count, events = "", 0, []
    for event in stream:
        events.append(event)
        new = piece(event)
        if new:
            text, count = text + new, count + 1
            if count == 20:
                print(f"under way {name}", flush=True)
    assert count > 20, (name, count)
    return text, events


# Chat.
asked = dict(model=MODEL, messages=SAID, max_tokens=TOKENS, temperature=0, extra_body=more)
right = direct.chat.completions.create(**asked)
stream = through.chat.completions.create(
    **asked, stream=True, stream_options={"include_usage": True}
)
text, events = read(
    "chat", stream, lambda e: e.choices[0].delta.content if e.choices else None
)
assert text == right.choices[0].message.content, (text, right)
assert len({(e.id, e.created, e.model) for e in events}) == 1
finishes = [c.finish_reason for e in events for c in e.choices if c.finish_reason]
roles = [c.delta.role for e in events for c in e.choices if c.delta.role]
assert finishes == ["length"] and roles == ["assistant"], (finishes, roles)
usages = [e.usage for e in events if e.usage]
assert len(usages) == 1 and usages[0].completion_tokens == TOKENS, usages
assert usages[0].prompt_tokens == right.usage.prompt_tokens, (usages, right.usage)
assert all("token_ids" not in (c.model_extra or {}) for e in events for c in e.choices)

# Text completions.
asked = dict(model=MODEL, prompt="Once upon", max_tokens=TOKENS, temperature=0, extra_body=more)
right = direct.completions.create(**asked).choices[0].text
text, events = read(
    "completions", through.completions.create(**asked, stream=True), lambda e: e.choices[0].text
)
assert text == right and len({e.id for e in events}) == 1

# Responses: the whole answer at the end, too, is one answer.
asked = dict(model=MODEL, input="Of ships", max_output_tokens=TOKENS, temperature=0, extra_body=more)
right = direct.responses.create(**asked).output_text
with through.responses.stream(**asked) as stream:
    text, events = read(
        "responses", stream,
        lambda e: e.delta if e.type == "response.output_text.delta" else None,
    )
# It stops at its limit, which is not what the package calls a final response.
last = events[-1].response
assert events[-1].type == "response.incomplete" and last.status == "incomplete", events[-1]
assert text == right and last.output_text == right, (text, right, last)
numbers = [e.sequence_number for e in events if hasattr(e, "sequence_number")]
assert numbers == sorted(set(numbers)), numbers

# Anthropic's messages.
ours, theirs = (
    anthropic.Anthropic(base_url=u, api_key="of-the-client", max_retries=0, timeout=20)
    for u in (url, direct_url)
)
asked = dict(
    model=MODEL, messages=SAID, max_tokens=TOKENS, extra_body={"temperature": 0, **more}
)
right = theirs.messages.create(**asked)
with ours.messages.stream(**asked) as stream:
    text, events = read("messages", stream, lambda e: e.text if e.type == "text" else None)
    last = stream.get_final_message()
assert text == right.content[0].text == last.content[0].text
assert last.stop_reason == right.stop_reason
assert last.usage.output_tokens == right.usage.output_tokens, (last.usage, right.usage)
print("all right")
