"""The result in plain words: what a property is, how sure we are, what a payment policy means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from groupshap.attribution.summary import price_of_converging
from groupshap.reporting.config import PaymentPolicy

__all__ = [
    "POLICIES",
    "flat_parameters",
    "going_on",
    "number",
    "policy_sentence",
    "property_words",
    "told_apart",
    "verdict",
]

_PROPERTIES = {
    "frechet_efficientnet": (
        "Distance to the originals",
        "How far the generated images, taken together, lie from the contributors' images: the Fréchet distance "
        "between features of EfficientNet-Lite0. It is not the FID of the literature.",
    ),
    "inception_efficientnet": (
        "Distinct and varied images",
        "High when each generated image looks clearly like something and all together look like many things, to the "
        "network EfficientNet-Lite0. It is not the Inception Score of the literature.",
    ),
    "diversity_entropy": (
        "Diversity",
        "How evenly the generated images fall into groups (labels of the data, such as skin tones, where there are "
        "any; clusters otherwise), in bits.",
    ),
    "colourfulness": ("Colourfulness", "How far the colours of the generated images are from grey and each other."),
    "prompt_fidelity": (
        "Prompt fidelity",
        "How often a generated image looks more like real images of its own prompt than like those of any other.",
    ),
    "colourfulness_quantile": (
        "Colourfulness of the best",
        "What the most colourful of the generated images reach: how far their colours are from grey and each other.",
    ),
    "fid": ("Distance to the originals (FID)", "The Fréchet Inception Distance of the literature to the originals."),
    "kid": ("Distance to the originals (KID)", "The Kernel Inception Distance of the literature to the originals."),
    "inception_score": ("Distinct and varied images", "The Inception Score of the literature, in one split."),
    "inception_torchvision": (
        "Distinct and varied images",
        "The Inception Score with torchvision's weights: not comparable with published ones.",
    ),
    "aesthetic_clip": ("Aesthetic score", "How beautiful people would call the generated images, as a model guesses."),
    "aesthetic_quantile_clip": (
        "Aesthetic score of the best",
        "How beautiful people would call the best of the generated images, as a model guesses.",
    ),
    "prompt_score_clip": ("Match with the prompts", "How well the generated images show what their prompts say."),
    "parity_gap": (
        "Gap to the wanted shares",
        "The part of the generated images that would have to be of another group for the groups' shares to be the "
        "wanted ones; groups are recognised by a classifier, which makes mistakes.",
    ),
}

_ON_FEATURES = {
    "frechet": ("Distance to the originals", "How far the generated images, taken together, lie from the originals"),
    "kernel_distance": ("Distance to the originals", "How well generated images can be told apart from the originals"),
    "precision": ("Precision", "The share of generated images that look like some of the originals"),
    "recall": ("Recall", "The share of originals that some of the generated images look like"),
    "density": ("Density", "Among how many originals a generated image lies"),
    "coverage": ("Coverage", "The share of originals that have a generated image nearby"),
    "vendi": ("Diversity", "How many really different images the generated ones amount to"),
    "cluster_entropy": ("Diversity", "How evenly the generated images fall into clusters of the originals, in bits"),
}

POLICIES = {
    "negative: zero": "Who made the property worse gets nothing and pays nothing; the others share 100 %.",
    "negative: refuse": "If anybody made a property worse, no shares are computed at all, and the run names them.",
    "ties: proportional": "Shares follow the values, also where intervals overlap and the order is uncertain.",
    "ties: equal_within_intervals": "Down the ranking, whoever's interval overlaps the interval of the first of the "
    "current group belongs to that group; a group shares its sum equally.",
}


def property_words(name: str) -> tuple[str, str]:
    """A title and a sentence; a user's own property is called by its name."""
    if name in _PROPERTIES:
        return _PROPERTIES[name]
    if name.startswith("share_of_"):
        label = name.removeprefix("share_of_").replace("_", " ")
        return f"Share of {label}", f"The share of generated images that a classifier takes for {label}."
    metric, _, network = name.rpartition("_")
    if metric in _ON_FEATURES:
        title, sentence = _ON_FEATURES[metric]
        return title, f"{sentence}: by features of the network {network}."
    return name, "A property defined by the user of groupshap."


def number(value: float, *, sign: bool = False, digits: int = 3) -> str:
    """Rounded for reading, with a true minus; "none" for what is not a finite number."""
    if not math.isfinite(value):
        return "none"
    plus = "+" if sign else ""
    if 10 ** (digits - 1) <= abs(value) < 1e9:
        return f"{value:{plus}.0f}".replace("-", "−")
    # "#" keeps the zeros, so that −2.60 stands below −2.51; a plain 0 needs none.
    text = f"{value:{plus}#.{digits}g}" if value else f"{value:{plus}.0f}"
    return text.rstrip(".").replace("-", "−")


def verdict(row: Mapping[str, Any]) -> str:
    """Whether the values of a property have settled, and what it takes until they do."""
    error = number(100 * row["relative_standard_error"])
    start = (
        f"The largest standard error is {error} % of the range of the values; they count as settled below "
        f"{100 * row['target_relative_error']:g} %."
    )
    return start if row["is_converged"] else f"{start} {going_on(row)}"


def going_on(row: Mapping[str, Any]) -> str:
    """What it takes until the values of a property have settled."""
    if row["is_converged"]:
        return "Nothing: they have settled."
    if not math.isfinite(row["evaluations_to_converge"]):
        return "All values are equal so far, so no number of evaluations can be named."
    price = price_of_converging(row["evaluations_to_converge"], row["n_evaluations"], row["seconds_to_converge"])
    return f"To settle them would take {price}, if errors fall as one over the root of the number of evaluations."


def policy_sentence(policy: PaymentPolicy) -> str:
    """The policy in force."""
    return (
        f"{POLICIES[f'negative: {policy.negative}']} {POLICIES[f'ties: {policy.ties}']} Percentages have "
        f"{policy.decimals} decimals; whatever rounding down leaves goes, one unit each, to those with the largest "
        "remainders, so that every property sums to exactly 100 %."
    )


def told_apart(values: pd.DataFrame) -> tuple[int, int]:
    """How many intervals exclude zero, and of how many contributors."""
    excludes = (values["ci_low"] > 0) | (values["ci_high"] < 0)
    return int(excludes.sum()), len(values)


def flat_parameters(parameters: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested parameters as ("a.b.c", text), in their order."""
    rows: list[tuple[str, str]] = []
    for key, value in parameters.items():
        if isinstance(value, Mapping) and value:
            rows += flat_parameters(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", "null" if value is None else str(value)))
    return rows
