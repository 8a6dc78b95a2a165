"""Every check of the chart, the image and the alarms, and a table at the end. Called by `run` beside it."""

import os
import sys

import alarms
import image
import live
import pods
import program
import schemas
import values
from ledger import Ledger
from render import engine


def main():
    """Runs all, or those whose name has the word."""
    ledger = Ledger(sys.argv[1] if len(sys.argv) > 1 else "")
    by = schemas.check(ledger)
    pods.check(ledger)
    values.check(ledger)
    program.check(ledger)
    live.check(ledger)
    alarms.check(ledger)
    image.check(ledger)
    print(f"\n== helm/ rendered by Helm {engine()}\n")
    print(ledger.table())
    print(f"\n{schemas.told(by)}")
    if ledger.skipped:
        print("\nleft out:\n" + "\n".join(ledger.skipped))
        with open(os.environ.get("RUNPLANE_SKIPPED", os.devnull), "a") as file:
            file.writelines(f"tests/helm/run: {what}\n" for what in ledger.skipped)
    wrong = sum(1 for *_, fault in ledger.lines if fault)
    print(f"\n== {len(ledger.lines)} promises, {wrong} broken")
    return 1 if ledger.failed() else 0


if __name__ == "__main__":
    sys.exit(main())
