"""docs/verify.py against a gateway that signs everything in both schemes: what it sends verifies, and nothing that
was done to it afterwards does.

Reads GATEWAY_URL, GATEWAY_KEY, GATEWAY_SECRET (of the key `test`) and DOCS.
"""
import json
import os
import random
import sys
import unittest
import urllib.error
import urllib.request

sys.path.insert(0, os.environ["DOCS"])
import verify  # noqa: E402

URL, KEY = os.environ["GATEWAY_URL"], os.environ["GATEWAY_KEY"]
KEYS = {"test": os.environ["GATEWAY_SECRET"].encode()}
PATHS = ["/v1/chat/completions", "/proxy/openai/gpt-4o-mini", "/v1/completions"]


def ask(path, prompt, stream, nonce, key=KEY):
    """What the verifier is to know of an answer: its body, and the rest by name."""
    question = {"prompt": prompt} if path == "/v1/completions" else {"messages": [{"role": "user", "content": prompt}]}
    sent = json.dumps({"model": "openai/gpt-4o-mini", "stream": stream, **question}).encode()
    request = urllib.request.Request(URL + path, sent, {
        "Content-Type": "application/json", "Authorization": f"Bearer {key}", "x-weir-nonce": nonce})
    try:
        answer = urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.read(), {
            "status": answer.status, "request_id": answer.headers["x-weir-request-id"], "path": path,
            "stream": stream and answer.status == 200, "header": answer.headers["x-weir-signature"], "nonce": nonce,
            "request": sent}


class Signatures(unittest.TestCase):
    def test_what_the_gateway_sends_verifies_in_both_schemes(self):
        for path in PATHS:
            for stream in (False, True):
                for prompt in ("[[chunks=5]] Hello", "[[chunks=3 crlf=1 split=7]]", "[[tool=1]]"):
                    with self.subTest(path=path, stream=stream, prompt=prompt):
                        body, known = ask(path, prompt, stream, "n-1")
                        self.assertEqual(verify.v1(KEYS, body, **known)["key"], "test")
                        self.assertGreaterEqual(verify.titan(KEYS, body, stream=stream), 1)

    def test_a_refusal_is_signed_too(self):
        body, known = ask(PATHS[0], "Hello", False, "n-2", key="sk-unknown-0123456789abcdef")
        known["request"] = None
        self.assertEqual(known["status"], 401)
        verify.v1(KEYS, body, **known)
        with self.assertRaises(verify.Wrong):
            verify.v1(KEYS, body, **{**known, "status": 402})

    def test_nothing_that_was_altered_verifies(self):
        chance = random.Random(1)
        for stream in (False, True):
            body, known = ask(PATHS[0], "[[chunks=6]] Hello", stream, "n-3")
            other, others = ask(PATHS[0], "[[chunks=6]] Hello", stream, "n-4")
            wrong = [(body, others), (other, known), (body + b"\n", known)]
            wrong += [(body, {**known, name: "x"}) for name in ("path", "request_id", "nonce", "method")]
            wrong += [(body, {**known, "status": 201}), (body, {**known, "request": b"{}"}),
                      (body, {**known, "stream": not stream})]
            for _ in range(300):
                at = chance.randrange(len(body))
                wrong.append((body[:at], known))
                wrong.append((body[:at] + bytes([body[at] ^ 1 << chance.randrange(8)]) + body[at + 1:], known))
            for changed, said in wrong:
                with self.assertRaises(verify.Wrong):
                    verify.v1(KEYS, changed, **said)
            with self.assertRaises(verify.Wrong):
                verify.v1({"test": b"another secret"}, body, **known)

    def test_reordered_and_missing_chunks_show_in_a_titan_stream(self):
        body, _ = ask(PATHS[1], "[[chunks=6]] Hello", True, "n-5")
        events = body.split(b"\n\n")
        for changed in ([events[1], events[0], *events[2:]], events[1:], [events[0], events[0], *events[1:]]):
            with self.assertRaises(verify.Wrong):
                verify.titan(KEYS, b"\n\n".join(changed), stream=True)


if __name__ == "__main__":
    unittest.main()
