#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tally.py FILE...: adds up the results in meson's logs of tests (.json) and in TAP files (.tap).

Every TAP line "ok" or "not ok" is one test; a program that speaks no TAP is one. A program that failed without a line
that says so (it crashed, ran out of time, broke off before its plan was done) is one more failure. Names what failed
and what was skipped; the last line is "N passed, N failed, N skipped". Exits with 1 when one failed or none passed.
"""
import json
import re
import sys

LINE = re.compile(r"^(ok|not ok)\b *\d*(?: *- *)?(.*)$")
DIRECTIVE = re.compile(r"\s#\s*(skip|todo)\b:?\s*(.*)$", re.IGNORECASE)


class Tally:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], []

    def tap(self, program, text):
        """Counts the lines of `text`; returns how many failed. What a test says about its failure is kept with it."""
        failed, explains = 0, False
        for line in text.splitlines():
            match = LINE.match(line)
            if not match:
                if explains and line.startswith("#"):
                    self.failed[-1] += "\n    " + line[:200]
                continue
            explains = False
            directive = DIRECTIVE.search(" " + match[2])
            name = f"{program}: {DIRECTIVE.sub('', ' ' + match[2]).strip()}"
            if directive and directive[1].lower() == "skip":
                self.skipped.append(name + (f" ({directive[2]})" if directive[2] else ""))
            elif match[1] == "ok":
                self.passed += 1
            else:
                failed, explains = failed + 1, True
                self.failed.append(name)
        return failed

    def program(self, test, label):
        name = f"{label}: {test['name']}"
        result = test["result"].upper()
        speaks_tap = bool(re.search(r"^1\.\.\d+", test.get("stdout") or "", re.MULTILINE))
        failed = self.tap(name, test["stdout"]) if speaks_tap else 0
        if result in ("OK", "EXPECTEDFAIL"):
            self.passed += not speaks_tap
        elif result == "SKIP":
            if not speaks_tap:
                self.skipped.append(name)
        elif not failed:
            self.failed.append(f"{name} ({result.lower()}, status {test.get('returncode')})")


def main():
    tally = Tally()
    for path in sys.argv[1:]:
        label = path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
        with open(path, encoding="utf-8", errors="replace") as log:
            if path.endswith(".tap"):
                tally.tap(label, log.read())
            else:
                for line in log:
                    tally.program(json.loads(line), label)
    for what, names in (("skipped", tally.skipped), ("FAILED", tally.failed)):
        for name in names:
            print(f"{what}: {name}")
    print(f"{tally.passed} passed, {len(tally.failed)} failed, {len(tally.skipped)} skipped")
    return 0 if tally.passed and not tally.failed else 1


sys.exit(main())
