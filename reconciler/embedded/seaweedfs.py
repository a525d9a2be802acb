"""A SeaweedFS in a supervised directory, on loopback, with credentials of its own."""

import http.client
import json
import secrets
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.embedded.binaries import wheel_weed
from reconciler.embedded.client import HOST, ServerFailed, Supervisor, free_ports, with_other_ports

_WEED_GRPC_OFFSET = 10_000  # `weed` listens for gRPC that far above each of its HTTP ports


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedS3:
    """How to reach an S3 server that runs in a supervised directory. No bucket exists yet."""

    endpoint_url: str
    access_key: str
    secret_key: str
    region: str
    pid: int

    def environment(self) -> dict[str, str]:
        """The usual variables that an AWS client reads its credentials from."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
        }


_WEED_FLAGS = (
    "-webdav=false",
    "-admin.ui=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-master.telemetry=false",  # otherwise it reports to its makers
    "-s3.autoCreateBucket=false",
    "-s3.allowDeleteBucketNotEmpty=false",
    "-volume.max=10000",  # each bucket takes one; the default is one per free GiB of the disk
)
_WEED_PORTS = ("master", "volume", "filer", "s3", "admin")
_WEED_ACTIONS = ["Admin", "Read", "ReadAcp", "List", "Tagging", "Write", "WriteAcp"]


def start_s3(
    supervisor: Supervisor, *, name: str = "seaweedfs", more_identities: Sequence[Mapping[str, object]] = ()
) -> EmbeddedS3:
    """Start a SeaweedFS (`weed mini`); blocks for about a second.

    `more_identities` are entries of its S3 configuration, besides the administrator's.
    """
    program = wheel_weed()
    home = supervisor.directory / name
    home.mkdir(mode=0o700)
    access_key, secret_key = secrets.token_hex(10).upper(), secrets.token_urlsafe(30)
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    administrator = {"name": "administrator", "credentials": credentials, "actions": _WEED_ACTIONS}
    configuration = home / "s3.json"
    configuration.write_text(json.dumps({"identities": [administrator, *more_identities]}))

    def attempt() -> EmbeddedS3:
        first = free_ports(len(_WEED_PORTS), (0, _WEED_GRPC_OFFSET))
        sockets = [grpc_socket(part, first + place) for place, part in enumerate(_WEED_PORTS)]
        if any(path.exists() for path in sockets):
            message = "another weed's sockets are in the way"
            raise ServerFailed(message)
        ports = {part: first + place for place, part in enumerate(_WEED_PORTS)}
        disk = home / str(first)
        disk.mkdir()
        pid = supervisor.start(
            name,
            _weed_command(program, disk, configuration, ports),
            stop_signal=signal.SIGKILL,  # an orderly stop takes two seconds, for unneeded objects
            env={"HOME": str(home)},
            scraps=sockets,
        )
        supervisor.wait_for(name, lambda: _takes_objects(ports), "the embedded S3 server")
        return EmbeddedS3(
            endpoint_url=f"http://{HOST}:{ports['s3']}",
            access_key=access_key,
            secret_key=secret_key,
            region="us-east-1",
            pid=pid,
        )

    return with_other_ports(attempt)


def grpc_socket(part: str, port: int) -> Path:
    """Where weed 4.48 puts the socket of a gRPC port, whatever its flags and TMPDIR say."""
    return Path("/tmp") / f"seaweedfs-{part}-grpc-{port + _WEED_GRPC_OFFSET}.sock"  # noqa: S108


def _weed_command(program: Path, disk: Path, configuration: Path, ports: Mapping[str, int]) -> list[str]:
    return [
        str(program),
        "mini",
        f"-dir={disk}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        *(f"-{part}.port={port}" for part, port in ports.items()),
        f"-s3.config={configuration}",
        f"-filer.localSocket={disk}/filer.sock",
        f"-s3.localSocket={disk}/s3.sock",
        *_WEED_FLAGS,
    ]


def _takes_objects(ports: Mapping[str, int]) -> bool:
    """The S3 port answers, and the master can assign room for an object."""
    assigned = _status(ports["master"], "/dir/assign")
    return assigned == http.HTTPStatus.OK and _status(ports["s3"], "/") is not None


def _status(port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
