"""The store: what is committed survives, what is not committed is never taken for a result."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from groupshap.store import (
    DiskSpaceError,
    FileRef,
    MissingTasksError,
    Store,
    atomic_write,
    canonical_fingerprint,
    check_disk,
    commit,
    free_bytes,
    sha256_of_file,
)

RECIPE = {"finetune": {"n_steps": 80, "rate": 1e-3}, "seed": 0, "model": "ab" * 32}


def write_weights(path: Path) -> None:
    path.write_bytes(b"w" * 1000)


@pytest.fixture
def run(tmp_path):
    return Store(tmp_path / "store").open(RECIPE)


def committed(run, task_id: str = "aa-r0") -> Path:
    commit(run.task_folder(task_id), {"loss": 0.1}, {"weights.bin": write_weights})
    return run.task_folder(task_id)


def test_fingerprint_is_the_same_in_every_process_and_key_order():
    code = f"from groupshap.store import canonical_fingerprint as f; print(f({dict(reversed(RECIPE.items()))!r}))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": s},
        ).stdout.strip()
        for s in ("1", "2")
    }
    assert seen == {canonical_fingerprint(RECIPE)}
    assert len(canonical_fingerprint(RECIPE)) == 16


def test_fingerprint_tells_recipes_apart():
    changed = [{**RECIPE, "seed": 1}, {**RECIPE, "seed": "0"}, {**RECIPE, "more": None}, {}]
    assert len({canonical_fingerprint(recipe) for recipe in [RECIPE, *changed]}) == 5


@pytest.mark.parametrize(
    ("value", "error"),
    [(float("nan"), ValueError), (float("inf"), ValueError), (Path("x"), TypeError), ({1: 2}, TypeError)],
)
def test_fingerprint_refuses_what_is_not_json_and_names_the_key(value, error):
    with pytest.raises(error, match=r"recipe\.a\.b\[1\]"):
        canonical_fingerprint({"a": {"b": [0, value]}})


def test_commit_returns_what_the_store_reads_back(run):
    record = commit(run.task_folder("aa-r0"), {"loss": 0.1, "n": (1, 2)}, {"weights.bin": write_weights})
    assert run.is_committed("aa-r0")
    assert run.record("aa-r0") == record == run.manifest(["aa-r0"])[0]
    assert record["task_id"] == "aa-r0"
    assert record["fingerprint"] == run.fingerprint
    weights = run.task_folder("aa-r0") / "weights.bin"
    assert record["files"] == {"weights.bin": {"size": 1000, "sha256": sha256_of_file(weights)}}


def test_a_writer_that_raises_leaves_nothing_committed_and_no_temporary_file(run):
    committed(run)

    def broken(path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        commit(run.task_folder("aa-r0"), {}, {"weights.bin": write_weights, "more.bin": broken})
    assert not run.is_committed("aa-r0")
    assert [path.name for path in run.task_folder("aa-r0").iterdir()] == ["weights.bin"]


@pytest.mark.parametrize("moment", ["weights", "record"])
def test_kill_9_in_the_middle_of_a_commit_leaves_it_uncommitted(run, moment):
    """An older complete result lies there, and must not vouch for the half-written new one."""
    folder = committed(run)
    code = f"""
import os, signal
from pathlib import Path
from groupshap import store
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
def writer(path):
    path.write_bytes(b"v" * 1000)
    if {moment!r} == "weights": die()
