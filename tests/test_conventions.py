"""Conventions of the project as tests: what may import what, sizes, and that configuration and code agree."""

from __future__ import annotations

import ast
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import yaml

from groupshap.pipeline_registry import ON_REQUEST
from groupshap.preflight import KNOWN

PROJECT = Path(__file__).resolve().parents[1]
SOURCE = PROJECT / "src" / "groupshap"
FILES = sorted(SOURCE.rglob("*.py"))

MAY_KNOW_KEDRO = (
    "pipelines/",
    "datasets/",
    "settings.py",
    "tracking/",
    "node_log.py",
    "preflight.py",
    "pipeline_registry.py",
    "__main__.py",
)
DOMAIN = (
    *("games", "grouping", "properties", "engines", "pruning", "diffusion"),
    *("attribution", "reporting", "validation"),
)
ALLOWED = {
    ("pruning", "diffusion"),
    ("attribution", "games"),
    *{("reporting", "attribution"), ("reporting", "games")},
    *{("validation", "attribution"), ("validation", "games")},
}


def imports_of(path: Path) -> set[str]:
    """Names of all imported modules, those inside functions included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def relative(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def test_the_core_knows_neither_kedro_nor_mlflow():
    knowing = {
        relative(path)
        for path in FILES
        if any(
            name.partition(".")[0] in ("kedro", "kedro_datasets", "mlflow", "omegaconf") for name in imports_of(path)
        )
    }
    assert {path for path in knowing if not path.startswith(MAY_KNOW_KEDRO)} == set()


def test_domain_packages_do_not_know_each_other():
    wrong = []
    for path in FILES:
        own = relative(path).partition("/")[0]
        others = {name.split(".")[1] for name in imports_of(path) if name.startswith("groupshap.")}
        if own in DOMAIN:
            wrong += [(own, other) for other in others & set(DOMAIN) - {own} if (own, other) not in ALLOWED]
    assert wrong == []


def test_nothing_needs_torchvision_or_pickle():
    names = {name for path in FILES for name in imports_of(path)}
    assert not {name for name in names if name.partition(".")[0] in ("torchvision", "cloudpickle", "dill")}
    unpickling = ("pickle.load", "pickle.Unpickler", "torch.load(")
    found = {relative(path) for path in FILES if any(word in path.read_text("utf-8") for word in unpickling)}
    assert found <= {"properties/features.py"}, "it loads the packaged weights with weights_only=True"


def in_fresh_python(code: str) -> dict:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_the_registry_imports_nothing_heavy():
    code = """
import json, sys
from groupshap.pipeline_registry import register_pipelines
from kedro.framework.project import configure_project
configure_project("groupshap")
pipelines = register_pipelines()
print(json.dumps({
    "heavy": [name for name in ("torch", "diffusers", "mlflow", "matplotlib.pyplot", "sklearn") if name in sys.modules],
    "pipelines": sorted(pipelines),
    "n_nodes": len(pipelines["__default__"].nodes),
    "groups": sorted({node.namespace for node in pipelines["__default__"].nodes}),
    "parameters": sorted({i for p in pipelines.values() for n in p.nodes for i in n.inputs if "params:" in i}),
    "datasets": sorted({name for p in pipelines.values() for name in p.datasets()}),
}))
"""
    found = in_fresh_python(code)
    stages = [
        "base_training", "data_grouping", "property_eval", "pruning", "shapley_estimation", "subset_finetune"
    ]  # fmt: skip
    assert found["heavy"] == []
    assert found["pipelines"] == sorted([*stages, *ON_REQUEST, "__default__"])
    assert found["groups"] == stages
    assert found["n_nodes"] < 25
    assert {name.removeprefix("params:") for name in found["parameters"]} == set(KNOWN)
    files = (PROJECT / "conf/base").glob("catalog*.yml")
    catalog = {name for file in files for name in yaml.safe_load(file.read_text(encoding="utf-8"))}
    named = {name for name in found["datasets"] if not name.startswith("params:")} - {"parameters"}
    assert named == catalog, "every dataset is in the catalog, and nothing else is"


def test_games_import_without_torch():
    heavy = in_fresh_python(
        "import json, sys, groupshap.games\n"
        "print(json.dumps([name for name in ('torch', 'pandas', 'kedro', 'pydantic') if name in sys.modules]))"
    )
    assert heavy == []


def test_every_environment_sets_known_parameters_only():
    for file in (PROJECT / "conf").glob("*/parameters*.yml"):
        keys = set(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
        assert keys <= set(KNOWN), file


def function_lengths() -> dict[str, int]:
    """Lines of each function without its docstring."""
    lengths = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body
                lengths[f"{relative(path)}:{node.lineno}:{node.name}"] = body[-1].end_lineno - body[0].lineno + 1
    return lengths


def test_functions_and_files_stay_small():
    lengths = function_lengths()
    ordered = sorted(lengths.values())
    assert statistics.median(ordered) < 12
    assert ordered[int(0.9 * len(ordered))] < 40
    long = {(name.split(":")[0], name.split(":")[2]) for name, length in lengths.items() if length > 100}
    assert long <= {("diffusion/training.py", "train")}
    assert {relative(path): n for path in FILES if (n := len(path.read_text("utf-8").splitlines())) > 405} == {}


def test_there_is_one_training_loop():
    assert (
        sum(path.read_text(encoding="utf-8").count(".backward()") for path in FILES if "pruning/" not in relative(path))
        == 1
    )


def test_no_module_is_a_drawer_for_anything():
    assert not {path.name for path in FILES} & {"utils.py", "common.py", "helpers.py", "misc.py"}


def test_the_readme_is_finished_and_shows_what_exists():
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert "@@" not in text
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert not [link for link in links if "://" not in link and not (PROJECT / link).exists()]
