"""The anthropic package against a gateway, as an application uses it: only the base URL and the key change.

The provider behind the agent speaks another dialect, so everything here is translated on its way there and
back. Reads GATEWAY_URL, GATEWAY_KEY (an agent with money) and GATEWAY_KEY_BROKE (one without).
"""
import os
import unittest

import anthropic

URL = os.environ["GATEWAY_URL"]
KEY = os.environ["GATEWAY_KEY"]
BROKE = os.environ["GATEWAY_KEY_BROKE"]
MODEL = "claude-sonnet-4-5"
TOOL = {"name": "weather", "description": "The weather in a city",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}
PIXEL = ("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")


def ask(text):
    return [{"role": "user", "content": text}]


class Case(unittest.TestCase):
    def setUp(self):
        self.client = anthropic.Anthropic(base_url=URL, api_key=KEY)
        self.addCleanup(self.client.close)

    def create(self, text, **more):
        return self.client.messages.create(model=MODEL, max_tokens=100, messages=ask(text), **more)


class Answers(Case):
    def test_an_answer_has_its_text_its_stop_reason_and_its_usage(self):
        answer = self.create("[[chunks=5 tokens_in=10 tokens_out=20 cost=0.0015]] Hello", system="Be brief")
        self.assertEqual((answer.type, answer.role, answer.stop_reason), ("message", "assistant", "end_turn"))
        self.assertTrue(answer.content[0].text)
        self.assertEqual((answer.usage.input_tokens, answer.usage.output_tokens), (10, 20))

    def test_cached_tokens_are_beside_the_input_as_anthropic_counts_them(self):
        answer = self.create("[[chunks=2 tokens_in=100 cached=40 tokens_out=5 cost=0.001]]")
        self.assertEqual((answer.usage.input_tokens, answer.usage.cache_read_input_tokens), (60, 40))

    def test_a_stream_has_the_same_text_as_its_final_message(self):
        with self.client.messages.stream(model=MODEL, max_tokens=100,
                                         messages=ask("[[chunks=8 tokens_in=10 tokens_out=20 cost=0.002]]")) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        self.assertEqual(text, final.content[0].text)
        self.assertEqual(final.stop_reason, "end_turn")
        self.assertEqual((final.usage.input_tokens, final.usage.output_tokens), (10, 20))

    def test_a_bearer_token_is_as_good_as_an_api_key(self):
        with anthropic.Anthropic(base_url=URL, auth_token=KEY) as client:
            answer = client.messages.create(model=MODEL, max_tokens=20, messages=ask("[[chunks=1 cost=0.001]]"))
        self.assertEqual(answer.type, "message")

    def test_an_image_reaches_a_provider_that_has_another_word_for_it(self):
        content = [{"type": "text", "text": "[[chunks=1 cost=0.001]] what is this"},
                   {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}]
        answer = self.client.messages.create(
            model=MODEL, max_tokens=20, messages=[{"role": "user", "content": content}])
        self.assertTrue(answer.content)

    def test_tokens_are_counted_before_they_are_paid_for(self):
        count = self.client.messages.count_tokens(model=MODEL, messages=ask("How many tokens is this?"))
        self.assertGreater(count.input_tokens, 5)


class Tools(Case):
    def test_a_call_and_its_result_are_one_conversation(self):
        messages = ask("[[tool=1 cost=0.001]] weather?")
        answer = self.client.messages.create(model=MODEL, max_tokens=100, messages=messages, tools=[TOOL])
        self.assertEqual(answer.stop_reason, "tool_use")
        call = next(block for block in answer.content if block.type == "tool_use")
        self.assertEqual(call.name, "weather")
        self.assertIsInstance(call.input, dict)
        messages = ask("weather?") + [
            {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in answer.content]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]},
            {"role": "user", "content": "[[chunks=2 cost=0.001]] and?"}]
        answer = self.client.messages.create(model=MODEL, max_tokens=100, messages=messages, tools=[TOOL])
        self.assertEqual(answer.stop_reason, "end_turn")

    def test_a_streamed_call_is_whole(self):
        with self.client.messages.stream(model=MODEL, max_tokens=100, tools=[TOOL],
                                         messages=ask("[[tool=1 cost=0.001]]")) as stream:
            final = stream.get_final_message()
        self.assertEqual(final.stop_reason, "tool_use")
        self.assertIsInstance(final.content[-1].input, dict)


class Errors(Case):
    def test_a_wrong_key_is_an_authentication_error(self):
        with anthropic.Anthropic(base_url=URL, api_key="wrong-key-0123456789") as client:
            with self.assertRaises(anthropic.AuthenticationError) as caught:
                client.messages.create(model=MODEL, max_tokens=10, messages=ask("x"))
        self.assertEqual(caught.exception.body["error"]["type"], "authentication_error")

    def test_no_money_is_a_402_that_is_sent_once(self):
        sent = []
        http_client = anthropic.DefaultHttpxClient(event_hooks={"request": [sent.append]})
        with anthropic.Anthropic(base_url=URL, api_key=BROKE, http_client=http_client) as client:
            with self.assertRaises(anthropic.APIStatusError) as caught:
                client.messages.create(model=MODEL, max_tokens=10, messages=ask("x"))
        self.assertEqual((caught.exception.status_code, len(sent)), (402, 1))
        self.assertEqual(caught.exception.body["error"]["type"], "billing_error")

    def test_a_provider_s_error_keeps_its_status_and_gets_this_api_s_shape(self):
        with self.assertRaises(anthropic.BadRequestError) as caught:
            self.create("[[status=400]]")
        self.assertEqual(caught.exception.body["type"], "error")

    def test_what_the_provider_cannot_be_told_is_named(self):
        with self.assertRaises(anthropic.BadRequestError) as caught:
            self.create("x", tools=[{"type": "web_search_20250305", "name": "web_search"}])
        self.assertIn("tools[0].type", str(caught.exception))

    def test_a_stream_that_breaks_off_is_raised(self):
        with self.assertRaises(anthropic.APIError):
            with self.client.messages.stream(model=MODEL, max_tokens=100,
                                             messages=ask("[[chunks=8 error_at=3 error_cost=0.001]]")) as stream:
                stream.get_final_message()


if __name__ == "__main__":
    unittest.main()
