"""Libraries that bring their own client, against a gateway: langchain-openai, pydantic-ai, litellm, llm.

Most of them stream without asking for usage; the gateway meters all the same.
"""
import asyncio
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

URL = os.environ["GATEWAY_URL"]
KEY = os.environ["GATEWAY_KEY"]
BASE = f"{URL}/v1"
MODEL = "openai/gpt-4o"


class LangChain(unittest.TestCase):
    def setUp(self):
        from langchain_openai import ChatOpenAI
        self.model = ChatOpenAI(model=MODEL, base_url=BASE, api_key=KEY)

    def test_invoke(self):
        answer = self.model.invoke("[[chunks=3 tokens_in=10 tokens_out=20 cost=0.001]]")
        self.assertTrue(answer.content)
        self.assertEqual(answer.usage_metadata["output_tokens"], 20)

    def test_stream(self):
        pieces = [piece.content for piece in self.model.stream("[[chunks=6 cost=0.001]]")]
        self.assertTrue("".join(pieces))

    def test_a_tool_is_called(self):
        def weather(city: str) -> str:
            """The weather in a city."""
            return city
        answer = self.model.bind_tools([weather]).invoke("[[tool=1 cost=0.001]]")
        self.assertEqual(answer.tool_calls[0]["name"], "weather")


class PydanticAi(unittest.TestCase):
    def agent(self):
        from pydantic_ai import Agent
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider
        return Agent(OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=BASE, api_key=KEY)))

    def test_openai(self):
        self.assertTrue(self.agent().run_sync("[[chunks=3 cost=0.001]]").output)

    def test_openai_streamed(self):
        async def run():
            async with self.agent().run_stream("[[chunks=4 cost=0.001]]") as result:
                return [piece async for piece in result.stream_text(delta=True)]
        self.assertTrue("".join(asyncio.run(run())))

    def test_anthropic(self):
        from pydantic_ai import Agent
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider
        model = AnthropicModel("claude-sonnet-4-5", provider=AnthropicProvider(api_key=KEY, base_url=URL))
        self.assertTrue(Agent(model).run_sync("[[chunks=3 cost=0.001]]").output)


class LiteLlm(unittest.TestCase):
    def setUp(self):
        import litellm
        litellm.telemetry = False
        self.litellm = litellm
        self.common = {"model": f"openai/{MODEL}", "api_base": BASE, "api_key": KEY}

    def test_completion(self):
        answer = self.litellm.completion(
            messages=[{"role": "user", "content": "[[chunks=3 cost=0.001]]"}], **self.common)
        self.assertTrue(answer.choices[0].message.content)

    def test_stream(self):
        stream = self.litellm.completion(
            messages=[{"role": "user", "content": "[[chunks=4 cost=0.001]]"}], stream=True, **self.common)
        self.assertTrue("".join(chunk.choices[0].delta.content or "" for chunk in stream))

    def test_anthropic(self):
        answer = self.litellm.completion(
            model="anthropic/claude-sonnet-4-5", api_base=URL, api_key=KEY, max_tokens=50,
            messages=[{"role": "user", "content": "[[chunks=3 cost=0.001]]"}])
        self.assertTrue(answer.choices[0].message.content)


class Llm(unittest.TestCase):
    def test_prompt(self):
        with tempfile.TemporaryDirectory() as home:
            pathlib.Path(home, "extra-openai-models.yaml").write_text(
                f"- model_id: weir\n  model_name: {MODEL}\n  api_base: {BASE}\n  api_key_name: weir\n")
            environment = {**os.environ, "LLM_USER_PATH": home}
            command = [os.path.join(os.path.dirname(sys.executable), "llm")]
            subprocess.run([*command, "keys", "set", "weir", "--value", KEY], env=environment, check=True)
            done = subprocess.run([*command, "prompt", "-m", "weir", "[[chunks=3 cost=0.001]]"], env=environment,
                                  check=True, capture_output=True, text=True, timeout=60)
            self.assertTrue(done.stdout.strip())


if __name__ == "__main__":
    unittest.main()
