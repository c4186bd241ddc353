"""What a run found, in plain words: the Markdown that MLflow shows on top of its page."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import pandas as pd

from groupshap.attribution.utilities_table import property_columns
from groupshap.members import short_name, split_members
from groupshap.tracking.names import cut

__all__ = ["Findings", "describe_coalition", "describe_experiment", "describe_run"]

_MAX_CHARS = 5000  # a tag as any other
_N_COLUMNS = 40
_N_NAMED = 5  # so that all properties fit into the lines that MLflow shows unasked


@dataclass(frozen=True)
class Findings:
    """What is known at the end of a run; None where the run had nothing to do with it.

    Attributes:
        utilities: One row per measured model.
        values: Shapley values with intervals, per property and contributor.
        diagnostics: One row per property.
        directions: Property to whether higher values are better.
    """

    utilities: pd.DataFrame | None = None
    values: pd.DataFrame | None = None
    diagnostics: pd.DataFrame | None = None
    directions: Mapping[str, bool] | None = None

    def metrics(self) -> dict[str, Any]:
        """What a person asks first: v(∅) and v(N) per property, evaluations, how sure, seconds of work."""
        metrics: dict[str, Any] = {}
        if self.utilities is not None:
            metrics = {name: float(self.utilities[name].sum()) for name in ("train_seconds", "sample_seconds")}
            metrics["n_evaluations"] = len(self.utilities)
        if self.diagnostics is not None:
            for row in self.diagnostics.to_dict("records"):
                for name in ("v_empty", "v_grand", "relative_standard_error"):
                    metrics[f"{name}_{row['property']}"] = row[name]
            metrics["relative_standard_error"] = self.diagnostics["relative_standard_error"].max()
        return metrics


def describe_experiment(experiment_id: str) -> str:
    """Where to click, for someone who opens the experiment's page for the first time."""
    return (
        f"**Who gets how much credit for what a diffusion model generates?** One run per `kedro run` "
        f"([table of runs]({_table(experiment_id)}); this page may open on another); below it one run per measured "
        f"coalition of contributors ({_coalitions_link(experiment_id, 'all of them')}). Open a run for its summary. "
        "*Sort* takes a property and shows its column; the description of a coalition's run names its contributors."
    )


def describe_coalition(row: Mapping[str, Any]) -> str:
    """The contributors of one measured coalition."""
    names = split_members(str(row["members"]))
    if not names:
        return "**Nobody**: the pruned architecture with random weights, untrained."
    members = ", ".join(_name(name) for name in names)
    n_words = "1 contributor" if len(names) == 1 else f"{len(names)} contributors"
    return cut(f"**{n_words}**: {members}. The pruned model, fine-tuned on their images alone.", _MAX_CHARS)


def describe_run(findings: Findings, experiment_id: str, fingerprint: str | None) -> str:
    """Summary of a run in Markdown: values, best coalitions, and how to ask for more.

    Args:
        findings: What the run found.
        experiment_id: For the links to MLflow's own pages.
        fingerprint: Of the measured models; they may lie below an earlier run that measured them.
    """
    parts = []
    if findings.utilities is not None and fingerprint is not None:  # first: MLflow shows only a few lines unasked
        parts.append(_coalitions_part(findings.utilities, findings.directions or {}, experiment_id, fingerprint))
    if findings.values is not None and findings.diagnostics is not None and findings.directions is not None:
        parts.append(_values_part(findings.values, findings.diagnostics, findings.directions))
    if findings.utilities is not None and fingerprint is not None:
        parts.append(_queries_part(property_columns(findings.utilities), findings.directions or {}, fingerprint))
    if not parts:
        parts.append("A run of a part of the flow: it measured no models and estimated no values.")
    return cut("\n\n".join(parts), _MAX_CHARS)


