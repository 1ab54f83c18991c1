"""The goals that this project has set itself, and whether a run met them."""

PEERS = ("Postfix", "Exim", "OpenSMTPD", "Sendmail")
LIMITS = (
    ("idle", "KiB per session", 12, "KiB of an idle session"),
    ("idle-tls", "KiB per session", 64, "KiB of an idle TLS session"),
    ("sync", "1 session, kept connections, 4 KB", 1.05, "syncs per message, 1 session"),
    ("sync", "100 sessions, kept connections, 4 KB", 0.2, "syncs per message, 100 sessions"),
)


def percent(a, b):
    return f"{100 * a / b:.1f} %"


def times(a, b):
    return f"{a / b:.2f}x"


def best_peer(report, part, shape):
    """(rate, CPU, name) of the fastest peer, or None."""
    found = [(report.value(part, shape, n, "rate"), report.value(part, shape, n, "cpu"), n) for n in PEERS]
    return max((f for f in found if f[0] is not None), default=None)


def accepting(report):
    for part in ("accept", "accept-source"):
        for shape in report.shapes(part):
            rate, cpu = (report.value(part, shape, "Yizhan", what) for what in ("rate", "cpu"))
            sink = report.value(part, shape, "smtp-sink", "rate")
            postfix, postfix_cpu = (report.value(part, shape, "Postfix", what) for what in ("rate", "cpu"))
            if rate is None:
                continue
            where = f"{part}: {shape}"
            if shape.startswith("1 session"):
                if postfix:
                    yield f"{where}: no slower than Postfix", rate >= postfix, times(rate, postfix)
                continue
            if sink:
                yield f"{where}: at least as fast as smtp-sink, which stores nothing", rate >= sink, percent(rate, sink)
            if postfix_cpu:
                yield f"{where}: at most a tenth of Postfix's CPU", cpu <= postfix_cpu / 10, percent(cpu, postfix_cpu)


def large(report):
    for part in ("accept-large", "accept-large-source"):
        for shape in report.shapes(part):
            rate, bare = (report.value(part, shape, n, "rate") for n in ("Yizhan", "bare loop"))
            if rate and bare:
                yield (
                    f"{part}: {shape}: at least 60 % of the bare append-and-sync loop's bytes per second",
                    rate >= 0.6 * bare,
                    percent(rate, bare),
                )


def relaying(report):
    for part, factor in (("relay", 15), ("relay-source", 10)):
        for shape in report.shapes(part):
            rate, cpu = (report.value(part, shape, "Yizhan", what) for what in ("rate", "cpu"))
            best = best_peer(report, part, shape)
            if rate is None or best is None:
                continue
            yield (
                f"{part}: {shape}: at least {factor} times the best peer's rate ({best[2]})",
                rate >= factor * best[0],
                times(rate, best[0]),
            )
            yield (
                f"{part}: {shape}: at most a fifteenth of its CPU per message",
                cpu <= best[1] / 15,
                f"1/{best[1] / cpu:.1f}",
            )


def tools(report):
    """In the shapes that the bench uses; without pipelining they are in the table of the tools."""
    for shape in report.shapes("tools"):
        if shape.endswith("no pipelining"):
            continue
        for what, ours, theirs in (("client_cpu", "bench_load", "smtp-source"), ("cpu", "bench_sink", "smtp-sink")):
            own = report.value("tools", shape, "bench_sink", what)
            other = report.value("tools", shape, "smtp-sink", what)
            if own and other:
                yield f"tools: {shape}: {ours} costs at most a third of {theirs}", own <= other / 3, percent(own, other)


def limits(report):
    for part, shape, limit, what in LIMITS:
        value = report.value(part, shape, "Yizhan", "value")
        if value is not None:
            yield f"{what}: at most {limit}", value <= limit, f"{value:.2f}"


def table(report):
    rows = [row for source in (accepting, large, relaying, limits, tools) for row in source(report)]
    if not rows:
        return []
    lines = ["## Goals", "", "| goal | met | measured |", "| --- | --- | ---: |"]
    return lines + [f"| {goal} | {'yes' if met else 'NO'} | {measured} |" for goal, met, measured in rows] + [""]
