"""What the triggers do, and how they are installed: only SQL. `triggers` explains their purpose."""

from reconciler.catalog.db.config import READ_COLUMNS, TableMapping
from reconciler.catalog.db.schema import SCHEMA

REFUSED = "MR409"
"""SQLSTATE of a refused row: its object is being deleted, or gone for good. Upload again."""

TRIGGER = "zz_reconciler_guard"
"""Triggers fire in order of name: this one after the gateway's own, so that it sees their final row."""

# Raises 40001 for a mark or a tombstone that this transaction's snapshot cannot see: an insertion of the
# same key conflicts with it all the same. What is inserted is rolled back at once.
PROBE = f"""
BEGIN
    INSERT INTO {SCHEMA}.tombstones (storage_key, verdict, operation_id, gone_at, ends_at)
        VALUES (key, '', gen_random_uuid(), clock_timestamp(), clock_timestamp())
        ON CONFLICT (storage_key) DO NOTHING;
    INSERT INTO {SCHEMA}.marks
        (storage_key, verdict, reason, bytes, pass_id, first_seen_at, last_seen_at, last_pass_id,
         sightings, due_at)
        VALUES (key, '', '', 0, -1, clock_timestamp(), clock_timestamp(), -1, 0, 'infinity')
        ON CONFLICT (storage_key) DO NOTHING;
    RAISE EXCEPTION USING ERRCODE = 'MR000';
EXCEPTION
    WHEN foreign_key_violation OR SQLSTATE 'MR000' THEN
        RETURN;
END
"""

# Checks one key of a row. READ COMMITTED takes a snapshot for each statement, so the order matters: get the
# transaction's id before reading the mark, and lock the mark before reading its tombstone.
#
# A replicated row, committed elsewhere, is not refused: it would be sent again and stop its subscription as
# a whole. It is let in and queued, and healing reports its object as lost if it is. A session that
# only sets the replica role can take a refusal, and gets it as long as the object is not gone.
GUARD = f"""
DECLARE
    mark_state text;
    gone timestamptz;
    ends timestamptz;
    comes_back boolean;
    near boolean;
    form text := left(encode(sha256(convert_to(lower(key COLLATE "C"), 'UTF8')), 'hex'), 32);
    replicated boolean := current_setting('session_replication_role') = 'replica';
    applied boolean := replicated AND EXISTS (SELECT FROM pg_stat_subscription WHERE pid = pg_backend_pid());
BEGIN
    PERFORM pg_current_xact_id();
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        PERFORM {SCHEMA}.guard_probe(key);
    END IF;
    SELECT m.state INTO mark_state FROM {SCHEMA}.marks m WHERE m.storage_key = key FOR SHARE;
    IF mark_state = 'claimed' AND NOT applied THEN
        RAISE EXCEPTION USING ERRCODE = '{REFUSED}',
            MESSAGE = format('the object of %s is being deleted: upload again', quote_literal(key)),
            HINT = 'Put the object again, best under a new key, then write its row.';
    END IF;
    SELECT t.gone_at, t.ends_at, t.recoverable,
           EXISTS (SELECT FROM {SCHEMA}.spellings o WHERE o.folded = form AND NOT o.is_row)
        INTO gone, ends, comes_back, near
        FROM (SELECT) one
        LEFT JOIN {SCHEMA}.tombstones t ON t.storage_key = key AND t.ends_at > clock_timestamp();
    IF comes_back OR mark_state = 'claimed' OR (ends IS NOT NULL AND replicated) THEN
        INSERT INTO {SCHEMA}.restores AS r (storage_key, reason, vouched)
            VALUES (key, 'a row names it again', true)
            ON CONFLICT (storage_key) DO UPDATE
            SET queued_at = clock_timestamp(), not_before = NULL, vouched = true;
    ELSIF ends IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = '{REFUSED}',
            MESSAGE = format('the object of %s was deleted at %s: upload again', quote_literal(key), gone),
            HINT = format('Put the object again under a new key, or under this one after %s.', ends);
    END IF;
    -- A longer text, such as an image in a `data:` address, names no object.
    IF octet_length(key) <= 2048 AND (near OR key ~ '[^!-~]|[%+?#]|//|^/') THEN
        PERFORM {SCHEMA}.guard_near(key);
    END IF;
END
"""