def _values_part(values: pd.DataFrame, diagnostics: pd.DataFrame, directions: Mapping[str, bool]) -> str:
    """One row per property: from nobody to everybody, and who made the difference."""
    lines = [
        f"**Credit of {values['contributor'].nunique()} contributors**, with intervals. The values of a property sum "
        "to everybody minus nobody. The largest error is a share of their range; not converged: raise the budget.",
        "",
        "| property | better | nobody | everybody | helped most | helped least | largest error |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in diagnostics.to_dict("records"):
        name = row["property"]
        order = values[values["property"] == name].sort_values(
            "shapley_value", ascending=not directions[name], kind="stable"
        )
        most, least = order.iloc[0], order.iloc[-1]
        lines.append(
            f"| {name} | {'higher' if directions[name] else 'lower'} | {row['v_empty']:.4g} | {row['v_grand']:.4g} | "
            f"{_value(most)} | {_value(least)} | {_error(row)} |"
        )
    return "\n".join(lines)


def _value(row: pd.Series) -> str:
    return f"{_name(row['contributor'])} {row['shapley_value']:+.3g} [{row['ci_low']:+.3g}, {row['ci_high']:+.3g}]"


def _error(row: Mapping[str, Any]) -> str:
    error = row["relative_standard_error"]
    share = f"{100 * error:.3g} %" if math.isfinite(error) else "unknown"
    return f"{share}, {'converged' if row['is_converged'] else 'not converged'}"


def _coalitions_part(
    utilities: pd.DataFrame, directions: Mapping[str, bool], experiment_id: str, fingerprint: str
) -> str:
    """The best coalition per property that has any members, and they; with a link to all of them in that order."""
    n_contributors = int(utilities["n_contributors"].max())
    lines = [f"**Best of {len(utilities)} measured coalitions**", ""]
    for name in property_columns(utilities):
        if name not in directions:
            continue
        best = _best(utilities[utilities["n_contributors"] > 0], name, directions[name])
        link = _coalitions_link(experiment_id, "all, best first", fingerprint, name, ascending=not directions[name])
        members = ", ".join(_name(member) for member in split_members(best["members"])[:_N_NAMED])
        more = f", and {best['n_contributors'] - _N_NAMED} more" if best["n_contributors"] > _N_NAMED else ""
        lines.append(
            f"- **{name}** {best[name]:.4g}, {best['split']} · {best['n_contributors']} of {n_contributors}: "
            f"{members}{more} ({link}){_nobody(utilities, name, best, directions[name])}"
        )
    return "\n".join(lines)


def _best(utilities: pd.DataFrame, name: str, higher_is_better: bool) -> pd.Series:
    return utilities.loc[utilities[name].idxmax() if higher_is_better else utilities[name].idxmin()]


def _nobody(utilities: pd.DataFrame, name: str, best: pd.Series, higher_is_better: bool) -> str:
    """A remark where the untrained model behind the empty coalition does better than all of them."""
    over_all = _best(utilities, name, higher_is_better)
    if over_all[name] == best[name]:
        return ""
    return f"; noise, from the untrained model of nobody, has {over_all[name]:.4g}"


def _queries_part(properties: list[str], directions: Mapping[str, bool], fingerprint: str) -> str:
    """What to type into the search field of the experiment, and the same in Python."""
    search = f"tags.kind = 'coalition' and tags.fingerprint = '{fingerprint}'"
    last = properties[-1]
    order = f"metrics.{last} {'DESC' if directions.get(last, True) else 'ASC'}"
    return f"""**Ask for more**: type into the search field of the experiment

- `{search}`: the coalitions of this run
- `{search} and metrics.n_contributors < 4`: what few contributors can do
- `tags.kind = 'kedro_run'`: every run with its parameters

or in Python:

```python
import mlflow
from groupshap.tracking import compare, shapley_values, utilities

search = "{search}"
mlflow.search_runs(experiment_names=["groupshap"], filter_string=search, order_by=["{order}"])
utilities("latest")  # this table again, from the store alone
```"""


def _coalitions_link(
    experiment_id: str,
    text: str,
    fingerprint: str | None = None,
    sort_by: str | None = None,
    *,
    ascending: bool = False,
) -> str:
    """A link within MLflow's page, wherever its server is: the coalitions, or those with members in some order."""
    search = "tags.kind = 'coalition'" + (f" and tags.fingerprint = '{fingerprint}'" if fingerprint else "")
    order = ""
    if sort_by:
        search += " and metrics.n_contributors > 0"
        order = f"&orderByKey={quote(f'metrics.`{sort_by}`')}&orderByAsc={'true' if ascending else 'false'}"
    return f"[{text}]({_table(experiment_id)}&searchFilter={quote(search)}{order})"


def _table(experiment_id: str) -> str:
    """MLflow's table of runs; without the second half it opens on pages for language models."""
    return f"#/experiments/{experiment_id}/runs?workflowType=machine_learning"


@lru_cache(maxsize=100_000)
def _name(name: str) -> str:
    """A contributor's name, whatever characters it holds, as text in Markdown; half of the coalitions have it."""
    return re.sub(r"([\\`*_{}\[\]()<>#|!~])", r"\\\1", short_name(name, _N_COLUMNS))
