"""Inspects the real schema before anything is read from it, and reports all faults at once."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import asyncpg

from reconciler.catalog.db import blockers, bounds, connections
from reconciler.catalog.db.calls import called
from reconciler.catalog.db.config import CatalogConfig, TableMapping
from reconciler.catalog.db.connections import Connection
from reconciler.catalog.db.expressions import BARE_KEYS
from reconciler.catalog.db.schema import SchemaVersion
from reconciler.catalog.media_tables import (
    cascades,
    dates,
    departing,
    group_policies,
    indexes,
    rights,
    row_filter,
    triggers,
)
from reconciler.catalog.media_tables.mapped import MappedTable
from reconciler.catalog.media_tables.references import Inspection as References
from reconciler.catalog.media_tables.rights import Rights
from reconciler.catalog.media_tables.tables import ColumnTypes, MediaTables, Reference
from reconciler.catalog.media_tables.triggers import Triggers
from reconciler.model import GroupPolicy

OLDEST = 140000
"""Postgres 14: the oldest that was tried. The protocol's xid8 and pg_current_snapshot() came with 13."""

COMPARABLE = (
    frozenset({"smallint", "integer", "bigint", "numeric"}),
    frozenset({"text", "varchar", "char(n)"}),
    frozenset({"uuid"}),
)
"""Types of a row's virtual key id and of the keys' id that compare as they are. Others would need a cast, and
two spellings of one id (`007`, an upper-case uuid) would make its rows ownerless."""

