"""Dask and Ray: real clusters of separate processes; the same outcomes as inline, and what is lost is done again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jobs as job_functions
import psutil
import pytest
from clusters import assert_gone, dask_cluster, ray_cluster, start_driver, wait_until
from pydantic import ValidationError

from groupshap.engines.base import EngineConfig, Outcome, map_unordered, run_jobs
from groupshap.engines.cluster import ClusterError
from groupshap.store import Store

pytest.importorskip("distributed", reason="extra [dask]")

INLINE = EngineConfig(kind="inline")
LOCAL = EngineConfig(kind="local", n_workers=2)
DASK = EngineConfig(kind="dask", n_workers=2)


def numbered(n_jobs: int, **more: object) -> list[dict]:
    return [{"task_id": f"t{i:02d}", "number": i, **more} for i in range(n_jobs)]


def by_id(jobs: list[dict], engine: EngineConfig, fn=job_functions.arithmetic) -> dict[str, Outcome]:
    return {outcome.task_id: outcome for outcome in map_unordered(fn, jobs, engine)}


def with_a_bad_one() -> list[dict]:
    return [*numbered(12), {"task_id": "bad", "number": 7, "fails": True}]


def assert_same(outcomes: dict[str, Outcome], expected: dict[str, Outcome]) -> None:
    assert {key: outcome.record for key, outcome in outcomes.items()} == {k: o.record for k, o in expected.items()}
    failed = {key: outcome.error.splitlines()[0] for key, outcome in outcomes.items() if outcome.error}
    assert failed == {"bad": "ValueError: no luck with 7"}


@pytest.fixture
def cluster(tmp_path):
    with dask_cluster(tmp_path, 2) as running:
        yield running


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """A cluster that no test harms: two workers with three threads and a GPU each."""
    with dask_cluster(tmp_path_factory.mktemp("dask"), 2, "--nthreads", "3", "--resources", "GPU=1 MEMORY=8e9") as it:
        yield it


def test_dask_by_address_and_by_scheduler_file_give_what_inline_gives(lasting):
    """Two separate worker processes, which find the driver's modules though they started elsewhere."""
    expected = by_id(with_a_bad_one(), INLINE)
    for where in ({"address": lasting.address}, {"scheduler_file": str(lasting.file)}):
        engine = EngineConfig(kind="dask", **where)
        assert_same(by_id(with_a_bad_one(), engine), expected)
        wait_until(lambda engine=engine: engine.n_jobs_at_once() == 6, "both workers")
        families = run_jobs(job_functions.family, numbered(12, seconds=0.1), engine, label="looking")
        assert {record["worker"] for record in families} == {worker.pid for worker in lasting.workers}
    assert all(worker.poll() is None for worker in lasting.workers), "a cluster that was there before us stays"


def test_dask_started_for_the_run_listens_on_the_loopback_interface_only():
    assert_same(by_id(with_a_bad_one(), DASK), by_id(with_a_bad_one(), INLINE))
    assert listening(os.getpid()) <= {"127.0.0.1"}


