"""A console whose reader may go away."""

from __future__ import annotations

from typing import Never

from rich.console import Console


class Output(Console):
    """Raises BrokenPipeError where rich ends the program, which has servers and a lease to give back."""

    def on_broken_pipe(self) -> Never:
        self.quiet = True  # what is still said on the way out must not fail once more
        raise BrokenPipeError
