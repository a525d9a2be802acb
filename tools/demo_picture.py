"""Draw docs/demo.png, the README's picture, from a run in a terminal: `python -m tools.demo_picture`.

Needs `pip install '.[demo,docs]'`, and librsvg2-bin for `rsvg-convert`. A minute.
"""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parent.parent / "docs" / "demo.png"
COLUMNS, PIXELS = 112, 1400
MOVES = re.compile(r"(\r|\n|\x1b\[\d*A|\x1b\[2K|\x1b\[\?25[lh])")


def run() -> str:
    """What the demo writes on a terminal. Raises CalledProcessError where it fails."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "reconciler", "demo"]
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "LINES": "60", "TERM": "xterm-256color"}
    written = bytearray()
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as running:
        os.close(theirs)
        try:
            while part := os.read(ours, 65_536):
                written += part
        except OSError:  # Linux says so at the end
            pass
        os.close(ours)
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, command, bytes(written))
    return written.decode()


def left(written: str) -> str:
    """What stands there in the end: progress bars erase whole lines above, and write them again."""
    lines, at = [""], 0
    for part in MOVES.split(written):
        if part == "\n":
            at += 1
            lines += [""] * (at == len(lines))
        elif part.endswith("A") and part.startswith("\x1b["):
            at -= int(part[2:-1] or 1)
        elif part == "\x1b[2K":
            lines[at] = ""
        elif not MOVES.fullmatch(part):
            lines[at] += part
    return "\n".join(lines).strip()


def draw(shown: str) -> None:
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text.from_ansi(shown))
    # Without the attribute librsvg takes the spaces in front of a line away.
    vector = console.export_svg(title="reconciler demo").replace("<text ", '<text xml:space="preserve" ')
    command = ["rsvg-convert", "--background-color", "white", "--width", str(PIXELS)]
    drawn = subprocess.run(command, input=vector.encode(), capture_output=True, check=True)
    Image.open(io.BytesIO(drawn.stdout)).convert("RGB").quantize(64).save(PICTURE, optimize=True)


if __name__ == "__main__":
    draw(left(run()))
    print(f"wrote {PICTURE} ({PICTURE.stat().st_size // 1024} KiB)")
