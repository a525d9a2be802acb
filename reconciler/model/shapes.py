"""The shape that keys must have: a user's pattern, matched in time linear in the key's length."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re2


@dataclass(frozen=True, slots=True)
class KeyShape:
    r"""A pattern that a whole key matches, in RE2's syntax.

    Never Python's `re`: with a pattern that backtracks, one uploaded key could block the event loop for
    ever (R-70). RE2 has neither look-around nor back-references, and its `\w` and `\d` are ASCII.
    """

    pattern: str

    def fullmatch(self, key: str) -> bool:
        """Whether the key has the shape; False if RE2 cannot read the pattern or the key."""
        compiled = _compiled(self.pattern)
        if isinstance(compiled, str):
            return False
        try:
            return compiled.fullmatch(key) is not None
        except UnicodeEncodeError:
            return False

    def group(self, key: str) -> str | None:
        """What the first group matches, where the whole key has the shape; None where it has not."""
        compiled = _compiled(self.pattern)
        if isinstance(compiled, str):
            return None
        try:
            found = compiled.fullmatch(key)
        except UnicodeEncodeError:
            return None
        return found.group(1) if found is not None and compiled.groups else None

    @property
    def groups(self) -> int:
        """How many groups the pattern has; 0 if it cannot be used."""
        compiled = _compiled(self.pattern)
        return 0 if isinstance(compiled, str) else compiled.groups

    @property
    def fault(self) -> str | None:
        """RE2's complaint about the pattern, None if it can be used."""
        compiled = _compiled(self.pattern)
        return compiled if isinstance(compiled, str) else None


@lru_cache(maxsize=16)
def _compiled(pattern: str) -> "re2._Regexp | str":
    import re2  # noqa: PLC0415 - with the libraries of C++ it takes 3 MiB, and most sites set no shape

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        message = error.args[0]
        return message.decode(errors="replace") if isinstance(message, bytes) else str(message)
    except UnicodeEncodeError:
        return "it is not UTF-8"
