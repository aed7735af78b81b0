"""Numbers as people read them. A real minus sign, a thin space before units, no false precision."""

__all__ = ["byte_size", "milliseconds", "percent", "probability", "quantity", "share", "signed"]

_THIN = "\u202f"


def quantity(count: float) -> str:
    """`40.8 M`: three digits and a power of a thousand."""
    for factor, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= factor:
            return f"{_three_digits(count / factor)}{_THIN}{unit}"
    return f"{count:.0f}"


def byte_size(count: float) -> str:
    """`1.07 MB`, in powers of a thousand, as disks and networks count."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{_three_digits(count / factor)}{_THIN}{unit}"
    return f"{count:.0f}{_THIN}B"


def milliseconds(value: float) -> str:
    """`1.23 ms`, or `12.3 µs` where a small network takes less than a tenth of a millisecond."""
    if value < 0.1:
        return f"{_three_digits(1000 * value)}{_THIN}µs"
    return f"{_three_digits(value)}{_THIN}ms"


def percent(value: float | None, digits: int = 1) -> str:
    """Of a value that is per cent already; a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}{_THIN}%"


def share(ratio: float) -> str:
    """Of a fraction."""
    return percent(100 * ratio, 0 if ratio >= 0.995 else 1)


def signed(value: float | None, digits: int = 1) -> str:
    """`+0.3` or `−4.6`; plain zero where rounding leaves nothing."""
    if value is None:
        return "–"
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0.0:
        return text
    return ("−" if value < 0 else "+") + text


def probability(p: float) -> str:
    if p > 0.995:
        return "1"
    return f"{p:.2g}" if p >= 1e-4 else "< 0.0001"


def _three_digits(value: float) -> str:
    magnitude = abs(value)
    digits = 0 if magnitude >= 99.95 else 1 if magnitude >= 9.995 else 2
    return f"{value:.{digits}f}"
