// The Model Gateway's own snippet, as its manual has it, against a gateway: only the address changes.
//
// Reads GATEWAY_URL, GATEWAY_KEY and EVENTS_URL (the WebSocket, with the admin token in its query).
import assert from "node:assert/strict";
import { describe, test } from "node:test";

const { GATEWAY_URL, GATEWAY_KEY, EVENTS_URL } = process.env;

const SNIPPET = `
const ws = new WebSocket('ws://localhost:8088/events');
ws.onmessage = (event) => {
  const data = JSON.parse(event.data);
  if (data.event_type === 'model.request.complete') {
    console.log(\`Model: \${data.model}, Cost: $\${data.usd}\`);
  }
};
`;

/** Runs the snippet; gives its socket once that is open, and a promise of its first line. */
async function watching() {
  assert.ok(SNIPPET.includes("ws://localhost:8088/events"));
  const source = SNIPPET.replace("ws://localhost:8088/events", EVENTS_URL);
  let say;
  const line = new Promise((resolve) => { say = resolve; });
  const ws = new Function("console", `${source}; return ws;`)({ log: say });
  await new Promise((resolve, reject) => {
    ws.onopen = resolve;
    ws.onerror = () => reject(new Error("no WebSocket"));
  });
  return { ws, line };
}

describe("events", () => {
  for (const stream of [false, true]) {
    test(`the Model Gateway's snippet says what ${stream ? "a stream" : "an answer"} has cost`, async () => {
      const { ws, line } = await watching();
      const answer = await fetch(`${GATEWAY_URL}/v1/chat/completions`, {
        method: "POST",
        headers: { authorization: `Bearer ${GATEWAY_KEY}`, "content-type": "application/json" },
        body: JSON.stringify({
          messages: [{ role: "user", content: "[[tokens_in=100 tokens_out=50]] Hello" }],
          stream,
        }),
      });
      assert.equal(answer.status, 200);
      await answer.text();
      assert.match(await line, /^Model: openai\/gpt-4o-mini, Cost: \$0\.0000\d+$/);
      ws.close();
    });
  }

  test("a server-sent stream is one that fetch can read, too", async () => {
    const abort = new AbortController();
    const token = new URL(EVENTS_URL).search;
    const events = await fetch(`${GATEWAY_URL}/events${token}`, { signal: abort.signal });
    assert.equal(events.headers.get("content-type"), "text/event-stream");
    const reader = events.body.pipeThrough(new TextDecoderStream()).getReader();
    assert.match((await reader.read()).value, /^retry: 2000\n/);
    abort.abort();
  });
});
