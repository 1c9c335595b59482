"""The openai package against a gateway, as an application uses it: only the base URL and the key change.

Reads GATEWAY_URL, GATEWAY_KEY (an agent with money) and GATEWAY_KEY_BROKE (one without). The mock provider
behind the gateway does what the directive in the prompt says.
"""
import asyncio
import json
import os
import unittest
import urllib.request

import openai

URL = os.environ["GATEWAY_URL"]
KEY = os.environ["GATEWAY_KEY"]
BROKE = os.environ["GATEWAY_KEY_BROKE"]
MODEL = "openai/gpt-4o"
METADATA = {"agent_id", "cost", "budget_remaining", "models_allowed", "original_model"}


class Case(unittest.TestCase):
    """A client that counts how often it really sends."""

    def connect(self, key=KEY):
        self.sent = 0
        http_client = openai.DefaultHttpxClient(event_hooks={"request": [self.count]})
        self.client = openai.OpenAI(base_url=f"{URL}/v1", api_key=key, http_client=http_client)
        self.addCleanup(self.client.close)
        self.chat = self.client.chat.completions

    def count(self, _request):
        self.sent += 1

    def setUp(self):
        self.connect()


def ask(text):
    return [{"role": "user", "content": text}]


def text_of(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


class Answers(Case):
    def test_an_answer_has_its_text_its_usage_and_the_metadata(self):
        answer = self.chat.create(
            model=MODEL, messages=ask("[[chunks=5 tokens_in=10 tokens_out=20 cost=0.0015]] Hello"))
        self.assertTrue(answer.choices[0].message.content)
        self.assertEqual((answer.usage.prompt_tokens, answer.usage.completion_tokens), (10, 20))
        metadata = answer.model_extra["_execwall"]
        self.assertEqual(set(metadata), METADATA)
        self.assertEqual(metadata["agent_id"], "rich")
        self.assertAlmostEqual(metadata["cost"], 0.0015, 6)
        self.assertEqual(metadata["original_model"], MODEL)
        self.assertEqual(metadata["models_allowed"], ["openai/gpt-4o-mini"])

    def test_the_remaining_budget_falls_by_the_cost_once(self):
        prompt = ask("[[chunks=2 cost=0.25]]")
        first, second = (self.chat.create(model=MODEL, messages=prompt).model_extra["_execwall"] for _ in "ab")
        self.assertAlmostEqual(first["budget_remaining"] - second["budget_remaining"], 0.25, 6)

    def test_a_stream_says_the_same_as_the_whole_answer(self):
        prompt = ask("[[chunks=9 cost=0.0003]] Hello")
        whole = self.chat.create(model=MODEL, messages=prompt).choices[0].message.content
        chunks = list(self.chat.create(model=MODEL, messages=prompt, stream=True))
        self.assertEqual(text_of(chunks), whole)
        self.assertEqual({chunk.object for chunk in chunks}, {"chat.completion.chunk"})

    def test_stream_usage_arrives_when_it_was_asked_for(self):
        chunks = list(self.chat.create(
            model=MODEL, messages=ask("[[dialect=openai chunks=3 tokens_in=7 tokens_out=3 cost=0.0004]]"),
            stream=True, stream_options={"include_usage": True}))
        usage = [chunk.usage for chunk in chunks if chunk.usage]
        self.assertEqual([(one.prompt_tokens, one.completion_tokens) for one in usage], [(7, 3)])

    def test_stream_usage_stays_away_when_it_was_not(self):
        chunks = list(self.chat.create(
            model=MODEL, messages=ask("[[dialect=openai chunks=3 cost=0.0004]]"), stream=True))
        self.assertEqual([chunk for chunk in chunks if chunk.usage], [])
        self.assertTrue(text_of(chunks))

    def test_stream_metadata_comes_in_a_valid_chunk_without_choices(self):
        chunks = list(self.chat.create(model=MODEL, messages=ask("[[chunks=3 cost=0.0007]]"), stream=True))
        carriers = [chunk for chunk in chunks if "_execwall" in (chunk.model_extra or {})]
        self.assertEqual(len(carriers), 1)
        self.assertEqual(carriers[0].choices, [])
        self.assertIs(carriers[0], chunks[-1])
        self.assertAlmostEqual(carriers[0].model_extra["_execwall"]["cost"], 0.0007, 6)

    def test_several_choices_arrive(self):
        answer = self.chat.create(model=MODEL, messages=ask("[[chunks=2]]"), n=2)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1])

    def test_a_tool_call_goes_round(self):
        tools = [{"type": "function", "function": {
            "name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
        messages = ask("[[tool=1]] What is the weather in Oslo?")
        answer = self.chat.create(model=MODEL, messages=messages, tools=tools)
        call = answer.choices[0].message.tool_calls[0]
        self.assertEqual(answer.choices[0].finish_reason, "tool_calls")
        json.loads(call.function.arguments)
        messages.append(answer.choices[0].message)
        messages.append({"role": "tool", "tool_call_id": call.id, "content": "[[tool=0]] 4 degrees"})
        answer = self.chat.create(model=MODEL, messages=messages, tools=tools)
        self.assertTrue(answer.choices[0].message.content)

    def test_streamed_tool_arguments_join_to_json(self):
        chunks = self.chat.create(model=MODEL, messages=ask("[[tool=1]]"), stream=True, tools=[
            {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}])
        parts = [call.function.arguments or "" for chunk in chunks for choice in chunk.choices
                 for call in choice.delta.tool_calls or []]
        json.loads("".join(parts))

    def test_extra_fields_and_the_newer_limit_are_accepted(self):
        answer = self.chat.create(
            model=MODEL, messages=ask("[[chunks=50]]"), max_completion_tokens=3,
            extra_body={"provider": {"order": ["Mock"]}, "transforms": ["middle-out"]})
        self.assertEqual(answer.choices[0].finish_reason, "length")
        self.assertEqual(answer.usage.completion_tokens, 3)

    def test_a_long_prompt_with_every_kind_of_text_arrives(self):
        text = "[[chunks=1 cost=0.05]] " + "naïve \"quoted\" \\ back 𝄞 \n\t line\u2028 " * 3000
        answer = self.chat.create(model=MODEL, messages=ask(text))
        self.assertTrue(answer.choices[0].message.content)

    def test_the_asynchronous_client_streams(self):
        async def texts():
            async with openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY) as client:
                async def one():
                    stream = await client.chat.completions.create(
                        model=MODEL, messages=ask("[[chunks=20 delay_ms=5]]"), stream=True)
                    return text_of([chunk async for chunk in stream])
                return await asyncio.gather(*(one() for _ in range(8)))

        found = asyncio.run(texts())
        self.assertEqual(len(set(found)), 1)
        self.assertTrue(found[0])

    def test_a_provider_that_is_busy_once_is_asked_again(self):
        answer = self.chat.create(
            model=MODEL, messages=ask("[[status=429 retry_after=0 fail_first=1 key=python-busy chunks=2]]"))
        self.assertTrue(answer.choices[0].message.content)

    def test_the_key_is_accepted_as_x_api_key(self):
        body = json.dumps({"model": MODEL, "messages": ask("[[chunks=1]]")}).encode()
        request = urllib.request.Request(f"{URL}/v1/chat/completions", body, {
            "Content-Type": "application/json", "x-api-key": KEY})
        with urllib.request.urlopen(request, timeout=20) as answer:
            self.assertIn("choices", json.loads(answer.read()))


class Refusals(Case):
    def refused(self, kind, key=KEY, **request):
        """The error; the client must not have sent again."""
        self.connect(key)
        with self.assertRaises(kind) as caught:
            self.chat.create(**{"model": MODEL, "messages": ask("Hello"), **request})
        self.assertEqual(self.sent, 1)
        return caught.exception

    def test_a_wrong_key_is_an_authentication_error(self):
        error = self.refused(openai.AuthenticationError, "sk-wrong")
        self.assertEqual(error.code, "invalid_api_key")

    def test_an_exhausted_budget_is_a_402_that_is_sent_once(self):
        for stream in (False, True):
            error = self.refused(openai.APIStatusError, BROKE, stream=stream)
            self.assertEqual((error.status_code, error.code), (402, "budget_exhausted"))
            self.assertEqual(error.response.headers["x-should-retry"], "false")
            detail = error.response.json()["detail"]
            self.assertEqual((detail["error"], detail["agent_id"]), ("budget_exhausted", "broke"))

    def test_an_unusable_request_is_a_bad_request(self):
        error = self.refused(openai.BadRequestError, messages=[])
        self.assertTrue(error.message)

    def test_an_unknown_route_is_not_found(self):
        with self.assertRaises(openai.NotFoundError):
            self.client.post("/no/such/route", cast_to=object, body={})
        self.assertEqual(self.sent, 1)

    def test_an_error_inside_a_stream_is_raised_after_what_came_before_it(self):
        chunks = []
        with self.assertRaises(openai.APIError) as caught:
            for chunk in self.chat.create(
                    model=MODEL, messages=ask("[[chunks=9 error_at=2 error_cost=0.0005]]"), stream=True):
                chunks.append(chunk)
        self.assertTrue(text_of(chunks))
        self.assertIn("Provider returned error", caught.exception.message)


if __name__ == "__main__":
    unittest.main()
