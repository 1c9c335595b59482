"""The other APIs of the openai package against a gateway: responses, completions, embeddings, models.

Responses are translated: the provider behind the agent speaks chat completions only.
"""
import os
import unittest

import openai

URL = os.environ["GATEWAY_URL"]
KEY = os.environ["GATEWAY_KEY"]
TOOL = {"type": "function", "name": "weather", "strict": False,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


class Case(unittest.TestCase):
    def setUp(self):
        self.client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY)
        self.addCleanup(self.client.close)


class Responses(Case):
    def test_a_response_has_its_text_and_its_usage(self):
        answer = self.client.responses.create(
            model="gpt-4o", input="[[chunks=5 tokens_in=10 tokens_out=20 cost=0.0015]]", instructions="Be brief")
        self.assertEqual(answer.status, "completed")
        self.assertTrue(answer.output_text)
        self.assertEqual((answer.usage.input_tokens, answer.usage.output_tokens), (10, 20))

    def test_a_stream_ends_with_the_whole_response(self):
        with self.client.responses.stream(model="gpt-4o", input="[[chunks=8 cost=0.002]]") as stream:
            text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
            final = stream.get_final_response()
        self.assertEqual(text, final.output_text)
        self.assertEqual(final.status, "completed")

    def test_a_call_and_its_output_are_one_conversation(self):
        answer = self.client.responses.create(model="gpt-4o", input="[[tool=1 cost=0.001]]", tools=[TOOL])
        call = next(item for item in answer.output if item.type == "function_call")
        self.assertEqual(call.name, "weather")
        items = [{"role": "user", "content": "weather?"}, call.model_dump(exclude_none=True),
                 {"type": "function_call_output", "call_id": call.call_id, "output": "rain"},
                 {"role": "user", "content": "[[chunks=2 cost=0.001]]"}]
        answer = self.client.responses.create(model="gpt-4o", input=items, tools=[TOOL])
        self.assertTrue(answer.output_text)

    def test_what_could_not_be_metered_is_refused(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.responses.create(model="gpt-4o", input="x", background=True)
        self.assertEqual(caught.exception.param, "background")


class Models(Case):
    def test_the_list_holds_what_this_key_may_use(self):
        self.assertEqual([model.id for model in self.client.models.list()], ["openai/gpt-4o-mini"])


if __name__ == "__main__":
    unittest.main()