store._write_json = die
store.commit(Path({str(folder)!r}), {{"loss": 0.2}}, {{"weights.bin": writer}})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert not run.is_committed("aa-r0")
    committed(run)
    assert run.record("aa-r0")["loss"] == 0.1


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "weights.bin").write_bytes(b"w" * 999), "weights.bin has 999 bytes instead of 1000"),
        (lambda folder: (folder / "weights.bin").unlink(), "weights.bin is missing"),
        (lambda folder: (folder / "record.json").write_text("{"), "record.json is damaged"),
        (lambda folder: (folder / "record.json").write_bytes(b"\xff\xfe"), "record.json is damaged"),
        (lambda folder: (folder / "record.json").write_text("[]"), "record.json is damaged"),
        (
            lambda folder: (folder / "record.json").write_text('{"files": {}, "fingerprint": "x"}'),
            "belongs to recipe x",
        ),
    ],
)
def test_damage_is_named_and_recomputed(run, caplog, damage, said):
    damage(committed(run))
    with caplog.at_level(logging.WARNING):
        assert run.missing(["aa-r0"]) == ["aa-r0"]
    assert said in caplog.text
    assert "task aa-r0 will be recomputed" in caplog.text


@pytest.mark.parametrize(
    "task_id", ["", "..", "../x", "/etc/passwd", "a/b", "a\\b", "a\n", "ä", "a" * 129, "a.b", None]
)
def test_hostile_task_ids_are_refused(run, task_id):
    with pytest.raises(ValueError, match="task id"):
        run.is_committed(task_id)


@pytest.mark.parametrize("name", ["../x", "a/b", "record.json", ".hidden", ""])
def test_hostile_file_names_are_refused_before_anything_is_written(run, name):
    with pytest.raises(ValueError, match="file name"):
        commit(run.task_folder("aa"), {}, {name: write_weights})
    assert not run.task_folder("aa").exists()


def test_a_record_of_another_task_or_with_nan_is_refused(run):
    with pytest.raises(ValueError, match="task_id"):
        commit(run.task_folder("aa"), {"task_id": "bb"}, {})
    with pytest.raises(ValueError, match=r"record\.fid"):
        commit(run.task_folder("aa"), {"fid": float("nan")}, {})


def test_manifest_names_the_first_ten_missing_tasks(run):
    committed(run, "done")
    planned = ["done", *[f"t{i:02d}" for i in range(12)]]
    with pytest.raises(MissingTasksError, match=r"12 of 13 .*t00, .*t09, and 2 more") as caught:
        run.manifest(planned)
    assert caught.value.task_ids == planned[1:]


def test_a_new_recipe_overwrites_nothing_and_the_log_says_what_differs(tmp_path, caplog):
    store = Store(tmp_path)
    first = store.open(RECIPE)
    committed(first)
    with caplog.at_level(logging.INFO):
        second = store.open({**RECIPE, "finetune": {"n_steps": 90, "rate": 1e-3}})
    assert "finetune.n_steps 80 -> 90" in caplog.text
    assert "seed" not in caplog.text
    assert not second.is_committed("aa-r0")
    caplog.clear()
    with caplog.at_level(logging.INFO):
        again = store.open(RECIPE)
    assert "finetune.n_steps 90 -> 80" in caplog.text
    assert again.is_committed("aa-r0")
    assert json.loads((first.folder / "recipe.json").read_text()) == RECIPE


def test_opening_the_same_recipe_again_is_silent(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert Store(tmp_path).open(RECIPE).fingerprint == Store(tmp_path).open(RECIPE).fingerprint
    assert caplog.text == ""


def test_paths_are_absolute_whatever_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Store("data").open(RECIPE).task_folder("aa").is_relative_to(tmp_path)
    Path("file").write_bytes(b"x")
    assert FileRef.of("file").path == tmp_path / "file"


def test_atomic_write_gives_the_writer_the_final_suffix(tmp_path):
    suffixes = []
    atomic_write(tmp_path / "new" / "pack.npz", lambda path: (suffixes.append(path.suffix), path.write_bytes(b"1"))[0])
    assert suffixes == [".npz"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["pack.npz"]


def test_check_disk_refuses_what_does_not_fit(tmp_path):
    check_disk(tmp_path / "not" / "there", 1, "one byte")
    with pytest.raises(DiskSpaceError, match=r"checkpoints of 64 coalitions will take about .* MiB") as caught:
        check_disk(tmp_path, free_bytes(tmp_path) * 2, "checkpoints of 64 coalitions")
    assert isinstance(caught.value, OSError)
