"""Games the estimators were not developed on: the benchmark's own acceptance (``estimators.py --held-out``).

Nothing in :mod:`groupshap.games` may be tuned to one of them. True values come from closed forms, from counting, or
from enumeration. Some have noise that depends on |S|, some an empty coalition far out of line with the rest.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from families import Game, enumerated, game, mean_gain

__all__ = ["HELD_OUT", "HELD_OUT_PLAYERS"]


def neighbours(n: int, rng: np.random.Generator) -> Game:
    """Accuracy of 5 nearest neighbours, one training image per player (Jia et al. 2019, theorem 1: closed form)."""
    k, n_test = 5, 60
    centres = rng.normal(0.0, 1.0, (4, 6))
    labels, test_labels = rng.integers(0, 4, n), rng.integers(0, 4, n_test)
    points = centres[labels] + 0.9 * rng.standard_normal((n, 6))
    tests = centres[test_labels] + 0.9 * rng.standard_normal((n_test, 6))
    order = np.argsort(((tests[:, None] - points) ** 2).sum(axis=2), axis=1)
    match = (labels[order] == test_labels[:, None]).astype(float)  # (n_test, n), nearest first

    def utility(masks: np.ndarray) -> np.ndarray:
        total = np.zeros(len(masks))
        for nearest, hits in zip(order, match, strict=True):
            held = masks[:, nearest]
            total += (held & (np.cumsum(held, axis=1) <= k)) @ hits
        return total / (k * n_test)

    values = np.zeros(n)
    for nearest, hits in zip(order, match, strict=True):
        value = np.zeros(n)
        value[-1] = hits[-1] * min(k, n) / (k * n)
        for rank in range(n - 2, -1, -1):
            value[rank] = value[rank + 1] + (hits[rank] - hits[rank + 1]) / k * min(k, rank + 1) / (rank + 1)
        values[nearest] += value / n_test
    return game("nearest neighbours", utility, values)


def facility(n: int, rng: np.random.Generator) -> Game:
    """v(S) = Σ_t max_{i ∈ S} similarity(i, t): one airport game per customer t (Littlechild & Owen 1973)."""
    places, customers = rng.random((n, 2)), rng.random((120, 2))
    gain = np.exp(-12.0 * ((customers[:, None] - places) ** 2).sum(axis=2))
    values = np.zeros(n)
    for row in gain:
        order = np.argsort(row)
        values[order] += np.cumsum(np.diff(row[order], prepend=0.0) / np.arange(n, 0, -1))
    return game("facility location", lambda m: sum((m * row).max(axis=1) for row in gain), values)


def majority(n: int, rng: np.random.Generator) -> Game:
    """v(S) = 1 if the votes reach 60 %; a few players have most of them: a cliff instead of a curve."""
    votes = np.minimum(1 + (3.0 * rng.pareto(1.2, n)).astype(int), 20)
    quota = int(0.6 * votes.sum())
    return _counted("weighted majority", votes, lambda weight: (weight >= quota).astype(float))


def power_law(n: int, rng: np.random.Generator) -> Game:
    """v(S) = −(images)^(−0.6): a distance that falls with the data; v(∅) three ranges below, noise ∝ |S|^(−1/2)."""
    images = rng.integers(5, 60, n)
    smallest = int(images.min())

    def score(weight: np.ndarray) -> np.ndarray:
        distance = 100.0 * np.maximum(weight, smallest) ** -0.6
        return -np.where(weight > 0, distance, 4.0 * 100.0 * smallest**-0.6)

    return _counted("power law", images, score, _falling_noise)


def _counted(
    name: str,
    weights: np.ndarray,
    function: Callable[[np.ndarray], np.ndarray],
    noise: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Game:
    """A function of the sum of integer weights; values by counting subsets per (size, sum)."""
    of_weight = {
        int(w): mean_gain(np.delete(weights, int(np.argmax(weights == w))), int(w), function) for w in set(weights)
    }
    return game(name, lambda m: function(m @ weights), np.array([of_weight[int(w)] for w in weights]), noise)


def _falling_noise(masks: np.ndarray) -> np.ndarray:
    """Noise of few training images: relative sd (n / 2|S|)^(1/2), so 1 at half size."""
    return np.sqrt(masks.shape[1] / 2.0 / np.maximum(masks.sum(axis=1), 1))


def log_determinant(n: int, rng: np.random.Generator) -> Game:
    """v(S) = log det(I + Σ_{i ∈ S} x_i x_iᵀ): information of an experiment."""
    vectors = rng.normal(0.0, 1.0, (n, 5)) * rng.gamma(1.0, 1.0, (n, 1))
    outer = np.einsum("ni,nj->nij", vectors, vectors)

    def utility(masks: np.ndarray) -> np.ndarray:
        return np.linalg.slogdet(np.eye(5) + np.einsum("rn,nij->rij", masks.astype(float), outer))[1]

    return enumerated("log-determinant", n, utility)


def full_frechet(n: int, rng: np.random.Generator) -> Game:
    """Minus the Fréchet distance with full covariances (Dowson & Landau 1982); v(∅) far out, noise ∝ |S|^(−1/2)."""
    dimension, images = 5, rng.integers(15, 80, n)
    centres = 0.8 * rng.standard_normal((n, dimension))
    roots = rng.normal(0.0, 0.6, (n, dimension, dimension))
    second = np.einsum("nij,nkj->nik", roots, roots) + np.einsum("ni,nj->nij", centres, centres)

    def moments(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        share = masks * images / np.maximum((masks * images).sum(axis=1, keepdims=True), 1)
        mean = share @ centres
        return mean, np.einsum("rn,nij->rij", share, second) - np.einsum("ri,rj->rij", mean, mean)

    full_mean, full = (part[0] for part in moments(np.ones((1, n), bool)))
    values, vectors = np.linalg.eigh(full)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T

    empty = 4.0 * float(np.trace(full))

    def utility(masks: np.ndarray) -> np.ndarray:
        mean, covariance = moments(masks)
        cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariance @ root), 0.0)).sum(axis=1)
        trace = np.trace(covariance, axis1=1, axis2=2) + np.trace(full) - 2.0 * cross
        distance = ((mean - full_mean) ** 2).sum(axis=1) + trace
        return -np.where(masks.any(axis=1), distance, empty)

    return enumerated("Fréchet, full covariance", n, utility, _falling_noise)


def logistic(n: int, rng: np.random.Generator) -> Game:
    """Test accuracy of scikit-learn's logistic regression on digits; every player holds two or three classes."""

    def fit(images: np.ndarray, labels: np.ndarray) -> LogisticRegression:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return LogisticRegression(C=0.1, max_iter=15).fit(images, labels)

    return _digits("logistic regression", n, rng, fit)


