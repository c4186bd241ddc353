"""The ready configuration for SLURM is valid; where there is a SLURM that takes jobs, it runs some."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from clusters import start_driver, wait_until

from groupshap.engines.base import EngineConfig

READY = Path(__file__).parents[2] / "conf" / "slurm" / "parameters.yml"


def ready(n_jobs: int | None = None, **options: object) -> EngineConfig:
    settings = yaml.safe_load(READY.read_text(encoding="utf-8"))["engine"]
    settings["jobqueue"]["options"] |= options
    settings["jobqueue"]["n_jobs"] = n_jobs or settings["jobqueue"]["n_jobs"]
    return EngineConfig(**settings)


def test_the_ready_configuration_is_valid_and_counts_its_slots():
    assert ready().n_jobs_at_once() == 16
    assert ready().jobqueue.system == "slurm"


def there_is_slurm() -> bool:
    return (
        shutil.which("sinfo") is not None
        and subprocess.run(["sinfo"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not there_is_slurm(), reason="no SLURM that takes jobs")
def test_slurm_runs_jobs_and_its_jobs_end_with_the_run(tmp_path):
    """Even if the run is killed: workers leave when their scheduler does not answer."""
    pytest.importorskip("dask_jobqueue")
    here = {"scheduler_options": {"dashboard": False, "host": "127.0.0.1"}, "memory": "1GB", "death_timeout": 10}
    engine = ready(2, **here, job_extra_directives=[], log_directory=str(tmp_path), job_name=f"test{os.getpid()}")
    code = f"""
engine = EngineConfig.model_validate({engine.model_dump()!r})
todo = [dict(task_id=str(i), number=i) for i in range(20)]
print(len(run_jobs(jobs.arithmetic, todo, engine, label="adding")), flush=True)
run_jobs(jobs.family, [dict(task_id="long", seconds=60)], engine, label="waiting")
"""
    driver = start_driver(code)
    assert driver.stdout.readline() == "20\n"
    assert queued(engine) > 0
    driver.kill()
    driver.communicate()
    wait_until(lambda: queued(engine) == 0, "the end of the batch jobs", 40)


def queued(engine: EngineConfig) -> int:
    name = engine.jobqueue.options["job_name"]
    found = subprocess.run(["squeue", "-h", "-t", "R", "-n", name], capture_output=True, text=True, check=True)
    return len(found.stdout.splitlines())
