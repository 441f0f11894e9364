"""Names of environments. Each is also a folder, a config (subset) on the Hub and an entry of ``--ids``."""

from __future__ import annotations

import re

from ..errors import InvalidNameError, short

# Windows and `datasets` refuse the first, globs read the brackets, and `--ids` splits at commas.
FORBIDDEN = '<>:"/\\|?*[]{},'
LONGEST = 200  # bytes; a file system takes 255, and a hash or an ending is added to some names
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def check_name(name: object) -> str:
    """The name of an environment, if it can be one.

    Whatever makes a path of a name has to check it here first: a name may come from a dataset or model of a stranger.

    Raises:
        InvalidNameError: if it cannot; says why.
    """
    flaw = "is no text" if not isinstance(name, str) else _flaw(name)
    if flaw or not isinstance(name, str):
        raise InvalidNameError(
            f"{short(name)} cannot be the name of an environment, since it {flaw}; choose another, such as Pumps-north."
        )
    return name


def is_name(name: object) -> bool:
    """Whether this can be the name of an environment."""
    return isinstance(name, str) and not _flaw(name)


def as_name(text: str) -> str:
    """The name that is closest to a text, such as a Gymnasium id or an address."""
    plain = "".join("-" if character in FORBIDDEN or not character.isprintable() else character for character in text)
    return check_name(plain.strip(" ."))


def _flaw(name: str) -> str:
    """Why a text cannot be a name; empty if it can."""
    wrong = sorted({character for character in name if character in FORBIDDEN or not character.isprintable()})
    if not name:
        return "is empty"
    if wrong:
        return f"contains {', '.join(map(repr, wrong))}"
    if name[0] in " ." or name[-1] in " .":
        return "begins or ends with a space or a dot"
    if DEVICES.fullmatch(name):
        return "is a device on Windows"
    if len(name.encode()) > LONGEST:
        return f"is longer than {LONGEST} bytes"
    return ""
