"""From Shapley values to shares for payment: a stated policy, exact arithmetic, percentages that sum to 100.

Shapley values are fractions of a measured property, not of money: they may be negative, and they are estimates. Both
need a decision that no formula takes, so the policy is a parameter and the report prints it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import pandas as pd

from groupshap.errors import UserError
from groupshap.members import short_name
from groupshap.reporting.config import PaymentPolicy

__all__ = ["PAYMENT_COLUMNS", "PaymentRefusedError", "largest_remainder", "payment_shares", "rank_groups"]

logger = logging.getLogger(__name__)

PAYMENT_COLUMNS = ("property", "contributor", "n_images", "value_towards_better", "share_percent", "rank_group")


class PaymentRefusedError(UserError, ValueError):
    """The policy forbids shares: somebody made a property worse."""


def payment_shares(shapley_values: pd.DataFrame, directions: Mapping[str, bool], policy: PaymentPolicy) -> pd.DataFrame:
    """Who is paid which percentage for which property.

    Args:
        shapley_values: the table of :func:`groupshap.attribution.tables.shapley_table`.
        directions: {property: whether higher values are better}.
        policy: what happens to negative values, to ties, and to what rounding leaves.

    Returns:
        :data:`PAYMENT_COLUMNS`, per property from the best contributor to the worst. ``value_towards_better`` is the
        value with the sign turned where lower is better. ``share_percent`` sums to exactly 100 per property; it is
        empty where nobody has a positive value, because nothing is there to share.

    Raises:
        PaymentRefusedError: ``policy.negative`` is "refuse" and somebody has a negative value; all are named.
    """
    tables = [_oriented(table, directions[name]) for name, table in shapley_values.groupby("property", sort=False)]
    if policy.negative == "refuse":
        _refuse_negative(tables)
    return pd.concat([_with_shares(table, policy) for table in tables], ignore_index=True)[list(PAYMENT_COLUMNS)]


def rank_groups(low: Sequence[float], high: Sequence[float]) -> list[int]:
    """Groups 1, 2, ... down a ranking: whose interval overlaps that of the first of the group belongs to it.

    Overlap alone is no equivalence (a with b, b with c, not a with c), so the first of each group decides.

    Args:
        low: (n,) lower ends, the best contributor first.
        high: (n,) upper ends.
    """
    groups: list[int] = []
    first = 0
    for row in range(len(low)):
        if row and high[row] < low[first]:
            first = row
        groups.append(groups[-1] + (first == row) if groups else 1)
    return groups


def largest_remainder(weights: Sequence[Fraction], decimals: int) -> list[Fraction] | None:
    """Percentages with ``decimals`` digits that sum to exactly 100; None where all weights are 0.

    Everybody gets the percentage rounded down; the units left over go to the largest remainders (Hamilton's method),
    equal remainders in the order given.
    """
    total = sum(weights, Fraction(0))
    if total == 0:
        return None
    n_units = 100 * 10**decimals
    exact = [weight / total * n_units for weight in weights]
    units = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda row: units[row] - exact[row])
    for row in by_remainder[: n_units - sum(units)]:
        units[row] += 1
    return [Fraction(unit, 10**decimals) for unit in units]


def _oriented(table: pd.DataFrame, higher_is_better: bool) -> pd.DataFrame:
    """The best first; ``value_towards_better`` and its interval grow with the contribution to the better."""
    value, low, high = (table[name].to_numpy(np.float64) for name in ("shapley_value", "ci_low", "ci_high"))
    if not higher_is_better:
        value, low, high = -value, -high, -low
    # -0.0 would be printed as a negative value.
    oriented = table.assign(value_towards_better=value + 0.0, low=low, high=high)
    return oriented.sort_values("value_towards_better", ascending=False, kind="stable")


def _with_shares(table: pd.DataFrame, policy: PaymentPolicy) -> pd.DataFrame:
    groups = rank_groups(table["low"].to_list(), table["high"].to_list())
    weights = [Fraction(max(value, 0.0)) for value in table["value_towards_better"]]
    if policy.ties == "equal_within_intervals":
        weights = _equal_in_groups(weights, groups)
    shares = largest_remainder(weights, policy.decimals)
    if shares is None:
        logger.warning("Property %s: nobody has a positive value, so nobody is paid.", table["property"].iloc[0])
    percent = np.full(len(table), np.nan) if shares is None else [float(share) for share in shares]
    return table.assign(share_percent=percent, rank_group=groups)


def _equal_in_groups(weights: Sequence[Fraction], groups: Sequence[int]) -> list[Fraction]:
    sums = {group: Fraction(0) for group in groups}
    for weight, group in zip(weights, groups, strict=True):
        sums[group] += weight
    return [sums[group] / groups.count(group) for group in groups]


def _refuse_negative(tables: Sequence[pd.DataFrame]) -> None:
    named = [
        f"{table['property'].iloc[0]}: " + ", ".join(
            f"{short_name(row.contributor, 60)} ({row.value_towards_better:+.4g})"
            for row in table[table["value_towards_better"] < 0].itertuples()
        )
        for table in tables
        if (table["value_towards_better"] < 0).any()
    ]  # fmt: skip
    if named:
        raise PaymentRefusedError(
            "No shares for payment, because `reporting.payment.negative` is `refuse` and these contributors made a "
            f"property worse: {'; '.join(named)}. Decide about them, or set `reporting.payment.negative=zero`: they "
            "then get nothing and pay nothing."
        )
