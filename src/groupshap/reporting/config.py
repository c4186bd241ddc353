"""Parameters of the report: how values become payments, and how much the page shows. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["PaymentPolicy", "ReportingConfig"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PaymentPolicy(_Frozen):
    """How Shapley values become percentages that sum to 100."""

    negative: Literal["zero", "refuse"] = Field(
        default="zero",
        description="Who made the property worse. zero: gets nothing and pays nothing; refuse: no shares at all, and "
        "the message names them.",
    )
    ties: Literal["proportional", "equal_within_intervals"] = Field(
        default="proportional",
        description="proportional: by value; equal_within_intervals: contributors whose intervals overlap that of the "
        "first of their group get the same.",
    )
    decimals: int = Field(default=2, ge=0, le=6, description="Of the percentages; what rounding leaves is handed out.")


class ReportingConfig(_Frozen):
    """All parameters of the pipeline ``reporting``."""

    payment: PaymentPolicy = PaymentPolicy()
    n_images_per_contributor: int = Field(default=12, ge=1, le=200, description="Own images shown per contributor.")
    n_generated_images: int = Field(
        default=8,
        ge=0,
        le=64,
        description="Images generated with and without each contributor; 0: none, no models read.",
    )
    n_contributors_in_full: int = Field(
        default=40,
        ge=2,
        le=1000,
        description="More contributors: generated images for the best and worst of them only.",
    )
    n_convergence_points: int = Field(
        default=5, ge=1, le=50, description="Refits to the first evaluations, to see the values settle."
    )
