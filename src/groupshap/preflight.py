"""Checks before the first node runs that need more than one parameter, or the whole set of them."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl
from kedro.io import DatasetError
from kedro.validation import ParameterValidationError

from groupshap.attribution.config import EstimationConfig
from groupshap.diffusion.pipeline_folder import autoencoder_in, local_folder, read_pipeline
from groupshap.errors import UserError
from groupshap.games import estimate, plan_coalitions
from groupshap.grouping.config import DataGroupingConfig
from groupshap.properties.base import PropertyError, resolve_properties
from groupshap.properties.reference import image_files
from groupshap.properties.requirements import count_problems, table_problems
from groupshap.tasks.config import BaseTrainingConfig, PropertyEvalConfig, SubsetFinetuneConfig

if TYPE_CHECKING:
    import pandas as pd
    from kedro.framework.context import KedroContext

__all__ = [
    "KNOWN",
    "ParameterProblems",
    "PreflightHooks",
    "check_parameters",
    "check_plan",
    "check_prompts",
    "check_reference",
]

# A list, because `kedro run --pipelines x` imports only x; a test holds it against what all nodes read.
KNOWN = (
    "root_seed", "device", "engine", "data_grouping", "base_training", "pruning", "subset_finetune", "property_eval",
    "shapley_estimation", "reporting", "correction", "baselines", "validation", "counterfactuals", "ablation",
    "withdrawal", "plan", "foundation",
)  # fmt: skip


_N_ALWAYS_ENOUGH = 64
"""Evaluations that the default estimators take for any number of contributors."""


class ParameterProblems(UserError, ValueError):  # noqa: N818 - it says what it holds
    """Everything that is wrong with the parameters, in one message."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(["Nothing was computed: the parameters are wrong.", *(f"- {p}" for p in problems)]))


class PreflightHooks:
    """Kedro hooks; Kedro itself has validated each typed parameter before they are called."""

    def __init__(self) -> None:
        self._context: KedroContext | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember where the parameters are; from here on a user's mistake is shown without a traceback."""
        self._context = context
        sys.excepthook = partial(_show, sys.excepthook)

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Refuse to start.

        Raises:
            ParameterProblems: unknown keys, or values that do not go together.
        """
        if self._context is not None:
            check_parameters(dict(self._context.config_loader["parameters"]))

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Check what depends on the data as soon as they are known, before anything is trained.

        Raises:
            ParameterProblems: see :func:`check_plan` and :func:`check_reference`.
        """
        if self._context is None or dataset_name not in ("contributors", "image_table@table"):
            return
        parameters = self._context.config_loader["parameters"]
        if dataset_name == "contributors":
            finetuning = SubsetFinetuneConfig(**parameters["subset_finetune"])
            check_plan(len(data), finetuning, EstimationConfig(**parameters["shapley_estimation"]))
        else:
            check_reference(data, PropertyEvalConfig(**parameters["property_eval"]))
            check_prompts(data, PropertyEvalConfig(**parameters["property_eval"]))