# Notes a row that spells orphans otherwise (`model.spelling`): by case, address, percent-encoding, slashes,
# the bucket's name, a folder above, or a prefix put twice. The note holds off their claim, and so does the
# lock until it is committed. One that is claimed already goes, and the row is let in.
GUARD_NEAR = f"""
DECLARE
    plain text COLLATE "C" := {SCHEMA}.guard_plain(lower(key COLLATE "C"));
    deep boolean := starts_with(plain, '/');
    depth integer := 0;
    form text;
BEGIN
    plain := btrim(plain, '/ ');
    LOOP
        form := left(encode(sha256(convert_to(plain, 'UTF8')), 'hex'), 32);
        IF EXISTS (SELECT FROM {SCHEMA}.spellings o WHERE o.folded = form AND NOT o.is_row) THEN
            INSERT INTO {SCHEMA}.spellings (pass_id, is_row, storage_key, folded)
                SELECT o.pass_id, true, key, o.folded
                FROM {SCHEMA}.spellings o JOIN {SCHEMA}.marks m USING (storage_key)
                WHERE o.folded = form AND NOT o.is_row AND o.storage_key <> key
                  AND m.state = 'found'
                FOR SHARE OF m
                ON CONFLICT DO NOTHING;
        END IF;
        depth := depth + 1;
        EXIT WHEN strpos(plain, '/') = 0 OR depth > 1 AND NOT deep;
        plain := ltrim(substr(plain, strpos(plain, '/')), '/ ');
    END LOOP;
END
"""

# A store that keeps objects as files treats `a//b` as `a/b`. For other stores the second check reads another
# object's mark, which costs a row of such a name at most a needless wait or refusal. There is no
# literal backslash, since its meaning depends on the writer's standard_conforming_strings.
GUARD_KEYS = f"""
DECLARE
    written text COLLATE "C" := translate(key, chr(92), '/');
BEGIN
    PERFORM {SCHEMA}.guard_key(key);
    IF written <> key OR strpos(written, '//') > 0 OR starts_with(written, '/') THEN
        PERFORM {SCHEMA}.guard_key(ltrim(regexp_replace(written, '/+', '/', 'g'), '/'));
    END IF;
END
"""

# What `model.spelling` takes away in front of, behind and inside a key. Bytes that are no UTF-8 stay encoded.
GUARD_PLAIN = """
DECLARE
    plain text COLLATE "C" := regexp_replace(key, '^[a-z][a-z0-9+.-]*:/+[^/]*', '/');
    decoded text COLLATE "C";
BEGIN
    plain := coalesce(nullif(regexp_replace(plain, '[?#].*$', ''), ''), plain);
    FOR time IN 1..2 LOOP
        plain := replace(plain, '+', ' ');
        EXIT WHEN plain !~ '%[0-9a-f]{2}';
        SELECT convert_from(string_agg(
                CASE WHEN part[1] ~ '^%..' THEN decode(substr(part[1], 2), 'hex')
                ELSE convert_to(part[1], 'UTF8') END, ''::bytea ORDER BY place), 'UTF8')
            INTO decoded
            FROM regexp_matches(plain, '%[0-9a-f]{2}|[^%]+|%', 'g') WITH ORDINALITY AS p (part, place);
        plain := lower(decoded);
    END LOOP;
    RETURN regexp_replace(translate(normalize(plain), chr(92), '/'), '/+', '/', 'g');
EXCEPTION
    WHEN character_not_in_repertoire OR untranslatable_character THEN
        RETURN plain;
END
"""

# The key is passed on under "C", or each comparison with a mark's key fails with 42P22 where its column has
# its own collation. A column counts as changed by its bytes (`*=`): its type may have no equality,
# or one outside our search path, and a collation may treat two different values as equal.
GUARD_RECORD = f"""
BEGIN
    IF TG_OP = 'UPDATE' AND ROW(<old>)::record *= ROW(<new>)::record THEN
        RETURN NEW;
    END IF;
    IF NEW.<key> IS NOT NULL<counts> THEN
        PERFORM {SCHEMA}.guard_keys(NEW.<key>::text COLLATE "C");
    END IF;
    RETURN NEW;
END
"""

# The columns that the trigger compares: those that it watches, and in place of a generated one the columns
# that it is computed from, since a trigger sees no generated column of the new row. Postgres records
# that dependency for the column itself before version 15, and for its expression from then on.
COMPARED = """
WITH RECURSIVE tables (oid) AS (
    SELECT <media>::oid
    UNION SELECT i.inhrelid FROM pg_inherits i JOIN tables t ON t.oid = i.inhparent
), generated AS (
    SELECT a.attrelid AS relation, a.attnum AS number FROM tables t
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = ANY (<watched>) AND a.attgenerated <> ''
), bases AS (
    SELECT b.attname AS name FROM generated g
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = g.relation
    LEFT JOIN pg_attrdef e ON d.classid = 'pg_attrdef'::regclass AND e.oid = d.objid
    JOIN pg_attribute b ON b.attrelid = g.relation AND b.attnum = d.refobjsubid
    WHERE (e.adrelid = g.relation AND e.adnum = g.number)
       OR (d.classid = 'pg_class'::regclass AND d.objid = g.relation AND d.objsubid = g.number)
)
SELECT coalesce(array_agg(a.attname::text ORDER BY a.attnum), '{}') FROM pg_attribute a
WHERE a.attrelid = <media> AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
  AND (a.attname = ANY (<watched>) OR a.attname IN (SELECT name FROM bases))
"""


