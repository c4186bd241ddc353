"""Parameters of the estimation: which estimator, how wide the intervals, what is reported beside it.

Imports only pydantic and the standard library, because every ``kedro`` command imports it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = ["DEFAULT_TARGET", "EstimationConfig", "EstimatorName", "LawName"]

EstimatorName = Literal["gp", "size_adjusted", "kernel", "kernel_exact", "permutation", "exact"]
"""The estimators of ``groupshap.games`` that aim at Shapley values; only their values sum to v(N) - v(empty)."""

LawName = Literal["uniform_size", "kernel", "arcsine", "central", "half", "bernoulli", "permutation"]

DEFAULT_TARGET = 0.10
"""Largest standard error over the range of the values; 0.10 went with rank correlations of 0.95 on accuracies."""


def _parse_names(value: Any) -> Any:
    """``"kernel;exact"`` as a list, because ``kedro --params`` cannot pass one and cuts its value at commas."""
    if isinstance(value, str):
        return [name.strip() for name in value.replace(";", ",").split(",") if name.strip()]
    return value


class EstimationConfig(BaseModel):
    """All parameters of the pipeline ``shapley_estimation``; unknown keys and impossible values are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    estimator: EstimatorName = Field(
        default="gp",
        description="gp: Gaussian process over coalitions, falls back to size_adjusted and says so; kernel: the "
        "paper's least squares; exact: Shapley's formula, needs all coalitions.",
    )
    level: float = Field(default=0.95, gt=0, lt=1, description="Coverage of the intervals.")
    law: LawName | None = Field(
        default=None, description="Law of the coalition sizes; None infers it from the table. Only regressions use it."
    )
    n_bootstrap: int = Field(
        default=100, ge=2, le=100_000, description="Refits behind the intervals of size_adjusted and kernel."
    )
    target_relative_error: float | None = Field(
        default=None,
        gt=0,
        description="Converged means: largest standard error below this share of the range of the values. "
        f"Only reported here; None: {DEFAULT_TARGET}.",
    )
    companions: Annotated[tuple[EstimatorName, ...], BeforeValidator(_parse_names)] = Field(
        default=("size_adjusted", "kernel", "kernel_exact"),
        description="Estimators reported beside the main one; a list, or names separated by ';'.",
    )

    @model_validator(mode="after")
    def _companions_are_distinct(self) -> Self:
        if len(set(self.companions)) < len(self.companions):
            raise ValueError(f"`companions`: expected every estimator once, got {', '.join(self.companions)}.")
        return self

    @property
    def target(self) -> float:
        """The target in force: ``target_relative_error`` or its default."""
        return DEFAULT_TARGET if self.target_relative_error is None else self.target_relative_error