def listening(pid: int) -> set[str]:
    """Addresses on which a process and its descendants accept connections."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    found = [connection for process in processes for connection in process.net_connections("tcp")]
    return {c.laddr.ip.removeprefix("::ffff:") for c in found if c.status == psutil.CONN_LISTEN}


def test_a_dask_worker_that_is_lost_has_its_jobs_run_on_another(cluster, tmp_path):
    """The worker is killed by its own job, once: all outcomes are there, and one worker is gone."""
    engine = EngineConfig(kind="dask", address=cluster.address)
    wait_until(lambda: engine.n_jobs_at_once() == 2, "both workers")
    jobs = [*numbered(6), {"task_id": "unlucky"}]
    jobs = [{**job, "marker": str(tmp_path / "marker")} for job in jobs]
    outcomes = by_id(jobs, engine, job_functions.loses_its_worker)
    assert len(outcomes) == 7
    assert all(outcome.error is None for outcome in outcomes.values()), outcomes
    assert [worker.poll() for worker in cluster.workers].count(-signal.SIGKILL) == 1


def plan(folder: Path, seconds: float) -> tuple[object, list[dict]]:
    run = Store(folder / "store").open({"recipe": 1})
    shared = {"log": str(folder / "log"), "seconds": seconds}
    ids = [f"t{i}" for i in range(6)]
    return run, [{"task_id": i, "folder": str(run.task_folder(i)), "value": n, **shared} for n, i in enumerate(ids)]


def todo(run: object, jobs: list[dict]) -> list[dict]:
    missing = run.missing([job["task_id"] for job in jobs])
    return [job for job in jobs if job["task_id"] in missing]


def started(folder: Path) -> list[str]:
    log = folder / "log"
    return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []


def n_committed(run: object) -> int:
    return len(list(run.folder.glob("*/record.json")))


def test_the_scheduler_is_killed_and_the_next_run_goes_on(cluster, tmp_path):
    """One clear error; a new scheduler and workers do the rest, and nothing that was committed."""
    run, jobs = plan(tmp_path, seconds=0.4)
    engine = EngineConfig(kind="dask", scheduler_file=str(cluster.file), job_timeout_s=60)
    completed = map_unordered(job_functions.commits, jobs, engine)
    assert next(completed).error is None
    cluster.scheduler.kill()
    with pytest.raises(ClusterError, match=r"scheduler \(.*\) was lost. What is committed is kept"):
        list(completed)
    assert_gone([worker.pid for worker in cluster.workers], within_seconds=15)
    done = n_committed(run)
    assert 1 <= done < 6
    before = len(started(tmp_path))
    cluster.stop()
    cluster.start_scheduler()
    cluster.start_worker()
    run_jobs(job_functions.commits, todo(run, jobs), engine, label="the rest")
    assert len(started(tmp_path)) - before == 6 - done
    assert [record["value"] for record in run.manifest([job["task_id"] for job in jobs])] == list(range(6))


def driver_code(engine: str, jobs: list[dict]) -> str:
    return f"run_jobs(jobs.commits, {jobs!r}, EngineConfig({engine}), label='committing')\n"


@pytest.mark.parametrize("kind", ["local", "dask", "ray"])
def test_the_driver_is_killed_and_the_next_run_goes_on(kind, tmp_path):
    """SIGKILL after the first commit: no process is left, and nothing committed is computed again.

    Two idle agents of Ray itself take a minute to notice; so there, only those that ran jobs are looked at.
    """
    run, jobs = plan(tmp_path, seconds=0.5)
    driver = start_driver(driver_code(f"kind={kind!r}, n_workers=2", jobs))
    wait_until(lambda: n_committed(run) >= 1, "a commit")
    children = [child.pid for child in psutil.Process(driver.pid).children(recursive=True)]
    driver.kill()
    driver.communicate()
    at_work = [int(line.split()[1]) for line in (tmp_path / "log").read_text().splitlines()]
    assert_gone(at_work if kind == "ray" else children)
    done, before = n_committed(run), len(started(tmp_path))
    assert done < 6
    run_jobs(job_functions.commits, todo(run, jobs), LOCAL, label="the rest")
    assert len(started(tmp_path)) - before == 6 - done
    assert [record["value"] for record in run.manifest([job["task_id"] for job in jobs])] == list(range(6))


def test_ctrl_c_ends_the_jobs_on_a_cluster_that_stays(lasting, tmp_path):
    """SIGINT: what runs on the workers is ended, what waits never starts, the workers live on; then it resumes."""
    run, jobs = plan(tmp_path, seconds=30)
    driver = start_driver(driver_code(f"kind='dask', address={lasting.address!r}, n_workers=2", jobs))
    wait_until(lambda: len(started(tmp_path)) == 2, "two jobs at work")
    pids = [int(line.split()[1]) for line in (tmp_path / "log").read_text().splitlines()]
    os.killpg(driver.pid, signal.SIGINT)
    _, errors = driver.communicate(timeout=30)
    assert errors.rstrip().endswith("KeyboardInterrupt"), errors
    assert_gone(pids)
    assert all(worker.poll() is None for worker in lasting.workers)
    quick = [{**job, "seconds": 0.01} for job in todo(run, jobs)]
    run_jobs(job_functions.commits, quick, EngineConfig(kind="dask", address=lasting.address), label="the rest")
    assert len(started(tmp_path)) == 2 + 6


def test_several_jobs_share_a_gpu_and_a_job_that_fits_nowhere_is_said(lasting):
    """Two workers with three threads and one GPU each: half a GPU each makes four at once. Nobody offers two GPUs."""
    halves = EngineConfig(kind="dask", address=lasting.address, gpus_per_job=0.5, memory_gb_per_job=1)
    wait_until(lambda: halves.n_jobs_at_once() == 4, "both workers")
    records = run_jobs(job_functions.interval, numbered(12, seconds=0.3), halves, label="sharing")
    assert most_at_once(records) == 4
    two = {"kind": "dask", "address": lasting.address, "gpus_per_job": 2}
    driver = start_driver(
        f"run_jobs(jobs.arithmetic, [dict(task_id='a', number=1)], EngineConfig(**{two!r}), label='x')"
    )
    line = driver.stderr.readline()
    driver.kill()
    driver.communicate()
    assert "Waiting: none of the 2 Dask workers has the {'GPU': 2.0} that a job needs" in line


def most_at_once(records: list[dict]) -> int:
    return max(sum(other["start"] <= record["start"] < other["end"] for other in records) for record in records)


@pytest.mark.parametrize("kind", ["local", "dask"])
def test_a_hanging_job_is_ended_and_named_and_the_rest_goes_on(kind, tmp_path):
    engine = EngineConfig(kind=kind, n_workers=2, job_timeout_s=2)
    jobs = [{"task_id": f"t{i}", "folder": str(tmp_path), "seconds": 60 if i == 1 else 0.05} for i in range(5)]
    start = time.monotonic()
    outcomes = by_id(jobs, engine, job_functions.sleep_and_tell)
    assert time.monotonic() - start < 10
    failed = {key: outcome.error for key, outcome in outcomes.items() if outcome.error}
    assert failed == {"t1": "TimeoutError: not done within 2 s (engine.job_timeout_s), so it was ended"}
    assert len(outcomes) == 5


def test_jobs_that_kill_their_process_are_named_on_dask(tmp_path):
    jobs = [{"task_id": f"t{i}" if i != 1 else "killer", "log": str(tmp_path / "log")} for i in range(4)]
    outcomes = by_id(jobs, DASK, job_functions.dies_always)
    assert [key for key, outcome in outcomes.items() if outcome.error] == ["killer"]
    assert outcomes["killer"].error.startswith("its worker process died (SIGKILL)")


def test_no_scheduler_there_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr("groupshap.engines.dask._CONNECT", "1s")
    for where in ({"address": "tcp://127.0.0.1:9"}, {"scheduler_file": str(tmp_path / "none.json")}):
        with pytest.raises(ClusterError, match=r"No Dask scheduler at .*Start one"):
            next(map_unordered(job_functions.arithmetic, numbered(1), EngineConfig(kind="dask", **where)))


@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_a_missing_extra_is_one_clear_message(kind):
    code = (
        "import sys; sys.modules['distributed'] = sys.modules['ray'] = None\n"
        "from groupshap.engines.base import *\n"
        f"map_unordered(len, [dict(task_id='a')], EngineConfig(kind={kind!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert f"MissingExtraError: Engine {kind} needs a package that is not installed here" in last
    assert f"pip install 'groupshap[{kind}]'" in last


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "local", "address": "tcp://x:1"}, "`engine.address` is for kind dask or ray, got kind local"),
        ({"kind": "ray", "scheduler_file": "x"}, "`engine.scheduler_file` is for kind dask, got kind ray"),
        ({"kind": "inline", "job_timeout_s": 1}, "`engine.job_timeout_s` is for kind local or dask or ray"),
        ({"kind": "dask", "address": "a", "scheduler_file": "b"}, "one way to a cluster, got `engine.address` and"),
        ({"kind": "dask", "gpus_per_job": 1}, "knows no GPUs"),
        ({"kind": "ray", "gpus_per_job": 1.5}, "must be a whole number"),
        ({"kind": "dask", "jobqueue": {"n_jobs": 0}}, "jobqueue.n_jobs"),
        ({"job_timeout_s": 0}, "job_timeout_s"),
    ],
)
def test_settings_that_would_be_ignored_or_contradict_are_refused(wrong, said):
    with pytest.raises(ValidationError, match=said):
        EngineConfig(**wrong)


def test_ray_started_for_the_run(tmp_path):
    """Same outcomes, loopback only; a lost worker's job runs on another; hanging and killing jobs are named."""
    pytest.importorskip("ray", reason="extra [ray]")
    import ray

    engine = EngineConfig(kind="ray", n_workers=2)
    try:
        assert_same(by_id(with_a_bad_one(), engine), by_id(with_a_bad_one(), INLINE))
        assert listening(os.getpid()) <= {"127.0.0.1"}
        jobs = [{"task_id": i, "marker": str(tmp_path / "marker")} for i in ("a", "b", "unlucky", "c")]
        assert all(o.error is None for o in by_id(jobs, engine, job_functions.loses_its_worker).values())
        jobs = [{"task_id": i, "log": str(tmp_path / "log")} for i in ("a", "killer", "b")]
        failed = {key: o.error for key, o in by_id(jobs, engine, job_functions.dies_always).items() if o.error}
        assert list(failed) == ["killer"]
        jobs = [{"task_id": i, "folder": str(tmp_path), "seconds": 60 if i == "h" else 0.01} for i in "ahb"]
        limited = engine.model_copy(update={"job_timeout_s": 1.0})
        failed = {key: o.error for key, o in by_id(jobs, limited, job_functions.sleep_and_tell).items() if o.error}
        assert failed == {"h": "TimeoutError: not done within 1 s (engine.job_timeout_s), so it was ended"}
    finally:
        ray.shutdown()


