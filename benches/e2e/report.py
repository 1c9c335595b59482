"""From samples to tables: medians with their spread, paired ratios, and the targets."""
import statistics

# scenario -> (the figure, its unit)
FIGURES = {
    "c64": ("cpu_us", "CPU µs a request, 64 connections"),
    "sse64": ("cpu_us", "CPU µs a stream of 64 chunks, 64 at once"),
    "body100k": ("cpu_us", "CPU µs a request, 100 KB prompt"),
    "slow1000": ("cpu_us_chunk", "CPU µs a chunk, 1,000 open streams"),
}
# scenario -> the highest ratio to bare Pingora
TARGETS = {"c64": 1.25, "body100k": 1.9, "slow1000": 1.2}
MEMORY_TARGET_KB = 80
# What sharing budgets through Redis may add to the median of a request that has the machine for itself.
SHARING_TARGET_MS = 0.4
# What events, insights and signatures together may cost, as a ratio of CPU.
TELLING_TARGET = 1.15


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def spread(values, form="{:.1f}"):
    """The median, and in brackets the smallest and the largest."""
    values = [value for value in values if value is not None]
    if not values:
        return "–"
    text = form.format(statistics.median(values))
    if len(values) > 1:
        text += f" ({form.format(min(values))}–{form.format(max(values))})"
    return text


def column(results, scenario, name, figure):
    return [sample and sample.get(figure) for sample in results["samples"].get(scenario, {}).get(name, [])]


def ratios(results, scenario, figure, name, base):
    """The ratio in each round, so that both sides met the same machine."""
    pairs = zip(column(results, scenario, name, figure), column(results, scenario, base, figure))
    return [mine / other for mine, other in pairs if mine and other]


def errors(results):
    return {
        f"{scenario} {name}": sum(sample["errors"] if sample else 1 for sample in samples)
        for scenario, by_name in results["samples"].items()
        for name, samples in by_name.items()
        if any(sample is None or sample["errors"] for sample in samples)
    }


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def mark(value, target):
    return "–" if value is None else "pass" if value <= target else "FAIL"


def comparison(results):
    """Weir against nginx and bare Pingora. Returns the text and whether every target was met."""
    names = results["gateways"]
    rows, marks = [], []
    for scenario, (figure, title) in FIGURES.items():
        if scenario not in results["samples"]:
            continue
        to_bare = ratios(results, scenario, figure, "weir", "bare")
        verdict = mark(median(to_bare), TARGETS[scenario]) if scenario in TARGETS else ""
        marks.append(verdict)
        rows.append(
            [f"{scenario}: {title}"]
            + [spread(column(results, scenario, name, figure)) for name in names]
            + [spread(ratios(results, scenario, figure, "bare", "nginx"), "{:.2f}"),
               spread(ratios(results, scenario, figure, "weir", "nginx"), "{:.2f}"),
               spread(to_bare, "{:.2f}"),
               f"≤ {TARGETS[scenario]} × bare" if scenario in TARGETS else "", verdict]
        )
    memory = [column(results, "slow1000", name, "kb_per_stream") for name in names]
    if any(memory):
        used = median(column(results, "slow1000", "weir", "kb_per_stream"))
        verdict = mark(used, MEMORY_TARGET_KB)
        marks.append(verdict)
        rows.append(["slow1000: KB an open stream"] + [spread(values) for values in memory]
                    + ["", "", "", f"≤ {MEMORY_TARGET_KB} KB", verdict])
    head = ["scenario", *names, "bare / nginx", "weir / nginx", "weir / bare", "target", ""]
    speed = [
        [scenario, name, spread(column(results, scenario, name, "rps"), "{:.0f}"),
         spread([value and value / 1000 for value in column(results, scenario, name, "p50_us")], "{:.2f}"),
         spread([value and value / 1000 for value in column(results, scenario, name, "p99_us")], "{:.2f}")]
        for scenario in FIGURES if scenario in results["samples"] for name in names
    ]
    text = table(head, rows) + "\n\n" + table(["scenario", "gateway", "answers/s", "p50 ms", "p99 ms"], speed)
    return text + notes(results), "FAIL" not in marks and not errors(results)


def duel(results):
    """Two builds of Weir: B over A, paired by round."""
    first, second = results["gateways"]
    rows = []
    for scenario, (figure, title) in FIGURES.items():
        kinds = [(figure, title)]
        if scenario == "slow1000":
            kinds.append(("kb_per_stream", "KB an open stream"))
        for figure, title in kinds:
            values = ratios(results, scenario, figure, second, first)
            if values:
                better = sum(value < 1 for value in values)
                rows.append([f"{scenario}: {title}"]
                            + [spread(column(results, scenario, name, figure)) for name in (first, second)]
                            + [spread(values, "{:.3f}"), f"{better} of {len(values)}"])
    head = ["scenario", first, second, f"{second} / {first}", f"{second} lower"]
    return table(head, rows) + notes(results), not errors(results)


