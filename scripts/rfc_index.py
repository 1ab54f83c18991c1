#!/usr/bin/env python3
"""Collects the RFC citations of the code into docs/RFCs.md: which rule stands where.

  rfc_index.py           writes the file
  rfc_index.py --check   says whether it is up to date (status 1 when not)

A citation reads `RFC 5321 section 4.5.3.1.4`; the section may be missing, or be an appendix."""

import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs/RFCs.md"
CITATION = re.compile(r"RFC (\d{3,5})(?:,? (?:section|appendix) ([0-9A-Z][0-9A-Za-z.]*[0-9A-Za-z]|[0-9A-Z]))?")

TITLES = {
    1034: "Domain names: concepts", 1035: "Domain names: implementation", 1870: "SIZE", 1985: "ETRN", 2033: "LMTP",
    2034: "Enhanced error codes", 2045: "MIME: bodies", 2046: "MIME: media types", 2142: "Mailbox names", 2181: "DNS clarifications",
    2308: "Negative caching of DNS", 2852: "DELIVERBY", 2920: "PIPELINING", 3030: "CHUNKING and BINARYMIME", 3207: "STARTTLS", 3339: "Timestamps",
    3461: "DSN extension", 3463: "Enhanced status codes", 3464: "DSN format", 3597: "Unknown DNS types", 3629: "UTF-8",
    3834: "Automatic responses", 3848: "Transmission types", 4592: "DNS wildcards", 4616: "SASL PLAIN", 4954: "SMTP AUTH",
    5246: "TLS 1.2", 5248: "Registry of status codes", 5321: "SMTP", 5322: "Internet Message Format", 5452: "DNS resilience",
    5782: "DNS lists", 5802: "SCRAM", 5890: "IDNA definitions", 5929: "Channel bindings for TLS", 5952: "IPv6 text", 6066: "TLS extensions",
    6125: "Server identity", 6152: "8BITMIME", 6409: "Submission", 6522: "multipart/report", 6530: "Internationalized email",
    6531: "SMTPUTF8", 6532: "Internationalized headers", 6533: "Internationalized DSNs", 6698: "DANE TLSA", 6710: "MT-PRIORITY",
    7504: "521 and 556", 7505: "Null MX", 7672: "DANE for SMTP", 7677: "SCRAM-SHA-256", 8020: "NXDOMAIN cut", 8305: "Happy eyeballs",
    8314: "Cleartext obsolete", 8601: "Authentication-Results", 9266: "tls-exporter", 9422: "LIMITS",
}


def collect():
    found = defaultdict(lambda: defaultdict(set))
    for path in sorted(ROOT.glob("src/**/*.[chS]")):
        # A citation may be broken over two comment lines.
        text = re.sub(r"\n\s*(\*|//) ?", " \n", path.read_text(errors="replace"))
        flat = text.replace(" \n", " ").replace("\n", " ")
        for m in CITATION.finditer(flat):
            found[int(m.group(1))][m.group(2) or ""].add(str(path.relative_to(ROOT)))
    return found


def key(section):
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in section.split(".")] if section else []


def render(found):
    lines = ["# Which rule stands where", "",
             "Collected from the comments of the code by `scripts/rfc_index.py`; don't edit by hand.", "",
             "| RFC | section | files |", "| --- | --- | --- |"]
    for rfc in sorted(found):
        for section in sorted(found[rfc], key=key):
            files = ", ".join(f"`{f}`" for f in sorted(found[rfc][section]))
            title = f"{rfc} {TITLES.get(rfc, '')}".strip()
            lines.append(f"| {title} | {section} | {files} |")
    return "\n".join(lines) + "\n"


def main():
    text = render(collect())
    if "--check" in sys.argv:
        if not OUT.exists() or OUT.read_text() != text:
            print("docs/RFCs.md is out of date: run scripts/rfc_index.py")
            return 1
        print("docs/RFCs.md is up to date")
        return 0
    OUT.write_text(text)
    print(f"{OUT.relative_to(ROOT)}: {text.count(chr(10)) - 6} citations")
    return 0


if __name__ == "__main__":
    sys.exit(main())
