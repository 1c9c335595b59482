#!/usr/bin/env python3
"""Checks the signatures of an answer of Weir's. Standard library only; docs/signatures.md explains both schemes.

    curl -D head.txt -o body.txt -H 'x-weir-nonce: 4711' ... http://weir/v1/chat/completions
    HMAC_SECRET=... verify.py --headers head.txt --path /v1/chat/completions --nonce 4711 body.txt

As a module: `v1(...)` and `titan(...)` raise `Wrong` with the reason.
"""
import argparse
import hashlib
import hmac
import json
import os
import re
import sys

HEADER, COMMENT = "x-weir-signature", b": weir-signature "
STAMP = re.compile(r"v1 key=([A-Za-z0-9._-]{1,64}) t=(0|[1-9][0-9]{0,19}) nonce=(-|[A-Za-z0-9_.~+/=-]{1,128}) "
                   r"request=(-|[0-9a-f]{64}) body=([0-9a-f]{64}) mac=([0-9a-f]{64})")


class Wrong(Exception):
    """Why an answer is not what was signed."""


def sign(secret, text):
    return hmac.new(secret, text, hashlib.sha256).hexdigest()


def right(secret, text, signature):
    return hmac.compare_digest(sign(secret, text), str(signature))


def v1(keys, body, *, status, request_id, path, method="POST", stream=False, header=None, nonce=None, request=None):
    """Checks an answer as a whole. `keys` maps ids to secrets; `header` is the value of x-weir-signature, which a
    stream carries in its last line instead; `nonce` and `request` (a body) are what was sent, where that is known."""
    if stream:
        end = body[:-2] if body.endswith(b"\n\n") else b""
        start = max(end.rfind(b"\n"), end.rfind(b"\r")) + 1
        if not end.startswith(COMMENT, start):
            raise Wrong("no signature at the end: the stream was cut off, added to, or never signed")
        header, body = end[start + len(COMMENT):].decode("ascii", "replace"), body[:start]
    if header is None:
        raise Wrong("no signature in the header")
    stamp = STAMP.fullmatch(header)
    if not stamp:
        raise Wrong("the signature cannot be read: it was changed")
    key, millis, signed_nonce, signed_request, digest, mac = stamp.groups()
    if key not in keys:
        raise Wrong(f"signed with the key {key}, which is not known here")
    if hashlib.sha256(body).hexdigest() != digest:
        raise Wrong("the body is not the one that was signed: it was changed or cut off")
    if nonce is not None and nonce != signed_nonce:
        raise Wrong("the nonce is not the one that was sent: this answers another request")
    text = "\n".join(["weir-v1", "stream" if stream else "whole", key, millis, method, path, request_id, str(status),
                      signed_nonce, signed_request, digest, ""])
    if not right(keys[key], text.encode(), mac):
        raise Wrong("the signature is wrong: something that was signed was changed, or the secret is another one")
    if request is not None and hashlib.sha256(request).hexdigest() != signed_request:
        raise Wrong("the request's body is not the one that was answered")
    return {"key": key, "millis": int(millis), "nonce": signed_nonce}


def events(body):
    """The data of every server-sent event."""
    data = []
    for line in re.split(r"\r\n|\n|\r", body.decode("utf-8", "replace").removeprefix("\ufeff") + "\n\n"):
        if line == "":
            if data:
                yield "\n".join(data)
            data = []
        elif line == "data" or line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))


def content(choices):
    """The text of all choices: `message.content` or `delta.content`, else `text`."""
    texts = []
    for choice in choices:
        message = choice.get("message") or choice.get("delta")
        found = message.get("content") if isinstance(message, dict) else None
        if not isinstance(found, (str, list)):
            found = choice.get("text")
        if isinstance(found, list):
            texts += [part["text"] for part in found if isinstance(part, dict) and isinstance(part.get("text"), str)]
        elif isinstance(found, str):
            texts.append(found)
    return "".join(texts)


