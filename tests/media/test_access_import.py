"""Accesses that logs tell of come to the rows, each line once, however often it is begun."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest

from reconciler.app.access_logs import import_accesses
from reconciler.catalog.media_tables.access_logs import AccessLogs
from reconciler.cli import main
from reconciler.errors import CatalogUnavailable, NotDone
from reconciler.model import Imported
from reconciler.operations import access_import
from reconciler.operations.log_files import CutOff, of_file, unpacked
from reconciler.planning.access_logs import Address
from reconciler.settings import load
from tests.integration.daemons import until
from tests.media.scene import ADAS, STRANGE, Scene

pytestmark = pytest.mark.anyio

ADDRESS = Address.of("https://cdn.example/{key}")
FILM = "image/film.mp4"


def line(key: str, status: int = 200, agent: str = "curl/8", ago: float = 60, **more: object) -> str:
    told = {
        "ClientRequestMethod": "GET",
        "ClientRequestURI": f"/{quote(key, safe='/')}",
        "ClientRequestHost": "cdn.example",
        "ClientRequestUserAgent": agent,
        "EdgeResponseStatus": status,
        "EdgeStartTimestamp": int((time.time() - ago) * 1e9),
        **more,
    }
    return json.dumps(told) + "\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def write(log: Path, content: str | bytes) -> None:
    log.write_bytes(content.encode() if isinstance(content, str) else content)


def append(log: Path, content: str) -> None:
    log.write_text(log.read_text() + content)


def rename(log: Path, name: str) -> Path:
    return log.rename(log.with_name(name))


def pack(log: Path) -> bytes:
    """In its place, a packed one."""
    packed = gzip.compress(log.read_bytes())
    log.with_name("access.log.2.gz").write_bytes(packed)
    log.unlink()
    return packed


@pytest.fixture(autouse=True)
async def anew(scene: Scene) -> None:
    await scene.site.sql('UPDATE "MediaRecords" SET "AccessCount" = 0, "LastAccessedAt" = NULL')
    await scene.site.sql("DELETE FROM reconciler.access_logs")


async def run(scene: Scene, *sources: object, **settings: str) -> Imported:
    loaded = load({**os.environ, **scene.site.settings(**settings)})
    return await import_accesses(loaded, [str(each) for each in sources], ADDRESS, lambda *_: None)


async def counts(scene: Scene) -> dict[str, int]:
    rows = await scene.site.sql('SELECT "StorageKey", "AccessCount" FROM "MediaRecords"')
    return {key: count for key, count in rows if count}


async def test_what_was_had_counts_and_the_rest_is_told_apart(scene: Scene, log: Path) -> None:
    written = [
        line(ADAS, ago=7200),
        line(ADAS, 206, ago=3600),
        line(STRANGE, 304),
        line(FILM, 404),
        line(FILM, agent="GoogleBot/2"),
        line(FILM, ClientRequestHost="www.example"),
        line("logs/outside.png"),
        line(".reconciler/identity.json"),
        line("image/never.png"),
        line("image/claimed.png"),
        "nonsense\n",
        "\n",
    ]
    write(log, "".join(written))
    done = await run(scene, log, media__uncounted_agents='["googlebot"]')
    assert done == Imported(
        logs=1,
        lines=11,
        unreadable=1,
        not_had=1,
        uncounted=1,
        elsewhere=3,
        counted=3,
        unknown=1,
        leaving=1,
    )
    assert await counts(scene) == {ADAS: 2, STRANGE: 1}
    (found,) = await scene.site.sql(
        'SELECT extract(epoch FROM now() - "LastAccessedAt") FROM "MediaRecords" WHERE "StorageKey" = $1',
        ADAS,
    )
    assert 3_600 <= found[0] < 7_200


async def test_no_line_counts_twice_wherever_the_log_goes(scene: Scene, log: Path) -> None:
    """It grows, is renamed, packed, and put into a bucket; another begins with the same line."""
    first, second = line(ADAS), line(FILM)
    write(log, first + second + line(STRANGE).strip())
    assert (await run(scene, log, log)).counted == 2
    assert (await run(scene, log, log)).lines == 0
    append(log, "\n" + first)
    assert (await run(scene, log)).counted == 2
    renamed = rename(log, "access.log.1")
    write(log, first + first)
    assert (await run(scene, log.parent)).counted == 2
    packed = pack(renamed)
    assert (await run(scene, log.parent)).counted == 0
    await scene.put("cdn/2026/a.gz", body=packed)
    await scene.put("cdn/2026/b.gz", body=gzip.compress(line(FILM).strip().encode()))
    source = f"s3://{scene.site.bucket.name}/cdn/"
    done = await run(scene, source)
    assert (done.logs, done.done, done.counted) == (2, 0, 1)
    done = await run(scene, source)
    assert (done.logs, done.done, done.counted) == (0, 2, 0)
    assert await counts(scene) == {ADAS: 4, FILM: 2, STRANGE: 1}


async def test_an_import_that_ends_anywhere_goes_on_from_there(
    scene: Scene, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_import, "AT_ONCE", 1)
    monkeypatch.setattr("reconciler.operations.log_files.PIECE", 700)
    write(log, gzip.compress("".join(line(key) for key in (ADAS, FILM, STRANGE) * 7).encode()))
    writing, ends = AccessLogs.write, [False]

    async def failing(to: AccessLogs, *given: Any) -> Imported:
        ends[0] = not ends[0]
        if ends[0]:
            raise CatalogUnavailable("away")
        return await writing(to, *given)

    monkeypatch.setattr(AccessLogs, "write", failing)
    times = 0
    for _ in range(50):
        try:
            await run(scene, log)
        except CatalogUnavailable:
            times += 1
            continue
        break
    assert 3 < times < 50
    assert await counts(scene) == {ADAS: 7, FILM: 7, STRANGE: 7}


async def test_two_that_read_one_log_do_not_both_count_it(
    scene: Scene, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(log, line(ADAS))
    writing, meanwhile = AccessLogs.write, [True]

    async def overtaken(to: AccessLogs, *given: Any) -> Imported:
        if meanwhile.pop():
            meanwhile.append(False)
            await run(scene, log)
        return await writing(to, *given)

    monkeypatch.setattr(AccessLogs, "write", overtaken)
    with pytest.raises(NotDone, match="another import"):
        await run(scene, log)
    assert await counts(scene) == {ADAS: 1}


async def test_a_row_that_is_locked_is_waited_for_and_one_that_refuses_is_told(
    scene: Scene, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(log, "".join(line(key) for key in (ADAS, FILM, STRANGE)))
    await scene.site.script(
        'ALTER TABLE "MediaRecords" ADD CONSTRAINT refusing CHECK'
        ' ("StorageKey" <> \'image/film.mp4\' OR "AccessCount" = 0)'
    )
    try:
        async with scene.site.connected() as holder, anyio.create_task_group() as group:
            transaction = holder.transaction()
            await transaction.start()
            await holder.execute('SELECT FROM "MediaRecords" WHERE "StorageKey" = $1 FOR UPDATE', ADAS)
            done = list[Imported]()

            async def read() -> None:
                done.append(await run(scene, log))

            group.start_soon(read)
            await until(lambda: waits(scene))
            assert not done
            await transaction.rollback()
        assert (done[0].counted, done[0].refused) == (2, 1)
        assert await counts(scene) == {ADAS: 1, STRANGE: 1}
    finally:
        await scene.site.sql('ALTER TABLE "MediaRecords" DROP CONSTRAINT refusing')


async def waits(scene: Scene) -> bool:
    """Whether a statement of the program waits for a row's lock."""
    (found,) = await scene.site.sql(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    return bool(found[0])


async def test_what_is_cut_off_is_read_so_far_and_goes_on_when_it_is_whole(scene: Scene, log: Path) -> None:
    whole = gzip.compress(line(ADAS).encode()) + gzip.compress(line(FILM).encode())
    write(log, whole[:-10])
    done = await run(scene, log)
    assert done.cut_off == [str(log)]
    write(log, whole)
    assert (await run(scene, log)).cut_off == []
    assert await counts(scene) == {ADAS: 1, FILM: 1}


async def test_a_line_without_an_end_does_not_hide_the_next(scene: Scene, log: Path) -> None:
    write(log, b"x" * (5 << 20) + b"\n" + line(ADAS).encode())
    await run(scene, log)
    assert await counts(scene) == {ADAS: 1}


@pytest.mark.parametrize("size", [1, 7, 1 << 18])
async def test_what_is_packed_in_parts_is_unpacked_in_any_pieces(tmp_path: Path, size: int) -> None:
    text = b"".join(b"line %d\n" % number for number in range(200)) + b"the last"
    packed = gzip.compress(text[:500]) + gzip.compress(text[500:])

    async def pieces(of: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(of), size):
            yield of[start : start + size]

    async def all_of(of: bytes) -> bytes:
        return b"".join([piece async for piece in unpacked(pieces(of))])

    assert await all_of(packed) == text + b"\n"
    assert await all_of(text) == text
    assert await all_of(b"") == b""
    with pytest.raises(CutOff):
        await all_of(packed[:-1])
    with pytest.raises(CutOff):
        await all_of(packed[:40] + b"\0" * 40)
    with pytest.raises(NotDone, match="cannot be read"):
        async with of_file(tmp_path / "none").open():
            pass


@pytest.mark.usefixtures("anyio_backend")
def test_the_command_says_what_it_did(
    scene: Scene, log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(log, line(ADAS) + line("image/never.png"))
    for name, value in scene.site.settings().items():
        monkeypatch.setenv(name, value)

    def ran(*args: str) -> tuple[int, list[str]]:
        status = main(["access", "import", *args])
        shown = capsys.readouterr()
        return status, (shown.out + shown.err).splitlines()

    told = ran("--url", "https://cdn.example/{key}", str(log))
    assert told == (0, ["1 log, 2 new lines", "1 access written", "  1 access to keys without a row"])
    status, (shown,) = ran("--url", "https://cdn.example/{key}", "--json", str(log))
    assert (status, json.loads(shown)["lines"]) == (0, 0)
    status, (shown,) = ran(str(log))
    assert (status, "RECONCILER_CDN__URL" in shown) == (2, True)
    with monkeypatch.context() as named:
        named.setenv("RECONCILER_CDN__URL", "https://cdn.example/{key}")
        assert ran(str(log))[0] == 0
    status, (shown,) = ran("--url", "https://cdn.example/", str(log))
    assert (status, "https://cdn.example/{key}" in shown) == (2, True)
    write(log, "hello\nworld\n")
    status, said = ran("--url", "/{key}", str(log))
    assert (status, said[-1]) == (
        1,
        "reconciler: no line is of a format that is known: are these access logs?",
    )
    status, (shown,) = ran("--url", "/{key}", str(log.with_name("none")))
    assert (status, "cannot be read" in shown) == (1, True)
