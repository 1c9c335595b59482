#!/usr/bin/env node
// Checks the signatures of an answer of Weir's. Nothing but Node; docs/signatures.md explains both schemes.
//
//     HMAC_SECRET=... node verify.mjs --headers head.txt --path /v1/chat/completions --nonce 4711 body.txt
//
// As a module: v1(...) and titan(...) throw Wrong with the reason.
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

const HEADER = "x-weir-signature";
const COMMENT = ": weir-signature ";
const STAMP = new RegExp(
  "^v1 key=([A-Za-z0-9._-]{1,64}) t=(0|[1-9][0-9]{0,19}) nonce=(-|[A-Za-z0-9_.~+/=-]{1,128}) " +
    "request=(-|[0-9a-f]{64}) body=([0-9a-f]{64}) mac=([0-9a-f]{64})$",
);

export class Wrong extends Error {}

const digestOf = (bytes) => createHash("sha256").update(bytes).digest("hex");

function right(secret, text, signature) {
  const expected = Buffer.from(createHmac("sha256", secret).update(text).digest("hex"));
  const given = Buffer.from(String(signature));
  return given.length === expected.length && timingSafeEqual(given, expected);
}

/** Checks an answer as a whole. `keys` is a Map of ids to secrets, `body` a Buffer; `header` is the value of
 * x-weir-signature, which a stream carries in its last line instead; `nonce` and `request` (a body) are what was
 * sent, where that is known. */
export function v1(keys, body, { status, requestId, path, method = "POST", stream = false, header, nonce, request }) {
  if (stream) {
    const end = body.subarray(-2).equals(Buffer.from("\n\n")) ? body.subarray(0, -2) : Buffer.alloc(0);
    const start = Math.max(end.lastIndexOf(10), end.lastIndexOf(13)) + 1;
    const line = end.subarray(start).toString("latin1");
    if (!line.startsWith(COMMENT)) {
      throw new Wrong("no signature at the end: the stream was cut off, added to, or never signed");
    }
    header = line.slice(COMMENT.length);
    body = body.subarray(0, start);
  }
  if (header === undefined) throw new Wrong("no signature in the header");
  const stamp = STAMP.exec(header);
  if (!stamp || stamp[0] !== header) throw new Wrong("the signature cannot be read: it was changed");
  const [, key, millis, signedNonce, signedRequest, digest, mac] = stamp;
  if (!keys.has(key)) throw new Wrong(`signed with the key ${key}, which is not known here`);
  if (digestOf(body) !== digest) throw new Wrong("the body is not the one that was signed: it was changed or cut off");
  if (nonce !== undefined && nonce !== signedNonce) {
    throw new Wrong("the nonce is not the one that was sent: this answers another request");
  }
  const form = stream ? "stream" : "whole";
  const signed = ["weir-v1", form, key, millis, method, path, requestId, status, signedNonce, signedRequest, digest, ""];
  if (!right(keys.get(key), signed.join("\n"), mac)) {
    throw new Wrong("the signature is wrong: something that was signed was changed, or the secret is another one");
  }
  if (request !== undefined && digestOf(request) !== signedRequest) {
    throw new Wrong("the request's body is not the one that was answered");
  }
  return { key, millis: Number(millis), nonce: signedNonce };
}

