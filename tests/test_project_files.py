"""What stands beside the code agrees with it: workflows, forms, versions, names in CONTRIBUTING."""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import pedseg_runtime

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def parsed(name: str) -> Any:
    return yaml.safe_load(read(name))


PROJECT = tomllib.loads(read("pyproject.toml"))
REPOSITORY = PROJECT["project"]["urls"]["Repository"]
TARGETS = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))
PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(r"^([\w.-]+)==(\S+)$", read("constraints.txt"), re.M)
}
WORKFLOWS = [str(path.relative_to(ROOT)) for path in (ROOT / ".github" / "workflows").glob("*.yml")]
FORMS = ["bug", "feature"]
TEMPLATES = ".github/ISSUE_TEMPLATE"


def steps(workflow: str, kind: str) -> list[dict[str, Any]]:
    """The steps of all jobs that have the key `kind`, at least one."""
    jobs = parsed(workflow)["jobs"].values()
    found = [step for job in jobs for step in job["steps"] if kind in step]
    assert found
    return found


def made(commands: str) -> set[str]:
    """The targets that `make` is told in a script, which does nothing else."""
    targets = set()
    for line in commands.splitlines():
        command, *arguments = shlex.split(line)
        assert command == "make", f"{line}: CI does what a developer does, by the Makefile"
        targets |= {argument for argument in arguments if "=" not in argument}
    return targets


def test_ci_makes_what_a_change_must_pass() -> None:
    called = {
        target for name in WORKFLOWS for step in steps(name, "run") for target in made(step["run"])
    }
    assert called <= TARGETS
    assert called >= set(re.findall(r"^make ([a-z-]+)$", read(".ci/run"), re.M)) != set()


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_only_read_and_ends(name: str) -> None:
    workflow = parsed(name)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"]
    assert {"push", "pull_request"} <= set(workflow[True])  # YAML 1.1 reads the key `on` as true
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        assert 0 < job["timeout-minutes"] <= 60


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_by_their_major_version(name: str) -> None:
    for step in steps(name, "uses"):
        assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])
        for file in step.get("with", {}).get("cache-dependency-path", "").split():
            assert (ROOT / file).is_file(), file


def test_ci_tests_the_oldest_and_the_newest_python_that_is_promised() -> None:
    prefix = "Programming Language :: Python :: 3."
    classifiers = PROJECT["project"]["classifiers"]
    promised = [f"3.{line.removeprefix(prefix)}" for line in classifiers if line.startswith(prefix)]
    tested = {
        version
        for name in WORKFLOWS
        for job in parsed(name)["jobs"].values()
        for version in job.get("strategy", {}).get("matrix", {}).get("python-version", [])
    }
    set_up = {
        step["with"]["python-version"]
        for name in WORKFLOWS
        for step in steps(name, "uses")
        if "/setup-python@" in step["uses"]
    }
    assert {promised[0], promised[-1]} <= tested  # texts: 3.10 is 3.1 as a number
    assert tested | set_up <= {*promised, "${{ matrix.python-version }}"}
    assert list(SpecifierSet(PROJECT["project"]["requires-python"]).filter(promised)) == promised
    assert f">={promised[0]}" == PROJECT["project"]["requires-python"]


def test_dependabot_renews_torch_and_torchvision_together() -> None:
    updates = {
        update["package-ecosystem"]: update
        for update in parsed(".github/dependabot.yml")["updates"]
    }
    assert set(updates) == {"pip", "github-actions"}
    groups = dict(updates["pip"]["groups"])
    assert set(groups.pop("torch")["patterns"]) == {"torch", "torchvision"}
    for group in groups.values():
        assert {"torch", "torchvision"} <= set(group["exclude-patterns"])


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_one_that_github_shows(form: str) -> None:
    content = parsed(f"{TEMPLATES}/{form}.yml")
    assert content.keys() == {"name", "description", "labels", "body"}
    names = [field["id"] for field in content["body"]]
    assert len(set(names)) == len(names) > 0
    for field in content["body"]:
        assert field["type"] in {"input", "textarea", "dropdown", "checkboxes"}
        assert field["attributes"]["label"]


