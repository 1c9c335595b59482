#!/usr/bin/env python3
"""Weir beside nginx and bare Pingora, on one core each in turn and on the same work.

    run.py --bin DIR [--weir BINARY] [--reps 3]     the comparison; without --weir the two references
    run.py --bin DIR --ab BINARY_A BINARY_B         two builds of Weir against each other
    run.py --bin DIR --weir BINARY --only events    Weir that nobody watches beside one whose events are read by
                                                    WebSocket, and one whose watcher reads nothing
    run.py --bin DIR --weir BINARY --only guard     Weir without a guard beside one whose guard does all it can
    run.py --bin DIR --weir BINARY --only telling   Weir that tells nobody anything beside one with events, insights
                                                    and signatures on
    run.py --bin DIR --weir BINARY --only redis     Weir alone beside Weir that shares its budgets through a
                                                    Redis on this machine: what that adds to a request

Every repetition starts fresh processes. All gateways then stand side by side, and each scenario runs in
short slices for each in turn with the order rotated, so that what else the machine does hits all alike.
Trust the ratios; the absolute figures are this machine's. Needs only the Python standard library.
"""
import argparse
import http.client
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time

import gateways
import machine
import report

STREAMS = 1000
# scenario -> (load generator options, chunks the upstream sends for one answer)
SCENARIOS = {
    "slow1000": (dict(conns=STREAMS, requests=STREAMS, duration=60, ramp=2, stream=True, timeout=120,
                      directive="chunks=100 delay_ms=100"), 104),
    "c64": (dict(conns=64, duration=1.5), None),
    "sse64": (dict(conns=64, duration=1.5, stream=True, directive="chunks=64"), 68),
    "body100k": (dict(conns=16, duration=1.5, body_size=102400), None),
    "c1": (dict(conns=1, duration=3), None),
    # Arrivals at a fixed rate, far from what either gateway can do.
    "paced64": (dict(conns=64, duration=3, rate=1500), None),
    # An agent's turn: a conversation that grew by 3 kB, the same again, one of which nothing came before; a long
    # answer.
    "turn36k": (dict(conns=16, duration=1.5, body_size=36864, new_bytes=3072), None),
    "turn36k-same": (dict(conns=16, duration=1.5, body_size=36864), None),
    "turn36k-new": (dict(conns=16, duration=1.5, body_size=36864, new_bytes=36700), None),
    "sse1000": (dict(conns=8, duration=3, stream=True, directive="chunks=1000"), 1004),
    "first1": (dict(conns=1, duration=2, stream=True, directive="chunks=4"), None),
}
COMPARED = ["slow1000", "c64", "sse64", "body100k"]
SHARED = ["c1", "paced64", "c64"]
GENTLE = [dict(conns=8, duration=0.5), dict(conns=8, duration=0.5, stream=True)]
THOROUGH = [dict(conns=64, duration=1), dict(conns=64, duration=1, stream=True),
            dict(conns=16, duration=0.5, body_size=102400)]
SLICES = 3


class StreamMemory(threading.Thread):
    """Resident memory while the streams are open: asks the upstream how many are, and keeps the
    reading next to it."""

    def __init__(self, pids):
        super().__init__(daemon=True)
        self.pids, self.readings, self.over = pids, [], threading.Event()
        self.before = report.median([machine.resident_kb(pids) for _ in range(3)])

    def run(self):
        while not self.over.wait(0.4):
            connection = http.client.HTTPConnection("127.0.0.1", gateways.MOCK_PORT, timeout=5)
            try:
                connection.request("GET", "/stats")
                count = json.loads(connection.getresponse().read())["open_streams"]
                self.readings.append((count, machine.resident_kb(self.pids)))
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()

    def kb_per_stream(self):
        """The median over the readings with all streams open; None when that never was the case."""
        self.over.set()
        self.join()
        full = [kb for count, kb in self.readings if count >= STREAMS * 0.98]
        return (report.median(full) - self.before) / STREAMS if full else None