def sharing(results):
    """Weir that shares through Redis beside Weir alone: what it adds, paired by round."""
    alone, shared = results["gateways"]
    rows, verdict = [], ""
    for scenario, title in (("c1", "one connection"), ("paced64", "1,500 a second on 64 connections"),
                            ("c64", "64 connections, as fast as they go")):
        if scenario not in results["samples"]:
            continue
        for figure, name, scale, form in (("p50_us", "p50 ms", 1000, "{:.3f}"), ("p99_us", "p99 ms", 1000, "{:.3f}"),
                                          ("cpu_us", "CPU µs of the gateway", 1, "{:.1f}"),
                                          ("store_cpu_us", "CPU µs of Redis", 1, "{:.1f}"),
                                          ("rps", "answers/s", 1, "{:.0f}")):
            sides = [[value and value / scale for value in column(results, scenario, name, figure)]
                     for name in (alone, shared)]
            added = [mine - other for other, mine in zip(*sides) if mine is not None and other is not None]
            mark_of = mark(median(added), SHARING_TARGET_MS) if (scenario, figure) == ("c1", "p50_us") else ""
            verdict = verdict or mark_of
            rows.append([f"{scenario}: {title}", name, *(spread(side, form) for side in sides), spread(added, form),
                         mark_of and f"≤ {SHARING_TARGET_MS} ms", mark_of])
    head = ["scenario", "a request", alone, shared, "added", "target", ""]
    return table(head, rows) + notes(results), verdict != "FAIL" and not errors(results)


def watching(results):
    """Weir that is watched beside Weir that is not: what that adds to a request, paired by round."""
    quiet, *watched = results["gateways"]
    rows = []
    for scenario, title in (("c64", "64 connections, as fast as they go"), ("sse64", "64 streams")):
        if scenario not in results["samples"]:
            continue
        for figure, name, scale, form in (("cpu_us", "CPU µs", 1, "{:.1f}"), ("p99_us", "p99 ms", 1000, "{:.3f}"),
                                          ("rps", "answers/s", 1, "{:.0f}")):
            def side(of, figure=figure, scale=scale, scenario=scenario):
                return [value and value / scale for value in column(results, scenario, of, figure)]
            base = side(quiet)
            rows.append([f"{scenario}: {title}", name, spread(base, form)])
            for other in watched:
                mine = side(other)
                added = [b - a for a, b in zip(base, mine) if a is not None and b is not None]
                rows[-1] += [spread(mine, form), spread(added, form)]
    head = ["scenario", "a request", quiet] + [text for name in watched for text in (name, "added")]
    return table(head, rows) + notes(results), not errors(results)


def telling(results):
    """Weir that tells everything beside Weir that tells nothing: the CPU of an answer, as a ratio by round."""
    plain, full = results["gateways"]
    rows, met = [], True
    for scenario in ("c64", "sse64"):
        if scenario not in results["samples"]:
            continue
        both = ratios(results, scenario, "cpu_us", full, plain)
        middle = median(both)
        met &= middle is not None and middle <= TELLING_TARGET
        rows.append([FIGURES[scenario][1], spread(column(results, scenario, plain, "cpu_us")),
                     spread(column(results, scenario, full, "cpu_us")), spread(both, "{:.2f}"),
                     f"{TELLING_TARGET}", mark(middle, TELLING_TARGET)])
    head = ["figure", plain, full, f"{full} / {plain}", "target", ""]
    return table(head, rows) + notes(results), met and not errors(results)


def guarding(results):
    """Weir whose guard does all it can beside Weir without: what that adds to a turn, a chunk, the first byte."""
    plain, full = results["gateways"]
    rows, met = [], True

    def row(title, scenario, figure, scale, form, target, as_ratio):
        nonlocal met
        if scenario not in results["samples"]:
            return
        base, mine = ([value and value / scale for value in column(results, scenario, of, figure)] for of in (plain, full))
        pairs = [(a, b) for a, b in zip(base, mine) if a and b]
        compared = [b / a if as_ratio else b - a for a, b in pairs]
        middle = median(compared)
        aim = verdict = ""
        if target is not None:
            met &= middle is not None and middle <= target
            aim, verdict = f"{target} {'×' if as_ratio else 'more'}", mark(middle, target)
        rows.append([title, spread(base, form), spread(mine, form), spread(compared, "{:.2f}" if as_ratio else form),
                     aim, verdict])

    row("CPU µs a turn of 36 kB, 3 kB of it new", "turn36k", "cpu_us", 1, "{:.1f}", 150, False)
    row("the same, nothing new", "turn36k-same", "cpu_us", 1, "{:.1f}", 150, False)
    row("the same, all of it new", "turn36k-new", "cpu_us", 1, "{:.1f}", None, False)
    row("CPU µs a chunk, streams of 1,000", "sse1000", "cpu_us_chunk", 1, "{:.2f}", 1.25, True)
    row("first chunk, p50 ms", "first1", "first_p50_us", 1000, "{:.3f}", 1, False)
    head = ["figure", plain, full, "difference or ratio", "target", ""]
    return table(head, rows) + notes(results), met and not errors(results)


def notes(results):
    samples = [sample for by_name in results["samples"].values() for one in by_name.values() for sample in one if sample]
    if not samples:
        return ""
    foreign = [sample["foreign_cores"] for sample in samples]
    text = (f"\n\nMedian (smallest–largest) over {results['reps']} repetitions; CPU is the gateway's processes'"
            f" user and system time. Others used {median(foreign):.2f} cores (at most {max(foreign):.2f})"
            f" of {results['machine']['cores']} meanwhile.")
    failed = errors(results)
    if failed:
        text += "\n\nFailed answers: " + ", ".join(f"{where}: {count}" for where, count in failed.items())
    return text + "\n"
