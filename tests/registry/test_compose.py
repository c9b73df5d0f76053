"""The server material: parses, holds no secret, and is no package."""

import re
from importlib.metadata import version
from pathlib import Path

import mlflow
import yaml

FOLDER = Path(__file__).parents[2] / "mlflow"


def test_the_folder_does_not_hide_the_package():
    assert not list(FOLDER.rglob("*.py"))
    assert FOLDER not in Path(mlflow.__file__).parents


def test_compose_starts_this_version_with_an_artifact_proxy_and_named_hosts():
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    services = compose["services"]
    assert set(services) == {"database", "mlflow"}
    assert f"mlflow=={version('mlflow')} " in services["mlflow"]["build"]["dockerfile_inline"]
    command = services["mlflow"]["command"]
    assert "--serve-artifacts" in command
    assert any(re.match(r"--allowed-hosts=.*\$\{MLFLOW_ALLOWED_HOSTS:\?", c) for c in command)
    named = {v.partition(":")[0] for s in services.values() for v in s["volumes"]}
    assert named == set(compose["volumes"])


def test_compose_holds_no_secret_and_the_readme_names_every_variable():
    text = (FOLDER / "compose.yaml").read_text()
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    readme = (FOLDER / "README.md").read_text()
    assert used and all(f"\n{name}=" in readme for name in used)
    for line in text.splitlines():
        if "PASSWORD" in line:
            assert "${POSTGRES_PASSWORD" in line
