"""Engines: equal records everywhere, one bad job costs only itself, nothing outlives the driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import jobs as job_functions
import psutil
import pytest
from pydantic import ValidationError

from groupshap.engines.base import EngineConfig, JobsFailedError, map_unordered, run_jobs

INLINE = EngineConfig(kind="inline")
LOCAL = EngineConfig(kind="local", n_workers=2)
BOTH = pytest.mark.parametrize("engine", [INLINE, LOCAL], ids=["inline", "local"])


def numbered(n_jobs: int, **more: object) -> list[dict]:
    return [{"task_id": f"t{i:02d}", "number": i, **more} for i in range(n_jobs)]


def test_all_engines_give_identical_records_in_the_order_of_the_jobs():
    inline = run_jobs(job_functions.arithmetic, numbered(20), INLINE, label="adding")
    assert [record["task_id"] for record in inline] == [job["task_id"] for job in numbered(20)]
    assert inline == run_jobs(job_functions.arithmetic, numbered(20), LOCAL, label="adding")


@BOTH
def test_an_exception_is_an_outcome_and_the_rest_goes_on(engine):
    jobs = [
        *numbered(5),
        {"task_id": "bad", "number": 7, "fails": True},
        *({**j, "task_id": "x" + j["task_id"]} for j in numbered(3)),
    ]
    outcomes = {outcome.task_id: outcome for outcome in map_unordered(job_functions.arithmetic, jobs, engine)}
    assert len(outcomes) == 9
    assert [task for task, outcome in outcomes.items() if outcome.error] == ["bad"]
    first, *frames = outcomes["bad"].error.splitlines()
    assert first == "ValueError: no luck with 7"
    assert any("jobs.py" in line for line in frames)
    with pytest.raises(JobsFailedError) as caught:
        run_jobs(job_functions.arithmetic, jobs, engine, label="adding")
    assert str(caught.value) == (
        "1 of 9 tasks failed: bad: ValueError: no luck with 7; the other 8 are committed; "
        "run the same command again to retry only these."
    )


@BOTH
def test_sys_exit_in_a_job_is_an_outcome(engine):
    outcomes = list(map_unordered(job_functions.leaves, numbered(2), engine))
    assert sorted(outcome.error.splitlines()[0] for outcome in outcomes) == [
        f"SystemExit: exit from t0{i}" for i in (0, 1)
    ]


@BOTH
def test_no_jobs_give_no_records(engine):
    assert run_jobs(job_functions.arithmetic, [], engine, label="adding") == []


@pytest.mark.parametrize("jobs", [[{"task_id": "a"}, {"task_id": "a"}], [{"number": 1}], [{"task_id": 3}]])
def test_jobs_without_an_id_of_their_own_are_refused(jobs):
    with pytest.raises(ValueError, match="task_id"):
        map_unordered(job_functions.arithmetic, jobs, INLINE)


def test_a_worker_that_is_killed_costs_only_its_own_job(tmp_path):
    """12 jobs, one always kills its worker: 11 finish, one is named, bystanders run at most twice, alone."""
    log = tmp_path / "log"
    jobs = [{"task_id": f"t{i:02d}" if i != 4 else "killer", "log": str(log)} for i in range(12)]
    with pytest.raises(JobsFailedError, match=r"^1 of 12 tasks failed: killer: its worker process died \(SIGKILL"):
        run_jobs(job_functions.dies_always, jobs, LOCAL, label="dying")
    attempts = log.read_text().split()
    assert set(attempts) == {job["task_id"] for job in jobs}
    assert attempts.count("killer") == 2
    assert len(attempts) <= 14


def test_a_job_whose_worker_dies_once_is_simply_repeated(tmp_path):
    jobs = [{"task_id": f"t{i}", "marker": str(tmp_path / "marker")} for i in range(6)]
    assert len(run_jobs(job_functions.dies_once, jobs, LOCAL, label="dying once")) == 6


def test_a_worker_that_dies_between_two_maps_costs_nothing(tmp_path):
    jobs = [{"task_id": f"t{i}", "folder": str(tmp_path), "seconds": 0.05} for i in range(4)]
    run_jobs(job_functions.sleep_and_tell, jobs, LOCAL, label="sleeping")
    pids = [int(path.name) for path in tmp_path.iterdir()]
    os.kill(pids[0], signal.SIGKILL)
    assert len(run_jobs(job_functions.sleep_and_tell, jobs, LOCAL, label="sleeping")) == 4


def test_a_record_that_cannot_travel_is_an_outcome():
    outcomes = list(map_unordered(job_functions.returns_a_lock, numbered(2), LOCAL))
    assert all("a job must return a dict of JSON values" in outcome.error for outcome in outcomes), outcomes


def test_threads_are_what_the_configuration_says():
    for n_threads in (1, 2):
        for engine in ({"kind": "inline"}, {"kind": "local", "n_workers": 1}):
            config = EngineConfig(**engine, n_threads_per_worker=n_threads)
            (record,) = run_jobs(job_functions.n_threads, numbered(1), config, label="counting threads")
            assert record["torch"] == n_threads, config
            assert set(record["limits"]) <= {n_threads}, config
            assert record["variable"] == str(n_threads)


def test_threads_of_the_driver_are_restored(monkeypatch):
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    before = torch.get_num_threads()
    config = EngineConfig(kind="inline", n_threads_per_worker=before + 1)
    run_jobs(job_functions.n_threads, numbered(1), config, label="counting threads")
    assert torch.get_num_threads() == before
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_dask_s_memory_setting_does_not_reach_jobs_but_the_user_s_does(monkeypatch):
    dask_config = pytest.importorskip("distributed.config").config
    name = "MALLOC_TRIM_THRESHOLD_"
    of_dask = dask_config["distributed"]["nanny"]["pre-spawn-environ"][name]
    job = {"task_id": "0", "name": name}
    for value, expected in ((str(of_dask), None), ("1000000", "1000000")):
        monkeypatch.setenv(name, value)
        config = EngineConfig(kind="local", n_workers=1, n_threads_per_worker=3)  # no other test's child is warm
        with closing(map_unordered(job_functions.variable, [job], config)) as outcomes:
            assert next(outcomes).record == {"value": expected}


@BOTH
def test_jobs_show_no_progress_of_their_own(engine):
    assert run_jobs(job_functions.progress_is_shown, numbered(1), engine, label="training") == [{"shown": False}]


def test_at_most_n_workers_jobs_run_at_once(tmp_path):
    """A consumer that stops early leaves the queue unstarted, and its workers are killed."""
    jobs = [{"task_id": f"t{i}", "folder": str(tmp_path), "seconds": 0.2 if i == 0 else 30} for i in range(6)]
    completed = map_unordered(job_functions.sleep_and_tell, jobs, LOCAL)
    assert next(completed).task_id == "t0"
    start = time.monotonic()
    completed.close()
    assert time.monotonic() - start < 5
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert len(pids) <= 2
    assert_gone(pids)


def start_driver(folder: Path) -> subprocess.Popen:
    """A driver process whose two workers sleep; returns once both are at work."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import jobs\nfrom groupshap.engines.base import EngineConfig, run_jobs\n"
        f"todo = [dict(task_id=str(i), folder={str(folder)!r}, seconds=60) for i in range(6)]\n"
        "run_jobs(jobs.sleep_and_tell, todo, EngineConfig(n_workers=2), label='sleeping')\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 20
    while len(list(folder.iterdir())) < 2:
        assert time.monotonic() < deadline, driver.poll()
        time.sleep(0.02)
    return driver


