"""Handles on files and stores: absolute, hashed, never saved."""

from __future__ import annotations

import hashlib

import pytest
from kedro.io import DataCatalog, DatasetError
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from groupshap.datasets.file_ref import FileRefDataset
from groupshap.datasets.store import StoreDataset
from groupshap.store import FileRef, Store


def test_a_file_is_written_by_one_entry_and_read_as_a_reference(tmp_path, monkeypatch):
    """Transcoding through a real catalog and runner; relative paths become absolute."""
    monkeypatch.chdir(tmp_path)
    catalog = DataCatalog.from_config(
        {
            "note@text": {"type": "text.TextDataset", "filepath": "data/note.txt"},
            "note@file": {"type": "groupshap.datasets.file_ref.FileRefDataset", "filepath": "data/note.txt"},
            "store": {"type": "groupshap.datasets.store.StoreDataset", "path": "data/store", "metadata": {"x": 1}},
        }
    )
    pipeline = Pipeline(
        [
            Node(lambda: "hello", None, "note@text", name="write"),
            Node(lambda note, store: (note, str(store.root)), ["note@file", "store"], "seen", name="read"),
        ]
    )
    note, root = SequentialRunner().run(pipeline, catalog)["seen"].load()
    assert note == FileRef(tmp_path / "data" / "note.txt", hashlib.sha256(b"hello").hexdigest())
    assert root == str(tmp_path / "data" / "store")
    assert not (tmp_path / "data" / "store").exists()


def test_a_missing_file_names_the_pipeline_that_makes_it(tmp_path):
    dataset = FileRefDataset(str(tmp_path / "images.npz"), made_by="data_grouping")
    assert not dataset.exists()
    with pytest.raises(
        DatasetError, match=r"images\.npz does not exist; run `kedro run --pipelines data_grouping` first"
    ):
        dataset.load()


@pytest.mark.parametrize("dataset", [FileRefDataset("x"), StoreDataset("x")])
def test_saving_is_refused(dataset):
    with pytest.raises(DatasetError, match=r"only refers to|is filled by"):
        dataset.save("something")


def test_a_store_exists_once_something_was_opened(tmp_path):
    dataset = StoreDataset(str(tmp_path / "store"))
    assert not dataset.exists()
    assert isinstance(dataset.load(), Store)
    dataset.load().open({"seed": 0})
    assert dataset.exists()