def test_a_bug_report_is_asked_for_what_its_reader_needs() -> None:
    assert {path.stem for path in (ROOT / TEMPLATES).iterdir()} == {*FORMS, "config"}
    fields = {field["id"]: field for field in parsed(f"{TEMPLATES}/bug.yml")["body"]}
    assert {"command", "versions", "info"} <= set(fields)
    assert fields["info"]["attributes"]["label"] == "segmenter.info"
    assert isinstance(pedseg_runtime.Segmenter.info, property)


def test_every_address_is_in_the_repository() -> None:
    assert parsed("CITATION.cff")["repository-code"] == REPOSITORY
    links = [link["url"] for link in parsed(f"{TEMPLATES}/config.yml")["contact_links"]]
    for address in [*PROJECT["project"]["urls"].values(), *links]:
        assert address.startswith(REPOSITORY)
        _, _, file = address.partition("/main/")
        assert (ROOT / file).exists(), address
    assert links[0] in read("SECURITY.md")


def test_pre_commit_runs_the_ruff_of_the_constraints() -> None:
    repositories = {entry["repo"]: entry for entry in parsed(".pre-commit-config.yaml")["repos"]}
    ruff = repositories.pop("https://github.com/astral-sh/ruff-pre-commit")
    assert ruff["rev"] == f"v{PINS['ruff']}"
    assert [hook["id"] for hook in ruff["hooks"]] == ["ruff-check", "ruff-format"]
    for entry in repositories.values():
        assert re.fullmatch(r"v\d+\.\d+\.\d+", entry["rev"])


def test_the_citation_is_of_this_version() -> None:
    citation, project = parsed("CITATION.cff"), PROJECT["project"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == pedseg_runtime.__version__
    assert citation["license"] == project["license"]
    assert citation["abstract"] == project["description"]
    assert citation["keywords"] == project["keywords"]


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    """Above it may stand `## [Unreleased]`, what is not in any version yet."""
    titles = re.findall(r"^## \[(.+?)\]", read("CHANGELOG.md"), re.M)
    numbered = [title for title in titles if title != "Unreleased"]
    assert titles in (numbered, ["Unreleased", *numbered])
    assert numbered[0] == pedseg_runtime.__version__


def test_every_tool_is_pinned() -> None:
    groups = PROJECT["dependency-groups"].values()
    tools = [Requirement(tool) for group in groups for tool in group if isinstance(tool, str)]
    assert tools
    for tool in tools:
        assert tool.specifier.contains(PINS[canonicalize_name(tool.name)]), tool


def test_contributing_names_what_exists() -> None:
    text = read("CONTRIBUTING.md")
    assert {"lint", "test"} <= set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)) <= TARGETS
    quoted = re.findall(r"`([^`\s]+)`", text)
    paths = {name for name in quoted if re.search(r"/|\.(md|txt|toml|py)$", name)}
    modules = {name for name in quoted if re.fullmatch(r"pedseg_\w+(\.\w+)*", name)}
    folder, tree = "", set()
    for line in text.split("## Where things are")[1].split("```")[1].splitlines():
        if line and not line.startswith(" "):
            folder = line.split()[0]
            tree.add(folder)
        tree |= {f"{folder}/{name}" for name in re.findall(r"\s(\w+)/", line)}
    assert modules
    assert len(tree) > 15
    for name in paths | tree | set(re.findall(r"\]\(([^)#:]+)\)", text)):
        assert (ROOT / name).exists(), name
    for name in modules:
        assert importlib.util.find_spec(name), name


def test_every_target_of_the_makefile_is_explained() -> None:
    text = read("Makefile")
    assert set(re.findall(r"^([a-z-]+):.*## ", text, re.M)) == TARGETS
    phony = re.search(r"^\.PHONY: (.*)$", text, re.M)
    assert phony is not None
    assert set(phony[1].split()) == TARGETS


@pytest.mark.parametrize("name", PROJECT["project"]["scripts"])
def test_a_console_script_can_be_called(name: str) -> None:
    module, _, function = PROJECT["project"]["scripts"][name].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
