"""All baselines of one run: the base model, everybody's images and the utilities become two tables.

Images are put into an order of their own (by their bytes, then by contributor) before anything is computed, so the
order of the pack changes no bit of the scores; the contributor of each image travels with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from torch import nn

from groupshap.attribution.utilities_table import (
    SECONDS_COLUMNS,
    check_directions,
    coalition_utilities,
    player_names,
)
from groupshap.baselines import similarity
from groupshap.baselines.aggregation import FloatArray
from groupshap.baselines.config import BaselinesConfig
from groupshap.baselines.embeddings import EmbeddingNotAvailableError, resolve_embedding
from groupshap.baselines.from_utilities import FROM_UTILITIES, SINGLE_CHANGES, values_from_utilities
from groupshap.baselines.gradients import GradientFeatures, GradientSettings, gradients_of_images, image_digests
from groupshap.baselines.influence import Influence, das_weights, influence_of
from groupshap.baselines.journey import gradients_of_journeys
from groupshap.baselines.projection import Projection
from groupshap.baselines.proxy_game import ProxyGame, proxy_shapley
from groupshap.baselines.tables import BaselineTables
from groupshap.diffusion.base import resolve_device
from groupshap.diffusion.config import Device
from groupshap.games import CoalitionMatrix, Utilities
from groupshap.image_pack import ImagePack
from groupshap.images import ImageArray
from groupshap.model_file import ModelDescription, load_model
from groupshap.progress import quiet
from groupshap.properties.base import Property, PropertyError, fit_properties, measure, resolve_properties
from groupshap.properties.requirements import count_problems
from groupshap.tasks.config import PropertyEvalConfig
from groupshap.tasks.measure import generate, prompts_in_turn
from groupshap.tasks.reference import reference_images

__all__ = ["Run", "survey"]

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """What the baselines of one run are computed from.

    Attributes:
        base_model: File of the dense model, trained on everybody's images.
        pack: All images and whose they are.
        image_table: One row per image, in the order of the pack.
        contributors: player, contributor, n_images.
        directions: {property: whether higher values are better}.
        utilities: One row per measured coalition and replicate.
        config: Of the baselines.
        measuring: Sampler and properties.
        root_seed: Root of all draws.
        device: Where the model runs.
        single_utilities: The coalitions that leave-one-out and add-one-in compare; None: those in ``utilities``.
        drawn_for: Per contributor, in the order of the players, what a conditional model draws under that contributor's
            condition; None: the model has no conditions.
    """

    base_model: Path
    pack: ImagePack
    image_table: pd.DataFrame
    contributors: pd.DataFrame
    directions: Mapping[str, bool]
    utilities: pd.DataFrame
    config: BaselinesConfig
    measuring: PropertyEvalConfig
    root_seed: int
    device: Device = "cpu"
    single_utilities: pd.DataFrame | None = None
    drawn_for: Sequence[ImageArray] | None = None

    @cached_property
    def names(self) -> list[str]:
        """Contributors in the order of the players."""
        return player_names(self.contributors)

    @cached_property
    def sorted_pack(self) -> ImagePack:
        """The images by their bytes, then by contributor."""
        order = np.lexsort((self.pack.players, image_digests(self.pack.images)))
        return ImagePack(self.pack.images[order], self.pack.players[order], prompts=self.pack.prompts_of(order))

    @cached_property
    def measured(self) -> tuple[CoalitionMatrix, dict[str, Utilities]]:
        """Coalitions (n_rows, n_players) bool, and per property their utilities (n_rows,)."""
        return coalition_utilities(self.utilities, self.contributors)

    @cached_property
    def model(self) -> tuple[nn.Module, ModelDescription]:
        """The base model."""
        return load_model(self.base_model)

    @cached_property
    def generated(self) -> tuple[ImageArray, float]:
        """Images of the base model, those behind its properties, and the seconds that they took."""
        arguments = (self.base_model, self.config.n_images, self.measuring.sampler, self.root_seed, self.device)
        return _timed(lambda: generate(*arguments, self.measuring.prompts))

    @cached_property
    def fitted_properties(self) -> list[Property]:
        """The properties of the table of utilities, fitted to all images."""
        properties = [one for one in resolve_properties(self.measuring.properties) if one.name in self.measured[1]]
        reference = reference_images(self.measuring.properties, self.pack.images)
        fit_properties(properties, self.pack.images, self.image_table, reference)
        return properties

    @cached_property
    def gradient_settings(self) -> GradientSettings:
        """How gradients are taken."""
        return GradientSettings(
            root_seed=self.root_seed,
            projection=Projection(self.config.projection_dim, self.root_seed),
            n_timesteps=self.config.n_timesteps,
            n_pairs_at_once=self.config.n_pairs_at_once,
            memory_bytes=self.config.memory_mib * 2**20,
            device=resolve_device(self.device),
        )


def survey(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Values of every baseline, and a note on each, those that are not defined included.

    Returns:
        attribution, property, contributor, value (in the sign of its effect on the property); and attribution,
        defined, note, seconds.

    Raises:
        ValueError: tables and images that are not of one run.
    """
    directions = {name: run.directions[name] for name in _checked_properties(run)}
    tables = BaselineTables(run.names, run.sorted_pack.players, directions)
    _add_pixel_similarity(tables, run)
    _add_embeddings(tables, run)
    _add_clip_similarity(tables, run)
    _add_own_images(tables, run)
    _add_gradients(tables, run)
    _add_from_utilities(tables, run)
    _add_proxy_game(tables, run)
    return tables.values(), tables.notes()


