"""The files in docs/deploy/ agree with the service: settings, ports, paths, times and the names of metrics."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gan_serve.cli import cli as commands
from gan_serve.service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "docs" / "deploy"
PROBES = {"/livez", "/readyz"}


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """The Kubernetes objects by their kind."""
    return {each["kind"]: each for each in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}


@pytest.fixture(scope="module")
def container(objects: dict[str, Any]) -> Any:
    [only] = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    return only


def dockerfile() -> str:
    return (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")


def variables(text: str) -> set[str]:
    return set(re.findall(r"GAN_SERVE_[A-Z_]*[A-Z]", text))


@pytest.mark.parametrize("file", ["deploy.md", *(f"deploy/{path.name}" for path in DEPLOY.iterdir())])
def test_every_variable_is_a_setting(file):
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert variables((ROOT / "docs" / file).read_text()) <= known


def test_the_config_map_is_understood(objects, monkeypatch):
    for name, value in objects["ConfigMap"]["data"].items():
        monkeypatch.setenv(name, value)
    settings = Settings.read()
    assert settings.models == ("fashion-dcgan",)
    grace = objects["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > settings.drain + settings.timeout


def test_the_key_is_taken_from_the_secret(container):
    [key] = container["env"]
    assert key["name"] == "GAN_SERVE_API_KEY"
    assert key["valueFrom"]["secretKeyRef"]["optional"]


def test_probes_service_and_image_agree_on_the_port(objects, container):
    [port] = container["ports"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == port["name"]
        assert container[probe]["httpGet"]["path"] in PROBES
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert objects["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    assert f"EXPOSE {port['containerPort']}\n" in dockerfile()
    annotations = objects["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])


def test_selectors_meet_the_pods(objects):
    pods = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == pods
    assert objects["Service"]["spec"]["selector"] == pods
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == pods
    target = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", objects["Deployment"]["metadata"]["name"])


def test_pod_and_image_are_of_one_user(objects):
    user = objects["Deployment"]["spec"]["template"]["spec"]["securityContext"]
    assert f"USER {user['runAsUser']}:{user['runAsGroup']}\n" in dockerfile()


def test_the_image_starts_a_command_that_exists():
    program, name, *arguments = json.loads(re.search(r"^CMD (\[.*\])$", dockerfile(), re.MULTILINE)[1])
    assert program == "gan-serve"
    options = commands.commands[name].make_context(name, arguments).params
    assert (options["host"], options["port"]) == ("0.0.0.0", 3000)


def test_the_wheel_can_be_built_from_what_docker_is_given():
    given = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert all((ROOT / name).exists() for name in given)
    project = (ROOT / "pyproject.toml").read_text()
    needed = set(re.findall(r'"(?:gan_serve\.\w+|gan_serve)" = "(\w+)"|gan_serve = "(gan_serve)"', project))
    assert {name for pair in needed for name in pair if name} <= given
    assert {"pyproject.toml", "README.md", "LICENSE", "requirements.lock", "requirements-cuda.lock"} <= given


def test_the_proxy_leaves_limits_to_the_service():
    text, settings = (DEPLOY / "nginx.conf").read_text(), Settings()
    assert "client_max_body_size 0;" in text
    assert int(re.search(r"proxy_read_timeout (\d+)s;", text)[1]) > settings.timeout


def test_alerts_speak_of_metrics_that_there_are():
    code = """
from gan_serve.service import metrics
from prometheus_client import generate_latest
print(generate_latest().decode())
"""
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    metrics = {name for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", told, re.MULTILINE)}
    asked = set(re.findall(r"gan_serve_\w+", (DEPLOY / "alerts.yml").read_text()))
    asked |= set(re.findall(r"gan_serve_\w+", (DEPLOY / "grafana.json").read_text()))
    assert asked
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked} <= metrics
    [scrape] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    assert scrape["metrics_path"] == "/metrics"
    assert f'job="{scrape["job_name"]}"' in (DEPLOY / "alerts.yml").read_text()


def run_tool(*words: str) -> str:
    """Return what a tool prints; the test is skipped where the tool is not installed."""
    if not shutil.which(words[0]):
        pytest.skip(f"needs {words[0]}")
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_systemd_accepts_the_unit(tmp_path):
    unit = (DEPLOY / "gan-serve.service").read_text()
    installed = "/opt/gan-serve/bin/gan-serve"  # systemd-analyze wants a program that is there
    assert installed in unit
    (tmp_path / "gan-serve.service").write_text(unit.replace(installed, sys.executable))
    run_tool("systemd-analyze", "verify", str(tmp_path / "gan-serve.service"))


def test_kustomize_builds_the_objects(objects):
    built = {each["kind"]: each for each in yaml.safe_load_all(run_tool("kubectl", "kustomize", str(DEPLOY)))}
    assert built == objects


def test_prometheus_accepts_its_files():
    run_tool("promtool", "check", "rules", str(DEPLOY / "alerts.yml"))
    run_tool("promtool", "check", "config", "--syntax-only", str(DEPLOY / "prometheus.yml"))


def test_every_part_says_what_was_run():
    parts = re.split(r"^##+ ", (ROOT / "docs" / "deploy.md").read_text(), flags=re.MULTILINE)[1:]
    assert parts
    for part in parts:
        assert "Run here: " in part, part.splitlines()[0]
    named = set(re.findall(r"[\w.]*deploy/([\w.-]+\w)", "".join(parts)))
    assert {path.name for path in DEPLOY.iterdir()} <= named | {"Dockerfile.dockerignore"}
