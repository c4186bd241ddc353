"""Games of the benchmark with known Shapley values, the ones the estimators were developed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits

from groupshap.games import all_coalitions, exact_shapley

__all__ = ["ENUMERATED", "FAMILIES", "Game", "enumerated", "game", "mean_gain"]


@dataclass(frozen=True)
class Game:
    """Noise-free utilities of (m, n) bool coalitions, true Shapley values (n,), unit and shape of the noise."""

    name: str
    utility: Callable[[np.ndarray], np.ndarray]
    shapley: np.ndarray
    unit: float
    relative_noise: Callable[[np.ndarray], np.ndarray] | None = None

    def measure(self, noise: float, seed: int) -> Callable[[np.ndarray], np.ndarray]:
        """A measurement in which every evaluation has its own error, ``noise`` in units of ``unit``."""
        rng = np.random.default_rng([seed, 77])

        def measured(masks: np.ndarray) -> np.ndarray:
            shape = 1.0 if self.relative_noise is None else self.relative_noise(masks)
            return self.utility(masks) + noise * self.unit * shape * rng.standard_normal(len(masks))

        return measured


def game(
    name: str,
    utility: Callable[[np.ndarray], np.ndarray],
    shapley: np.ndarray,
    relative_noise: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Game:
    """A game whose unit of noise is the standard deviation of v between coalitions of half the players."""
    n = len(shapley)
    rng = np.random.default_rng(99)
    half = np.argsort(rng.random((2000, n)), axis=1) < n // 2
    return Game(name, utility, shapley, float(np.std(utility(half))), relative_noise)


def additive_pairs(n: int, rng: np.random.Generator) -> Game:
    """Weights and sparse pairwise terms; φ_i = w_i + ½ Σ_j p_ij."""
    weights = rng.normal(1.0, 0.7, n)
    pairs = np.triu(rng.normal(0.0, 1.0, (n, n)) * (rng.random((n, n)) < 4.0 / n), 1)
    both = pairs + pairs.T
    return game(
        "additive+pairs",
        lambda m: m @ weights + 0.5 * np.einsum("ri,ri->r", m @ both, m.astype(float)),
        weights + 0.5 * both.sum(axis=1),
    )


def coverage(n: int, rng: np.random.Generator) -> Game:
    """Topics worth u, each held by a few players; v(S) = worth of the topics held in S; φ shares each topic equally."""
    n_topics = 4 * n
    holders = rng.random((n_topics, n)) < (rng.uniform(1.0, 5.0, (n_topics, 1)) / n) * rng.gamma(2.0, 0.5, n)
    worth = rng.gamma(1.0, 1.0, n_topics) * holders.any(axis=1)
    share = worth / np.maximum(holders.sum(axis=1), 1)
    return game("coverage", lambda m: ((m @ holders.T.astype(np.float32)) > 0) @ worth, share @ holders)


def unanimity(n: int, rng: np.random.Generator) -> Game:
    """Sum of unanimity games of 1–5 players: interactions of all these orders, of both signs."""
    n_terms = 5 * n
    members = [rng.permutation(n)[: rng.integers(1, 6)] for _ in range(n_terms)]
    masks = np.array([np.isin(np.arange(n), team) for team in members])
    worth = rng.normal(0.2, 1.0, n_terms)
    sizes = masks.sum(axis=1)
    return game("unanimity", lambda m: ((m.astype(np.float32) @ masks.T) == sizes) @ worth, (worth / sizes) @ masks)


def saturating(n: int, rng: np.random.Generator) -> Game:
    """v(S) = 1 − exp(−4 w(S)/w(N)) with integer weights; φ by counting subsets per (size, weight)."""
    weights = rng.integers(1, 10, n)
    total = int(weights.sum())

    def saturation(weight: np.ndarray) -> np.ndarray:
        return 1.0 - np.exp(-4.0 * weight / total)

    value_of = {
        int(w): mean_gain(np.delete(weights, int(np.argmax(weights == w))), int(w), saturation)
        for w in set(weights.tolist())
    }
    return game("saturating", lambda m: saturation(m @ weights), np.array([value_of[int(w)] for w in weights]))


def mean_gain(others: np.ndarray, own: int, function: Callable[[np.ndarray], np.ndarray]) -> float:
    """Mean of f(W+own) − f(W) over random orders: probability of each (size, weight) of the predecessors."""
    n, top = len(others), int(others.sum())
    probability = np.zeros((n + 1, top + 1))
    probability[0, 0] = 1.0
    for done, weight in enumerate(others):
        # One more player, reservoir-wise: with k+1 players, P(size a) stays uniform over sets of that size.
        size = np.arange(n + 1)[:, None]
        grown = probability * (done + 1 - size) / (done + 1)
        grown[1:, weight:] += (probability * (size + 1))[:-1, : top + 1 - weight] / (done + 1)
        probability = np.maximum(grown, 0.0)
    worth = np.arange(top + 1)
    return float((probability @ (function(worth + own) - function(worth))).mean())


def accuracy(n: int, rng: np.random.Generator) -> Game:
    """Test accuracy of nearest class means on digits, trained on the union of the players' images (enumerated)."""
    images, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(labels))
    test, train = order[:300], order[300 : 300 + 12 * n]
    owner = np.sort(rng.integers(0, n, len(train)))
    train = train[np.argsort(labels[train] + 4.0 * rng.random(len(train)))]  # owners hold few classes
    one_hot = np.eye(10)[labels[train]]
    owned = np.eye(n)[owner].T
    counts = owned @ one_hot
    sums = np.einsum("pi,ic,id->pcd", owned, one_hot, images[train])

    def utility(masks: np.ndarray) -> np.ndarray:
        number = np.maximum(masks @ counts, 1e-9)[..., None]
        means = np.einsum("rp,pcd->rcd", masks.astype(float), sums) / number
        squared = (means**2).sum(axis=2)[:, None, :] - 2.0 * np.einsum("td,rcd->rtc", images[test], means)
        squared[np.broadcast_to((number[:, None, :, 0] < 1), squared.shape)] = 1e6
        return (squared.argmin(axis=2) == labels[test]).mean(axis=1) * masks.any(axis=1) + 0.1 * ~masks.any(axis=1)

    return enumerated("accuracy", n, utility)