def _checked_properties(run: Run) -> list[str]:
    properties = list(run.measured[1])
    check_directions(properties, run.directions)
    if len(run.image_table) != len(run.pack.images):
        raise ValueError(
            f"Expected one row of the image table per image, got {len(run.image_table)} rows and "
            f"{len(run.pack.images)} images. Run data_grouping again."
        )
    return properties


def _add_pixel_similarity(tables: BaselineTables, run: Run) -> None:
    images, (generated, seconds) = run.sorted_pack.images, run.generated
    scores, own = _timed(lambda: similarity.similarity_scores(similarity.pixels, images, generated))
    tables.add_scores("pixel_similarity", scores, seconds + own)


def _add_embeddings(tables: BaselineTables, run: Run) -> None:
    """Similarity, distance to the mean, and neighbours in one embedding."""
    names = ("embedding_similarity", "embedding_distance", "gmvaluator")
    images, (generated, seconds), config = run.sorted_pack.images, run.generated, run.config
    try:
        embedding = resolve_embedding(config.embedding, config.clip_weights, run.measuring.properties)
    except EmbeddingNotAvailableError as error:
        for name in names:
            tables.add_undefined_scores(name, f"not defined: {error}")
        return
    computations = (
        lambda: similarity.similarity_scores(embedding, images, generated),
        lambda: similarity.distance_scores(embedding, images),
        lambda: similarity.neighbour_scores(embedding, images, generated, config.n_neighbours),
    )
    for name, compute in zip(names, computations, strict=True):
        scores, own = _timed(compute)
        needed = 0.0 if name == "embedding_distance" else seconds
        tables.add_scores(name, scores, needed + own, f"embedding: {config.embedding}")


def _add_clip_similarity(tables: BaselineTables, run: Run) -> None:
    try:
        embedding = resolve_embedding("clip", run.config.clip_weights, run.measuring.properties)
    except EmbeddingNotAvailableError as error:
        tables.add_undefined_scores("clip_similarity", f"not defined: {error}")
        return
    images, (generated, seconds) = run.sorted_pack.images, run.generated
    scores, own = _timed(lambda: similarity.similarity_scores(embedding, images, generated))
    tables.add_scores("clip_similarity", scores, seconds + own)


def _add_own_images(tables: BaselineTables, run: Run) -> None:
    """The property of each contributor's own images, as if a model drew just these."""
    (values, problems), seconds = _timed(lambda: _of_own_images(run))
    if values:
        note = "numbers of images differ where contributors' do, and some properties depend on them"
        tables.add_values("own_images", values, seconds, "; ".join([note, *problems]))
    else:
        tables.add_undefined("own_images", "not defined: " + "; ".join(problems or ["no property can be measured"]))


def _of_own_images(run: Run) -> tuple[dict[str, FloatArray], list[str]]:
    """Values (n_players,) of the properties that every contributor's images have, and why others have none."""
    with quiet():
        properties = run.fitted_properties
        found: dict[str, list[float]] = {one.name: [] for one in properties}
        problems: dict[str, str] = {}
        for player, name in enumerate(run.names):
            rows = run.pack.rows_of([player])
            own, prompts = run.pack.images[rows], run.pack.prompts_of(rows)
            for one in properties:
                try:
                    found[one.name].append(measure([one], own, prompts)[one.name])
                except PropertyError as error:
                    problems.setdefault(one.name, f"not defined for {one.name}: {error} (images of {name})")
    return {name: np.array(row) for name, row in found.items() if name not in problems}, list(problems.values())


