// @ai-sdk/openai-compatible with the ai package against a gateway: only the base URL and the key change.
// It streams without asking for usage.
//
// Reads GATEWAY_URL and GATEWAY_KEY (an agent with money).
import assert from "node:assert/strict";
import { test } from "node:test";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText, tool } from "ai";
import { z } from "zod";

const { GATEWAY_URL, GATEWAY_KEY } = process.env;
const weir = createOpenAICompatible({ name: "weir", baseURL: `${GATEWAY_URL}/v1`, apiKey: GATEWAY_KEY });
const model = weir("openai/gpt-4o");

test("a text is generated", async () => {
  const { text, usage } = await generateText({ model, prompt: "[[chunks=4 tokens_in=10 tokens_out=20 cost=0.001]]" });
  assert.ok(text);
  assert.equal(usage.outputTokens, 20);
});

test("a text is streamed", async () => {
  const errors = [];
  const result = streamText({ model, prompt: "[[chunks=6 cost=0.001]]", onError: ({ error }) => errors.push(error) });
  let text = "";
  for await (const piece of result.textStream) text += piece;
  assert.deepEqual(errors, []);
  assert.ok(text);
  assert.equal(await result.finishReason, "stop");
});

test("a tool is called", async () => {
  const weather = tool({ description: "The weather in a city", inputSchema: z.object({}).passthrough() });
  const result = await generateText({ model, tools: { weather }, prompt: "[[tool=1 cost=0.001]]" });
  assert.equal(result.toolCalls[0].toolName, "weather");
});
