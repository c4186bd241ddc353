"""The page: one HTML file with everything in it, that asks no network for anything.

Names, credits and file names are written by strangers. The template escapes all of them, the data of the plots stand in
a block that no browser executes, and a content security policy allows only our own script, known by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from groupshap.games import spearman
from groupshap.members import short_name
from groupshap.progress import duration
from groupshap.reporting.charts import N_LINES_MAX, chart_data
from groupshap.reporting.corrected import corrected
from groupshap.reporting.fitted_game import FittedGame, fit_game
from groupshap.reporting.inputs import ReportInputs
from groupshap.reporting.people import N_NAME_COLUMNS, contributor_sections
from groupshap.reporting.validated import validated
from groupshap.reporting.words import (
    POLICIES,
    flat_parameters,
    going_on,
    number,
    policy_sentence,
    property_words,
    told_apart,
    verdict,
)

__all__ = ["write_page"]

N_NAMED = 2


def write_page(inputs: ReportInputs) -> str:
    """The whole report as HTML; the same inputs give the same text."""
    games = {name: fit_game(inputs.measured[0], values) for name, values in inputs.measured[1].items()}
    environment = Environment(
        loader=PackageLoader("groupshap.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"number": number, "signed": _signed, "short": _short, "exact": _exact}
    return environment.get_template("report.html").render(
        style=_asset("report.css"),
        script=_asset("report.js"),
        policy=_security_policy(),
        chart_data=chart_data(inputs, games),
        inputs=inputs,
        properties=[_property(inputs, name, games[name]) for name in inputs.properties],
        people=contributor_sections(inputs, games),
        in_full=len(inputs.names) <= inputs.config.n_contributors_in_full,
        n_lines_max=N_LINES_MAX,
        payment_words=policy_sentence(inputs.config.payment),
        policies=POLICIES,
        cost=_cost(inputs),
        validated=validated(inputs),
        corrected=corrected(inputs),
        # Kedro reads the files of parameters in no fixed order.
        parameters=sorted(flat_parameters(inputs.parameters)),
        level=f"{100 * inputs.level:g}",
        left_out=_left_out(inputs),
    )


def _property(inputs: ReportInputs, name: str, game: FittedGame) -> dict[str, Any]:
    """What the template says of one property."""
    title, what = property_words(name)
    row = inputs.diagnostics[inputs.diagnostics["property"] == name].iloc[0].to_dict()
    values = inputs.values_of(name)
    best_first = [one for one, _ in sorted(inputs.ranks_of(name).items(), key=lambda item: item[1])]
    n_named = min(N_NAMED, len(best_first) // 2)
    n_clear, n_all = told_apart(values)
    change = row["v_grand"] - row["v_empty"]
    return {
        "name": name,
        "title": title,
        "what": what,
        "better": "higher" if inputs.directions[name] else "lower",
        "outcome": "better" if (change >= 0) == inputs.directions[name] else "worse",
        "row": row,
        "change": change,
        "values": values,
        "payments": inputs.payments_of(name),
        "is_paid": bool(inputs.payments_of(name)["share_percent"].notna().all()),
        "best": [_named(inputs, values, one) for one in best_first[:n_named]],
        "worst": [_named(inputs, values, one) for one in best_first[len(best_first) - n_named :]],
        "verdict": verdict(row),
        "going_on": going_on(row),
        "n_clear": n_clear,
        "n_all": n_all,
        "agreement": _agreement(inputs, name, values),
        "convergence": _convergence(inputs, name),
        "game": game,
        "curve_points": [] if game.curve is None else list(enumerate(game.curve)),
    }


def _left_out(inputs: ReportInputs) -> list[tuple[str, str]]:
    """What could not be fitted, each reason once, with the properties it holds for."""
    titles: dict[str, list[str]] = {}
    for row in inputs.diagnostics.itertuples():
        if row.left_out:
            titles.setdefault(row.left_out, []).append(property_words(row.property)[0])
    return [(", ".join(names), why) for why, names in titles.items()]


def _named(inputs: ReportInputs, values: pd.DataFrame, name: str) -> dict[str, Any]:
    row = values.loc[name]
    return {
        "player": inputs.names.index(name),
        "label": short_name(name, N_NAME_COLUMNS),
        "value": number(row["shapley_value"], sign=True),
        "low": number(row["ci_low"], sign=True),
        "high": number(row["ci_high"], sign=True),
    }


def _agreement(inputs: ReportInputs, name: str, values: pd.DataFrame) -> list[tuple[str, str]]:
    """Rank correlation of every further estimator with the reported values."""
    table = inputs.comparison[inputs.comparison["property"] == name]
    found = []
    for estimator, own in table.groupby("estimator", sort=False):
        other = own.set_index("contributor").loc[inputs.names, "shapley_value"].to_numpy(float)
        found.append((str(estimator), number(spearman(other, values["shapley_value"].to_numpy(float)), digits=2)))
    return found[1:]


def _convergence(inputs: ReportInputs, name: str) -> pd.DataFrame:
    """Contributors against numbers of evaluations."""
    table = inputs.convergence[inputs.convergence["property"] == name]
    wide = table.pivot_table(index="contributor", columns="n_evaluations", values="shapley_value")
    return wide.loc[inputs.names]


def _cost(inputs: ReportInputs) -> list[tuple[str, str]]:
    """Where the time went; seconds are those of one worker."""
    table = inputs.measured_models
    rows = [
        ("Evaluations (coalition and training seed)", str(len(table))),
        ("Distinct coalitions", str(table["coalition_id"].nunique())),
    ]
    columns = {
        "train_seconds": "Fine-tuning",
        "sample_seconds": "Generating images",
        "measure_seconds": "Measuring properties",
    }
    for column, label in columns.items():
        seconds = table[column].astype(float)
        rows.append((label, f"{duration(seconds.sum())} in all, {number(seconds.mean())} s per evaluation"))
    report = inputs.pruning_report
    rows.append(
        (
            f"Parameters of the {'adapters' if 'n_pairs_before' in report else 'model'}, before and after pruning",
            f"{report['n_parameters_before']:,} and {report['n_parameters_after']:,}",
        )
    )
    return rows


def _asset(name: str) -> Markup:
    """A file of ours, put in as it is."""
    return Markup(files("groupshap.reporting").joinpath("templates", name).read_text(encoding="utf-8"))  # noqa: S704


def _security_policy() -> str:
    """Nothing but this file's own style, script and pictures."""
    style, script = (
        base64.b64encode(hashlib.sha256(_asset(name).encode()).digest()).decode("ascii")
        for name in ("report.css", "report.js")
    )
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _signed(value: float) -> str:
    return number(value, sign=True)


def _short(name: str) -> str:
    return short_name(name, N_NAME_COLUMNS)


def _exact(value: float) -> str:
    """All digits, as in the CSV files."""
    return repr(float(value))
