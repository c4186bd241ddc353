"""Residual influence: how well a model of S still denoises the images of contributors outside S.

The cheap game starts from a model that has seen everybody. If fine-tuning on S made it forget the others, it would
denoise their images as badly as a model retrained without them. The gap between excluded and included contributors
says how far it gets.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from groupshap.games.types import FloatArray
from groupshap.validation.config import ValidationScoringConfig
from groupshap.validation.resampling import interval, resampled_rows

__all__ = ["RESIDUAL_COLUMNS", "START", "residual_table"]

START = "start"
LOSS_COLUMNS = ("model", "coalition_id", "contributor", "is_member", "loss")
RESIDUAL_COLUMNS = (
    *("stage", "loss_included", "loss_excluded", "gap", "low", "high", "relative_gap", "share_of_retrained"),
    *("n_coalitions", "n_contributors"),
)


def residual_table(
    losses: pd.DataFrame,
    retrained_losses: pd.DataFrame | None = None,
    config: ValidationScoringConfig | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per stage: ``before`` and ``after`` fine-tuning, ``retrained`` where its losses are given.

    Args:
        losses: one row per model, coalition and contributor: model (``start``: the model before fine-tuning, judged as
            if it were that of the coalition; otherwise the coalition's id), coalition_id, contributor, is_member,
            loss (denoising loss on the contributor's images, same noise for all models). Every coalition has every
            contributor; several rows of the same kind (replicates) are averaged.
        retrained_losses: the same of models retrained from scratch.
        config: bootstrap and level; None takes the defaults.
        seed: root of the bootstrap.

    Returns:
        :data:`RESIDUAL_COLUMNS`. ``gap``: how much worse excluded contributors are denoised than included ones, the g
        of loss_iS = a_i + b_S + g · 1[i ∉ S] by least squares, because contributors differ in difficulty (a_i) and
        models in quality (b_S); its interval is a bootstrap over coalitions. ``relative_gap`` = gap / loss_included.
        ``share_of_retrained``: gap over that of retraining; 1 − this share is the influence that remains.

    Raises:
        ValueError: missing columns, losses that are not finite, or coalitions without some contributor.
    """
    config = config or ValidationScoringConfig()
    is_start = losses["model"] == START if "model" in losses else pd.Series(dtype=bool)
    stages = {"before": losses[is_start], "after": losses[~is_start]} if "model" in losses else {"after": losses}
    stages |= {} if retrained_losses is None else {"retrained": retrained_losses}
    rows = [_stage_row(stage, table, config, seed) for stage, table in stages.items() if len(table)]
    table = pd.DataFrame(rows, columns=list(RESIDUAL_COLUMNS))
    retrained = table.loc[table["stage"] == "retrained", "gap"]
    if len(retrained) and retrained.iloc[0] != 0.0:
        table["share_of_retrained"] = table["gap"] / retrained.iloc[0]
    return table


def _stage_row(stage: str, losses: pd.DataFrame, config: ValidationScoringConfig, seed: int) -> dict[str, object]:
    loss, excluded = _rectangle(stage, losses)
    drawn = resampled_rows(len(loss), config.n_bootstrap, seed, "residual", stage)
    draws = np.array([_gap(loss[rows], excluded[rows]) for rows in drawn])
    low, high = interval(draws, config.level)
    included, gap = float(loss[~excluded].mean()), _gap(loss, excluded)
    return {
        "stage": stage,
        "loss_included": included,
        "loss_excluded": float(loss[excluded].mean()) if excluded.any() else np.nan,
        "gap": gap,
        "low": low,
        "high": high,
        "relative_gap": gap / included,
        "n_coalitions": len(loss),
        "n_contributors": loss.shape[1],
    }


def _rectangle(stage: str, losses: pd.DataFrame) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Loss and whether the contributor is excluded, both (n_coalitions, n_contributors)."""
    missing = [column for column in LOSS_COLUMNS if column not in losses.columns]
    if missing:
        raise ValueError(
            f"Expected the columns {', '.join(LOSS_COLUMNS)} in the losses, missing: {', '.join(missing)}."
        )
    table = losses.pivot_table(index="coalition_id", columns="contributor", values=["loss", "is_member"], dropna=False)
    loss, member = (table[column].to_numpy(np.float64) for column in ("loss", "is_member"))
    bad = ~np.isfinite(loss) | ~np.isfinite(member)
    if bad.any():
        coalition, contributor = np.argwhere(bad)[0]
        where = f"{table.index[coalition]} and {table['loss'].columns[contributor]!r}"
        raise ValueError(
            f"Expected one finite loss for every coalition and contributor ({stage}), not so for {int(bad.sum())} of "
            f"{bad.size}, the first: {where}. Measure these losses again."
        )
    return loss, member < 0.5


def _gap(loss: FloatArray, excluded: npt.NDArray[np.bool_]) -> float:
    """Coefficient of `excluded` beside effects of every row and column; nan where it cannot be told from them."""
    loss, excluded = (_without_effects(np.asarray(array, dtype=np.float64)) for array in (loss, excluded))
    square = float((excluded**2).sum())
    return float((loss * excluded).sum() / square) if square > 1e-12 * excluded.size else float("nan")


def _without_effects(array: FloatArray) -> FloatArray:
    return array - array.mean(axis=0) - array.mean(axis=1, keepdims=True) + array.mean()
