"""The measured rows as the estimators want them: checked, one row per distinct coalition, in a canonical order.

The canonical order depends neither on the order of the rows nor (except between indistinguishable coalitions) on the
numbering of the players, so that everything computed from it is invariant under both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from groupshap.games.types import CoalitionMatrix, FloatArray, Utilities

__all__ = ["Evaluations", "collapse", "listed"]

MIN_FREEDOM = 3
"""Degrees of freedom below which a variance of replicates is not compared with."""
CLEARLY_LARGER = 16.0
"""Ratio of variances that equal noise gives in less than one of fifty games."""
LARGEST = 1e100
SMALLEST_SPREAD = 1e-100
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Evaluations:
    """Distinct coalitions with their replicates averaged; row 0 is empty, row 1 grand, the rest the interior.

    Attributes:
        masks: (m, n_players) bool, distinct.
        utilities: (m,) float64, mean over replicates.
        counts: (m,) int64, rows behind each mean.
        replicates: (m,) float64, what these are worth: ``counts``, but less for ∅ where its seeds vary clearly more.
        pair_ids: (m,) int64, equal for S and N∖S, numbered from 0 (the pair ∅, N).
        seed_variance: pooled variance of one evaluation within replicates; nan without replicates.
        seed_freedom: degrees of freedom behind ``seed_variance``.
    """

    masks: CoalitionMatrix
    utilities: FloatArray
    counts: IntArray
    replicates: FloatArray
    pair_ids: IntArray
    seed_variance: float
    seed_freedom: int

    @property
    def n_rows(self) -> int:
        """Rows before averaging."""
        return int(self.counts.sum())

    @property
    def n_players(self) -> int:
        """Number of players."""
        return self.masks.shape[1]

    @property
    def sizes(self) -> IntArray:
        """(m,) int64: |S| of each distinct coalition."""
        return self.masks.sum(axis=1)

    @property
    def v_empty(self) -> float:
        """Mean utility of the empty coalition."""
        return float(self.utilities[0])

    @property
    def v_grand(self) -> float:
        """Mean utility of the grand coalition."""
        return float(self.utilities[1])

    @property
    def is_complete(self) -> bool:
        """Whether all 2**n coalitions were measured."""
        return self.n_players < 63 and len(self.masks) == 2**self.n_players

    @property
    def is_constant(self) -> bool:
        """Whether all means agree to rounding."""
        return bool(np.ptp(self.utilities) <= 1e-13 * np.abs(self.utilities).max())

    def spread(self, limit: int) -> Evaluations:
        """At most ``limit`` rows: the end points and interior rows spread evenly over the canonical order."""
        n_rows = len(self.masks)
        if n_rows <= limit:
            return self
        interior = 2 + np.floor(np.linspace(0, n_rows - 3, limit - 2)).astype(np.int64)
        return self.subset(np.concatenate([[0, 1], interior]))

    def subset(self, rows: IntArray) -> Evaluations:
        """The same evaluations restricted to ``rows`` (sorted row numbers)."""
        return Evaluations(
            self.masks[rows],
            self.utilities[rows],
            self.counts[rows],
            self.replicates[rows],
            self.pair_ids[rows],
            self.seed_variance,
            self.seed_freedom,
        )


def collapse(
    coalitions: CoalitionMatrix, utilities: Utilities, *, clearly_larger: float = CLEARLY_LARGER
) -> Evaluations:
    """Check the rows and average the replicates of each coalition.

    Args:
        coalitions: (n_coalitions, n_players) bool (or 0/1 integers), any order, duplicates are replicates.
        utilities: (n_coalitions,) finite numbers.
        clearly_larger: ratio of variances from which the seeds of ∅ are taken to vary more than those of the others.

    Raises:
        ValueError: wrong shape or type, non-finite utilities (rows named), or a missing empty or grand coalition.
    """
    masks, values = _checked(coalitions, utilities)
    packed = np.packbits(masks, axis=1)
    keys = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    # Sorted sums: the mean of replicates must not depend on the order of the rows.
    order = np.lexsort((values, group))
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    counts = np.bincount(group)
    means = np.add.reduceat(values[order], starts) / counts
    squares = np.add.reduceat((values[order] - means[group[order]]) ** 2, starts)
    canonical = _canonical_order(masks[first], means)
    masks = masks[first][canonical]
    counts, means = counts[canonical], means[canonical]
    replicates = counts.astype(np.float64)
    variance, freedom, replicates[0] = _seed_noise(masks, means, replicates, squares[canonical], clearly_larger)
    return Evaluations(masks, means, counts, replicates, _pair_ids(masks), variance, freedom)


def _seed_noise(
    masks: CoalitionMatrix, means: FloatArray, replicates: FloatArray, squares: FloatArray, clearly_larger: float
) -> tuple[float, int, float]:
    """Pooled variance within replicates, its degrees of freedom, and what the measurements of ∅ are worth.

    v(∅) is that of an untrained network, which may vary between seeds far more than trained models do (on a recorded
    game twenty times, in standard deviations). Pooled with theirs, two such numbers would drown everything players do.
    Where its variance is clearly another, ∅ is left out of the pool and its R measurements count as R σ²/σ_∅² of the
    usual ones.

    Args:
        masks: (m, n_players) bool, ∅ first.
        means: (m,) float64, of each coalition.
        replicates: (m,) float64.
        squares: (m,) float64, squared deviations from the mean, summed over replicates.
        clearly_larger: see :func:`collapse`.
    """
    freedom = int(replicates.sum()) - len(means)
    others = freedom - (int(replicates[0]) - 1)
    pooled = float(squares.sum() / freedom) if freedom else float("nan")
    if others == freedom:  # ∅ has one measurement
        return pooled, freedom, float(replicates[0])
    of_empty = float(squares[0]) / (freedom - others)
    usual = float(squares[1:].sum()) / others if others >= MIN_FREEDOM else _variance_at_equal_size(masks, means)
    if not 0.0 < usual < of_empty / clearly_larger:
        return pooled, freedom, float(replicates[0])
    rest = float(squares[1:].sum()) / others if others else float("nan")
    return rest, others, float(replicates[0]) * usual / of_empty


def _variance_at_equal_size(masks: CoalitionMatrix, means: FloatArray) -> float:
    """Variance of the interior rows about the mean of their size: an upper bound of their noise; nan for too few."""
    sizes = masks.sum(axis=1)[2:]
    counts = np.bincount(sizes)[sizes]
    centred = means[2:] - (np.bincount(sizes, weights=means[2:])[sizes] / counts)
    freedom = len(sizes) - len(np.unique(sizes))
    return float(centred @ centred) / freedom if freedom >= MIN_FREEDOM else float("nan")


def _checked(coalitions: CoalitionMatrix, utilities: Utilities) -> tuple[CoalitionMatrix, FloatArray]:
    masks = np.asarray(coalitions)
    values = np.asarray(utilities)
    if masks.ndim != 2 or 0 in masks.shape:
        raise ValueError(f"Expected `coalitions` of shape (n_coalitions, n_players), got {masks.shape}.")
    if values.shape != masks.shape[:1]:
        raise ValueError(
            f"Expected one utility per coalition, shape ({len(masks)},), got `utilities` of shape {values.shape}. "
            "Fit one property at a time."
        )
    if masks.dtype != bool:
        if not np.issubdtype(masks.dtype, np.number) or not np.isin(masks, (0, 1)).all():
            raise ValueError(f"Expected `coalitions` to be bool (or only 0 and 1), got {masks.dtype}.")
        masks = masks.astype(bool)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"Expected real numbers as `utilities`, got {values.dtype}.")
    values = values.astype(np.float64)
    _check_finite(values)
    _check_magnitude(values)
    _check_end_points(masks)
    return masks, values


def _check_finite(values: FloatArray) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ValueError(
            f"Expected finite `utilities`, got {len(bad)} that are not, in rows {listed(bad)} "
            f"(first: {values[bad[0]]}). "
            "Repeat or drop these evaluations; a substitute value would bias every player."
        )


def _check_magnitude(values: FloatArray) -> None:
    """Squares of the numbers must fit float64; a value like 1e300 is a failed measurement rather than a utility."""
    largest, spread = float(np.abs(values).max()), float(np.ptp(values))
    if largest > LARGEST or 0.0 < spread < SMALLEST_SPREAD:
        raise ValueError(
            f"Expected `utilities` below {LARGEST:g} that differ by 0 or at least {SMALLEST_SPREAD:g}, got a largest "
            f"of {largest:g} (row {int(np.abs(values).argmax())}) and a range of {spread:g}. "
            "Repeat failed measurements, or change the unit."
        )


def _check_end_points(masks: CoalitionMatrix) -> None:
    sizes = masks.sum(axis=1)
    ends = {"empty coalition (no player)": 0, "grand coalition (all players)": masks.shape[1]}
    missing = [name for name, size in ends.items() if not (sizes == size).any()]
    if missing:
        raise ValueError(
            f"Expected rows for the empty and the grand coalition, missing: {' and '.join(missing)} among "
            f"{len(masks)} rows. Measure them first: they are rows 0 and 1 of every plan of `plan_coalitions`."
        )


def listed(rows: IntArray, limit: int = 10) -> str:
    """Up to ``limit`` numbers and how many more there are."""
    text = ", ".join(map(str, rows[:limit].tolist()))
    return text if len(rows) <= limit else f"{text} and {len(rows) - limit} more"


def _canonical_order(masks: CoalitionMatrix, means: FloatArray) -> IntArray:
    """∅, N, then by size, by overlap with all other rows (both unchanged when players are renamed), then the rest."""
    n_players = masks.shape[1]
    sizes = masks.sum(axis=1)
    # Σ_T |S∩T|³: integers, so exact in float64 for every order of summation (below 2⁵³ for all sizes we accept).
    overlap = np.zeros(len(masks))
    members = masks.astype(np.float32)  # exact: counts stay below 2²⁴
    for start in range(0, len(masks), 1024):
        joint = (members[start : start + 1024] @ members.T).astype(np.float64)
        overlap[start : start + 1024] = (joint**3).sum(axis=1)
    rank = np.where(sizes == 0, 0, np.where(sizes == n_players, 1, 1 + sizes))
    packed = np.array([row.tobytes() for row in np.packbits(masks, axis=1)], dtype=object)
    last = np.argsort(np.argsort(packed, kind="stable"), kind="stable")
    return np.lexsort((last, means, overlap, rank))


def _pair_ids(masks: CoalitionMatrix) -> IntArray:
    """(m,) int64: one number per {S, N∖S}, in order of first appearance."""
    numbers: dict[bytes, int] = {}
    both = zip(np.packbits(masks, axis=1), np.packbits(~masks, axis=1), strict=True)
    keys = [min(row.tobytes(), inverse.tobytes()) for row, inverse in both]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
