#!/usr/bin/env python3
"""Writes expected.json: what the recorded answers beside this script say about themselves.

A simple reader, independent of the one under test: whole files, the standard library's JSON parser.
Run it in its own folder after adding a recording.
"""

import json
import pathlib
from decimal import ROUND_CEILING, Decimal

HERE = pathlib.Path(__file__).parent


def load(text):
    return json.loads(text, parse_float=Decimal)


def nanos(value):
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)) or value < 0:
        return None
    return int((Decimal(value) * 10**9).to_integral_value(ROUND_CEILING))


def text_of(value):
    """All text in a string, a part, or a list of parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(text_of(part) for part in value)
    if isinstance(value, dict):
        names = ("text", "refusal", "thinking", "summary", "transcript", "content")
        return "".join(text_of(value[name]) for name in names if name in value)
    return ""


def function_text(function):
    function = function or {}
    return (function.get("name") or "") + text_of(function.get("arguments") or function.get("input"))


def message_text(message):
    text = text_of(message.get("content")) + text_of(message.get("refusal"))
    reasoning = message.get("reasoning") or ""
    content = message.get("reasoning_content") or ""
    text += reasoning + (content if content != reasoning else "")
    if not reasoning and not content:
        text += text_of(message.get("reasoning_details"))
    for call in message.get("tool_calls") or []:
        text += function_text(call.get("function")) + function_text(call.get("custom"))
    text += function_text(message.get("function_call"))
    return text + text_of((message.get("audio") or {}).get("transcript"))


class Reader:
    def __init__(self):
        self.usage = self.model = self.id = self.error = None
        self.done = False
        self.text = ""

    def document(self, doc):
        response = doc.get("response") or {}
        for source in (doc, response):
            self.id = self.id or source.get("id")
            self.model = self.model or source.get("model")
            if source.get("error") is not None:
                self.error = source["error"]["message"]
        usage = doc.get("usage") or response.get("usage") or (doc.get("x_groq") or {}).get("usage")
        self.usage = usage or self.usage
        for choice in doc.get("choices") or []:
            self.text += message_text(choice.get("delta") or choice.get("message") or {})
            self.text += choice.get("text") or ""
        kind = doc.get("type") or ""
        if kind.endswith(".delta") and isinstance(doc.get("delta"), str):
            self.text += doc["delta"]
        if kind in ("response.completed", "response.failed", "response.incomplete"):
            self.done = True
        for item in doc.get("output") or []:
            self.text += text_of(item.get("content")) + text_of(item.get("summary"))
            for name in ("name", "arguments", "input", "code"):
                self.text += item.get(name) if isinstance(item.get(name), str) else ""

    def stream(self, text):
        for event in text.split("\n\n"):
            data = [line[5:].strip() for line in event.split("\n") if line.startswith("data:")]
            if data == ["[DONE]"]:
                self.done = True
                break
            if data:
                self.document(load("\n".join(data)))

    def result(self):
        found = {
            "id": self.id,
            "model": self.model,
            "done": self.done,
            "error": self.error,
            "text_bytes": len(self.text.encode()),
        }
        if self.usage:
            usage = self.usage
            inside = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
            outside = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
            cached = inside.get("cached_tokens")
            if cached is None:
                cached = usage.get("num_cached_tokens") or usage.get("prompt_cache_hit_tokens")
            found["usage"] = {
                "input": usage.get("prompt_tokens", usage.get("input_tokens")),
                "cache_read": cached or 0,
                "cache_write": inside.get("cache_write_tokens") or 0,
                "audio_input": inside.get("audio_tokens") or 0,
                "output": usage.get("completion_tokens", usage.get("output_tokens")),
                "reasoning": outside.get("reasoning_tokens") or 0,
                "audio_output": outside.get("audio_tokens") or 0,
            }
            found["total"] = usage.get("total_tokens")
            found["cost"] = nanos(usage.get("cost"))
            found["upstream_cost"] = nanos((usage.get("cost_details") or {}).get("upstream_inference_cost"))
            found["byok"] = usage.get("is_byok") is True
        return found


def main():
    expected = {}
    for path in sorted(HERE.iterdir()):
        reader = Reader()
        if path.suffix == ".sse":
            reader.stream(path.read_text(encoding="utf-8"))
        elif path.suffix == ".json" and path.name != "expected.json":
            reader.document(load(path.read_text(encoding="utf-8")))
            reader.done = True
        else:
            continue
        expected[path.name] = reader.result()
    text = json.dumps(expected, indent=1, ensure_ascii=False) + "\n"
    (HERE / "expected.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