def choices_of(text):
    try:
        value = json.loads(text)
    except ValueError:
        return None, None
    found = value.get("choices") if isinstance(value, dict) else None
    return value, found if isinstance(found, list) else None


def titan(keys, body, *, stream=False):
    """Checks the Model Gateway's signatures; gives their number."""
    secrets = list(keys.values())
    if not stream:
        value, choices = choices_of(body)
        if choices is None or "signature" not in value:
            raise Wrong("no titan signature")
        text = content(choices).encode("utf-8", "replace")
        if not any(right(secret, text, value["signature"]) for secret in secrets):
            raise Wrong("the signature does not fit the content")
        return 1
    seq = 0
    for data in events(body):
        value, choices = choices_of(data)
        if choices is None:
            continue
        if value.get("x_seq") != seq or "x_signature" not in value:
            raise Wrong(f"a chunk without signature, or not the next one, where number {seq} should be")
        text = json.dumps({"chunk": content(choices), "seq": seq}, separators=(",", ":")).encode()
        if not any(right(secret, text, value["x_signature"]) for secret in secrets):
            raise Wrong(f"chunk {seq}: the signature does not fit the content")
        seq += 1
    if seq == 0:
        raise Wrong("no titan signature: there are no chunks")
    return seq


def read_head(text):
    """Status and headers of the last header that curl saved; names in lower case."""
    status, headers = None, []
    for line in text.splitlines():
        if line.startswith("HTTP/"):
            status, headers = int(line.split()[1]), []
        elif ":" in line:
            name, value = line.split(":", 1)
            headers.append((name.lower(), value.strip(" \t")))
    if status is None:
        raise Wrong("there is no header of an answer")
    if sum(name == HEADER for name, _ in headers) > 1:
        raise Wrong("there are several signatures in the header")
    return status, dict(headers)


def main():
    parser = argparse.ArgumentParser(description="Checks the signatures of an answer of Weir's.")
    parser.add_argument("body")
    parser.add_argument("--headers", help="as curl -D saves them")
    parser.add_argument("--path", help="what was asked for; v1 needs it")
    parser.add_argument("--method", default="POST")
    parser.add_argument("--nonce")
    parser.add_argument("--request", help="the file that was sent")
    parser.add_argument("--scheme", choices=["any", "titan", "v1", "both"], default="any")
    parser.add_argument("--key", action="append", default=[], metavar="ID=FILE")
    args = parser.parse_args()
    keys = {"default": os.environ["HMAC_SECRET"].strip().encode()} if os.environ.get("HMAC_SECRET") else {}
    for stated in args.key:
        name, _, path = stated.partition("=")
        with open(path, "rb") as file:
            keys[name] = file.read().strip()

    def read(path):
        with open(path, "rb") as file:
            return file.read()

    body = read(args.body)
    try:
        status, headers = read_head(read(args.headers).decode("latin-1")) if args.headers else (None, {})
        kind = headers.get("content-type", "")
        stream = kind.lower().startswith("text/event-stream") if headers else not body.lstrip().startswith(b"{")
        checked = False
        if args.scheme in ("v1", "both") or args.scheme == "any" and (HEADER in headers or COMMENT in body):
            if not args.headers or not args.path:
                parser.error("v1 needs --headers and --path")
            stamp = v1(keys, body, status=status, request_id=headers.get("x-weir-request-id", ""), path=args.path,
                       method=args.method, stream=stream, header=headers.get(HEADER), nonce=args.nonce,
                       request=read(args.request) if args.request else None)
            print(f"v1: verified, signed with key {stamp['key']}")
            checked = True
        there = b'"x_signature"' in body if stream else b'"signature"' in body
        if args.scheme in ("titan", "both") or args.scheme == "any" and there:
            print(f"titan: verified, {titan(keys, body, stream=stream)} signatures")
            checked = True
        if not checked:
            raise Wrong("not signed")
    except Wrong as wrong:
        print(f"WRONG: {wrong}")
        sys.exit(2)


if __name__ == "__main__":
    main()
