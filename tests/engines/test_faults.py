"""The store under the engines: what goes wrong while committing costs only itself, and running again repairs it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import jobs as job_functions
import pytest
from clusters import start_driver, wait_until

from groupshap.engines.base import EngineConfig, JobsFailedError, run_jobs
from groupshap.store import Store, StoreRun
from groupshap.store_lock import InUseError, exclusive

LOCAL = EngineConfig(kind="local", n_workers=2)


def plan(store: Path, log: Path, n_jobs: int = 4, **more: object) -> tuple[StoreRun, list[dict]]:
    run = Store(store).open({"recipe": 1})
    shared = {"log": str(log), "seconds": 0.0, **more}
    jobs = [{"task_id": f"t{n}", "folder": str(run.task_folder(f"t{n}")), "value": n, **shared} for n in range(n_jobs)]
    return run, jobs


def run_missing(run: StoreRun, jobs: list[dict]) -> list[str]:
    """What every stage does: only what is not committed runs; gives back which that was."""
    todo = [job for job in jobs if not run.is_committed(job["task_id"])]
    run_jobs(job_functions.commits, todo, LOCAL, label="committing")
    return [job["task_id"] for job in todo]


def leftovers(run: StoreRun) -> list[Path]:
    return [path for path in run.folder.rglob("*") if ".tmp." in path.name]


def test_a_file_that_grows_too_large_for_the_disk_costs_only_its_own_job(tmp_path):
    """A worker that may write 100 bytes per file: its job fails by name, no half file stays, the rest is committed."""
    run, jobs = plan(tmp_path / "store", tmp_path / "log")
    limited = [{**job, "file_limit": 100} if job["task_id"] == "t2" else job for job in jobs]
    with pytest.raises(JobsFailedError, match=r"1 of 4 tasks failed: t2: OSError: \[Errno 27\] File too large"):
        run_missing(run, limited)
    assert run.missing([job["task_id"] for job in jobs]) == ["t2"]
    assert leftovers(run) == []


def test_a_full_disk_costs_what_did_not_fit_and_nothing_that_did(tmp_path):
    """A disk of 28 kB for six tasks of 2 kB and a record each; then space is made, and only the rest is computed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=28k", "tmpfs", str(disk)]
    if subprocess.run(options, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        run, jobs = plan(disk / "store", tmp_path / "log", n_jobs=6)
        with pytest.raises(JobsFailedError, match=r"OSError: \[Errno 28\] No space left on device"):
            run_missing(run, jobs)
        missing = run.missing([job["task_id"] for job in jobs])
        assert 0 < len(missing) < 6
        assert leftovers(run) == []
        subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)
        assert run_missing(run, jobs) == missing
        assert [record["value"] for record in run.committed()] == list(range(6))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_truncated_weights_are_noticed_and_only_they_are_made_again(tmp_path, caplog):
    run, jobs = plan(tmp_path / "store", tmp_path / "log")
    assert len(run_missing(run, jobs)) == 4
    before = run.record("t1")
    weights = run.task_folder("t1") / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert run_missing(run, jobs) == ["t1"]
    assert "weights.bin has 1999 bytes instead of 2000" in caplog.text
    assert run.record("t1") == before
    assert run_missing(run, jobs) == []


def test_a_second_driver_is_refused_by_name_until_the_first_is_gone(tmp_path):
    """The first is killed with SIGKILL: its lock goes with it, though its folder and lock file stay."""
    run, jobs = plan(tmp_path / "store", tmp_path / "log", seconds=60)
    code = f"""
from pathlib import Path
from groupshap.store_lock import exclusive
with exclusive(Path({str(run.folder)!r})):
    run_jobs(jobs.commits, {jobs!r}, EngineConfig(n_workers=1), label="committing")
"""
    first = start_driver(code)
    wait_until((tmp_path / "log").exists, "the first driver's first job")
    with (
        pytest.raises(InUseError, match=rf"process {first.pid}, since .* computes the same results"),
        exclusive(run.folder),
    ):
        raise AssertionError("refused")
    assert run.missing(["t0"]) == ["t0"], "reading needs no right"
    first.kill()
    first.communicate()
    quick = [{**job, "seconds": 0.0} for job in jobs]
    with exclusive(run.folder):
        assert run_missing(run, quick) == ["t0", "t1", "t2", "t3"]
    with exclusive(run.folder):
        assert run_missing(run, quick) == []


def test_two_processes_that_commit_the_same_tasks_at_the_same_time_are_both_right(tmp_path):
    """What happens when a lost worker still computes: records and files fit together whoever was last."""
    run, jobs = plan(tmp_path / "store", tmp_path / "log", n_jobs=40)
    code = f"run_jobs(jobs.commits, {jobs!r}, EngineConfig(kind='inline'), label='x')\n"
    drivers = [start_driver(code) for _ in range(2)]
    for driver in drivers:
        _, errors = driver.communicate(timeout=60)
        assert driver.returncode == 0, errors
    assert [record["value"] for record in run.manifest([job["task_id"] for job in jobs])] == list(range(40))
    assert leftovers(run) == []