def _show(
    otherwise: Callable[..., object], kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print the message alone where it says everything; the log still holds the name of the node."""
    expected = isinstance(error, UserError | ParameterValidationError)
    # A dataset's refusal, unless a bug hides behind it.
    expected |= isinstance(error, DatasetError) and (
        error.__cause__ is None or isinstance(error.__cause__, OSError | ValueError)
    )
    if expected:
        sys.stderr.write(f"\n{kind.__name__}: {error}\n")
    else:
        otherwise(kind, error, trace)


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Check what no single parameter model can.

    Raises:
        ParameterProblems: all problems.
    """
    data = DataGroupingConfig(**parameters["data_grouping"])
    base = BaseTrainingConfig(**parameters["base_training"])
    measuring = PropertyEvalConfig(**parameters["property_eval"])
    problems = [_unknown(key) for key in parameters if key not in KNOWN]
    problems += [*_model_problem(data, base), *_sampler_problem(base, measuring), *_property_problem(measuring)]
    problems += [*_prompt_problem(base, measuring), *_adapter_problems(parameters, data, base)]
    problems += _device_problem(parameters["device"])
    if problems:
        raise ParameterProblems(problems)


def check_plan(n_contributors: int, finetuning: SubsetFinetuneConfig, estimation: EstimationConfig) -> None:
    """Refuse a budget that is too small for the estimator, by estimating a game whose utilities are the sizes.

    Raises:
        ParameterProblems: what is missing, and the smallest sufficient plan.
    """
    if finetuning.budget > _N_ALWAYS_ENOUGH and estimation.estimator in ("gp", "size_adjusted"):
        return
    plan = plan_coalitions(n_contributors, finetuning.budget, seed=0, law=finetuning.law)
    try:
        estimate(plan, plan.sum(axis=1).astype(float), estimator=estimation.estimator, n_bootstrap=2)
    except ValueError as error:
        raise ParameterProblems(
            [
                f"`subset_finetune.budget` is {finetuning.budget}, which is not enough for {n_contributors} "
                f"contributors and `shapley_estimation.estimator` = {estimation.estimator}: {error}"
            ]
        ) from error


def check_reference(image_table: pd.DataFrame, measuring: PropertyEvalConfig) -> None:
    """Refuse properties that the images cannot be a reference for: no such column or label, too few images.

    Raises:
        ParameterProblems: all of it.
    """
    folder = measuring.properties.reference_folder
    n_in_folder = None if folder is None else len(image_files(folder))
    problems = table_problems(resolve_properties(measuring.properties), image_table, n_in_folder)
    if problems:
        raise ParameterProblems(problems)


def check_prompts(image_table: pd.DataFrame, measuring: PropertyEvalConfig) -> None:
    """Refuse prompts with which a property cannot do, such as those of which there are no real images.

    Raises:
        ParameterProblems: the prompts there are.
    """
    properties = resolve_properties(measuring.properties)
    able = [built for built in properties if hasattr(built, "prompt_problems")]
    problems = [text for built in able for text in built.prompt_problems(image_table, measuring.prompts or ())]
    if problems:
        raise ParameterProblems(problems)


def _unknown(key: str) -> str:
    close = difflib.get_close_matches(key, KNOWN, n=1)
    hint = f" Did you mean `{close[0]}`?" if close else ""
    return f"unknown parameter `{key}`: expected one of {', '.join(KNOWN)}.{hint}"


def _model_problem(data: DataGroupingConfig, base: BaseTrainingConfig) -> list[str]:
    """Images that do not fit the network; pretrained folders are read if they are here, a hub is not asked yet."""
    shape = (data.channels, data.image_size, data.image_size)
    try:
        if base.model.family == "text_lora":
            return _base_problem(base.pretrained)
        if base.pretrained is not None:
            folder = local_folder(base.pretrained)
            if folder is not None:
                read_pipeline(folder).check_images(shape)
            return []
        if base.model.family == "latent" and base.autoencoder.pretrained is not None:
            folder = local_folder(base.autoencoder.pretrained)
            if folder is None:
                return []
            side = autoencoder_in(folder).latent_shape(shape)[1]
            return [] if side % base.model.side_multiple == 0 else [_size_problem(data, base, data.image_size // side)]
    except ValueError as error:
        return [str(error)]
    downscale = base.autoencoder.downscale if base.model.family == "latent" else 1
    fits = data.image_size % (base.model.side_multiple * downscale) == 0
    return [] if fits else [_size_problem(data, base, downscale)]


def _base_problem(pretrained: str | None) -> list[str]:
    """What is wrong with the frozen base of ``text_lora``, if it is here already; pipeline ``foundation`` makes one."""
    folder = local_folder(pretrained) if pretrained else None
    if folder is None:
        return []
    from groupshap.diffusion.text_parts import check_text_parts  # noqa: PLC0415 - imports torch

    check_text_parts(folder)
    return []


def _size_problem(data: DataGroupingConfig, base: BaseTrainingConfig, downscale: int) -> str:
    smaller = f" of latents, which are {downscale} times smaller," if downscale > 1 else ""
    return (
        f"`data_grouping.image_size` is {data.image_size}: expected a multiple of "
        f"{base.model.side_multiple * downscale}, because the U-Net of `base_training.model` halves the side{smaller} "
        f"{len(base.model.block_out_channels) - 1} times."
    )


def _adapter_problems(parameters: Mapping[str, Any], data: DataGroupingConfig, base: BaseTrainingConfig) -> list[str]:
    """What family ``text_lora`` needs from the other stages."""
    if base.model.family != "text_lora":
        return []
    criterion, recipe = parameters["pruning"].get("criterion"), parameters["subset_finetune"].get("recipe")
    missing = [name for name in ("peft", "transformers") if find_spec(name) is None]
    problems = {
        f"family text_lora needs {' and '.join(missing)}: pip install 'groupshap[text]'.": bool(missing),
        "`base_training.pretrained` is not given: expected the folder of a text-to-image pipeline, because family "
        "text_lora trains adapters on one; `kedro run --pipelines data_grouping,foundation` makes a small one in "
        "data/06_models/foundation.": base.pretrained is None,
        "`data_grouping.prompt` is not given: expected what each image shows, such as 'a picture by {contributor}', "
        "because a text-to-image model learns from images with prompts.": not (data.prompt or data.prompt_column),
        f"`pruning.criterion` is {criterion}: adapters are pruned by magnitude.": criterion not in (None, "magnitude"),
        "`subset_finetune.recipe` is lora: family text_lora trains adapters already, use sparsified or dense.": recipe
        == "lora",
    }
    return [problem for problem, is_there in problems.items() if is_there]


def _sampler_problem(base: BaseTrainingConfig, measuring: PropertyEvalConfig) -> list[str]:
    if base.pretrained is not None or measuring.sampler.n_steps <= base.model.n_noise_levels:
        return []
    return [
        f"`property_eval.sampler.n_steps` is {measuring.sampler.n_steps}: expected at most "
        f"`base_training.model.n_noise_levels` = {base.model.n_noise_levels}."
    ]


def _prompt_problem(base: BaseTrainingConfig, measuring: PropertyEvalConfig) -> list[str]:
    family, guidance_scale = base.model.family, measuring.sampler.guidance_scale
    if base.model.takes_prompts:
        missing = "`property_eval.prompts` is not given: expected what images are generated for, a list of prompts"
        return [] if measuring.prompts else [f"{missing}, because a model of family {family} draws what it is told."]
    if measuring.prompts is None and guidance_scale == 1:
        return []
    return [
        "`property_eval.prompts` and `property_eval.sampler.guidance_scale` are for families with prompts, got "
        f"`base_training.model.family` = {family}: leave them out."
    ]


def _device_problem(device: str, setting: str = "device") -> list[str]:
    if device != "cuda":
        return []
    from groupshap.diffusion.base import DeviceError, resolve_device  # noqa: PLC0415 - imports torch

    try:
        resolve_device("cuda")
    except DeviceError as error:
        return [str(error).replace("`device`", f"`{setting}`", 1)]
    return []


def _property_problem(measuring: PropertyEvalConfig) -> list[str]:
    """A user's own property must exist and be importable before hours of training, not after."""
    try:
        properties = resolve_properties(measuring.properties)
    except PropertyError as error:
        return [str(error)]
    problems = count_problems(properties, measuring.n_images, has_prompts=bool(measuring.prompts))
    device = measuring.properties.extractor_device
    return problems + _device_problem(device, "property_eval.properties.extractor_device")
