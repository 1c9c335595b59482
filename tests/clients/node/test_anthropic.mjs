// The @anthropic-ai/sdk package against a gateway: only the base URL and the key change. The provider
// behind the agent speaks another dialect, so everything is translated on its way there and back.
//
// Reads GATEWAY_URL, GATEWAY_KEY (an agent with money) and GATEWAY_KEY_BROKE (one without).
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";

const { GATEWAY_URL, GATEWAY_KEY, GATEWAY_KEY_BROKE } = process.env;
const model = "claude-sonnet-4-5";
const client = (apiKey = GATEWAY_KEY) => new Anthropic({ baseURL: GATEWAY_URL, apiKey });
const ask = (content) => ({ model, max_tokens: 100, messages: [{ role: "user", content }] });
const tools = [{ name: "weather", input_schema: { type: "object", properties: { city: { type: "string" } } } }];

describe("answers", () => {
  test("an answer has its text, its stop reason and its usage", async () => {
    const answer = await client().messages.create(ask("[[chunks=5 tokens_in=10 tokens_out=20 cost=0.0015]] Hello"));
    assert.ok(answer.content[0].text);
    assert.equal(answer.stop_reason, "end_turn");
    assert.deepEqual([answer.usage.input_tokens, answer.usage.output_tokens], [10, 20]);
  });

  test("a stream says the same as its final message", async () => {
    const stream = client().messages.stream(ask("[[chunks=8 cost=0.002]]"));
    let text = "";
    stream.on("text", (piece) => (text += piece));
    const final = await stream.finalMessage();
    assert.ok(text);
    assert.equal(final.content[0].text, text);
  });

  test("a tool is called, whole and streamed", async () => {
    const request = { ...ask("[[tool=1 cost=0.001]]"), tools };
    const whole = await client().messages.create(request);
    const streamed = await client().messages.stream(request).finalMessage();
    for (const answer of [whole, streamed]) {
      assert.equal(answer.stop_reason, "tool_use");
      assert.equal(answer.content.at(-1).name, "weather");
      assert.equal(typeof answer.content.at(-1).input, "object");
    }
  });
});

describe("errors", () => {
  test("a wrong key, no money and a provider's error are each their own class", async () => {
    await assert.rejects(client("wrong-key-0123456789").messages.create(ask("x")), Anthropic.AuthenticationError);
    await assert.rejects(client(GATEWAY_KEY_BROKE).messages.create(ask("x")), { status: 402 });
    await assert.rejects(client().messages.create(ask("[[status=400]]")), Anthropic.BadRequestError);
  });
});
