#!/usr/bin/env python3
"""readme_rows.py RAW: the rows for the tables of figures in README.md and README.zh-CN.md, from the raw values that
bench/run keeps with --add."""

import sys

from report import Report

SERVERS = ("Yizhan", "Postfix", "Exim", "OpenSMTPD", "Sendmail", "smtp-sink")
EACH, KEPT = "20 sessions, a connection per message, 4 KB", "20 sessions, kept connections, 4 KB"
MANY, LARGE = "100 sessions, kept connections, 4 KB", "20 sessions, kept connections, 64 KB"
RATES = (
    ("accept", EACH, "accept, 20 sessions, a connection per message", "接收,20 个会话,每封一个连接"),
    ("accept", KEPT, "accept, 20 sessions, kept connections", "接收,20 个会话,保持连接"),
    ("accept", MANY, "accept, 100 sessions, kept connections", "接收,100 个会话,保持连接"),
    ("accept-large", LARGE, "accept, 20 sessions, 64 KB a message", "接收,20 个会话,每封 64 KB"),
    ("relay", KEPT, "relay, 20 sessions", "中继,20 个会话"),
    ("relay-source", KEPT, "relay, with `smtp-source` and `smtp-sink`", "中继,用 `smtp-source` 和 `smtp-sink`"),
)


def rate(report, part, shape, name, units):
    value, cpu = report.value(part, shape, name, "rate"), report.value(part, shape, name, "cpu")
    if value is None:
        return ""
    return f"{value:,.0f}{units[0]}" + (f", {cpu:.2f} {units[1]}" if name != "smtp-sink" else "")


def pair(report, name, first, second, digits):
    values = [report.value(part, shape, name, "value") for part, shape in (first, second)]
    return ", ".join("–" if v is None else f"{v:,.{digits}f}" for v in values) if any(v is not None for v in values) else ""


def rows(report, language, units):
    for part, shape, *texts in RATES:
        yield [texts[language]] + [rate(report, part, shape, n, units) for n in SERVERS]
    shapes = report.shapes("sync")
    if len(shapes) == 2:
        text = ("syncs per message, 1 and 100 sessions", "每封邮件的同步次数,1 个和 100 个会话")[language]
        yield [text] + [pair(report, n, ("sync", shapes[0]), ("sync", shapes[1]), 2) for n in SERVERS]
    text = ("KiB of an idle session, plain and TLS", "空闲会话占用的 KiB,明文和 TLS")[language]
    yield [text] + [pair(report, n, ("idle", "KiB per session"), ("idle-tls", "KiB per session"), 0) for n in SERVERS]


def main():
    report = Report(sys.argv[1])
    for language, head, units in ((0, "load", ("/s", "ms CPU")), (1, "负载", (" 封/秒", "毫秒 CPU"))):
        print("| " + " | ".join([head, *SERVERS]) + " |\n| --- |" + " ---: |" * len(SERVERS))
        for row in rows(report, language, units):
            print("| " + " | ".join(row) + " |")
        print()


if __name__ == "__main__":
    main()
