from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import hypothesis.strategies as st
import pandas as pd
import pytest
from hypothesis import given, settings

from groupshap.reporting.config import PaymentPolicy
from groupshap.reporting.payment import (
    PAYMENT_COLUMNS,
    PaymentRefusedError,
    largest_remainder,
    payment_shares,
    rank_groups,
)


def values(numbers, half_width=0.5, name="accuracy"):
    return pd.DataFrame(
        {
            "property": name, "contributor": [f"c{i}" for i in range(len(numbers))], "n_images": 7,
            "shapley_value": numbers, "ci_low": [v - half_width for v in numbers],
            "ci_high": [v + half_width for v in numbers],
        }
    )  # fmt: skip


def shares(numbers, *, higher=True, half_width=0.5, **policy):
    table = payment_shares(values(numbers, half_width), {"accuracy": higher}, PaymentPolicy(**policy))
    return table.set_index("contributor")


@given(
    st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=60),
    st.integers(0, 6),
    st.sampled_from(["proportional", "equal_within_intervals"]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_whatever_the_values_the_percentages_sum_to_100_or_nobody_is_paid(numbers, decimals, ties, higher):
    paid = shares(numbers, higher=higher, ties=ties, decimals=decimals)["share_percent"]
    if any((v > 0) if higher else (v < 0) for v in numbers):
        assert sum(Decimal(repr(float(share))) for share in paid) == 100
        assert (paid >= 0).all()
    else:
        assert paid.isna().all()


def test_lowering_a_property_of_which_lower_is_better_is_paid():
    table = shares([-3.0, -1.0, 2.0], higher=False)
    assert set(table.reset_index()) == set(PAYMENT_COLUMNS)
    assert table["value_towards_better"].to_dict() == {"c0": 3.0, "c1": 1.0, "c2": -2.0}
    assert table["share_percent"].to_dict() == {"c0": 75.0, "c1": 25.0, "c2": 0.0}


def test_refuse_names_everybody_who_made_it_worse():
    with pytest.raises(PaymentRefusedError, match=r"c1 \(-1\), c2 \(-2\).*negative=zero"):
        shares([3.0, -1.0, -2.0], negative="refuse")
    assert shares([3.0, 1.0], negative="refuse")["share_percent"].sum() == 100


def test_ties_get_the_same_within_their_group_and_groups_keep_their_sums():
    table = shares([9.0, 8.8, 8.5, 1.0, -0.2], ties="equal_within_intervals")
    assert table["rank_group"].to_list() == [1, 1, 1, 2, 3]
    assert table["share_percent"].iloc[:3].max() - table["share_percent"].iloc[:3].min() < 0.011
    by_value = shares([9.0, 8.8, 8.5, 1.0, -0.2])
    assert by_value["share_percent"].is_monotonic_decreasing
    assert by_value["share_percent"].iloc[:3].sum() == pytest.approx(table["share_percent"].iloc[:3].sum(), abs=0.03)


def test_a_chain_of_overlaps_does_not_tie_its_ends():
    assert rank_groups([2.0, 1.2, 0.4], [3.0, 2.2, 1.4]) == [1, 1, 2]


def test_largest_remainders_get_what_rounding_leaves():
    thirds = [Fraction(1)] * 3
    assert largest_remainder(thirds, 2) == [Fraction("33.34"), Fraction("33.33"), Fraction("33.33")]
    assert largest_remainder([Fraction(1), Fraction(4), Fraction(1)], 0) == [17, 67, 16]
    assert largest_remainder([Fraction(0)], 2) is None


def test_zero_has_no_minus():
    assert str(shares([0.0, 1.0], higher=False)["value_towards_better"]["c0"]) == "0.0"