def assert_gone(pids: list[int], within_seconds: float = 5) -> None:
    deadline = time.monotonic() + within_seconds
    while alive := [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]:
        assert time.monotonic() < deadline, f"still alive: {alive}"
        time.sleep(0.02)


def test_no_orphans_when_the_driver_is_killed_with_sigkill(tmp_path):
    driver = start_driver(tmp_path)
    children = [child.pid for child in psutil.Process(driver.pid).children(recursive=True)]
    assert {int(path.name) for path in tmp_path.iterdir()} <= set(children)
    driver.kill()
    driver.wait()
    assert_gone(children)


def test_ctrl_c_kills_the_workers_and_is_raised_again(tmp_path):
    """SIGINT to the whole group, as a terminal sends it: one traceback, the driver's; the queue does not run."""
    driver = start_driver(tmp_path)
    children = [child.pid for child in psutil.Process(driver.pid).children(recursive=True)]
    os.killpg(driver.pid, signal.SIGINT)
    _, errors = driver.communicate(timeout=60)
    assert driver.returncode == -signal.SIGINT
    assert errors.count("Traceback") == 1, errors
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert_gone(children)
    assert len(list(tmp_path.iterdir())) == 2


def test_configuration_is_closed_frozen_and_torch_free():
    for wrong in ({"kind": "slurm"}, {"n_workers": 0}, {"n_threads_per_worker": 0}, {"workers": 2}):
        with pytest.raises(ValidationError):
            EngineConfig(**wrong)
    with pytest.raises(ValidationError):
        INLINE.kind = "local"
    assert INLINE.n_jobs_at_once() == 1
    assert EngineConfig(n_threads_per_worker=10_000).n_jobs_at_once() == 1
    code = "import sys, groupshap.engines.base; print({'torch', 'joblib', 'numpy'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"set()\n"
