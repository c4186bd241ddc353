"""Models in MLflow's registry: the safetensors file itself, with a small JSON beside it; never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["register"]

_MODEL_FILE = "model.json"


def register(client: MlflowClient, run_id: str, name: str, path: Path, tags: Mapping[str, str]) -> str:
    """The version of a registered model that holds this file; made unless it is there.

    MLflow's model flavours pickle or trace a network. A version without a flavour is a folder of files: here the
    weights, whose header rebuilds the architecture (``groupshap.model_file.load_model``), and ``model.json``.

    Args:
        client: Of the store.
        run_id: The run that the files are kept with.
        name: Registered model, made if needed.
        path: The safetensors file.
        tags: Of the version; ``sha256`` says which file it is.

    Returns:
        The version's number.
    """
    known = _version(client, name, tags["sha256"])
    if known is not None:
        return known
    about = {**tags, "path": str(path)}
    folder = f"models/{name}"
    client.log_artifact(run_id, str(path), folder)
    client.log_text(run_id, json.dumps({"file": path.name, **about}, indent=2) + "\n", f"{folder}/{_MODEL_FILE}")
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description="Weights as safetensors; groupshap.model_file.load_model.")
    source = f"{client.get_run(run_id).info.artifact_uri}/{folder}"
    return client.create_model_version(name, source, run_id, tags=about, await_creation_for=None).version


def _version(client: MlflowClient, name: str, sha256: str) -> str | None:
    """The newest version with these bytes."""
    versions = [v for v in client.search_model_versions(f"name = '{name}'") if v.tags.get("sha256") == sha256]
    return max((v.version for v in versions), key=int, default=None)
