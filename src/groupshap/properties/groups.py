"""Shares of groups among the generated images, and how far they are from a target.

Groups are the labels of a column of the image table, such as skin tones, as a classifier recognises them that is fitted
once to the contributors' images. It makes mistakes, more on generated images than on real ones, and more for some
groups than for others: a share is a share of recognised images, and the log says how well held-out images are
recognised.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from groupshap.images import ImageArray
from groupshap.properties.about import as_array, from_array
from groupshap.properties.catalogue import SHARE_OF
from groupshap.properties.errors import PropertyError
from groupshap.properties.features import FeatureExtractor, normalised
from groupshap.properties.label_column import find_column, label_codes
from groupshap.properties.labels import colour_embedding, fit_centroids, fit_linear, held_out_accuracy, most_probable

if TYPE_CHECKING:
    import pandas as pd

    from groupshap.properties.request import Request

__all__ = ["GroupShare", "LabelClassifier", "ParityGap", "parity_gap", "slug"]

FloatArray = npt.NDArray[np.float64]
_FITS = {"linear": fit_linear, "centroid": fit_centroids}
_SETTING = "group_label_column"
_USERS = f"{SHARE_OF}*, parity_gap"


def parity_gap(shares: FloatArray, target: FloatArray) -> float:
    """½ Σ |share - target|, shares and target (n_groups,) that sum to 1; in [0, 1].

    The total variation distance: the part of the images that would have to be of another group. For two groups and
    equal targets it is half the difference of the shares.
    """
    return float(np.abs(shares - target).sum() / 2)


def slug(label: str) -> str:
    """A label as a part of a name: "Dark brown" is dark_brown."""
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")


class LabelClassifier:
    """Recognises the labels of a column in images; shared by all properties that count them.

    The embedding is colours and pixels (:mod:`groupshap.properties.labels`), or features of a network, brought to
    length 1. On it either multinomial logistic regression decides, or the nearest centroid.

    Args:
        extractor: Whose features; None: colours and pixels.
        column: A column of the image table, or ``auto`` (``skin_tone``).
        classifier: ``linear`` or ``centroid``.
        seed: Choice of the held-out images.
    """

    name = "labels-of-groups"
    """Of its part of the state; no property can be called so."""

    def __init__(
        self, extractor: FeatureExtractor | None = None, column: str = "auto", classifier: str = "linear", seed: int = 0
    ) -> None:
        self.extractor, self.column, self.classifier, self.seed = extractor, column, classifier, seed
        embedding = "colours" if extractor is None else extractor.name
        self.parameters = {"column": column, "embedding": embedding, "classifier": classifier, "seed": seed}

    def labels_in(self, image_table: pd.DataFrame) -> tuple[str, npt.NDArray[np.bool_], list[str], npt.NDArray[Any]]:
        """The column, which images have a label, the labels, and their numbers.

        Raises:
            PropertyError: no such column, or no useful labels.
        """
        column = find_column(self.column, image_table, _USERS, _SETTING)
        if column is None:
            raise PropertyError(
                f"shares of groups need a column of labels: set `{_SETTING}` (it is '{self.column}') to one of the "
                f"columns {', '.join(map(str, image_table))}."
            )
        return column, *label_codes(image_table[column], column, _USERS, _SETTING)

    def fit(self, images: ImageArray, image_table: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
        """Learn from images, uint8 NCHW in [0, 255], and their table.

        Raises:
            PropertyError: see ``labels_in``.
        """
        column, has_label, labels, codes = self.labels_in(image_table)
        embedded, fit = self._embed(images)[has_label], _FITS[self.classifier]
        weights, biases = fit(embedded, codes)
        accuracy = held_out_accuracy(embedded, codes, self.seed, fit)
        about = {"column": column, "labels": labels, "held_out_accuracy": accuracy}
        return {"weights": weights, "biases": biases, "about": as_array(about)}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Take what ``fit`` returned."""
        self._weights, self._biases = state["weights"], state["biases"]
        self.about: dict[str, Any] = from_array(state["about"])

    def shares(self, images: ImageArray) -> FloatArray:
        """Shares (n_labels,) of the labels among images, uint8 NCHW in [0, 255]; every image counts for one."""
        codes = most_probable(self._embed(images), self._weights, self._biases)
        return np.bincount(codes, minlength=len(self._biases)) / len(images)

    def describe(self) -> str:
        """What the groups are."""
        accuracy = self.about["held_out_accuracy"]
        known = "" if accuracy is None else f", recognised in {accuracy:.1%} of held-out images"
        return f"labels of column '{self.about['column']}' ({', '.join(self.about['labels'])}){known}"

    def _embed(self, images: ImageArray) -> FloatArray:
        return colour_embedding(images) if self.extractor is None else normalised(self.extractor(images).features)