def _add_gradients(tables: BaselineTables, run: Run) -> None:
    """Everything that is made of gradients; all of them share the gradients of the training images."""
    model, description = run.model
    family, settings, config = description.family(), run.gradient_settings, run.config
    (generated, needed), pack = run.generated, run.sorted_pack
    prompts = prompts_in_turn(run.measuring.prompts, config.n_images)

    def of_images(images: ImageArray, label: str, prompts: list[str] | None) -> Callable[[], GradientFeatures]:
        return lambda: gradients_of_images(family, model, images, settings, label, prompts)

    train, of_training = _timed(of_images(pack.images, "gradients of the training images", pack.prompts))
    made, of_generated = _timed(of_images(generated, "gradients of the generated images", prompts))
    sampler = run.measuring.sampler
    journey, of_journey = _timed(
        lambda: gradients_of_journeys(family, model, config.n_images, sampler, settings, prompts)
    )

    def influence(name: str, features: GradientFeatures) -> Influence:
        return influence_of(getattr(train, name), getattr(features, name), config.damping, config.damping_unit)

    by_loss, by_loss_seconds = _timed(lambda: influence("loss", made))
    seconds = needed + of_training + of_generated + by_loss_seconds
    note = _gradient_note(config)
    tables.add_scores("gradient_similarity", similarity.mean_cosines(train.loss, made.loss), seconds, note)
    tables.add_scores("trak", by_loss.trak, seconds, note)
    tables.add_scores("relative_influence", by_loss.relative, seconds, note)
    tables.add_scores("renormalised_influence", by_loss.renormalised, seconds, note)
    tables.add_scores("journey_trak", influence("loss", journey).trak, seconds - of_generated + of_journey, note)
    tables.add_scores("d_trak", influence("noise", made).trak, seconds, note)
    tables.add_scores("das", by_loss.trak * das_weights(train.losses), seconds, note)


def _gradient_note(config: BaselinesConfig) -> str:
    dimension = "not projected" if config.projection_dim is None else f"projected to {config.projection_dim}"
    unit = "" if config.damping_unit == "one" else " mean eigenvalues"
    return f"gradients {dimension}, {config.n_timesteps} timesteps, damping {config.damping:g}{unit}"


def _add_from_utilities(tables: BaselineTables, run: Run) -> None:
    for name in FROM_UTILITIES:
        table = run.single_utilities if name in SINGLE_CHANGES and run.single_utilities is not None else run.utilities
        coalitions, utilities = coalition_utilities(table, run.contributors)
        rows = table[table["split"] == "estimation"]
        spent = float(rows[list(SECONDS_COLUMNS)].to_numpy(dtype=np.float64).sum())
        try:
            values, own = _timed(
                lambda name=name, c=coalitions, u=utilities: values_from_utilities(name, c, u, run.names)
            )
        except ValueError as error:
            tables.add_undefined(name, f"not defined: {error}")
            continue
        tables.add_values(name, values, spent + own, f"from a table of {len(coalitions)} measured coalitions")


def _add_proxy_game(tables: BaselineTables, run: Run) -> None:
    if run.drawn_for is None:
        family = run.model[1].config.family
        note = f"not defined: a model of family {family} is not conditional, it cannot draw like one contributor"
        tables.add_undefined("proxy_game", note)
        return
    values, seconds = _timed(lambda: _of_proxy_game(run, run.drawn_for))
    tables.add_values("proxy_game", values, seconds, "without what drawing the images took")


def _of_proxy_game(run: Run, drawn_for: Sequence[ImageArray]) -> dict[str, FloatArray]:
    """Shapley values (n_players,) per property of as many coalitions as were measured."""
    coalitions, utilities = run.measured
    sizes = np.bincount(run.pack.players, minlength=len(run.names))
    n_images = min(len(images) for images in drawn_for)
    values = {}
    for one in run.fitted_properties:
        if count_problems([one], n_images):  # it needs more images, or prompts, which these have not been told
            continue
        v_empty = float(utilities[one.name][~coalitions.any(axis=1)].mean())
        game = ProxyGame(drawn_for, sizes, lambda images, one=one: measure([one], images)[one.name], v_empty, n_images)
        shapley = proxy_shapley(game, len(run.names), len(coalitions), seed=run.root_seed)
        values[one.name] = np.array(shapley.values)
    return values


def _timed(compute: Callable[[], T]) -> tuple[T, float]:
    """The result and the seconds it took."""
    start = time.monotonic()
    result = compute()
    return result, time.monotonic() - start
