"""What was measured: kept as raw values, shown as Markdown tables with the goals, and as a picture (picture.py)."""

import datetime
import json
from pathlib import Path
from statistics import median

import goals
import picture

NAMES = ("bare loop", "smtp-sink", "bench_sink", "Yizhan", "Postfix", "Exim", "OpenSMTPD", "Sendmail")
PEERS = NAMES[4:]
TITLES = {
    "accept": "Accepting, with bench_load: each message durable before its `250`, nothing delivered",
    "accept-tls": "Accepting under STARTTLS, with bench_load",
    "accept-large": "Accepting 64 KB messages, with bench_load",
    "accept-large-source": "Accepting 64 KB messages, with smtp-source",
    "accept-source": "Accepting, with smtp-source",
    "accept-gate": "Accepting from strangers, with the gate's checks on: two DNS lists, confirmed reverse name, EHLO name, sender domain",
    "relay": "Relaying end to end: bench_load, the server, bench_sink",
    "relay-source": "Relaying end to end: smtp-source, the server, smtp-sink",
    "relay-sites": "Relaying to many sites (20 sessions, kept connections, 4 KB): what was meant for healthy ones",
}


class Report:
    def __init__(self, path=None):
        self.path = Path(path) if path else None
        self.data = {"records": [], "notes": [], "servers": {}, "seconds": 0}
        if self.path and self.path.exists():
            self.data = json.loads(self.path.read_text())
        self.machine = ""

    def save(self):
        if self.path:
            self.path.write_text(json.dumps(self.data, indent=0))

    def add(self, part, shape, name, **values):
        self.data["records"].append({"part": part, "shape": shape, "name": name, **values})

    def note(self, text):
        if text not in self.data["notes"]:
            self.data["notes"].append(text)

    def server(self, name, version, durability, settings):
        self.data["servers"][name] = {"version": version, "durability": durability, "settings": settings}

    def quick(self):
        self.data["quick"] = True

    def took(self, seconds):
        self.data["seconds"] += seconds

    # --- looking things up -------------------------------------------------------------------------

    def parts(self):
        return {r["part"] for r in self.data["records"]}

    def shapes(self, part):
        return list(dict.fromkeys(r["shape"] for r in self.data["records"] if r["part"] == part))

    def names(self, part):
        found = {r["name"] for r in self.data["records"] if r["part"] == part}
        return [n for n in NAMES if n in found]

    def value(self, part, shape, name, what):
        """The median over the rounds, or None."""
        found = [
            r[what]
            for r in self.data["records"]
            if (r["part"], r["shape"], r["name"]) == (part, shape, name) and r.get(what) is not None
        ]
        return median(found) if found else None

    def rounds(self):
        counts = {}
        for r in self.data["records"]:
            key = r["part"], r["shape"], r["name"]
            counts[key] = counts.get(key, 0) + 1
        return max(counts.values(), default=0)

    # --- the tables --------------------------------------------------------------------------------

    def title(self):
        rounds = "one round" if self.rounds() == 1 else f"medians of {self.rounds()} rounds"
        return (
            f"{datetime.date.today()}, {self.machine}, "
            f"{'half a second each, ' if self.data.get('quick') else ''}{rounds}, "
            f"{self.data['seconds'] / 60:.0f} minutes in all"
        )

    def markdown(self, picture_name=None):
        lines = [f"# Measured: {self.title()}", ""]
        if picture_name:
            lines += [f"![the figures as bars]({picture_name})", ""]
        lines += [
            "Messages a second, and CPU milliseconds of all processes of the server for each message. Every message is "
            "accounted for. Client and next hop share the cores with the server. Rates drift by a third within an hour on "
            "a shared machine: compare within this page only.",
            "",
        ]
        for part, title in TITLES.items():
            lines += self._rates(part, title)
        lines += self._servers() + self._tools() + goals.table(self)
        if self.data["notes"]:
            lines += ["## Notes", ""] + [f"- {n}" for n in self.data["notes"]] + [""]
        return "\n".join(lines).rstrip() + "\n"

    def picture(self):
        return picture.draw(self)

    def _rates(self, part, title):
        names = self.names(part)
        if not names:
            return []
        lines = [f"## {title}", "", "| load | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
        for shape in self.shapes(part):
            cells = []
            for name in names:
                rate, cpu = self.value(part, shape, name, "rate"), self.value(part, shape, name, "cpu")
                client = self.value(part, shape, name, "client_cpu") if part.startswith("accept-large") else None
                text = "" if rate is None else f"{rate:,.0f}/s, {cpu:.3f} ms"
                cells.append(text if client is None else f"{text} (client {client:.3f} ms)")
            lines.append(f"| {shape} | " + " | ".join(cells) + " |")
        return lines + [""]

    def _servers(self):
        """What each promises with its 250, and what that and a session cost."""
        lines = [
            "## Durability, syncs and memory",
            "",
            "| server | on stable storage before the `250` | syncs per message, 1 and 100 sessions | KiB of an idle session, plain and TLS "
            "(sessions) | settings |",
            "| --- | --- | ---: | ---: | --- |",
        ]
        for name, server in self.data["servers"].items():
            syncs = [self.value("sync", shape, name, "value") for shape in self.shapes("sync")]
            memory = []
            for part in ("idle", "idle-tls"):
                value, count = (self.value(part, "KiB per session", name, what) for what in ("value", "count"))
                memory.append("?" if value is None else f"{value:,.1f} ({count:,})")
            lines.append(
                f"| {server['version']} | {server['durability']} | "
                f"{', '.join('?' if s is None else f'{s:.2f}' for s in syncs)} | {', '.join(memory)} | {server['settings']} |"
            )
        return lines + [""]

    def _tools(self):
        if "tools" not in self.parts():
            return []
        lines = [
            "## What the tools cost themselves",
            "",
            "Microseconds of CPU for each message, of the client and of the next hop, with nothing between them, and what part "
            "that is of Postfix's tools, which do not pipeline. The bare loop is what the kernel takes for the packets alone, both "
            "ends in one thread (bench/floor.c).",
            "",
            "| load | client and next hop | client µs | next hop µs | both µs | messages/s |",
            "| --- | --- | ---: | ---: | ---: | ---: |",
        ]
        for shape in self.shapes("tools"):
            lines += self._tools_of(shape, shape.replace(", no pipelining", ""))
        return lines + [""]

    def _tools_of(self, shape, plain):
        theirs = [self.value("tools", plain, "smtp-sink", what) or 0 for what in ("client_cpu", "cpu")]
        theirs.append(sum(theirs))

        def cell(value, other):
            return f"{value * 1000:.1f}" + (f" ({100 * value / other:.0f} %)" if other and value != other else "")

        for name, pair in (("smtp-sink", "smtp-source, smtp-sink"), ("bench_sink", "bench_load, bench_sink")):
            cpu, own, rate = (self.value("tools", shape, name, what) for what in ("cpu", "client_cpu", "rate"))
            if rate is not None:
                cells = [cell(value, other) for value, other in zip((own, cpu, own + cpu), theirs)]
                yield f"| {shape} | {pair} | {' | '.join(cells)} | {rate:,.0f} |"
        bare = self.value("tools", shape, "bare loop", "value")
        if bare is not None:
            yield f"| {shape} | bare loop | | | {cell(bare / 1000, theirs[2])} | |"
