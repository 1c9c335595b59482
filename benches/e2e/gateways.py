"""The gateways that are compared: how each is started, asked and stopped."""
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import machine

HERE = os.path.dirname(os.path.abspath(__file__))
MOCK_PORT = 9100
GATEWAY_CORE, LOAD_CORE = "0", "1"
KEY = "weir-bench-key-0123456789"


def pinned(core, command, **options):
    return subprocess.Popen(["taskset", "-c", core, *command], start_new_session=True, **options)


def end(process):
    """Asks a process of ours to leave, and makes it when it does not."""
    if process.poll() is not None:
        return
    pids = machine.tree(process.pid)
    for sign, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        for pid in pids:
            try:
                os.kill(pid, sign)
            except ProcessLookupError:
                pass
        try:
            process.wait(patience)
            return
        except subprocess.TimeoutExpired:
            pass


class Load:
    """The load generator."""

    def __init__(self, program):
        self.program = program

    def run(self, gateway, **options):
        command = ["taskset", "-c", LOAD_CORE, self.program, "--url", gateway.url]
        for header in gateway.headers:
            command += ["--header", header]
        for name, value in options.items():
            name = "--" + name.replace("_", "-")
            command += [name] if value is True else [name, str(value)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        if done.returncode != 0:
            raise RuntimeError(f"loadgen: {done.stderr.strip()[-300:]}")
        return json.loads(done.stdout)


class Gateway:
    headers = ()
    # Of the process that keeps what the gateway shares.
    store_pids = ()

    def __init__(self, name, port):
        self.name, self.port = name, port
        self.url = f"http://127.0.0.1:{port}/v1/chat/completions"
        self.process, self.pids = None, []

    def prepare(self, directory):
        """Puts what the gateway reads into its directory; returns the command."""
        raise NotImplementedError

    def start(self, work, load):
        """A fresh process in a fresh directory, ready when it has answered once."""
        directory = os.path.join(work, self.name)
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        command = self.prepare(directory)
        log_path = os.path.join(work, f"{self.name}.log")
        with open(log_path, "w") as log:
            self.process = pinned(GATEWAY_CORE, command, cwd=directory, stdout=log, stderr=log)
        begin, last = time.monotonic(), None
        while time.monotonic() - begin < 20:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended at once; see {log_path}")
            last = load.run(self, conns=1, requests=1, duration=5, timeout=5)
            if last["ok"] == 1:
                self.pids = machine.tree(self.process.pid)
                return
            time.sleep(0.2)
        raise RuntimeError(f"{self.name} does not answer: {last['error_kinds']} {last['error_sample']}")

    def stop(self):
        if self.process:
            end(self.process)
            self.process = None


class Nginx(Gateway):
    def prepare(self, directory):
        path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
        program = shutil.which("nginx", path=path)
        if not program:
            raise RuntimeError("nginx is not installed")
        return [program, "-p", directory + "/", "-c", os.path.join(HERE, "conf/nginx.conf"), "-e", "nginx.err"]


class Bare(Gateway):
    def __init__(self, name, port, program):
        super().__init__(name, port)
        self.program = program

    def prepare(self, directory):
        return [self.program, f"127.0.0.1:{self.port}", f"127.0.0.1:{MOCK_PORT}"]


class Weir(Gateway):
    """Weir with everything on; see conf/policy.yaml."""

    headers = (f"authorization: Bearer {KEY}",)

    def __init__(self, name, port, program):
        super().__init__(name, port)
        self.program = os.path.abspath(program)

    def prepare(self, directory):
        shutil.copy(os.path.join(HERE, "conf/policy.yaml"), directory)
        os.makedirs(os.path.join(directory, "conf"))
        with open(os.path.join(HERE, "conf/weir.yaml")) as file:
            text = file.read()
        with open(os.path.join(directory, "conf/weir.yaml"), "w") as file:
            file.write(text.replace("9300", str(self.port)))
        return [self.program, "serve"]


class Plain(Weir):
    """Weir that tells nobody anything: no insights, no events, no families for other dashboards."""

    def prepare(self, directory):
        command = super().prepare(directory)
        with open(os.path.join(directory, "conf/weir.yaml"), "a") as file:
            file.write("insights: {enabled: false}\nmetrics: {titan: false}\n")
        return command


class Watched(Weir):
    """The same Weir with somebody who watches its events by WebSocket: one who reads them, or one who does not."""

    def __init__(self, name, port, program, events_port, reads):
        super().__init__(name, port, program)
        self.events_port, self.reads, self.over = events_port, reads, threading.Event()
        self.watcher = None

    def prepare(self, directory):
        command = super().prepare(directory)
        with open(os.path.join(directory, "conf/weir.yaml"), "a") as file:
            file.write(f"events:\n  websocket: 127.0.0.1:{self.events_port}\n")
        return command

    def start(self, work, load):
        super().start(work, load)
        self.over.clear()
        self.watcher = threading.Thread(target=self.watch, daemon=True)
        self.watcher.start()

    def watch(self):
        """Somebody is always there: who was sent away for not reading comes back."""
        while not self.over.is_set():
            try:
                with self.connect() as watcher:
                    begin = time.monotonic()
                    while not self.over.is_set():
                        if self.reads:
                            if not watcher.recv(1 << 20):
                                break
                        elif self.over.wait(0.1) or time.monotonic() - begin > 20:
                            break
            except OSError:
                self.over.wait(0.1)

    def connect(self):
        watcher = socket.socket()
        if not self.reads:
            watcher.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        watcher.connect(("127.0.0.1", self.events_port))
        watcher.sendall(b"GET /events HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n")
        answer = watcher.recv(4096)
        if b" 101 " not in answer:
            raise RuntimeError(f"{self.name}: no WebSocket: {answer[:100]}")
        watcher.settimeout(1 if self.reads else None)
        return watcher

    def stop(self):
        self.over.set()
        if self.watcher:
            self.watcher.join(5)
            self.watcher = None
        super().stop()


class Open(Weir):
    """Weir that keeps no rows of what was said. It writes them when it has time: whoever is asked next would pay."""

    def prepare(self, directory):
        command = super().prepare(directory)
        with open(os.path.join(directory, "conf/weir.yaml"), "a") as file:
            file.write("insights: {enabled: false}\n")
        return command


class Guarded(Open):
    """The same that looks at every text, in and out, and would act."""

    GUARD = ("guard: {injection: enforce, untrusted: enforce, canary: enforce, secrets: enforce, pii: enforce, leak: enforce,"
             " input: {secrets: enforce, pii: enforce}}\n")

    def prepare(self, directory):
        command = super().prepare(directory)
        with open(os.path.join(directory, "policy.yaml"), "a") as file:
            file.write(self.GUARD)
        return command


class Telling(Watched):
    """Weir that tells everything: events by WebSocket and in a file, insights, every answer signed as the Model
    Gateway does."""

    def __init__(self, name, port, program, events_port):
        super().__init__(name, port, program, events_port, reads=True)

    def prepare(self, directory):
        command = super().prepare(directory)
        with open(os.path.join(directory, "conf/weir.yaml"), "a") as file:
            file.write("  file: {path: events.jsonl, size: 64MiB}\n")
        path = os.path.join(directory, "policy.yaml")
        with open(path) as file:
            text = file.read()
        signed = "cost_routing:\n  signatures: {titan: all, keys: [{id: bench, secret: " + "0123456789abcdef" * 4 + "}]}\n"
        with open(path, "w") as file:
            file.write(text.replace("cost_routing:\n", signed, 1))
        return command


class Sharing(Weir):
    """The same Weir with its budgets in a Redis of its own, which runs on the load's core."""

    def __init__(self, name, port, program, redis_port):
        super().__init__(name, port, program)
        self.redis_port, self.redis = redis_port, None

    def prepare(self, directory):
        program = shutil.which("redis-server")
        if not program:
            raise RuntimeError("redis-server is not installed")
        # As docs/fleet.md says: every command in the append-only file, on the disk within a second.
        command = [program, "--port", str(self.redis_port), "--bind", "127.0.0.1", "--dir", directory,
                   "--save", "", "--appendonly", "yes", "--maxmemory-policy", "noeviction"]
        self.redis = pinned(LOAD_CORE, command, stdout=subprocess.DEVNULL)
        self.store_pids = [self.redis.pid]
        begin = time.monotonic()
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.redis_port), 1).close()
                break
            except OSError:
                if self.redis.poll() is not None or time.monotonic() - begin > 10:
                    raise RuntimeError("redis-server does not answer") from None
                time.sleep(0.05)
        command = super().prepare(directory)
        with open(os.path.join(directory, "conf/weir.yaml"), "a") as file:
            file.write(f"stores:\n  redis:\n    url: redis://127.0.0.1:{self.redis_port}/0\n")
        return command

    def stop(self):
        super().stop()
        if self.redis:
            end(self.redis)
            self.redis = None