/** The data of every server-sent event. */
export function events(body) {
  const found = [];
  let data = [];
  for (const line of `${body.toString("utf8").replace(/^\ufeff/, "")}\n\n`.split(/\r\n|\n|\r/)) {
    if (line === "") {
      if (data.length > 0) found.push(data.join("\n"));
      data = [];
    } else if (line === "data" || line.startsWith("data:")) {
      data.push(line.slice(5).replace(/^ /, ""));
    }
  }
  return found;
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** The text of all choices: `message.content` or `delta.content`, else `text`. */
function content(choices) {
  return choices
    .map((choice) => {
      const message = choice.message ?? choice.delta;
      let found = isObject(message) ? message.content : undefined;
      if (typeof found !== "string" && !Array.isArray(found)) found = choice.text;
      if (Array.isArray(found)) {
        return found.map((part) => (isObject(part) && typeof part.text === "string" ? part.text : "")).join("");
      }
      return typeof found === "string" ? found : "";
    })
    .join("");
}

/** What Python's json.dumps makes of {"chunk": text, "seq": seq}. */
function statement(text, seq) {
  const ascii = JSON.stringify(text).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return `{"chunk":${ascii},"seq":${seq}}`;
}

function parse(text) {
  try {
    const value = JSON.parse(text);
    return isObject(value) && Array.isArray(value.choices) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Checks the Model Gateway's signatures; gives their number. */
export function titan(keys, body, { stream = false } = {}) {
  const fits = (text, signature) => [...keys.values()].some((secret) => right(secret, text, signature));
  if (!stream) {
    const value = parse(body.toString("utf8"));
    if (value?.signature === undefined) throw new Wrong("no titan signature");
    if (!fits(content(value.choices), value.signature)) throw new Wrong("the signature does not fit the content");
    return 1;
  }
  let seq = 0;
  for (const value of events(body).map(parse)) {
    if (value === undefined) continue;
    if (value.x_seq !== seq || value.x_signature === undefined) {
      throw new Wrong(`a chunk without signature, or not the next one, where number ${seq} should be`);
    }
    if (!fits(statement(content(value.choices), seq), value.x_signature)) {
      throw new Wrong(`chunk ${seq}: the signature does not fit the content`);
    }
    seq += 1;
  }
  if (seq === 0) throw new Wrong("no titan signature: there are no chunks");
  return seq;
}

/** Status and headers of the last header that curl saved; names in lower case. */
export function readHead(text) {
  let status;
  let headers = new Map();
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith("HTTP/")) {
      status = Number(line.split(" ")[1]);
      headers = new Map();
    } else if (line.includes(":")) {
      const at = line.indexOf(":");
      const name = line.slice(0, at).toLowerCase();
      if (name === HEADER && headers.has(name)) throw new Wrong("there are several signatures in the header");
      headers.set(name, line.slice(at + 1).replace(/^[ \t]+|[ \t]+$/g, ""));
    }
  }
  if (status === undefined) throw new Wrong("there is no header of an answer");
  return { status, headers };
}

function main() {
  const text = { type: "string" };
  const { values: args, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      headers: text, path: text, nonce: text, request: text,
      method: { type: "string", default: "POST" },
      scheme: { type: "string", default: "any" },
      key: { type: "string", multiple: true, default: [] },
    },
  });
  const keys = new Map();
  if (process.env.HMAC_SECRET) keys.set("default", process.env.HMAC_SECRET.trim());
  for (const stated of args.key) {
    const at = stated.indexOf("=");
    keys.set(stated.slice(0, at), readFileSync(stated.slice(at + 1), "utf8").trim());
  }
  const body = readFileSync(positionals[0]);
  const head = args.headers === undefined ? undefined : readHead(readFileSync(args.headers, "latin1"));
  const kind = head?.headers.get("content-type") ?? "";
  const stream = head ? kind.toLowerCase().startsWith("text/event-stream") : body.toString().trimStart()[0] !== "{";
  let checked = false;
  const any = args.scheme === "any";
  if (["v1", "both"].includes(args.scheme) || (any && (head?.headers.has(HEADER) || body.includes(COMMENT)))) {
    if (!head || args.path === undefined) throw new Error("v1 needs --headers and --path");
    const stamp = v1(keys, body, {
      status: head.status, requestId: head.headers.get("x-weir-request-id") ?? "", path: args.path,
      method: args.method, stream, header: head.headers.get(HEADER), nonce: args.nonce,
      request: args.request === undefined ? undefined : readFileSync(args.request),
    });
    console.log(`v1: verified, signed with key ${stamp.key}`);
    checked = true;
  }
  if (["titan", "both"].includes(args.scheme) || (any && body.includes(stream ? '"x_signature"' : '"signature"'))) {
    console.log(`titan: verified, ${titan(keys, body, { stream })} signatures`);
    checked = true;
  }
  if (!checked) throw new Wrong("not signed");
}

if (import.meta.filename === process.argv[1] || process.argv[1]?.endsWith("verify.mjs")) {
  try {
    main();
  } catch (error) {
    if (!(error instanceof Wrong)) throw error;
    console.log(`WRONG: ${error.message}`);
    process.exit(2);
  }
}
