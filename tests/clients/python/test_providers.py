"""Both SDKs against providers of other dialects, tools included: what one says, the other hears.

Reads GATEWAY_URL and GATEWAY_KEY_DIRECT (an agent that names its model itself).
"""
import os
import unittest

import anthropic
import openai

URL = os.environ["GATEWAY_URL"]
KEY = os.environ["GATEWAY_KEY_DIRECT"]
MODELS = ["at-anthropic", "at-google", "at-openai"]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
CHAT_TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}


class OpenAi(unittest.TestCase):
    def setUp(self):
        self.client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY)
        self.addCleanup(self.client.close)

    def test_plain_and_streamed(self):
        for model in MODELS:
            with self.subTest(model):
                messages = [{"role": "system", "content": "Be brief"},
                            {"role": "user", "content": "[[chunks=6 tokens_in=10 tokens_out=20]]"}]
                whole = self.client.chat.completions.create(model=model, messages=messages, max_tokens=100)
                chunks = list(self.client.chat.completions.create(
                    model=model, messages=messages, max_tokens=100, stream=True,
                    stream_options={"include_usage": True}))
                text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
                self.assertTrue(text)
                self.assertEqual(text, whole.choices[0].message.content)
                self.assertEqual((whole.usage.prompt_tokens, whole.usage.completion_tokens), (10, 20))
                usage = [chunk.usage for chunk in chunks if chunk.usage]
                self.assertEqual(usage[-1].completion_tokens, 20)

    def test_a_call_and_its_result(self):
        for model in MODELS:
            with self.subTest(model):
                answer = self.client.chat.completions.create(
                    model=model, max_tokens=100, tools=[CHAT_TOOL],
                    messages=[{"role": "user", "content": "[[tool=1]] weather?"}])
                choice = answer.choices[0]
                self.assertEqual(choice.finish_reason, "tool_calls")
                call = choice.message.tool_calls[0]
                self.assertEqual(call.function.name, "weather")
                answer = self.client.chat.completions.create(
                    model=model, max_tokens=100, tools=[CHAT_TOOL],
                    messages=[{"role": "user", "content": "weather? [[chunks=2]]"},
                              choice.message.model_dump(exclude_none=True),
                              {"role": "tool", "tool_call_id": call.id, "content": "rain"}])
                self.assertTrue(answer.choices[0].message.content)


class Anthropic(unittest.TestCase):
    def setUp(self):
        self.client = anthropic.Anthropic(base_url=URL, api_key=KEY)
        self.addCleanup(self.client.close)

    def test_plain_streamed_and_counted(self):
        for model in MODELS:
            with self.subTest(model):
                request = {"model": model, "max_tokens": 100, "system": "Be brief", "messages": [
                    {"role": "user", "content": "[[chunks=6 tokens_in=10 tokens_out=20]]"}]}
                whole = self.client.messages.create(**request)
                with self.client.messages.stream(**request) as stream:
                    final = stream.get_final_message()
                self.assertEqual(whole.content[0].text, final.content[0].text)
                self.assertEqual((whole.usage.input_tokens, whole.usage.output_tokens), (10, 20))
                self.assertEqual(final.usage.output_tokens, 20)
                del request["max_tokens"]
                self.assertGreater(self.client.messages.count_tokens(**request).input_tokens, 0)


if __name__ == "__main__":
    unittest.main()
