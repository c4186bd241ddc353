"""A game without training, for models that can draw "in the manner of" one contributor (idea: arXiv:2601.22276).

One conditional model is trained on everybody. The utility of a coalition is the property of a mixture of what that
model draws under the conditions of its members, in the proportions of their images:

    v(S) = F( sum over i in S of pi_S(i) p(x | i) ),   pi_S(i) = n_i / sum over j in S of n_j.

It credits conditions rather than data: how the model draws one contributor does not change when another leaves. Every
coalition takes the first images of each member's pool, so coalitions differ by their members and not by new draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from groupshap.games import CoalitionMatrix, ShapleyValues, Utilities, estimate, plan_coalitions
from groupshap.images import ImageArray, check_images

__all__ = ["ProxyGame", "apportion", "proxy_shapley"]


def apportion(shares: npt.NDArray[np.floating], total: int) -> npt.NDArray[np.int64]:
    """Whole numbers (n,) that sum to ``total``, as near to proportional as can be: largest remainders, first first."""
    exact = np.asarray(shares, dtype=np.float64) / np.sum(shares) * total
    counts = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(-np.round(exact - counts, 9), kind="stable")
    counts[order[: total - counts.sum()]] += 1
    return counts


class ProxyGame:
    """The game as a function of coalitions.

    Args:
        pools: Per contributor what the full model draws under that contributor's condition, at least ``n_images`` each.
        n_training_images: (n_players,) images that each contributor owns.
        measure: Images to the property.
        v_empty: Utility of the empty coalition, for which the mixture is not defined: measure it, for example on noise.
        n_images: Images per coalition.

    Raises:
        ValueError: too few images in a pool.
    """

    def __init__(
        self,
        pools: Sequence[ImageArray],
        n_training_images: npt.NDArray[np.integer],
        measure: Callable[[ImageArray], float],
        v_empty: float,
        n_images: int,
    ) -> None:
        for player, pool in enumerate(pools):
            check_images(pool, f"pools[{player}]")
        smallest = min(len(pool) for pool in pools)
        if smallest < n_images or len(n_training_images) != len(pools):
            raise ValueError(
                f"Expected pools of at least {n_images} images, because a coalition may have one member, and a number "
                f"of training images for each; got {len(pools)} pools, the smallest of {smallest}, and "
                f"{len(n_training_images)} numbers."
            )
        self._pools, self._sizes = pools, np.asarray(n_training_images, dtype=np.float64)
        self._measure, self._v_empty, self._n_images = measure, v_empty, n_images

    def images_of(self, coalition: npt.NDArray[np.bool_]) -> ImageArray:
        """(n_images, channels, height, width) uint8: the mixture of a coalition (n_players,) that is not empty."""
        counts = apportion(self._sizes * coalition, self._n_images)
        return np.concatenate([pool[:count] for pool, count in zip(self._pools, counts, strict=True) if count])

    def __call__(self, coalitions: CoalitionMatrix) -> Utilities:
        """(n_coalitions,) utilities."""
        values = [self._measure(self.images_of(mask)) if mask.any() else self._v_empty for mask in coalitions]
        return np.array(values, dtype=np.float64)


def proxy_shapley(game: ProxyGame, n_players: int, budget: int, *, seed: int, estimator: str = "gp") -> ShapleyValues:
    """Shapley values of the proxy game from ``budget`` coalitions; a complete table gives the exact ones.

    The published method fits boosted trees instead and takes Shapley values of the trees, which are constant in most
    contributors when these are many.
    """
    coalitions = plan_coalitions(n_players, budget, seed=seed)
    return estimate(coalitions, game(coalitions), estimator=estimator, seed=seed)
