"""What the Dockerfile, the chart and the checks of the image (`tools.image`) have to agree about."""

from __future__ import annotations

import re

import yaml

from tests.leftovers import ROOT
from tools.image.program import USER

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def said(instruction: str) -> list[str]:
    return re.findall(rf"(?m)^{instruction} (.*)$", DOCKERFILE)


def test_one_number_is_the_user_of_the_image_of_the_chart_and_of_the_checks() -> None:
    security = yaml.safe_load((ROOT / "helm" / "values.yaml").read_text())["podSecurityContext"]
    assert said("USER") == [USER] == [f"{security['runAsUser']}:{security['runAsGroup']}"]


def test_every_stage_stands_on_the_one_base_that_a_digest_pins() -> None:
    base, *stages = said("FROM")
    assert base == "docker.io/library/python:${PYTHON_TAG}${PYTHON_DIGEST:+@${PYTHON_DIGEST}} AS base"
    assert {stage.split()[0] for stage in stages} == {"base"}


def test_health_is_left_to_probes() -> None:
    assert said("HEALTHCHECK") == []