class _OfGroups:
    """Reads the shares off a classifier."""

    higher_is_better: ClassVar[bool]
    name: str

    def __init__(self, classifier: LabelClassifier) -> None:
        self.classifier, self.extractor, self.parts = classifier, classifier.extractor, (classifier,)

    def describe(self) -> str:
        """What the groups are."""
        return self.classifier.describe()

    def table_problems(self, image_table: pd.DataFrame) -> list[str]:
        """What the image table lacks."""
        try:
            self.state_for(self.classifier.labels_in(image_table)[2])
        except PropertyError as error:
            return [str(error)]
        return []

    def fit(self, images: ImageArray, image_table: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
        """What the shares are compared with; the classifier is fitted already."""
        return self.state_for(self.classifier.about["labels"])

    def state_for(self, labels: list[str]) -> dict[str, npt.NDArray[Any]]:
        """The state, where these are the labels."""
        raise NotImplementedError


class GroupShare(_OfGroups):
    """Share of the images that are recognised as one label.

    Args:
        classifier: Shared with others.
        label: As in :func:`slug`.
    """

    higher_is_better = True

    def __init__(self, classifier: LabelClassifier, label: str) -> None:
        super().__init__(classifier)
        self.label = label
        self.name = f"{SHARE_OF}{label}"
        self.parameters: dict[str, Any] = {"classifier": classifier.parameters}

    @classmethod
    def from_request(cls, request: Request) -> Self:
        """Build from the parameters; the label is a part of the name."""
        return cls(request.shared.label_classifier(), request.name.removeprefix(SHARE_OF))

    def state_for(self, labels: list[str]) -> dict[str, npt.NDArray[Any]]:
        """Which label is meant.

        Raises:
            PropertyError: none, or several.
        """
        found = [number for number, label in enumerate(labels) if slug(label) == self.label]
        if len(found) != 1:
            raise PropertyError(
                f"property '{self.name}': expected one label that is called '{self.label}' in lower case, with _ for "
                f"what is no letter or digit, got {len(found)} among {', '.join(labels)}."
            )
        return {"label": np.array(found)}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Take what ``fit`` returned."""
        self._number = int(state["label"].item())

    def __call__(self, images: ImageArray) -> float:
        """Share in [0, 1] of images, uint8 NCHW in [0, 255]."""
        return float(self.classifier.shares(images)[self._number])


class ParityGap(_OfGroups):
    """How far the shares of all labels are from a target: :func:`parity_gap`.

    Args:
        classifier: Shared with others.
        target: Label to share, which sum to 1; labels that are not named: 0. None: all equal.
    """

    name = "parity_gap"
    higher_is_better = False

    def __init__(self, classifier: LabelClassifier, target: Mapping[str, float] | None = None) -> None:
        super().__init__(classifier)
        self.target = None if target is None else dict(sorted(target.items()))
        self.parameters: dict[str, Any] = {"classifier": classifier.parameters, "target": self.target}

    @classmethod
    def from_request(cls, request: Request) -> Self:
        """Build from the parameters."""
        return cls(request.shared.label_classifier(), request.config.group_target)

    def state_for(self, labels: list[str]) -> dict[str, npt.NDArray[Any]]:
        """The target as an array.

        Raises:
            PropertyError: a target for labels that do not exist.
        """
        if self.target is None:
            return {"target": np.full(len(labels), 1 / len(labels))}
        unknown = sorted(self.target.keys() - set(labels))
        if unknown:
            raise PropertyError(
                f"property '{self.name}': `group_target` names {', '.join(unknown)}, expected labels of the images, "
                f"{', '.join(labels)}."
            )
        return {"target": np.array([self.target.get(label, 0.0) for label in labels])}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Take what ``fit`` returned."""
        self._target = state["target"]

    def __call__(self, images: ImageArray) -> float:
        """Gap in [0, 1] of images, uint8 NCHW in [0, 255]."""
        return parity_gap(self.classifier.shares(images), self._target)
