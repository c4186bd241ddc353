"""Loss of stored models on every contributor's images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from groupshap.campaign.encoded import encoded_images
from groupshap.campaign.measuring import WeightsGoneError
from groupshap.campaign.shared import Campaign
from groupshap.engines.base import run_jobs
from groupshap.members import split_members
from groupshap.seeds import seed_for
from groupshap.store import FileRef, Store, StoreRun

__all__ = ["START", "measure_residual"]

START = "start"
"""In column ``model``: the model that the coalitions' ones start from."""
_N_IMAGES = 64  # of each contributor: the loss of a mean over contributors is precise to about 2 % with them


def measure_residual(
    campaign: Campaign,
    store: Store,
    start: FileRef | None,
    manifests: dict[str, pd.DataFrame],
    contributors: pd.DataFrame,
    n_coalitions: int,
) -> pd.DataFrame:
    """Denoising loss per model and contributor.

    Args:
        campaign: What all stages share.
        store: Where the losses are kept.
        start: The model before fine-tuning; None: coalitions start from fresh weights.
        manifests: Name (``paired``, ``validation``) to a manifest of ``finetune``.
        contributors: One row per player.
        n_coalitions: So many, spread over the plan, that lack somebody and are not empty.

    Returns:
        Columns model (a name of ``manifests``, or ``start``: the start model beside each coalition of the first
        manifest), coalition_id, contributor, is_member, loss.

    Raises:
        WeightsGoneError: some of the models were not kept.
    """
    from groupshap.tasks.residual import residual_task  # noqa: PLC0415 - imports torch

    models = _models(manifests, len(contributors), n_coalitions)
    n_gone = sum(not row["path"] for row in models)
    if n_gone:
        then = "Run again with `keep: weights`, or leave this out by `--params validation.n_residual_coalitions=0`."
        raise WeightsGoneError(n_gone, len(models), "The loss of stored models is to be measured", then)
    if start is not None:
        before = {"model": START, "path": str(start.path), "sha256": start.sha256}
        models += [{**row, **before} for row in models if row["model"] == next(iter(manifests))]
    recipe = campaign.recipe("residual", campaign.n_threads, images_sha256=campaign.images.sha256)
    run = Store(store.root / "residual").open(recipe)
    todo = {_task_id(row): row for row in models if not run.is_committed(_task_id(row))}
    encoded = encoded_images(campaign, FileRef.of(models[0]["path"])) if todo else None
    jobs = [_job(campaign, run, row, encoded) for row in todo.values()]
    run_jobs(residual_task, jobs, campaign.engine, label="loss on everybody's images")
    rows = [
        {
            "model": row["model"],
            "coalition_id": row["coalition_id"],
            "contributor": name,
            "is_member": name in row["members"],
            "loss": loss,
        }
        for row in models
        for name, loss in zip(contributors["contributor"], run.record(_task_id(row))["losses"], strict=True)
    ]
    return pd.DataFrame(rows, columns=["model", "coalition_id", "contributor", "is_member", "loss"])


def _models(manifests: dict[str, pd.DataFrame], n_players: int, n_coalitions: int) -> list[dict[str, Any]]:
    """The same coalitions of every manifest, replicate 0."""
    models = []
    for name, manifest in manifests.items():
        inner = manifest[(manifest["replicate"] == 0) & manifest["n_contributors"].between(1, n_players - 1)]
        spread = inner.iloc[:: max(1, len(inner) // n_coalitions)].head(n_coalitions) if n_coalitions else inner.head(0)
        models += [
            {
                "model": name,
                "coalition_id": row["coalition_id"],
                "members": split_members(row["members"]),
                "path": row["checkpoint"],
                "sha256": row["checkpoint_sha256"],
            }
            for row in spread.to_dict("records")
        ]
    return models


def _task_id(row: dict[str, Any]) -> str:
    """A loss is that of a file of weights, whoever made it."""
    return row["sha256"][:16]


def _job(campaign: Campaign, run: StoreRun, row: dict[str, Any], encoded: Path | None) -> dict[str, Any]:
    from groupshap.tasks.residual import ResidualJob  # noqa: PLC0415 - imports torch

    job = ResidualJob(
        task_id=_task_id(row),
        folder=run.task_folder(_task_id(row)),
        images=campaign.images.path,
        encoded=encoded,
        model=row["path"],
        model_sha256=row["sha256"],
        n_images=_N_IMAGES,
        seed=seed_for(campaign.root_seed, "residual"),
        device=campaign.device,
    )
    return job.model_dump(mode="json")
