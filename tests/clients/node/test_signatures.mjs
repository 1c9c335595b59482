// docs/verify.mjs against a gateway that signs everything in both schemes: what it sends verifies, and nothing that
// was done to it afterwards does. Reads GATEWAY_URL, GATEWAY_KEY, GATEWAY_SECRET (of the key `test`) and DOCS.
import assert from "node:assert/strict";
import test from "node:test";
import { pathToFileURL } from "node:url";

const { v1, titan, Wrong } = await import(pathToFileURL(`${process.env.DOCS}/verify.mjs`).href);
const keys = new Map([["test", process.env.GATEWAY_SECRET]]);

async function ask(path, prompt, stream, nonce) {
  const question = path === "/v1/completions" ? { prompt } : { messages: [{ role: "user", content: prompt }] };
  const sent = JSON.stringify({ model: "openai/gpt-4o-mini", stream, ...question });
  const answer = await fetch(process.env.GATEWAY_URL + path, {
    method: "POST",
    body: sent,
    headers: {
      "content-type": "application/json", authorization: `Bearer ${process.env.GATEWAY_KEY}`, "x-weir-nonce": nonce,
    },
  });
  const body = Buffer.from(await answer.arrayBuffer());
  const known = {
    status: answer.status, requestId: answer.headers.get("x-weir-request-id"), path, stream, nonce,
    header: answer.headers.get("x-weir-signature"), request: Buffer.from(sent),
  };
  return [body, known];
}

test("what the gateway sends verifies in both schemes", async () => {
  for (const path of ["/v1/chat/completions", "/proxy/openai/gpt-4o-mini", "/v1/completions"]) {
    for (const stream of [false, true]) {
      for (const prompt of ["[[chunks=5]] Hello", "[[chunks=3 crlf=1 split=7]]", "[[tool=1]]"]) {
        const [body, known] = await ask(path, prompt, stream, "n-1");
        assert.equal(v1(keys, body, known).key, "test");
        assert.ok(titan(keys, body, { stream }) >= 1);
      }
    }
  }
});

test("nothing that was altered verifies", async () => {
  for (const stream of [false, true]) {
    const [body, known] = await ask("/v1/chat/completions", "[[chunks=6]] Hello", stream, "n-3");
    const [other, others] = await ask("/v1/chat/completions", "[[chunks=6]] Hello", stream, "n-4");
    const wrong = [[body, others], [other, known], [Buffer.concat([body, Buffer.from("\n")]), known]];
    for (const name of ["path", "requestId", "nonce", "method"]) wrong.push([body, { ...known, [name]: "x" }]);
    wrong.push([body, { ...known, status: 201 }], [body, { ...known, request: Buffer.from("{}") }]);
    wrong.push([body, { ...known, stream: !stream }]);
    for (let at = 0; at < body.length; at += 3) {
      const flipped = Buffer.from(body);
      flipped[at] ^= 1 << at % 8;
      wrong.push([flipped, known], [body.subarray(0, at), known]);
    }
    for (const [changed, said] of wrong) assert.throws(() => v1(keys, changed, said), Wrong);
    assert.throws(() => v1(new Map([["test", "another secret"]]), body, known), Wrong);
  }
});

test("reordered and missing chunks show in a titan stream", async () => {
  const [body] = await ask("/proxy/openai/gpt-4o-mini", "[[chunks=6]] Hello", true, "n-5");
  const events = body.toString().split("\n\n");
  for (const changed of [[events[1], events[0], ...events.slice(2)], events.slice(1), [events[0], ...events]]) {
    assert.throws(() => titan(keys, Buffer.from(changed.join("\n\n")), { stream: true }), Wrong);
  }
});
