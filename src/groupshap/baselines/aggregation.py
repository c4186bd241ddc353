"""From one score per image to one per contributor.

Sum and mean rank contributors differently as soon as they own different numbers of images, and publications use one
or the other without saying so: here all three ways are rows of their own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["AGGREGATIONS", "FloatArray", "by_contributor"]

FloatArray = npt.NDArray[np.float64]

AGGREGATIONS = ("sum", "mean", "max")


def by_contributor(scores: FloatArray, players: npt.NDArray[np.int64], n_players: int) -> dict[str, FloatArray]:
    """Sum, mean and max (n_players,) float64 of the scores of each contributor's images.

    Args:
        scores: (n_images,) finite numbers.
        players: (n_images,) the contributor of each image, 0..n_players - 1.
        n_players: Number of contributors.

    Raises:
        ValueError: scores that are not finite, shapes that differ, or contributors without an image.
    """
    if scores.shape != players.shape or not np.isfinite(scores).all():
        raise ValueError(
            f"Expected one finite score per image, shape {players.shape}, got shape {scores.shape} with "
            f"{int((~np.isfinite(scores)).sum())} that are not finite."
        )
    counts = np.bincount(players, minlength=n_players)
    if len(counts) > n_players or not counts.all():
        raise ValueError(
            f"Expected images of each of {n_players} contributors, got numbers of images {counts.tolist()[:20]}. "
            "The pack and the contributors table must be of the same run: kedro run --pipelines data_grouping."
        )
    order = np.lexsort((scores, players))  # sorted sums: they must not depend on the order of the images
    starts = np.cumsum(counts) - counts
    sums = np.add.reduceat(scores[order].astype(np.float64), starts)
    return {"sum": sums, "mean": sums / counts, "max": np.maximum.reduceat(scores[order].astype(np.float64), starts)}