def naive_bayes(n: int, rng: np.random.Generator) -> Game:
    """The same with Gaussian naive Bayes, which is worse and less smooth."""
    return _digits("naive Bayes", n, rng, lambda x, y: GaussianNB(var_smoothing=1e-2).fit(x, y))


def _digits(name: str, n: int, rng: np.random.Generator, fit: Callable[[np.ndarray, np.ndarray], object]) -> Game:
    images, labels = load_digits(return_X_y=True)
    images = images / 16.0
    order = rng.permutation(len(labels))
    test, rest = order[:400], order[400:]
    owned = []
    for _ in range(n):
        wanted = np.isin(labels[rest], rng.permutation(10)[: rng.integers(2, 4)])
        owned.append(rng.permutation(rest[wanted])[: rng.integers(6, 20)])

    def accuracy(mask: np.ndarray) -> float:
        if not mask.any():
            return 0.1
        rows = np.concatenate([owned[player] for player in np.flatnonzero(mask)])
        return float((fit(images[rows], labels[rows]).predict(images[test]) == labels[test]).mean())

    return enumerated(name, n, lambda masks: np.array([accuracy(mask) for mask in masks]))


HELD_OUT = {
    "nearest neighbours": neighbours,
    "facility location": facility,
    "weighted majority": majority,
    "power law": power_law,
    "log-determinant": log_determinant,
    "Fréchet, full covariance": full_frechet,
    "logistic regression": logistic,
    "naive Bayes": naive_bayes,
}
HELD_OUT_PLAYERS = {
    "nearest neighbours": (20, 60),
    "facility location": (12, 40),
    "weighted majority": (9, 30),
    "power law": (16, 60),
    "log-determinant": (8, 14),
    "Fréchet, full covariance": (10, 14),
    "logistic regression": (10,),
    "naive Bayes": (11,),
}
"""Numbers of players per family."""
