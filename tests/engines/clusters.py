"""Real clusters of separate processes on this machine, for the tests; all on the loopback interface."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

HERE = Path(__file__).parent


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def assert_gone(pids: list[int], within_seconds: float = 8) -> None:
    wait_until(lambda: not any(map(is_alive, pids)), f"the end of {pids}", within_seconds)


@dataclass
class DaskCluster:
    """A scheduler and workers, each a process of its own."""

    folder: Path
    scheduler: subprocess.Popen | None = None
    workers: list[subprocess.Popen] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.folder / "scheduler.json"

    @property
    def address(self) -> str:
        return json.loads(self.file.read_text())["address"]

    def start_scheduler(self) -> None:
        self.file.unlink(missing_ok=True)
        self.scheduler = self._start(
            "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--dashboard-address",
            "127.0.0.1:0", "--scheduler-file", str(self.file),
        )  # fmt: skip
        wait_until(self.file.exists, "the scheduler's file")

    def start_worker(self, *options: str) -> None:
        arguments = ("--scheduler-file", str(self.file), "--no-nanny", "--nthreads", "1", "--no-dashboard")
        places = ("--host", "127.0.0.1", "--local-directory", str(self.folder), "--dashboard-address", "127.0.0.1:0")
        self.workers.append(self._start("dask_worker", *arguments, *places, *options))

    def _start(self, module: str, *arguments: str) -> subprocess.Popen:
        # Not the tests' folder in its path: the driver says where its own modules are.
        command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments]
        log = (self.folder / "dask.log").open("ab")
        return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)

    def stop(self) -> None:
        for process in [*self.workers, *filter(None, [self.scheduler])]:
            process.kill()
            process.wait()


@contextmanager
def dask_cluster(folder: Path, n_workers: int, *options: str) -> Iterator[DaskCluster]:
    cluster = DaskCluster(folder)
    try:
        cluster.start_scheduler()
        for _ in range(n_workers):
            cluster.start_worker(*options)
        yield cluster
    finally:
        cluster.stop()


@contextmanager
def ray_cluster(folder: Path, **resources: int) -> Iterator[tuple[str, dict[str, str]]]:
    """A Ray node with a token of its own; yields its address, and the environment that a driver needs."""
    port = 20_000 + os.getpid() % 10_000
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}",
        "--node-ip-address=127.0.0.1", "--object-store-memory=80000000", "--include-dashboard=false",
        *(f"--num-{name}={amount}" for name, amount in resources.items()),
    ]  # fmt: skip
    (folder / "token").write_text(secrets.token_hex(32))
    access = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
    on_loopback = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    log = (folder / "ray.log").open("ab")
    node = subprocess.Popen(command, stdout=log, stderr=log, env={**access, **on_loopback})
    try:
        wait_until(lambda: b"runtime started" in (folder / "ray.log").read_bytes(), "Ray", 60)
        yield f"127.0.0.1:{port}", access
    finally:
        processes = [*psutil.Process(node.pid).children(recursive=True), node]
        for process in processes:
            process.kill()
        node.wait()


def start_driver(code: str, environment: dict[str, str] | None = None) -> subprocess.Popen:
    """A driver process in a session of its own, as a terminal gives it one."""
    start = f"import sys; sys.path.insert(0, {str(HERE)!r})\nimport jobs\nfrom groupshap.engines.base import *\n"
    return subprocess.Popen(
        [sys.executable, "-c", start + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment,
    )
