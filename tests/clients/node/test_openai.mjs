// The openai package for Node against a gateway: only the base URL and the key change.
//
// Reads GATEWAY_URL, GATEWAY_KEY (an agent with money) and GATEWAY_KEY_BROKE (one without). The mock
// provider behind the gateway does what the directive in the prompt says.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import OpenAI from "openai";

const { GATEWAY_URL, GATEWAY_KEY, GATEWAY_KEY_BROKE } = process.env;
const MODEL = "openai/gpt-4o";

/** A client that counts how often it really sends. */
function counted(apiKey = GATEWAY_KEY) {
  const counter = { sent: 0 };
  const client = new OpenAI({
    baseURL: `${GATEWAY_URL}/v1`,
    apiKey,
    fetch: (...request) => {
      counter.sent += 1;
      return fetch(...request);
    },
  });
  return { client, counter, create: (request) => client.chat.completions.create({ model: MODEL, ...request }) };
}

const ask = (content) => [{ role: "user", content }];

async function all(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const textOf = (chunks) =>
  chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta.content ?? "")).join("");

const close = (found, wanted) => assert.ok(Math.abs(found - wanted) < 1e-6, `${found} is not ${wanted}`);

describe("answers", () => {
  test("an answer has its text, its usage and the metadata", async () => {
    const answer = await counted().create({
      messages: ask("[[chunks=5 tokens_in=10 tokens_out=20 cost=0.0015]] Hello"),
    });
    assert.ok(answer.choices[0].message.content);
    assert.equal(answer.usage.prompt_tokens, 10);
    assert.equal(answer.usage.completion_tokens, 20);
    assert.equal(answer._execwall.agent_id, "rich");
    assert.equal(answer._execwall.original_model, MODEL);
    assert.deepEqual(answer._execwall.models_allowed, ["openai/gpt-4o-mini"]);
    close(answer._execwall.cost, 0.0015);
  });

  test("a stream says the same as the whole answer", async () => {
    const { create } = counted();
    const messages = ask("[[chunks=9 cost=0.0003]] Hello");
    const whole = await create({ messages });
    const chunks = await all(await create({ messages, stream: true }));
    assert.equal(textOf(chunks), whole.choices[0].message.content);
    assert.ok(chunks.every((chunk) => chunk.object === "chat.completion.chunk"));
  });

  test("stream usage arrives when it was asked for", async () => {
    const chunks = await all(
      await counted().create({
        messages: ask("[[dialect=openai chunks=3 tokens_in=7 tokens_out=3 cost=0.0004]]"),
        stream: true,
        stream_options: { include_usage: true },
      }),
    );
    const usage = chunks.flatMap((chunk) => (chunk.usage ? [chunk.usage] : []));
    assert.deepEqual(usage.map((one) => [one.prompt_tokens, one.completion_tokens]), [[7, 3]]);
  });

  test("stream usage stays away when it was not", async () => {
    const chunks = await all(
      await counted().create({ messages: ask("[[dialect=openai chunks=3 cost=0.0004]]"), stream: true }),
    );
    assert.ok(chunks.every((chunk) => !chunk.usage));
    assert.ok(textOf(chunks));
  });

  test("stream metadata comes in a valid chunk without choices", async () => {
    const chunks = await all(await counted().create({ messages: ask("[[chunks=3 cost=0.0007]]"), stream: true }));
    const carriers = chunks.filter((chunk) => "_execwall" in chunk);
    assert.equal(carriers.length, 1);
    assert.equal(carriers[0], chunks.at(-1));
    assert.deepEqual(carriers[0].choices, []);
    close(carriers[0]._execwall.cost, 0.0007);
  });

  test("the streaming helper puts the answer together", async () => {
    const stream = counted().client.chat.completions.stream({ model: MODEL, messages: ask("[[chunks=6]] Hello") });
    const answer = await stream.finalChatCompletion();
    assert.ok(answer.choices[0].message.content);
    assert.equal(answer.choices[0].finish_reason, "stop");
  });

  test("a tool call goes round", async () => {
    const { create } = counted();
    const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object" } } }];
    const messages = ask("[[tool=1]] What is the weather in Oslo?");
    const first = await create({ messages, tools });
    const [call] = first.choices[0].message.tool_calls;
    JSON.parse(call.function.arguments);
    messages.push(first.choices[0].message);
    messages.push({ role: "tool", tool_call_id: call.id, content: "[[tool=0]] 4 degrees" });
    const second = await create({ messages, tools });
    assert.ok(second.choices[0].message.content);
  });

  test("extra fields and the newer limit are accepted", async () => {
    const answer = await counted().create({
      messages: ask("[[chunks=50]]"),
      max_completion_tokens: 3,
      provider: { order: ["Mock"] },
    });
    assert.equal(answer.choices[0].finish_reason, "length");
    assert.equal(answer.usage.completion_tokens, 3);
  });

  test("a provider that is busy once is asked again", async () => {
    const answer = await counted().create({
      messages: ask("[[status=429 retry_after=0 fail_first=1 key=node-busy chunks=2]]"),
    });
    assert.ok(answer.choices[0].message.content);
  });
});

describe("refusals", () => {
  /** The error, and that the client did not send again. */
  async function refused(kind, { counter, create }, request = {}) {
    const error = await create({ messages: ask("Hello"), ...request }).then(
      () => assert.fail("it was answered"),
      (error) => error,
    );
    assert.ok(error instanceof kind, `${error}`);
    assert.equal(counter.sent, 1);
    return error;
  }

  test("a wrong key is an authentication error", async () => {
    const error = await refused(OpenAI.AuthenticationError, counted("sk-wrong"));
    assert.equal(error.code, "invalid_api_key");
  });

  test("an exhausted budget is a 402 that is sent once", async () => {
    for (const stream of [false, true]) {
      const error = await refused(OpenAI.APIError, counted(GATEWAY_KEY_BROKE), { stream });
      assert.equal(error.status, 402);
      assert.equal(error.code, "budget_exhausted");
      assert.equal(error.headers.get("x-should-retry"), "false");
    }
  });

  test("an unusable request is a bad request", async () => {
    await refused(OpenAI.BadRequestError, counted(), { messages: [] });
  });

  test("an unknown route is not found", async () => {
    const { client, counter } = counted();
    await assert.rejects(client.post("/no/such/route", { body: {} }), OpenAI.NotFoundError);
    assert.equal(counter.sent, 1);
  });

  test("an error inside a stream is raised after what came before it", async () => {
    const chunks = [];
    const stream = await counted().create({
      messages: ask("[[chunks=9 error_at=2 error_cost=0.0005]]"),
      stream: true,
    });
    const reading = (async () => {
      for await (const chunk of stream) chunks.push(chunk);
    })();
    await assert.rejects(reading, OpenAI.APIError);
    assert.ok(textOf(chunks));
  });
});
