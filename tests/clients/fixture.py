"""A gateway and a mock provider for tests that go in through the front door. Standard library only."""
import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from decimal import Decimal

ADMIN_TOKEN = "weir-test-admin-0123456789abcdef0123456789abcdef"
PROVIDER_KEY = "sk-test-provider-0123456789"
# The providers that need no configuration but variables, and what follows the address in their base URL.
PROVIDERS = {"OPENAI": "/v1", "ANTHROPIC": "", "GEMINI": ""}
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.path.join(ROOT, os.environ.get("CARGO_TARGET_DIR", "target"))


def free_ports(count):
    """Ports nobody listens on: all are held until all are known, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def get(url, token=None, patience=10):
    """The JSON at a URL; amounts of money stay exact decimals."""
    request = urllib.request.Request(url)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=patience) as answer:
        return json.loads(answer.read(), parse_float=Decimal)


def nanos(usd):
    """Nano-dollars of an amount in dollars; it must not have finer digits."""
    amount = Decimal(usd) * 1_000_000_000
    whole = int(amount.to_integral_value())
    assert amount == whole, f"{usd} has digits below a nano-dollar"
    return whole


class Process:
    """A program of ours with its output in a file, ready when its URL answers."""

    def __init__(self, name, command, directory, ready, environment=None):
        self.name, self.log_path = name, os.path.join(directory, f"{name}.log")
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log,
                                            env={**os.environ, **(environment or {})})
        end, last = time.monotonic() + 20, None
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"{name} ended with {self.process.returncode}:\n{self.log()}")
            try:
                get(ready, patience=2)
                return
            except urllib.error.HTTPError:
                return
            except (OSError, ValueError) as problem:
                last = problem
                time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"{name} is not ready after 20 s ({last}):\n{self.log()}")

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return "".join(file.readlines()[-40:])

    def kill(self):
        """kill -9: nothing is written any more."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Asks it to leave. Returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode


class World:
    """One mock provider, one gateway in front of it, and a directory both live in.

    `agents` maps a name to its settings; each agent gets one key, see `World.key`.
    """

    def __init__(self, agents, weir=None, tiers=("openai/gpt-4o-mini",), settings=None, models=None):
        self.weir = weir or os.environ.get("WEIR") or os.path.join(TARGET, "debug", "weir")
        if not os.access(self.weir, os.X_OK):
            raise RuntimeError(f"there is no {self.weir}: cargo build --bin weir")
        self.weir = os.path.abspath(self.weir)
        self.directory = tempfile.mkdtemp(prefix="weir-test-")
        self.mock_port, self.port, self.events_port = free_ports(3)
        self.mock_url = f"http://127.0.0.1:{self.mock_port}"
        self.url = f"http://127.0.0.1:{self.port}"
        self.events_url = f"ws://127.0.0.1:{self.events_port}/events?token={ADMIN_TOKEN}"
        self.mock = self.gateway = None
        os.makedirs(os.path.join(self.directory, "conf"))
        # JSON is YAML, and needs no library.
        self.write("policy.yaml", {
            "auth": {"keys": [
                {"id": name, "sha256": hashlib.sha256(self.key(name).encode()).hexdigest(), "agent": name}
                for name in agents
            ]},
            "cost_routing": {
                "spend_log": "./spend.jsonl",
                "openrouter": {"base_url": f"{self.mock_url}/v1", "api_key": PROVIDER_KEY,
                               "timeout_seconds": 20},
                "agents": {
                    name: {"budget_source": "local", "period": "none", "hard_cap": True,
                           **({} if "allowed_models" in agent else
                              {"tiers": [{"threshold": 0.0, "models": list(tiers)}]}), **agent}
                    for name, agent in agents.items()
                },
                **(settings or {}),
            },
        })
        if models:
            self.write("conf/models.yaml", models)
        self.write("conf/weir.yaml", {"listen": {"http": f"127.0.0.1:{self.port}"}, "threads": 2,
                                       "events": {"websocket": f"127.0.0.1:{self.events_port}"}})

    @staticmethod
    def key(agent):
        return f"sk-weir-test-{agent}-0123456789"

    def write(self, name, content):
        with open(os.path.join(self.directory, name), "w") as file:
            json.dump(content, file, indent=1)

    def start_mock(self):
        self.mock = Process(
            "mock", [self.weir, "mock", "--listen", f"127.0.0.1:{self.mock_port}", "--require-key", PROVIDER_KEY,
                     "--no-log", "--record", "exchanges.jsonl", "--recorded", os.path.join(ROOT, "tests", "recorded")],
            self.directory, f"{self.mock_url}/health")

    def start_gateway(self):
        self.gateway = Process("gateway", [self.weir, "serve"], self.directory, f"{self.url}/api/health",
                               {"ADMIN_TOKEN": ADMIN_TOKEN, **{f"{name}_API_KEY": PROVIDER_KEY for name in PROVIDERS},
                                **{f"{name}_BASE_URL": self.mock_url + tail for name, tail in PROVIDERS.items()}})

    def __enter__(self):
        try:
            self.start_mock()
            self.start_gateway()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in (self.gateway, self.mock):
            if process:
                process.stop()

    def spend(self):
        """Agent -> nano-dollars, as the admin API says."""
        rows = get(f"{self.url}/api/spend", ADMIN_TOKEN)
        return {agent: nanos(row["budget_spent"]) for agent, row in rows.items()}

    def logged(self):
        """Agent -> nano-dollars, as a reader of the Execwall OR Gate would add up the spend log."""
        totals = {}
        with open(os.path.join(self.directory, "spend.jsonl")) as file:
            for line in file:
                row = json.loads(line, parse_float=Decimal)
                if "event" not in row:
                    totals[row["agent_id"]] = totals.get(row["agent_id"], 0) + nanos(row["cost"])
        return totals

    def announced(self):
        """Nano-dollars, the sum of what the mock provider said its answers cost."""
        return get(f"{self.mock_url}/stats")["announced_cost_nanos"]

    def produced(self):
        """Nano-dollars, what the mock provider put into its answers by its own prices, whether or not
        anybody was left to read it."""
        with open(os.path.join(self.directory, "exchanges.jsonl")) as file:
            rows = [json.loads(line) for line in file]
        return sum(row["produced_cost_nanos"] for row in rows if row["event"] == "end")