# The server's version, state and encoding, in one row.
SERVER = """
SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS release,
       pg_is_in_recovery() AS in_recovery, current_setting('server_encoding') AS encoding,
       current_user::text AS role
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaReport:
    """The result of an inspection. With `faults` nothing can be read; an operator weighs the `warnings`.

    Each fault and warning is one line that says what to do. `byte_order_index` names the index that
    serves the sweep; None where every window would be sorted. `types` is None where there are faults, and
    `rights` where there is no media table. `tables` is the mapping, with the row filter's values as their
    columns write them. `noting`: whether every row that leaves is noted, None without such triggers;
    `departures` are notes that no pass has taken. `blockers` are locks and transactions that block the
    program at this moment. `generated_key`: Postgres computes the storage key, so no trigger can watch it.
    `policies` are Conduit's, None where they are not asked for or cannot be read.
    """

    release: str = ""
    role: str = ""
    revision: str | None = None
    oldest: str | None = None
    byte_order_index: str | None = None
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    types: ColumnTypes | None = None
    tables: TableMapping | None = None
    triggers: Triggers = Triggers.ABSENT
    noting: bool | None = None
    departures: int = 0
    rights: Rights | None = None
    blockers: tuple[str, ...] = ()
    generated_key: bool = False
    policies: Sequence[GroupPolicy] | None = None

    @property
    def version(self) -> SchemaVersion:
        return SchemaVersion(revision=self.revision, oldest=self.oldest)

    @property
    def at_head(self) -> bool:
        """Whether our own schema is one that this program can use."""
        return self.version.misfit is None


async def inspect(config: CatalogConfig, prefixes: Sequence[str] = ()) -> SchemaReport:
    """Inspect the schema over a dedicated connection, and check that keys lie under these prefixes.

    Raises CatalogUnavailable, ConfigError (login).
    """
    with called(config):
        connection = await connections.connect(config)
        try:
            return await _Inspection(connection, config, prefixes).report()
        finally:
            await connection.close()


class _Inspection:
    def __init__(self, connection: Connection, config: CatalogConfig, prefixes: Sequence[str]) -> None:
        self._connection = connection
        self._config = config
        self._prefixes = prefixes
        self._faults: list[str] = []
        self._warnings: list[str] = []
        self._blockers: list[str] = []
        self._refused = False
        self._policies: Sequence[GroupPolicy] | None = None
        tables = config.tables
        unit = tables.epoch_unit
        self._media = MappedTable(
            "RECONCILER_CATALOG__MEDIA_TABLE", tables.media_table, tables.media, shrinks=True, unit=unit
        )
        self._keys = MappedTable(
            "RECONCILER_CATALOG__KEYS_TABLE", tables.keys_table, tables.keys, shrinks=False, unit=unit
        )

    async def report(self) -> SchemaReport:
        server = await self._connection.fetchrow(SERVER)
        assert server is not None
        self._check_server(server["version"], server["release"], server["encoding"])
        if server["in_recovery"]:
            self._faults.append(
                f"RECONCILER_DATABASE_URL {self._config.where}: a replica, whose lag looks like drift;"
                " name the primary"
            )
        for table in self._tables():
            await table.look(self._connection)
            if table is self._media and table.oid is not None:
                table.check_filter(name for name, _ in self._config.tables.media_where)
            self._faults += table.faults
            self._warnings += table.warnings
        if not self._media.faults:
            tables, faults = await row_filter.typed(self._connection, self._config.tables)
            self._config = replace(self._config, tables=tables)
            self._faults += faults
        references = References(self._connection, self._config.tables)
        await references.look()
        self._faults += references.faults
        self._warnings += references.warnings
        if not self._faults:
            self._faults += await dates.faults(self._connection, self._config, self._tables())
        version = await self._own_version()
        await self._look_for_blockers()
        types, index, found, held = None, None, Triggers.ABSENT, None
        noting, departures = await self._departures(version)
        if not self._faults:
            found = await self._trigger_state()
            index = await indexes.find(self._connection, self._config.tables)
            types = await self._with_standing(self._column_types(index, references.found))
            if references.found and found is Triggers.INSTALLED:
                self._warnings.append(
                    "the triggers watch the storage key alone, and not the further columns that are declared:"
                    " so a claim waits for open transactions, as it does without triggers"
                )
            self._weigh(index)
            if types is not None and self._prefixes:
                await self._weigh_keys(MediaTables(self._config.tables, types))
            assert self._media.oid is not None
            self._warnings += await cascades.warnings(
                self._connection, self._config.tables.media_table, self._media.oid
            )
            self._warnings += await dates.warnings(self._connection, self._config, self._tables())
        if self._media.oid is not None:
            held = await rights.look(self._connection, self._media.oid, self._keys.oid, references.oids)
        return SchemaReport(
            release=server["release"],
            role=server["role"],
            revision=version.revision,
            oldest=version.oldest,
            byte_order_index=index.name if index else None,
            faults=tuple(self._faults),
            warnings=tuple(self._warnings),
            types=types,
            tables=self._config.tables,
            triggers=found,
            noting=noting,
            departures=departures,
            rights=held,
            blockers=tuple(self._blockers),
            generated_key=(key := self._media.columns.get("storage_key")) is not None and key.generated,
            policies=self._policies,
        )

    async def _own_version(self) -> SchemaVersion:
        """None is known to a role that may not use our own schema; `rights` says so."""
        try:
            return await connections.schema_version(self._connection)
        except asyncpg.InsufficientPrivilegeError:
            self._refused = True
            return SchemaVersion()

    async def _departures(self, version: SchemaVersion) -> tuple[bool | None, int]:
        if self._refused or self._faults or version.misfit is not None:
            return None, 0
        noting = await departing.whole(self._connection, self._config.tables)
        return noting, await self._connection.fetchval(departing.COUNT)

    async def _trigger_state(self) -> Triggers:
        if self._refused:
            return Triggers.ABSENT
        return await triggers.state(self._connection, self._config.tables)

    async def _look_for_blockers(self) -> None:
        names = blockers.names(self._config.tables)
        # A role that may not use a table's schema cannot name the table; `rights` says so.
        with suppress(asyncpg.InsufficientPrivilegeError):
            self._blockers += blockers.warnings(
                await self._connection.fetch(blockers.HOLDERS, names),
                await self._connection.fetch(blockers.PREPARED),
            )

    def _tables(self) -> tuple[MappedTable, ...]:
        return (self._media, self._keys) if self._config.tables.keys_table else (self._media,)

    @property
    def _storage_key(self) -> str:
        return self._config.tables.media.storage_key

    def _check_server(self, version: int, release: str, encoding: str) -> None:
        if version < OLDEST:
            self._faults.append(
                f"RECONCILER_DATABASE_URL: Postgres {release} is too old; 14 or later is needed"
            )
        if encoding != "UTF8":
            self._faults.append(
                f"RECONCILER_DATABASE_URL: the database's encoding is {encoding}; it must be UTF8"
            )

    def _column_types(
        self, index: indexes.ByteOrder | None, references: Sequence[Reference]
    ) -> ColumnTypes | None:
        media, keys = self._media, self._keys
        if keys.oid is not None and (fault := self._not_comparable()):
            self._faults.append(fault)
            return None
        storage_key = media.columns["storage_key"]
        bare = storage_key.type.kind in BARE_KEYS
        # An index serves only one collation, so comparisons have to use the index's.
        collate = ' COLLATE "C"'
        natural = bare and (index.natural if index else storage_key.bytewise)
        own_index = bare and media.indexed("storage_key") and storage_key.deterministic
        assert media.oid is not None
        return ColumnTypes(
            media_oid=media.oid,
            keys_oid=keys.oid,
            media=media.types,
            keys=keys.types,
            identity=tuple((each.name, each.type) for each in media.identity),
            byte_order="" if natural else collate,
            ordered=index is not None,
            equality="" if natural or (own_index and index is None) else collate,
            unique=media.unique("storage_key") and storage_key.deterministic,
            virtual_key_index=media.indexed("virtual_key_id"),
            references=tuple(references),
        )

    async def _with_standing(self, types: ColumnTypes | None) -> ColumnTypes | None:
        """The same, knowing how keys' groups stand under Conduit's policies, where those are the rules."""
        tables = self._config.tables
        if types is None or not tables.by_group_policy:
            return types
        if "group_id" not in types.keys:
            self._warnings.append(
                f"{group_policies.SETTING}: {tables.keys_table} has no column {tables.keys.group_id}, so"
                " nothing ends by its age; name it in RECONCILER_CATALOG__KEY_COLUMNS__GROUP_ID"
            )
            return types
        if faults := await group_policies.faults(self._connection, tables):
            self._warnings += faults
            return types
        self._policies = await group_policies.read(self._connection, tables)
        return replace(types, standing=group_policies.standing(tables))

    def _not_comparable(self) -> str | None:
        media, keys = self._media, self._keys
        owner, key = media.types["virtual_key_id"].kind, keys.types["id"].kind
        if any({owner, key} <= family for family in COMPARABLE):
            return None
        return (
            f"{media.columns_setting}__VIRTUAL_KEY_ID {media.mapped['virtual_key_id']}: its type is {owner},"
            f" but {keys.columns_setting}__ID is {key}; they must be comparable: name a generated column that"
            " has the other's type"
        )

    async def _weigh_keys(self, media: MediaTables) -> None:
        """Warn if all rows lie outside the prefixes: with leading slashes or as URLs, none counts."""
        within, limits = bounds.condition(media.ordered_key, bounds.managed(self._prefixes), 1)
        table, key = media.media, media.key_text
        if await self._connection.fetchval(f"SELECT EXISTS (SELECT FROM {table} WHERE {within})", *limits):
            return
        another = f"SELECT {key} FROM {table} WHERE {key} IS NOT NULL LIMIT 1"
        other = await self._connection.fetchval(another)
        if other is not None:
            table, named = self._config.tables.media_table, ", ".join(self._prefixes)
            self._warnings.append(
                f"{table}: no row lies under {named}, but others do, such as {other!r}, so every object"
                " is an orphan; correct RECONCILER_BUCKET__PREFIXES, or map a generated column that holds"
                " the key as the bucket has it"
            )

    def _weigh(self, index: indexes.ByteOrder | None) -> None:
        tables = self._config.tables
        if self._media.columns["storage_key"].virtual:
            self._warnings.append(
                f"{tables.media_table}: {self._storage_key} is a virtual generated column, which no index"
                " holds, so a sweep joins listing and rows as sets, which takes about twice as long; make it"
                " a stored one"
            )
        elif index is None:
            self._warnings.append(
                f"{tables.media_table}: no index on {self._storage_key} in byte order, so a "
                "sweep joins listing and rows as sets, which takes about twice as long;"
                " `reconciler migrate --create-index` builds one without locking"
            )
        for field in ("virtual_key_id", "expires_at", "created_at", "deleted_at"):
            column = self._media.mapped[field]
            if field in self._media.columns and not self._media.indexed(field):
                self._warnings.append(
                    f"{tables.media_table}: no index on {column}, so every retention pass reads the table"
                )
        if "last_accessed_at" not in self._media.columns:
            self._warnings.append(
                f"{tables.media_table}: no column says when media was last accessed, so none is ever stale"
            )
