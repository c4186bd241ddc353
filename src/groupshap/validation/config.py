"""Parameters of the scores: how wide their intervals are and how many resamples they rest on.

Imports only pydantic and the standard library, because every ``kedro`` command imports it.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ValidationScoringConfig"]


class ValidationScoringConfig(BaseModel):
    """All parameters of scoring; unknown keys and impossible values are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    n_bootstrap: int = Field(default=1000, ge=20, le=100_000, description="Resamples behind every interval.")
    level: float = Field(default=0.95, gt=0, lt=1, description="Coverage of the intervals.")
