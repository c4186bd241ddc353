"""Checks before the first node runs that need more than one parameter, or the whole set of them."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl
from kedro.io import DatasetError
from kedro.validation import ParameterValidationError

from groupshap.errors import UserError
from groupshap.grouping.config import DataGroupingConfig
from groupshap.properties.base import PropertyError, resolve_properties
from groupshap.tasks.config import BaseTrainingConfig, PropertyEvalConfig

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext

__all__ = ["KNOWN", "ParameterProblems", "PreflightHooks", "check_parameters"]

# A list, because `kedro run --pipelines x` imports only x; a test holds it against what all nodes read.
KNOWN = (
    "root_seed", "device", "engine", "data_grouping", "base_training", "pruning", "subset_finetune", "property_eval",
    "shapley_estimation",
)  # fmt: skip


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


def _show(
    otherwise: Callable[..., object], kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print the message alone where it says everything; the log still holds the name of the node."""
    if isinstance(error, UserError | DatasetError | ParameterValidationError):
        sys.stderr.write(f"\n{kind.__name__}: {error}\n")
    else:
        otherwise(kind, error, trace)


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Check what no single parameter model can.

    Raises:
        ParameterProblems: all problems.
    """
    problems = [_unknown(key) for key in parameters if key not in KNOWN]
    if not problems:
        problems += _size_problem(
            DataGroupingConfig(**parameters["data_grouping"]), BaseTrainingConfig(**parameters["base_training"])
        )
        problems += _property_problem(PropertyEvalConfig(**parameters["property_eval"]))
    if problems:
        raise ParameterProblems(problems)


def _unknown(key: str) -> str:
    close = difflib.get_close_matches(key, KNOWN, n=1)
    hint = f" Did you mean `{close[0]}`?" if close else ""
    return f"unknown parameter `{key}`: expected one of {', '.join(KNOWN)}.{hint}"


def _size_problem(data: DataGroupingConfig, base: BaseTrainingConfig) -> list[str]:
    if data.image_size % base.model.side_multiple == 0:
        return []
    return [
        f"`data_grouping.image_size` is {data.image_size}: expected a multiple of {base.model.side_multiple}, because "
        f"the U-Net of `base_training.model` halves the side {len(base.model.block_out_channels) - 1} times."
    ]


def _property_problem(measuring: PropertyEvalConfig) -> list[str]:
    """A user's own property must exist and be importable before hours of training, not after."""
    try:
        resolve_properties(measuring.properties)
    except PropertyError as error:
        return [str(error)]
    return []
