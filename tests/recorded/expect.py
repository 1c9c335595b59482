#!/usr/bin/env python3
"""Writes expected.json: what the recorded answers beside this script say, and what they cost.

A simple reader, independent of the one under test: whole files, the standard library's JSON parser,
and the prices of tests/prices/independent.py. Run it after adding a recording. With --check it only
says whether expected.json is what it would write.
"""

import json
import pathlib
import sys
from decimal import ROUND_CEILING, Decimal

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "prices"))
sys.dont_write_bytecode = True

import independent  # noqa: E402

# How the price table writes the models of those that do not sell under the bare name.
SELLERS = {"gemini": "gemini/", "groq": "groq/", "mistral": "mistral/", "cerebras": "cerebras/", "deepseek": "deepseek/",
           "azure": "azure/", "openrouter": "openrouter/"}


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


def value_text(value):
    """A JSON value as text: no space between its parts, no escapes."""
    if isinstance(value, dict):
        return "{" + ",".join(f'"{key}":{value_text(part)}' for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(value_text, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else json.dumps(value, default=str).strip('"')


def call_text(name, arguments):
    return (name or "") + (value_text(arguments) if arguments else "")


class Reader:
    """The dialects of OpenAI."""

    dialect = "chat"

    def __init__(self):
        self.usage = self.model = self.id = self.error = None
        self.done = self.open = False
        self.text = ""

    def document(self, doc):
        response = doc.get("response") or {}
        if response or doc.get("object") == "response":
            self.dialect = "responses"
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
        for event in text.replace("\r\n", "\n").split("\n\n"):
            data = [line[5:].strip() for line in event.split("\n") if line.startswith("data:")]
            if data == ["[DONE]"]:
                self.done = True
                break
            if data:
                self.document(load("\n".join(data)))

    def whole(self, text):
        self.document(load(text))
        self.done = True

    def result(self):
        found = {
            "dialect": self.dialect,
            "id": self.id,
            "model": self.model,
            "done": self.done,
            "error": self.error,
            "text_bytes": len(self.text.encode()),
        }
        if self.usage:
            self.numbers(found)
        return found

    def numbers(self, found):
        usage = self.usage
        inside = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
        outside = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
        cached = inside.get("cached_tokens")
        if cached is None:
            cached = usage.get("num_cached_tokens") or usage.get("prompt_cache_hit_tokens")
        total, given = usage.get("total_tokens"), usage.get("prompt_tokens", usage.get("input_tokens"))
        output = usage.get("completion_tokens", usage.get("output_tokens"))
        reasoning = outside.get("reasoning_tokens")
        if reasoning is None:
            # Google speaks OpenAI's dialect, too, but names thoughts in the total only.
            reasoning = max(0, (total or 0) - given - output)
            output += reasoning
        found["usage"] = {
            "input": given,
            "cache_read": cached or 0,
            "cache_write": inside.get("cache_write_tokens") or 0,
            "audio_input": inside.get("audio_tokens") or 0,
            "output": output,
            "reasoning": reasoning,
            "audio_output": outside.get("audio_tokens") or 0,
        }
        found["total"] = total
        found["cost"] = nanos(usage.get("cost"))
        found["upstream_cost"] = nanos((usage.get("cost_details") or {}).get("upstream_inference_cost"))
        found["byok"] = usage.get("is_byok") is True


class Messages(Reader):
    """The dialect of Anthropic."""

    dialect = "messages"

    def document(self, doc):
        kind, started = doc["type"], doc.get("message") or {}
        for source in (doc, started):
            self.id = self.id or source.get("id")
            self.model = self.model or source.get("model")
            if source.get("usage"):
                self.usage = {**(self.usage or {}), **source["usage"]}
                self.open = source is started
        if kind == "error":
            self.error = doc["error"]["message"]
        self.done = self.done or kind == "message_stop"
        for block in [*(doc.get("content") or []), doc.get("content_block") or {}, doc.get("delta") or {}]:
            self.text += block.get("text", "") + block.get("thinking", "") + block.get("partial_json", "")
            self.text += call_text(block.get("name"), block.get("input"))

    def numbers(self, found):
        usage = self.usage
        read, write = usage.get("cache_read_input_tokens", 0), usage.get("cache_creation_input_tokens", 0)
        hour = (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens", 0)
        found["usage"] = {
            "input": usage["input_tokens"] + read + write,
            "cache_read": read,
            "cache_write": write - hour,
            "cache_write_1h": hour,
            "audio_input": 0,
            "output": 0 if self.open else usage["output_tokens"],
            "reasoning": (usage.get("output_tokens_details") or {}).get("thinking_tokens", 0),
            "audio_output": 0,
            "searches": (usage.get("server_tool_use") or {}).get("web_search_requests", 0),
        }


class Gemini(Reader):
    """The dialect of Google."""

    dialect = "gemini"

    def document(self, doc):
        self.id = self.id or doc.get("responseId")
        self.model = self.model or doc.get("modelVersion")
        self.usage = doc.get("usageMetadata") or self.usage
        if "error" in doc:
            self.error = doc["error"]["message"]
        for candidate in doc.get("candidates") or []:
            self.done = self.done or "finishReason" in candidate
            for part in (candidate.get("content") or {}).get("parts") or []:
                call = part.get("functionCall") or {}
                self.text += part.get("text", "") + call_text(call.get("name"), call.get("args"))
                self.text += (part.get("executableCode") or {}).get("code", "")

    def whole(self, text):
        answer = load(text)
        for chunk in answer if isinstance(answer, list) else [answer]:
            self.document(chunk)
        self.done = True

    def numbers(self, found):
        usage = self.usage
        thoughts = usage.get("thoughtsTokenCount", 0)
        sound = lambda name: sum(p["tokenCount"] for p in usage.get(name, []) if p["modality"] == "AUDIO")
        found["usage"] = {
            "input": usage["promptTokenCount"] + usage.get("toolUsePromptTokenCount", 0),
            "cache_read": usage.get("cachedContentTokenCount", 0),
            "cache_write": 0,
            "audio_input": sound("promptTokensDetails") + sound("toolUsePromptTokensDetails"),
            "output": usage.get("candidatesTokenCount", 0) + thoughts,
            "reasoning": thoughts,
            "audio_output": sound("candidatesTokensDetails"),
        }
        found["total"] = usage["totalTokenCount"]


def reader(name):
    if name.startswith("anthropic__"):
        return Messages()
    if name.startswith("gemini__") and "compatible_api" not in name:
        return Gemini()
    return Reader()


def price(name, found, table):
    """What its tokens cost at the table's prices, and under which name they stand there."""
    usage = found.get("usage")
    entry = SELLERS.get(name.split("__")[0], "") + (found["model"] or "")
    if entry.endswith(":thinking"):
        # OpenRouter's name for a way to ask, not for another model.
        entry = entry.removesuffix(":thinking")
    if entry not in table:
        # A vendor's own price, where OpenRouter's is not in the table.
        entry = entry.replace("openrouter/google/", "gemini/").replace("openrouter/openai/", "")
    if entry in table:
        found["entry"] = entry
    if usage and entry in table:
        found["due"] = independent.cost(table[entry], entry, "default", {"cache_write_1h": 0, **usage})


def expected():
    table = load((HERE.parent.parent / "conf/prices/table.json").read_text(encoding="utf-8"))["models"]
    found = {}
    for path in sorted(HERE.iterdir()):
        # Line ends as they are: they are part of no text.
        text = path.read_bytes().decode() if path.suffix in (".sse", ".json") else ""
        read = reader(path.name)
        if path.suffix == ".sse":
            read.stream(text)
        elif path.suffix == ".json" and path.name != "expected.json":
            read.whole(text)
        else:
            continue
        found[path.name] = read.result()
        price(path.name, found[path.name], table)
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def main():
    path = HERE / "expected.json"
    if sys.argv[1:] == ["--check"]:
        sys.exit(path.read_text(encoding="utf-8") != expected())
    path.write_text(expected(), encoding="utf-8")


if __name__ == "__main__":
    main()
