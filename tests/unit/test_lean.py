"""What is left out of libraries is missed by nothing, and stays out."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from aiobotocore.session import get_session
from botocore.model import ServiceModel

from reconciler.stores.s3.hooks import DESCRIBED, raw_session

pytestmark = pytest.mark.anyio

AWAY = {
    *("aioboto3", "alembic", "boto3.resources.factory", "botocore.docs.service", "click", "greenlet"),
    *(
        "fastapi",
        "html",
        "http.server",
        "httpx",
        "jinja2",
        "joserfc",
        "logging.config",
        "multiprocessing",
        "prometheus_client",
        "re2",
    ),
    *("rich", "sqlalchemy", "starlette", "uvicorn.main", "wsgiref"),
}
STARTED = "from reconciler.cli.running import log_until_settings_are_read as log; import argparse;"
STARTED += "log(argparse.Namespace(log_level='info'));"


@pytest.mark.no_cover  # Coverage would load some of them itself.
@pytest.mark.parametrize(
    ("imported", "may"),
    [
        ("import reconciler.cli", ()),
        (f"{STARTED} import reconciler.settings", ()),
        (f"{STARTED} import reconciler.app", ("aioboto3",)),
        (f"{STARTED} import reconciler.app.daemon", ("aioboto3", "prometheus_client", "starlette")),
    ],
)
def test_a_start_loads_no_library_that_the_command_does_not_use(imported: str, may: tuple[str, ...]) -> None:
    shown = f"{imported}\nimport sys\nprint(*sorted({AWAY} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    assert tuple(ran.stdout.split()) == may


def test_a_package_is_hidden_for_one_import_only() -> None:
    """In a process of its own, where it was not loaded before."""
    shown = """
import json
from reconciler.lean import without
with without("wsgiref", "json"):
    try:
        import wsgiref
    except ImportError:
        print("hidden")
    import json
import wsgiref.headers
print(wsgiref.headers.__name__)
"""
    ran = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["hidden", "wsgiref.headers"], ran.stderr


def test_a_module_is_hollow_for_one_import_only() -> None:
    shown = """
from reconciler.lean import hollow
with hollow("http.server", "BaseHTTPRequestHandler"), hollow("json", "loads"):
    from http.server import BaseHTTPRequestHandler
    hollow_too = BaseHTTPRequestHandler
from http.server import BaseHTTPRequestHandler
print(hasattr(hollow_too, "do_GET"), hasattr(BaseHTTPRequestHandler, "send_error"))
import json
with hollow("json", "loads"):
    import json as again
print(again is json)
"""
    ran = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["False", "True", "True"], ran.stderr


def described(model: ServiceModel, operation: str) -> dict[str, Any]:
    """What botocore reads about an operation, without prose, and without the path, which clients rewrite.

    A shape inside itself is its name.
    """

    def of(shape: Any, inside: tuple[str, ...] = ()) -> Any:
        if shape is None or shape.name in inside:
            return shape and shape.name
        within = (*inside, shape.name)
        members = {name: of(each, within) for name, each in getattr(shape, "members", {}).items()}
        parts = [of(getattr(shape, part, None), within) for part in ("member", "key", "value")]
        return shape.name, shape.type_name, shape.metadata, shape.serialization, members, parts

    asked = model.operation_model(operation)
    shapes = (asked.input_shape, asked.output_shape, *asked.error_shapes)
    return {"method": asked.http["method"], "auth": asked.auth_type, "checksum": asked.http_checksum} | {
        "shapes": [of(shape) for shape in shapes],
        "endpoint": (asked.endpoint, asked.static_context_parameters, asked.context_parameters),
    }


async def test_what_is_kept_of_the_stores_description_is_whole() -> None:
    whole, kept = [
        ServiceModel(await session.get_service_data("s3"), "s3") for session in (get_session(), raw_session())
    ]
    assert {*kept.operation_names} == DESCRIBED
    for operation in DESCRIBED:
        assert described(kept, operation) == described(whole, operation)


def test_aiohttp_trusts_nobody_by_itself_and_the_environment_stays() -> None:
    """Each connection of ours has botocore's own TLS context."""
    shown = (
        "import os, ssl; before = dict(os.environ); import reconciler.stores.s3, aiohttp.connector as made;"
    )
    shown += "own = made._SSL_CONTEXT_VERIFIED; assert own.verify_mode is ssl.CERT_REQUIRED;"
    shown += "print(len(own.get_ca_certs()), dict(os.environ) == before)"
    ran = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["0", "True"]


@pytest.mark.parametrize("service", ["s3", "sso", "sso-oidc", "sts"])
@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1", "xx-new-1"])
async def test_a_region_is_found_as_botocore_finds_it(service: str, region: str) -> None:
    found = []
    for session in (get_session(), raw_session()):
        create: Callable[..., AbstractAsyncContextManager[Any]] = session.create_client
        key = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
        async with create(service, region_name=region, **key) as client:
            signer = client._request_signer
            found.append((client.meta.endpoint_url, signer.region_name, signer.signature_version))
    assert found[0] == found[1]
