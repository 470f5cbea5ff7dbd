"""The supply chain: lock files with hashes, and the audit of licences and advisories."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-cuda.lock")


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def canonical(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_the_dependencies_in_the_versions_of_the_constraints(audit, lock):
    locked = audit.locked((ROOT / lock).read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for each in map(Requirement, project["dependencies"]):
        assert SpecifierSet(str(each.specifier)).contains(locked[canonical(each.name)]), each.name
    pinned = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    common = {canonical(name): version for name, version in pinned if canonical(name) in locked}
    assert len(common) > 15
    assert common == {name: locked[name] for name in common}
    assert "torch" not in locked


@pytest.mark.parametrize("lock", LOCKS)
def test_each_line_of_a_lock_is_a_version_with_hashes_and_names_no_host_or_path(lock):
    text = (ROOT / lock).read_text()
    entries = re.split(r"(?<!\\)\n", text.strip())
    for entry in entries:
        assert re.match(r"[a-z0-9.-]+==\S+ ", entry)
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry)
    assert not re.search("://|index|find-links|@ ", text.replace("find_links", ""))


def test_the_images_of_docker_install_what_is_locked():
    commands = (ROOT / "docs" / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")
    installs = re.findall(r"pip install[^&\n]*", commands)
    assert len(installs) == 4
    assert all("--require-hashes" in words or "--no-deps /wheel/" in words for words in installs)


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True), ("BSD-3-Clause", True), ("Apache Software License", True), ("MPL-2.0", True),
        ("GPL-3.0-only", False), ("MIT OR GPL-2.0", False), ("UNKNOWN", False), ("Proprietary", False), ("", False),
    ],
)  # fmt: skip
def test_a_licence_that_does_not_let_everybody_use_a_package_is_told(audit, licence, allowed):
    found = audit.refused([{"Name": "thing", "Version": "1", "License": licence}])
    assert bool(found) != allowed


def test_advisories_are_told_and_so_is_a_database_that_does_not_respond(audit):
    report = {"dependencies": [
        {"name": "good", "version": "1", "vulns": []},
        {"name": "bad", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]},
    ]}  # fmt: skip
    sentence, lines = audit.advisories(json.dumps(report), "")
    assert sentence == "Advisories of 2 packages were checked; 1 found."
    assert lines == ["bad 2: CVE-1, fixed in 3"]
    sentence, lines = audit.advisories("", "Traceback\nConnectionError: Name or service not known")
    assert sentence.startswith("NOT CHECKED")
    assert not lines