class Bench:
    def __init__(self, arguments, contestants):
        self.arguments, self.contestants = arguments, contestants
        self.load = gateways.Load(os.path.join(arguments.bin, "loadgen"))
        self.work = os.path.join(arguments.out, "work")
        self.mock = None
        self.results = {
            "gateways": [gateway.name for gateway in contestants], "reps": arguments.reps,
            "start": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "samples": {},
            "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "cpu": cpu_model()},
        }

    def run(self):
        os.makedirs(self.work, exist_ok=True)
        machine.allow_open_files()
        program = os.path.join(self.arguments.bin, "fastmock")
        self.mock = gateways.pinned(gateways.LOAD_CORE, [program, f"127.0.0.1:{gateways.MOCK_PORT}"])
        try:
            for rep in range(self.arguments.reps):
                self.repetition(rep)
        finally:
            gateways.end(self.mock)

    def repetition(self, rep):
        turn = rep % len(self.contestants)
        order = self.contestants[turn:] + self.contestants[:turn]
        wanted = self.arguments.scenarios
        try:
            for gateway in order:
                gateway.start(self.work, self.load)
            if self.arguments.nice:
                machine.prefer([os.getpid(), self.mock.pid], self.arguments.nice)
                for gateway in order:
                    machine.prefer([*gateway.pids, *gateway.store_pids], self.arguments.nice)
            # The streams come first: memory that earlier work left with the allocator would hide
            # what they take.
            self.warm(order, GENTLE)
            if "slow1000" in wanted:
                self.slice(rep, "slow1000", order)
            self.warm(order, THOROUGH)
            for scenario in (name for name in wanted if name != "slow1000"):
                for part in range(SLICES):
                    turn = part % len(order)
                    self.slice(rep, scenario, order[turn:] + order[:turn])
            if self.arguments.perf and rep == 0:
                for scenario in wanted:
                    for gateway in order:
                        self.profile(gateway, scenario)
        finally:
            for gateway in order:
                gateway.stop()

    def warm(self, order, kinds):
        for gateway in order:
            for options in kinds:
                self.load.run(gateway, **options)

    def slice(self, rep, scenario, order):
        for gateway in order:
            try:
                sample = self.measure(gateway, scenario)
                line = (f"{sample['cpu_us']:9.1f} us CPU a request  {sample['rps']:8.0f}/s  share {sample['share']:.2f}"
                        f"  errors {sample['errors']}  others {sample['foreign_cores']:.2f} cores")
                if gateway.store_pids:
                    line += f"  store {sample['store_cpu_us']:.1f} us"
                if sample["errors"]:
                    line += f"  {sample['error_kinds']} {sample['error_sample'] or ''}"
            except (RuntimeError, subprocess.TimeoutExpired) as problem:
                sample, line = None, str(problem)
            self.results["samples"].setdefault(scenario, {}).setdefault(gateway.name, []).append(sample)
            print(f"rep {rep + 1} {scenario:9} {gateway.name:6} {line}", flush=True)

    def measure(self, gateway, scenario):
        options, chunks = SCENARIOS[scenario]
        memory = None
        if scenario == "slow1000":
            memory = StreamMemory(gateway.pids)
            memory.start()
        own = [os.getpid(), self.mock.pid, *gateway.pids, *gateway.store_pids]

        def reading():
            children = os.times()
            load = children.children_user + children.children_system
            return (machine.cpu_seconds(gateway.pids), machine.cpu_seconds(gateway.store_pids),
                    machine.cpu_seconds(own) + load, machine.busy_seconds()[0], time.monotonic())

        before = reading()
        seen = self.load.run(gateway, **options)
        used, stored, ours, busy, took = (new - old for new, old in zip(reading(), before))
        answers = seen["ok"] + seen["errors"]
        if not seen["ok"]:
            raise RuntimeError(f"no answer counted: {seen['error_kinds']} {seen['error_sample']}")
        sample = {
            "cpu_us": used * 1e6 / answers, "store_cpu_us": stored * 1e6 / answers, "rps": seen["rps"], "share": used / took,
            "errors": seen["errors"], "error_kinds": seen["error_kinds"], "error_sample": seen["error_sample"],
            "p50_us": seen["latency_us"]["p50"], "p99_us": seen["latency_us"]["p99"],
            "foreign_cores": max(0.0, (busy - ours) / took),
        }
        if options.get("stream"):
            sample["first_p50_us"] = seen["first_chunk_us"]["p50"]
        if chunks:
            sample["cpu_us_chunk"] = used * 1e6 / (seen["ok"] * chunks)
            sample["first_chunk_p99_us"] = seen["first_chunk_us"]["p99"]
        if memory:
            sample["kb_before"] = memory.before
            sample["kb_per_stream"] = memory.kb_per_stream()
        return sample

    def profile(self, gateway, scenario):
        """One more run under perf, not counted."""
        base = os.path.join(self.arguments.out, f"perf-{gateway.name}-{scenario}")
        pids = ",".join(map(str, gateway.pids))
        recorder = subprocess.Popen(["perf", "record", "-q", "-g", "-F", "999", "-p", pids, "-o", base + ".data"],
                                    stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        self.load.run(gateway, **SCENARIOS[scenario][0])
        recorder.send_signal(signal.SIGINT)
        recorder.wait(30)
        with open(base + ".txt", "w") as file:
            subprocess.run(["perf", "report", "--stdio", "--no-children", "-g", "none", "--percent-limit", "0.3",
                            "-i", base + ".data"], stdout=file, stderr=subprocess.DEVNULL, check=False)
        print(f"profile: {base}.txt", flush=True)


def cpu_model():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def arguments():
    here = gateways.HERE
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="where loadgen, fastmock and bare-pingora are")
    parser.add_argument("--weir", help="the weir binary; left out, only the references run")
    parser.add_argument("--ab", nargs=2, metavar=("A", "B"), help="compare two weir binaries")
    parser.add_argument("--only", choices=["redis", "events", "telling", "guard"],
                        help="what sharing through Redis adds, or being watched, or telling everything, or guarding")
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--scenarios", type=lambda text: text.split(","))
    parser.add_argument("--out", default=os.path.join(here, "out"))
    parser.add_argument("--nice", type=int, default=0, help="priority on a busy machine, such as -10 (root)")
    parser.add_argument("--perf", action="store_true", help="also record one profile a gateway and scenario")
    parser.add_argument("--check", action="store_true", help="end with 1 when a target is missed")
    parsed = parser.parse_args()
    if parsed.only and not parsed.weir:
        parser.error("--only needs --weir")
    usual = {"redis": SHARED, "events": ["c64", "sse64"], "telling": ["c64", "sse64"],
             "guard": ["turn36k", "turn36k-same", "turn36k-new", "sse1000", "first1"], None: COMPARED}
    parsed.scenarios = parsed.scenarios or usual[parsed.only]
    unknown = [name for name in parsed.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"unknown scenario {unknown[0]}; there are {', '.join(SCENARIOS)}")
    if parsed.perf and not shutil.which("perf"):
        parser.error("--perf needs perf (Debian: apt install linux-perf)")
    if len(os.sched_getaffinity(0)) < 2:
        parser.error("two cores are needed: one for the gateway, one for the load")
    parsed.bin, parsed.out = os.path.abspath(parsed.bin), os.path.abspath(parsed.out)
    return parsed


