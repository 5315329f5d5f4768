"""The Terraform module: it makes what the template makes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import hcl2
import pytest
from support.stacks import loaded, statements_of

from pipeline.onboarding.template import parameters

ROOT = Path(__file__).parents[2]


def unquoted(value: Any) -> Any:
    """Newer parsers keep the quotes of strings."""
    if isinstance(value, dict):
        return {unquoted(key): unquoted(it) for key, it in value.items()}
    if isinstance(value, list):
        return [unquoted(it) for it in value]
    return value.strip('"') if isinstance(value, str) else value


def module() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted((ROOT / "deploy/terraform").glob("*.tf")):
        with path.open() as file:
            for kind, blocks in unquoted(hcl2.load(file)).items():
                if isinstance(blocks, list):
                    found.setdefault(kind, []).extend(blocks)
    return found


def policy_documents() -> dict[str, dict[str, set[str]]]:
    documents = {}
    for block in module()["data"]:
        for name, body in block.get("aws_iam_policy_document", {}).items():
            statements = list(body.get("statement", []))
            for dynamic in body.get("dynamic", []):
                if "statement" in dynamic:
                    content = dynamic["statement"]["content"]
                    statements += content if isinstance(content, list) else [content]
            documents[name] = {it["sid"]: set(it["actions"]) for it in statements if "sid" in it}
    return documents


def test_the_module_gives_the_same_rights_as_the_template() -> None:
    resources, documents = loaded()["Resources"], policy_documents()
    for name, resource in {
        "collector": "CollectorPolicy",
        "bucket": "TrailBucketPolicy",
        "queue": "QueuePolicy",
        "topic": "TopicPolicy",
    }.items():
        assert documents[name] == statements_of(resources[resource]["Properties"]["PolicyDocument"]), name
    assert documents["key"] == statements_of(resources["TrailKey"]["Properties"]["KeyPolicy"])


def test_the_module_has_the_parameters_of_the_template_with_their_defaults() -> None:
    found = {name: body for block in module()["variable"] for name, body in block.items()}
    wanted = {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): it for name, it in parameters().items()}
    assert found.keys() == wanted.keys()
    for name, asked in wanted.items():
        default = {"yes": True, "no": False}.get(asked.default, asked.default)
        assert str(found[name]["default"]).lower() == str(default).lower(), name


def test_the_module_has_the_outputs_of_the_template() -> None:
    found = {name for block in module()["output"] for name in block}
    assert found == {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in loaded()["Outputs"]}


def test_terraform_accepts_the_module(tmp_path: Path) -> None:
    terraform = shutil.which("terraform")
    if terraform is None:
        pytest.skip("no terraform here")
    folder = tmp_path / "module"
    shutil.copytree(ROOT / "deploy/terraform", folder)
    subprocess.run([terraform, "fmt", "-check", "-diff"], cwd=folder, check=True, capture_output=True, timeout=60)
    began = subprocess.run(
        [terraform, "init", "-backend=false", "-input=false"], cwd=folder, capture_output=True, text=True, timeout=200
    )
    if began.returncode:
        pytest.skip("the registry of Terraform's providers cannot be reached")
    done = subprocess.run([terraform, "validate"], cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
