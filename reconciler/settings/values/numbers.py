"""Numbers, sizes, rates and prices."""

import math
import re
from collections.abc import Callable
from decimal import Decimal

WHOLE = re.compile(r"\d{1,18}", re.ASCII)


DECIMAL = re.compile(r"\d{1,18}(?:\.\d{1,18})?", re.ASCII)


def whole(least: int, most: int, unit: str) -> Callable[[object], int]:
    """A whole number in digits; neither `1e9` nor `nan` nor a boolean."""
    allowed = f"must be a whole number of {unit}, from {least} to {most}"

    def parse(raw: object) -> int:
        if isinstance(raw, str) and WHOLE.fullmatch(raw):
            number = int(raw)
        elif isinstance(raw, int) and not isinstance(raw, bool):
            number = raw
        else:
            raise ValueError(allowed)
        if not least <= number <= most:
            raise ValueError(allowed)
        return number

    return parse


SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([kKMGTP]i?B|B)?", re.ASCII)


_STEPS = {unit: place for place, unit in enumerate("KMGTP", 1)}


LEAST_MEMORY = 512 * 1024**2


def size(raw: object) -> int | None:
    """Bytes, as a whole number or with a unit; None stands for `none`."""
    if raw is None or raw == "none":
        return None
    match = SIZE.fullmatch(str(raw)) if isinstance(raw, str | int) and not isinstance(raw, bool) else None
    found = 0
    if match:
        number, unit = match.groups(default="B")
        found = int(Decimal(number) * (1024 if "i" in unit else 1000) ** _STEPS.get(unit[0].upper(), 0))
    if not 0 < found < 2**60:
        raise ValueError("must be a number of bytes from 1 on, such as 10GiB, 500MB or 1048576, or none")
    return found


def room(raw: object) -> int:
    """Bytes, without `none`."""
    found = size(raw)
    if found is None:
        raise ValueError("must be a number of bytes, such as 40GiB")
    return found


def memory(raw: object) -> int:
    """Bytes, as many as a comparison needs."""
    found = room(raw)
    if found < LEAST_MEMORY:
        raise ValueError("must be at least 512MiB")
    return found


def objects(raw: object) -> int | None:
    """A number of objects; None stands for `none`."""
    if raw is None or raw == "none":
        return None
    try:
        return whole(1, 10**12, "objects")(raw)
    except ValueError as error:
        raise ValueError(f"{error}, or none") from None


def _decimal(raw: object) -> float | None:
    if isinstance(raw, str) and DECIMAL.fullmatch(raw):
        return float(raw)
    if isinstance(raw, int | float) and not isinstance(raw, bool) and math.isfinite(raw):
        return float(raw)
    return None


def fraction(raw: object) -> float:
    """A share from 0 to 1."""
    number = _decimal(raw)
    if number is None or not 0 <= number <= 1:
        raise ValueError("must be a fraction from 0 to 1, such as 0.1 for ten per cent")
    return number


def rate(raw: object) -> float | None:
    """Keys a second; None stands for `unlimited`."""
    if raw is None or raw == "unlimited":
        return None
    number = _decimal(raw)
    if number is None or number <= 0:
        raise ValueError("must be a positive number of keys a second, such as 100, or unlimited")
    return number


def price(raw: object) -> float:
    """A sum of money, in a currency that is not ours to know."""
    number = _decimal(raw)
    if number is None or number < 0:
        raise ValueError("must be a price such as 0.023, or 0 for none")
    return number
