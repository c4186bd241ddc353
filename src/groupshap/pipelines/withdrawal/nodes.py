"""Nodes of ``withdrawal``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from groupshap.campaign.withdrawal import WithdrawalConfig, delete_traces, list_traces
from groupshap.store import Store

__all__ = ["withdraw_contributor"]


def withdraw_contributor(
    config: WithdrawalConfig,
    contributors: pd.DataFrame,
    coalitions: Store,
    properties: Store,
    cache: Path,
    primary: Path,
    models: Path,
    reporting: Path,
) -> pd.DataFrame:
    """List what holds the contributor's images or was trained on them; delete it if so configured."""
    all_models = [path for path in sorted(models.iterdir()) if path != coalitions.root]
    everybody = [cache, primary, *all_models, properties.root / "reference"]
    traces = list_traces(config.contributor, contributors, everybody, coalitions, [reporting])
    if config.delete:
        delete_traces(traces)
    return traces