def watched(tables: TableMapping) -> list[str]:
    """The columns that a verdict reads, or that say which rows count; a table may lack some."""
    read = [name for field in ("storage_key", *READ_COLUMNS) if (name := getattr(tables.media, field))]
    return [*read, *(column for column, _ in tables.media_where if column not in read)]


def compared(media: str, names: str) -> str:
    """COMPARED, with SQL expressions for the table's oid and the watched columns' names."""
    return COMPARED.replace("<media>", media).replace("<watched>", names)


FIXED = (
    ("guard_probe(key text)", "void", PROBE),
    ("guard_plain(key text)", "text", GUARD_PLAIN),
    ("guard_near(key text)", "void", GUARD_NEAR),
    ("guard_key(key text)", "void", GUARD),
    ("guard_keys(key text)", "void", GUARD_KEYS),
)
RECORD_FUNCTION = "guard_record()"
DEFINER = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off"
"""Use indexes only: a plan made while there were no marks stays in use when there are a million."""

DROP = tuple(
    f"DROP FUNCTION IF EXISTS {SCHEMA}.{name.replace('key text', 'text')} CASCADE"
    for name in (RECORD_FUNCTION, *(name for name, _, _ in reversed(FIXED)))
)
"""Dropping their function drops the triggers."""

# The compared columns are looked up where the SQL runs, so that a script does the same. The trigger is set to
# ALWAYS on each partition and each inheriting table, since rows may be written there.
INSTALL = f"""
DO $install$
DECLARE
    media regclass := to_regclass(:table);
    key text := :key;
    watched text[] := :watched;
    body text := :body;
    counts text := '';
    filter record;
    written text;
    each regclass;
BEGIN
    IF media IS NULL THEN
        RAISE EXCEPTION '% does not exist, so no trigger is installed', :table;
    ELSIF EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = media AND attname = key AND attgenerated <> ''
    ) THEN
        RAISE EXCEPTION '% of % is a generated column, which no trigger sees before the row is written',
            key, media;
    END IF;
    SELECT array_agg('"' || replace(c.name, '"', '""') || '"' ORDER BY c.place) INTO watched
    FROM unnest(({compared("media", "watched")})) WITH ORDINALITY AS c (name, place);
    -- Rows that do not count name another bucket's objects. A generated column is not there yet.
    -- Values as their columns write them, whatever made this script (R-89).
    FOR filter IN
        SELECT f.name, f.value, format_type(t.oid, -1) AS type, t.typcategory AS category
        FROM unnest(:columns, :values) WITH ORDINALITY AS f (name, value, place)
        JOIN pg_attribute a ON a.attrelid = media AND a.attname = f.name AND a.attgenerated = ''
        JOIN pg_type t ON t.oid = a.atttypid
        ORDER BY f.place
    LOOP
        written := filter.value;
        IF filter.category <> 'S' AND filter.type <> '"char"' THEN
            EXECUTE format(CASE filter.type WHEN 'numeric' THEN 'SELECT trim_scale(%L::%s)::text'
                           ELSE 'SELECT %L::%s::text' END, filter.value, filter.type) INTO written;
        END IF;
        counts := counts || format(' AND NEW.%s::text COLLATE "C" = %L',
            '"' || replace(filter.name, '"', '""') || '"', written);
    END LOOP;
    body := replace(body, '<key>', '"' || replace(key, '"', '""') || '"');
    body := replace(body, '<old>', 'OLD.' || array_to_string(watched, ', OLD.'));
    body := replace(body, '<new>', 'NEW.' || array_to_string(watched, ', NEW.'));
    body := replace(body, '<counts>', counts);
    EXECUTE format('CREATE FUNCTION {SCHEMA}.{RECORD_FUNCTION} RETURNS trigger LANGUAGE plpgsql'
        ' {DEFINER} AS %L', body);
    FOR each IN
        WITH RECURSIVE tables (oid, depth) AS (
            SELECT media::oid, 0
            UNION SELECT i.inhrelid, t.depth + 1 FROM pg_inherits i JOIN tables t ON t.oid = i.inhparent
        )
        SELECT t.oid FROM tables t ORDER BY t.depth
    LOOP
        -- A partition has a copy of its table's by now; what merely inherits has none.
        IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = each AND tgname = '{TRIGGER}') THEN
            EXECUTE format('CREATE TRIGGER {TRIGGER} BEFORE INSERT OR UPDATE ON %s'
                ' FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.{RECORD_FUNCTION}', each);
        END IF;
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER {TRIGGER}', each);
    END LOOP;
END
$install$
"""
