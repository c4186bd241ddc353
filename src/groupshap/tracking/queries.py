"""Tables of tracked runs, from the store alone: sqlite or a server, with or without the project's folder.

A run is named by its id, by the name that MLflow's page shows, or as "latest": ``utilities("latest")``.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from groupshap.games import spearman
from groupshap.tracking.config import TrackingConfig, TrackingError, load_config, store_address
from groupshap.tracking.names import first_line, masked
from groupshap.tracking.writer import load_mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["compare", "shapley_values", "utilities"]

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_TEXT_COLUMNS = ("split", "coalition_id", "members", "fingerprint", "property", "contributor")
_KEYS = ["property", "contributor"]
_SIDES = ("_a", "_b")


def utilities(run: str, tracking_uri: str | None = None) -> pd.DataFrame:
    """The utilities table of a run: the columns of ``utilities.csv``, its floats bit for bit.

    Args:
        run: Id or name of a run, or "latest". Of several runs with one name, the newest with such a table.
        tracking_uri: MLflow store; None: the one that ``kedro run`` uses in this project.

    Raises:
        TrackingError: no such run or table, or the store cannot be used.
    """
    return _table("utilities", run, tracking_uri)


def shapley_values(run: str, tracking_uri: str | None = None) -> pd.DataFrame:
    """The Shapley values of a run: the columns of ``shapley_values.csv``, its floats bit for bit.

    Args, Raises: see :func:`utilities`.
    """
    return _table("shapley_values", run, tracking_uri)


def compare(run_a: str, run_b: str, tracking_uri: str | None = None) -> pd.DataFrame:
    """Values of two runs side by side, for every property that both have.

    Args:
        run_a: Id or name of a run, or "latest".
        run_b: The other one.
        tracking_uri: See :func:`utilities`.

    Returns:
        One row per property and contributor of either run: property, contributor, value_a, ci_low_a, ci_high_a,
        value_b, ci_low_b, ci_high_b, difference (b - a), intervals_overlap, and spearman, the rank correlation of the
        property's values over the contributors that both runs have (repeated in each of its rows). Where one of the
        runs does not have the contributor, its columns and what follows from them are empty.

    Raises:
        TrackingError: also if the runs have no property in common.
    """
    first, second = (shapley_values(run, tracking_uri) for run in (run_a, run_b))
    common = [name for name in first["property"].unique() if name in set(second["property"])]
    if not common:
        found = [", ".join(table["property"].unique()) for table in (first, second)]
        raise TrackingError(f"Expected runs with a common property, {run_a} has {found[0]}; {run_b} has {found[1]}.")
    columns = [*_KEYS, "shapley_value", "ci_low", "ci_high"]
    a, b = (table.loc[table["property"].isin(common), columns] for table in (first, second))
    rows = pd.concat([a, b])[_KEYS].drop_duplicates()
    joined = rows.merge(a, "left", _KEYS).merge(b, "left", _KEYS, suffixes=_SIDES)
    joined.columns = [name.replace("shapley_value", "value") for name in joined]
    known = joined[["value_a", "value_b"]].notna().all(axis=1)
    overlap = (joined["ci_low_a"] <= joined["ci_high_b"]) & (joined["ci_low_b"] <= joined["ci_high_a"])
    joined["difference"] = joined["value_b"] - joined["value_a"]
    joined["intervals_overlap"] = overlap.astype("boolean").where(known)
    ranks = {name: _spearman(rows) for name, rows in joined[known].groupby("property")}
    joined["spearman"] = joined["property"].map(ranks).astype(float)
    order = {name: position for position, name in enumerate(common)}
    return joined.sort_values("property", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def _spearman(rows: pd.DataFrame) -> float:
    return spearman(rows["value_a"].to_numpy(float), rows["value_b"].to_numpy(float))


def _table(name: str, run: str, tracking_uri: str | None) -> pd.DataFrame:
    """A table that a run has logged."""
    config, uri = _store(tracking_uri)
    client_of, server_errors = load_mlflow()
    try:
        client = client_of(tracking_uri=uri)
        artefact = f"tables/{name}.csv"
        found = _find(client, config.experiment, run, artefact)
        with tempfile.TemporaryDirectory() as folder:
            return _read(Path(client.download_artifacts(found.info.run_id, artefact, folder)))
    except server_errors as error:
        raise TrackingError(f"MLflow at {masked(uri)}: {first_line(error)}") from error


def _read(path: Path) -> pd.DataFrame:
    """A CSV file as it was written: text stays text, floats are the same bits."""
    dtype: dict[Any, Any] = dict.fromkeys(_TEXT_COLUMNS, str)
    empty: dict[Any, Any] = {"share": [""]}
    return pd.read_csv(path, dtype=dtype, keep_default_na=False, na_values=empty, float_precision="round_trip")


def _store(tracking_uri: str | None) -> tuple[TrackingConfig, str]:
    """Configuration and address: those of the project around the working directory, if there is one."""
    from kedro.config import OmegaConfigLoader  # noqa: PLC0415 - only for these functions
    from kedro.utils import find_kedro_project  # noqa: PLC0415

    project = find_kedro_project(Path.cwd())
    config = TrackingConfig()
    if project is not None:
        config = load_config(OmegaConfigLoader(str(project / "conf"), base_env="base", default_run_env="local"))
    if tracking_uri is None and project is None and store_address(config, Path.cwd())[1] == "the default":
        raise TrackingError(
            "Expected `tracking_uri`, the variable MLFLOW_TRACKING_URI, or a working directory within a Kedro project; "
            f"got none of them in {Path.cwd()}."
        )
    return config, tracking_uri or store_address(config, project or Path.cwd())[0]


def _find(client: MlflowClient, experiment: str, run: str, artefact: str) -> Run:
    """The newest run of this id or name that has the artefact."""
    n_seen = 0
    for candidate in [client.get_run(run)] if _RUN_ID.fullmatch(run) else _candidates(client, experiment, run):
        n_seen += 1
        folder = artefact.rpartition("/")[0]
        if artefact in {item.path for item in client.list_artifacts(candidate.info.run_id, folder)}:
            return candidate
    if n_seen:
        raise TrackingError(
            f"Run {run!r} has no {artefact}: it did not get that far, or ran other pipelines. Take another run, or run "
            "`kedro run --pipelines shapley_estimation` again."
        )
    raise TrackingError(
        f"No run {run!r} in the experiment {experiment!r}: expected an id, a name as MLflow shows it, or 'latest'."
    )


def _candidates(client: MlflowClient, experiment: str, name: str) -> Iterator[Run]:
    """All kedro runs of that name, the newest first."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        raise TrackingError(f"There is no experiment {experiment!r} in this store; has `kedro run` run with it?")
    quote = '"' if "'" in name else "'"
    named = "" if name == "latest" else f" and attributes.run_name = {quote}{name}{quote}"
    token = None
    while True:
        page = client.search_runs(
            [found.experiment_id], f"tags.kind = 'kedro_run'{named}", order_by=["attributes.start_time DESC"],
            max_results=100, page_token=token,
        )  # fmt: skip
        yield from page
        token = page.token
        if not token:
            return
