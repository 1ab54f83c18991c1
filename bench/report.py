"""What was measured, as a Markdown table with the ratios that matter."""

from statistics import median


class Report:
    def __init__(self):
        self.rows = {}  # key -> name -> list of dicts
        self.notes = []

    def add(self, key, name, **values):
        self.rows.setdefault(key, {}).setdefault(name, []).append(values)

    def note(self, text):
        self.notes.append(text)

    def value(self, key, name, what):
        found = [v[what] for v in self.rows.get(key, {}).get(name, []) if v.get(what) is not None]
        return median(found) if found else None

    def markdown(self, title):
        lines = [f"# Measured: {title}", ""]
        lines += self._rates()
        lines += self._values()
        lines += self._goals()
        lines += [f"- {n}" for n in self.notes]
        return "\n".join(lines) + "\n"

    def _rates(self):
        lines = [
            "| load | server | messages/s | of smtp-sink's rate | of Postfix's rate | CPU ms per message | of Postfix's CPU | flushes per message |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for key, servers in self.rows.items():
            for name in servers:
                rate = self.value(key, name, "rate")
                if rate is None:
                    continue
                sink, postfix = self.value(key, "smtp-sink", "rate"), self.value(key, "Postfix", "rate")
                cpu, postfix_cpu = self.value(key, name, "cpu"), self.value(key, "Postfix", "cpu")
                flushes = self.value(key, name, "flushes")
                lines.append(
                    f"| {key} | {name} | {rate:,.0f} | {_percent(rate, sink)} | {_times(rate, postfix)} | "
                    f"{'' if cpu is None else f'{cpu:.3f}'} | {_percent(cpu, postfix_cpu)} | {'' if flushes is None else f'{flushes:.3f}'} |"
                )
        return lines + [""] if len(lines) > 2 else []

    def _values(self):
        keys = [k for k, servers in self.rows.items() if any("value" in v for runs in servers.values() for v in runs)]
        if not keys:
            return []
        lines = ["| cost | Yizhan | Postfix |", "| --- | ---: | ---: |"]
        for key in keys:
            cells = []
            for name in ("Yizhan", "Postfix"):
                value, count = self.value(key, name, "value"), self.value(key, name, "count")
                cells.append("" if value is None else f"{value:,.2f}" + (f" ({count:,} sessions)" if count else ""))
            lines.append(f"| {key} | {cells[0]} | {cells[1]} |")
        return lines + [""]

    def _goals(self):
        """The goals that this project has set itself, and whether this run met them."""
        goals = []
        for key in self.rows:
            rate, cpu = self.value(key, "Yizhan", "rate"), self.value(key, "Yizhan", "cpu")
            sink, postfix = self.value(key, "smtp-sink", "rate"), self.value(key, "Postfix", "rate")
            postfix_cpu, value = self.value(key, "Postfix", "cpu"), self.value(key, "Yizhan", "value")
            if key.startswith("accept") and rate and sink:
                goals.append((f"{key}: at least 90 % of smtp-sink's rate", rate / sink >= 0.9, _percent(rate, sink)))
            if key.startswith("accept") and "one session" not in key and cpu and postfix_cpu:
                goals.append(
                    (f"{key}: at most a tenth of Postfix's CPU", cpu / postfix_cpu <= 0.1, _percent(cpu, postfix_cpu))
                )
            if "one session" in key and rate and postfix:
                goals.append((f"{key}: no slower than Postfix", rate >= postfix, _times(rate, postfix)))
            if key.startswith("relay") and rate and postfix:
                goals.append((f"{key}: at least 8 times Postfix's rate", rate / postfix >= 8, _times(rate, postfix)))
                goals.append(
                    (f"{key}: at most a tenth of Postfix's CPU", cpu / postfix_cpu <= 0.1, _percent(cpu, postfix_cpu))
                )
            for start, limit in (
                ("KiB per idle session", 12),
                ("KiB per idle TLS session", 64),
                ("syncs per message, 100", 0.2),
                ("syncs per message, 1 ", 1.05),
            ):
                if key.startswith(start) and value is not None:
                    goals.append((f"{key}: at most {limit}", value <= limit, f"{value:.2f}"))
        if not goals:
            return []
        return (
            ["| goal | met | measured |", "| --- | --- | ---: |"]
            + [f"| {g} | {'yes' if met else 'NO'} | {m} |" for g, met, m in goals]
            + [""]
        )


def _percent(a, b):
    return "" if a is None or not b else f"{100 * a / b:.1f} %"


def _times(a, b):
    return "" if a is None or not b else f"{a / b:.2f}x"