def frechet(n: int, rng: np.random.Generator) -> Game:
    """Minus the Fréchet distance between Gaussian moments of the union's features and of everyone's (enumerated)."""
    dimension, images = 6, rng.integers(20, 60, n)
    centres = rng.normal(0.0, 1.0, (n, dimension))
    spreads = rng.gamma(4.0, 0.15, (n, dimension))
    second = spreads**2 + centres**2
    full_mean = np.average(centres, axis=0, weights=images)
    full_sd = np.sqrt(np.average(second, axis=0, weights=images) - full_mean**2)

    def utility(masks: np.ndarray) -> np.ndarray:
        weight = masks * images
        total = np.maximum(weight.sum(axis=1, keepdims=True), 1)
        mean = weight @ centres / total
        sd = np.sqrt(np.maximum(weight @ second / total - mean**2, 0.0))
        distance = ((mean - full_mean) ** 2 + (sd - full_sd) ** 2).sum(axis=1)
        return -np.where(masks.any(axis=1), distance, 3.0 * dimension)

    return enumerated("frechet", n, utility)


def enumerated(
    name: str,
    n: int,
    utility: Callable[[np.ndarray], np.ndarray],
    relative_noise: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Game:
    """A game measured once on all its coalitions."""
    masks = all_coalitions(n)
    table = np.concatenate([utility(part) for part in np.array_split(masks, max(1, len(masks) // 1024))])
    powers = 1 << np.arange(n)
    return game(name, lambda m: table[m @ powers], exact_shapley(table), relative_noise)


FAMILIES = {
    "additive+pairs": additive_pairs,
    "coverage": coverage,
    "unanimity": unanimity,
    "saturating": saturating,
    "accuracy": accuracy,
    "frechet": frechet,
}
ENUMERATED = ("accuracy", "frechet")
