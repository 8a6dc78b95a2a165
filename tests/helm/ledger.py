"""What was checked and what came of it. Every file of checks writes into it; `gate.py` prints it. Knows nothing of charts."""

import fnmatch
from dataclasses import dataclass, field


@dataclass
class Ledger:
    """Promises in order, with what was looked at and what is wrong."""

    word: str = ""
    lines: list = field(default_factory=list)
    skipped: list = field(default_factory=list)

    def promise(self, area, name, check):
        """Runs a check: it gives back how much it looked at, as a text, or raises AssertionError."""
        if not fnmatch.fnmatch(f"{area} {name}".lower(), f"*{self.word.lower()}*"):
            return
        try:
            self.lines.append((area, name, check() or "", None))
        except AssertionError as error:
            self.lines.append((area, name, "", str(error) or "it does not hold"))
        # A check that stumbles is a check that does not hold; the others still tell.
        except Exception as error:
            self.lines.append((area, name, "", f"{type(error).__name__}: {error}"))

    def skip(self, what):
        """Keeps what could not be done here."""
        self.skipped.append(what)

    def failed(self):
        """Whether anything is wrong."""
        return any(fault for *_, fault in self.lines)

    def table(self):
        """All lines, those that are wrong with their reason below."""
        wide = max([len(name) for _, name, *_ in self.lines] + [5])
        out = [f"{'area':<11} {'what is promised':<{wide}} {'state':<6} looked at"]
        for area, name, seen, fault in self.lines:
            out.append(f"{area:<11} {name:<{wide}} {'WRONG' if fault else 'holds':<6} {seen}")
            if fault:
                out.extend(f"            {line}" for line in fault.splitlines()[:40])
        return "\n".join(out)


def none(faults):
    """Fails with all of them, one a line."""
    faults = [str(fault) for fault in faults or []]
    assert not faults, "\n".join(faults)
