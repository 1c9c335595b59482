// The three ways to use the API Orchestrator, as its document writes them: with `fetch` alone. Only the address
// is another one. Gets the address of the orchestrator and prints what came of each as one line of JSON.

import http from 'node:http';

const orchestrator = process.argv[2];

// "Simple inference request", which is option 1, too.
async function simple() {
  const response = await fetch(`${orchestrator}/infer`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({
      messages: [
        { role: 'user', content: 'Hello, how are you?' }
      ],
      systemPrompt: 'You are a helpful assistant.',
      model: 'anthropic/claude-haiku-4-5',
      sessionId: 'user-session-123',
      apiKey: 'api-key-for-tracking',
    }),
  });

  const result = await response.json();
  return { output: result.output, metadata: result.metadata };
}

// Option 1 for whoever called the OpenClaw gateway directly and keeps its form.
async function direct() {
  const resp = await fetch(`${orchestrator}/api/messages`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({
      model: 'anthropic/claude-haiku-4-5',
      max_tokens: 100,
      messages: [{ role: 'user', content: 'Hello' }],
    }),
  });
  const message = await resp.json();
  return { text: message.content[0].text, tokens: message.usage.output_tokens };
}

// Option 2: a gateway that passes on all calls of /api/messages. `app.post` and `res.json` are Express's.
function gateway() {
  const routes = {};
  const app = { post: (path, handler) => { routes[path] = handler; } };

  app.post('/api/messages', async (req, res) => {
    const orchestratorResp = await fetch(`${orchestrator}/infer`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({
        ...req.body,
        sessionId: req.user?.id,
        apiKey: req.headers['authorization'],
      }),
    });

    res.json(await orchestratorResp.json());
  });

  return http.createServer(async (req, res) => {
    let text = '';
    for await (const part of req) text += part;
    req.body = JSON.parse(text);
    res.json = (value) => res.end(JSON.stringify(value));
    await routes[req.url](req, res);
  });
}

async function middleware() {
  const server = gateway();
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const resp = await fetch(`http://127.0.0.1:${server.address().port}/api/messages`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: 'Bearer somebody' },
    body: JSON.stringify({
      model: 'anthropic/claude-haiku-4-5',
      max_tokens: 100,
      system: 'You are a helpful assistant.',
      messages: [{ role: 'user', content: [{ type: 'text', text: 'Hello' }] }],
    }),
  });
  const result = await resp.json();
  server.close();
  return { success: result.success, output: result.output };
}

// Option 3: a sub-agent, which names no content type.
async function subagent() {
  const subagentId = 'scout';
  const conversationHistory = [
    { role: 'user', content: 'Hello' },
    { role: 'assistant', content: 'Hello. What is it?' },
    { role: 'user', content: 'How are you?' },
  ];
  const systemPrompt = 'You are a scout.';
  const response = await fetch(`${orchestrator}/infer`, {
    method: 'POST',
    body: JSON.stringify({
      messages: conversationHistory,
      systemPrompt: systemPrompt,
      model: 'anthropic/claude-sonnet-4-5',
      sessionId: subagentId,
      apiKey: 'subagent-' + subagentId,
    }),
  });
  const result = await response.json();
  return { status: response.status, output: result.output };
}

console.log(JSON.stringify({
  simple: await simple(),
  direct: await direct(),
  middleware: await middleware(),
  subagent: await subagent(),
}));
