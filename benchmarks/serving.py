"""Requests a second of `clutch serve`: 16 clients at once against one by one, and the memory over time.

    python benchmarks/serving.py                          a model of the demo's size with random weights
    python benchmarks/serving.py --model data/models/clutch --seconds 600

The service is a process of its own, as `clutch serve` starts it; clients are threads that ask for a sentence, each with
a seed of its own, over connections that stay open. Memory is the service's resident set, read each second after the
first quarter of the load; "growth" is the slope of a line through it, in MiB a minute.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path

import numpy as np

TEXTS = (
    "the right hand waves three times",
    "both hands clap",
    "the left hand makes a fist",
    "the right hand points up",
)
MAIN = "import sys; from clutch_llm.cli import main; main(sys.argv[1:])"


def random_model(folder: Path) -> None:
    """A model of the demo's size whose weights are drawn at random."""
    from clutch_llm import Clutch, ClutchConfig
    from shift_tokenizer import ShiftConfig, ShiftTokenizer

    clutch = Clutch.create(ClutchConfig(motion_form="step"), tokenizer=ShiftTokenizer(ShiftConfig()), captions=TEXTS)
    clutch.save_pretrained(folder)
    print(f"random weights, {clutch.n_parameters / 1e6:.1f} M parameters, at most {clutch.max_seconds:g} s")


def resident(pid: int) -> float:
    """Resident memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Load:
    """So many clients that ask one request after the other.

    Args:
        port: of the service.
        clients: threads.
        length: seconds of each motion.
    """

    def __init__(self, port: int, clients: int, length: float) -> None:
        self.port, self.clients, self.length = port, clients, length
        self.numbers = count()
        self.statuses: Counter[int] = Counter()
        self.waited: list[float] = []

    def run(self, seconds: float, pid: int) -> list[tuple[float, float]]:
        """Ask for so many seconds; gives (second, MiB) of the service's memory."""
        until, began, memory = time.monotonic() + seconds, time.monotonic(), []
        threads = [threading.Thread(target=self._ask, args=(until,)) for _ in range(self.clients)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            memory.append((time.monotonic() - began, resident(pid)))
            time.sleep(1)
        self.seconds = time.monotonic() - began
        return memory

    def _ask(self, until: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        while time.monotonic() < until:
            number = next(self.numbers)
            body = json.dumps({"text": TEXTS[number % len(TEXTS)], "seconds": self.length, "seed": number})
            asked = time.monotonic()
            connection.request("POST", "/v1/generate", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            self.statuses[answer.status] += 1
            self.waited.append(time.monotonic() - asked)
        connection.close()

    def line(self, name: str) -> str:
        """The figures."""
        middle, late = np.percentile(self.waited, [50, 95])
        return f"{name:12} {self.rate:7.2f} requests/s   median {middle:.3f} s, 95% {late:.3f} s  {dict(self.statuses)}"

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.waited) / self.seconds


def main() -> None:
    """Start the service, load it, stop it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder; left out, random weights")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60, help="of load by all clients; one by one takes a third")
    parser.add_argument("--length", type=float, default=2, help="seconds of each motion")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.model is None:
            random_model(Path(folder) / "clutch")
        words = ["serve", args.model or f"{folder}/clutch", "--port", "0", "--kept-motions", "64"]
        with subprocess.Popen([sys.executable, "-c", MAIN, *words], stdout=subprocess.PIPE, text=True) as service:
            assert service.stdout is not None
            port = int(service.stdout.readline().strip().rstrip("/").rpartition(":")[2])
            Load(port, args.clients, args.length).run(3, service.pid)
            alone, together = (Load(port, clients, args.length) for clients in (1, args.clients))
            alone.run(args.seconds / 3, service.pid)
            print(alone.line("one by one"), flush=True)
            memory = np.array(together.run(args.seconds, service.pid))
            print(together.line(f"{args.clients} clients"))
            service.send_signal(signal.SIGTERM)
        print(f"ratio {together.rate / alone.rate:.2f}; the service ended with {service.returncode}")
        late = memory[memory[:, 0] > memory[-1, 0] / 4]
        slope = np.polyfit(late[:, 0], late[:, 1], 1)[0] * 60
        print(f"memory {late[0, 1]:.0f} to {late[-1, 1]:.0f} MiB, growth {slope:+.2f} MiB a minute")


if __name__ == "__main__":
    main()
