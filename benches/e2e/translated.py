#!/usr/bin/env python3
"""What translating a stream costs: the gateway's CPU for one answer of 64 chunks whose provider speaks the
client's dialect, and for the same answer said in another one.

    translated.py --weir BINARY [--rounds 6] [--seconds 2]

One gateway and one mock provider; both kinds of requests take turns in short slices, so that what else the
machine does hits both alike. Trust the ratio. Needs only the Python standard library.
"""
import argparse
import http.client
import json
import os
import statistics
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "tests", "clients"))
from fixture import World  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")
PROMPT = "[[chunks=64 coalesce=0]] hello"
SURFACES = {
    "chat": ("/v1/chat/completions", {"model": "m", "stream": True, "max_tokens": 200,
                                      "stream_options": {"include_usage": True}}),
    "messages": ("/v1/messages", {"model": "m", "stream": True, "max_tokens": 200}),
    "responses": ("/v1/responses", {"model": "m", "stream": True, "max_output_tokens": 200}),
}


def cpu(pid):
    """User and system time of a process, in microseconds."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1_000_000 // TICK


def slice_of(world, surface, seconds):
    """Answers served and the gateway's CPU for each."""
    path, body = SURFACES[surface]
    prompt = {"input": PROMPT} if surface == "responses" else {"messages": [{"role": "user", "content": PROMPT}]}
    text = json.dumps({**body, **prompt})
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {world.key('bench')}"}
    end, counts = time.monotonic() + seconds, []

    def client():
        connection, served = http.client.HTTPConnection("127.0.0.1", world.port, timeout=30), 0
        while time.monotonic() < end:
            connection.request("POST", path, text, headers)
            answer = connection.getresponse()
            data = answer.read()
            if answer.status != 200 or len(data) < 64 * 20:
                raise RuntimeError(f"{surface}: {answer.status} {data[:300]}")
            served += 1
        counts.append(served)

    pid, threads = world.gateway.process.pid, [threading.Thread(target=client) for _ in range(8)]
    before = cpu(pid)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (cpu(pid) - before) / sum(counts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--weir", required=True)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=2)
    arguments = parser.parse_args()
    agents = {"bench": {"budget_total": "100000"}}
    found = {surface: [] for surface in SURFACES}
    with World(agents, weir=arguments.weir, settings={"metadata": False}) as world:
        for surface in SURFACES:
            slice_of(world, surface, arguments.seconds / 2)
        for number in range(arguments.rounds):
            order = list(SURFACES)
            for surface in order[number % 3:] + order[:number % 3]:
                found[surface].append(slice_of(world, surface, arguments.seconds))
    base = found["chat"]
    print("| stream of 64 chunks | CPU µs | to the client's own dialect |\n|---|---|---|")
    for surface, values in found.items():
        ratios = [value / own for value, own in zip(values, base)]
        print(f"| {surface} | {statistics.median(values):.0f} ({min(values):.0f}–{max(values):.0f}) "
              f"| {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}) |")


if __name__ == "__main__":
    main()
