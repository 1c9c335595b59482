"""Recorded streams of real providers, said in another dialect: the SDK of that dialect accepts every one.

Streams of chat completions and of responses go to the anthropic package, Anthropic's and Google's to the openai
package. What each of them holds was found by an independent reader (tests/recorded/expect.py). Reads GATEWAY_URL,
GATEWAY_KEY and GATEWAY_KEY_DIRECT (an agent that names its model itself).
"""
import json
import os
import pathlib
import unittest

import anthropic
import openai

URL = os.environ["GATEWAY_URL"]
DIRECT = os.environ["GATEWAY_KEY_DIRECT"]
EXPECTED = json.loads((pathlib.Path(__file__).parents[3] / "tests/recorded/expected.json").read_text())
AT = {"messages": "at-anthropic", "gemini": "at-google", "responses": "at-openai"}


def streams(*dialects):
    for name, expected in EXPECTED.items():
        if name.endswith(".sse") and expected.get("dialect", "chat") in dialects:
            yield name, expected


class Recorded(unittest.TestCase):
    def test_the_openai_package_accepts_the_streams_of_others(self):
        client = openai.OpenAI(base_url=f"{URL}/v1", api_key=DIRECT, max_retries=0)
        self.addCleanup(client.close)
        count = 0
        for name, expected in streams("messages", "gemini"):
            with self.subTest(name):
                chunks, said = [], 0
                try:
                    chunks = list(client.chat.completions.create(
                        model=AT[expected["dialect"]], max_tokens=50, stream=True,
                        stream_options={"include_usage": True},
                        messages=[{"role": "user", "content": f"[[replay={name}]]"}]))
                except openai.APIError:
                    self.assertTrue(expected.get("error"))
                    continue
                finish = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
                self.assertEqual(len(finish), 1 if expected["done"] else 0)
                usage = [chunk.usage for chunk in chunks if chunk.usage]
                if expected.get("usage") and expected["done"]:
                    self.assertEqual(usage[-1].completion_tokens, expected["usage"]["output"])
                    self.assertEqual(usage[-1].prompt_tokens, expected["usage"]["input"])
                count += 1
        print(f"{count} streams", end=" ")
        self.assertGreater(count, 20)

    def test_the_anthropic_package_accepts_the_streams_of_others(self):
        client = anthropic.Anthropic(base_url=URL, api_key=DIRECT, max_retries=0)
        self.addCleanup(client.close)
        count = 0
        for name, expected in streams("responses"):
            with self.subTest(name):
                try:
                    with client.messages.stream(model=AT["responses"], max_tokens=50, messages=[
                            {"role": "user", "content": f"[[replay={name}]]"}]) as stream:
                        final = stream.get_final_message()
                except anthropic.APIError:
                    self.assertTrue(expected.get("error"))
                    continue
                self.assertTrue(final.stop_reason)
                if expected.get("usage"):
                    self.assertEqual(final.usage.output_tokens, expected["usage"]["output"])
                count += 1
        print(f"{count} streams", end=" ")
        self.assertGreater(count, 5)

    def test_the_anthropic_package_accepts_recorded_chat_completions(self):
        client = anthropic.Anthropic(base_url=URL, api_key=os.environ["GATEWAY_KEY_RECORDED"], max_retries=0)
        self.addCleanup(client.close)
        count = 0
        for name, expected in streams("chat"):
            with self.subTest(name):
                try:
                    with client.messages.stream(model="claude-sonnet-4-5", max_tokens=50, messages=[
                            {"role": "user", "content": f"[[replay={name}]]"}]) as stream:
                        final = stream.get_final_message()
                except (anthropic.APIError, AssertionError):
                    self.assertTrue(expected.get("error") or not expected["done"])
                    continue
                if expected.get("usage") and expected["done"]:
                    self.assertEqual(final.usage.output_tokens, expected["usage"]["output"])
                count += 1
        print(f"{count} streams", end=" ")
        self.assertGreater(count, 20)


if __name__ == "__main__":
    unittest.main()