def main():
    given = arguments()
    if given.ab:
        contestants = [gateways.Weir("A", 9300, given.ab[0]), gateways.Weir("B", 9301, given.ab[1])]
    elif given.only == "events":
        contestants = [gateways.Weir("quiet", 9300, given.weir),
                       gateways.Watched("read", 9301, given.weir, 9304, reads=True),
                       gateways.Watched("stopped", 9302, given.weir, 9305, reads=False)]
    elif given.only == "guard":
        contestants = [gateways.Open("open", 9300, given.weir), gateways.Guarded("guarded", 9301, given.weir)]
    elif given.only == "telling":
        contestants = [gateways.Plain("plain", 9300, given.weir),
                       gateways.Telling("telling", 9301, given.weir, 9304)]
    elif given.only:
        contestants = [gateways.Weir("memory", 9300, given.weir),
                       gateways.Sharing("redis", 9301, given.weir, 9302)]
    else:
        contestants = [gateways.Nginx("nginx", 9201),
                       gateways.Bare("bare", 9202, os.path.join(given.bin, "bare-pingora"))]
        if given.weir:
            contestants.append(gateways.Weir("weir", 9300, given.weir))
    bench = Bench(given, contestants)
    try:
        bench.run()
    except (RuntimeError, FileNotFoundError) as problem:
        sys.exit(f"bench: {problem}")
    only = {"redis": report.sharing, "events": report.watching, "telling": report.telling,
            "guard": report.guarding, None: report.comparison}
    told = report.duel if given.ab else only[given.only]
    text, met = told(bench.results)
    with open(os.path.join(given.out, "results.json"), "w") as file:
        json.dump(bench.results, file, indent=1)
    with open(os.path.join(given.out, "results.md"), "w") as file:
        file.write(text)
    print("\n" + text)
    if given.check and not met:
        sys.exit(1)


if __name__ == "__main__":
    main()
