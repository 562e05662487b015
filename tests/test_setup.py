"""The project's own files agree: packaging, locks, launch configs, documents, directions of import."""

import ast
import re
import stat
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from setuptools import find_namespace_packages

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
BASE = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
EXTRAS = {
    name: [Requirement(line) for line in lines]
    for name, lines in PYPROJECT["project"]["optional-dependencies"].items()
}
LOCKS = ["requirements.lock", "requirements-lowest.lock", "requirements-unsloth.lock"]
LAUNCHES = sorted(path.stem for path in (ROOT / "accelerate_configs").glob("*.yaml"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def locked(name: str) -> dict[str, Version]:
    """Package to version, as a lock file pins them."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    return {canonicalize_name(package): Version(version) for package, version in pins}


def at_bound(requirement: Requirement, pins: dict[str, Version]) -> bool:
    (bound,) = [Version(part.version) for part in requirement.specifier if part.operator == ">="]
    return pins[canonicalize_name(requirement.name)].release[:2] == bound.release[:2]


@pytest.mark.parametrize("name", [*LOCKS, "offline-weights.lock"])
def test_lock_has_hashes_and_no_address(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in text and "--index" not in text and "--find-links" not in text
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert blocks
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("requirements.lock", "dev"),
        ("requirements-lowest.lock", "dev"),
        ("requirements-unsloth.lock", "unsloth"),
    ],
)
def test_lock_satisfies_pyproject(name, extra):
    pins = locked(name)
    wanted = BASE + EXTRAS[extra]
    wrong = [str(item) for item in wanted if pins[canonicalize_name(item.name)] not in item.specifier]
    assert wrong == []


def test_lowest_lock_is_at_the_lower_bounds():
    pins = locked("requirements-lowest.lock")
    wrong = {item.name: str(pins[canonicalize_name(item.name)]) for item in BASE if not at_bound(item, pins)}
    assert wrong == {}


def test_environment_is_the_locked_one():
    pins = locked("requirements.lock")
    if Version(metadata.version("transformers")) != pins["transformers"]:
        pytest.skip("not the environment of requirements.lock")
    distributions = metadata.distributions()
    installed = {canonicalize_name(item.metadata["Name"]): Version(item.version) for item in distributions}
    assert {name: str(version) for name, version in pins.items() if installed.get(name) != version} == {}


def test_distribution_holds_vqa_and_rewards_only():
    include = PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = find_namespace_packages(str(ROOT), include=include)
    assert {name.split(".")[0] for name in packages} == {"vqa", "rewards"}
    assert {"vqa", "vqa.metrics", "vqa.datasets", "vqa.synthesis"} <= set(packages)


def imported_packages(path: Path) -> set[str]:
    """Top-level names of what a file imports, relative imports aside."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_what_is_imported_is_declared():
    requirements = [*BASE, *(item for items in EXTRAS.values() for item in items)]
    declared = {canonicalize_name(item.name) for item in requirements}
    own = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
    distributions = metadata.packages_distributions()
    wrong = []
    for folder in (ROOT, *(ROOT / name for name in ("vqa", "rewards", "models", "benchmarks", "tests"))):
        for path in folder.glob("*.py") if folder == ROOT else folder.rglob("*.py"):
            for name in imported_packages(path) - own - set(sys.stdlib_module_names):
                if not {canonicalize_name(item) for item in distributions.get(name, [name])} & declared:
                    wrong.append(f"{path.relative_to(ROOT)}: {name}")
    assert wrong == []


def test_arrows_point_one_way():
    scripts = {path.stem for path in ROOT.glob("*.py")}
    assert "train_sft" in scripts
    wrong = []
    for folder, forbidden in (("vqa", scripts | {"rewards"}), ("rewards", scripts)):
        for path in (ROOT / folder).rglob("*.py"):
            if path.is_relative_to(ROOT / "vqa/metrics/hf"):  # made for the package that our script shadows
                continue
            wrong += [f"{path.name}: {name}" for name in imported_packages(path) & forbidden]
    assert wrong == []


@pytest.mark.parametrize("name", LAUNCHES)
def test_launch_config_loads_and_every_key_is_explained(name):
    path = ROOT / "accelerate_configs" / f"{name}.yaml"
    config = load_config_from_file(str(path))
    assert config.num_processes % config.num_machines == 0
    lines = path.read_text(encoding="utf-8").splitlines()
    sections = ("fsdp_config:", "deepspeed_config:")
    unexplained = [line for line in lines if line not in sections and not re.search(r"# \S", line)]
    assert unexplained == []


@pytest.mark.parametrize("name", [name for name in LAUNCHES if not name.endswith("_cpu")])
def test_cpu_twin_differs_in_the_device_only(name):
    twin = "single_cpu" if name == "single_gpu" else f"{name}_cpu"
    folder = ROOT / "accelerate_configs"
    ours, theirs = (yaml.safe_load((folder / f"{stem}.yaml").read_text()) for stem in (name, twin))
    assert theirs.pop("use_cpu") is True
    assert theirs.pop("mixed_precision") == "no" and ours.pop("mixed_precision") == "bf16"
    assert theirs.pop("num_processes") == (1 if name == "single_gpu" else 2)
    ours.pop("num_processes")
    if name == "fsdp2":  # what is read once and sent around is not worth it for small models
        assert ours["fsdp_config"].pop("fsdp_cpu_ram_efficient_loading") is True
        assert theirs["fsdp_config"].pop("fsdp_cpu_ram_efficient_loading") is False
    assert ours == theirs


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_commands_of_documents_exist(path):
    text = path.read_text(encoding="utf-8")
    targets = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in targets if link and not (path.parent / link).exists()] == []
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    rules = set(re.findall(r"^([.a-z][.a-z-]*):", makefile, re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([.a-z][.a-z-]*)", text, re.MULTILINE)) <= rules
    configs = re.findall(r"\b(?:accelerate_configs|configs)/[\w/-]+\.yaml", text)
    assert [name for name in configs if not (ROOT / name).is_file()] == []


def test_ci_runs_lint_and_tests_and_can_be_executed():
    path = ROOT / ".ci" / "run"
    assert path.stat().st_mode & stat.S_IXUSR
    commands = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert commands[0] == "set -euo pipefail" and commands[-2:] == ["make lint", "make test"]