def test_ray_that_runs_already(tmp_path):
    """Attached by address: half a GPU each makes two at once; stopping early ends the jobs, and the node stays."""
    pytest.importorskip("ray", reason="extra [ray]")
    with ray_cluster(tmp_path, cpus=4, gpus=1) as (address, access):
        code = f"""
import json
from pathlib import Path
engine = EngineConfig(kind="ray", address={address!r}, gpus_per_job=0.5)
sharing = run_jobs(jobs.interval, [dict(task_id=str(i), seconds=0.3) for i in range(6)], engine, label="sharing")
long = [dict(task_id=str(i), log={str(tmp_path / "log")!r}, seconds=60, folder="x", value=0) for i in range(4)]
completed = map_unordered(jobs.commits, [dict(task_id="0", fails=True), *long[1:]], engine)
error = next(completed).error
while not Path({str(tmp_path / "log")!r}).exists():
    pass
completed.close()
after = [outcome.error for outcome in map_unordered(jobs.arithmetic, [dict(task_id="a", number=1)], engine)]
print(json.dumps([engine.n_jobs_at_once(), sharing, error, after]))
"""
        driver = start_driver(code, access)
        output, errors = driver.communicate(timeout=100)
        assert driver.returncode == 0, errors
        n_at_once, sharing, error, after = json.loads(output.splitlines()[-1])
        assert_gone([int(line.split()[1]) for line in (tmp_path / "log").read_text().splitlines()])
    assert (n_at_once, most_at_once(sharing)) == (2, 2)
    assert error.startswith("KeyError: 'log'")
    assert after == [None]
