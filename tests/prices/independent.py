#!/usr/bin/env python3
"""Prices usages from litellm's price file, independently of Weir's code.

    python3 tests/prices/independent.py SOURCE.json > tests/data/prices/expected.jsonl

SOURCE is litellm's model_prices_and_context_window.json as published, or conf/prices/table.json,
which must give the same. 200 models are drawn with a
fixed seed, at least three of every kind of price there is; each is priced for four usages. Standard
library only; all arithmetic is decimal. The rules for prices that the source does not state are
those of conf/prices/README.md, written down here a second time, but for one: what OpenRouter's
entries take over from the vendors' (`openrouter/` models get usages that do not meet it).
"""

import json
import math
import random
import re
import sys
from decimal import ROUND_CEILING, Decimal, getcontext

getcontext().prec = 60
SEED = 20260331
MODELS = 200
PICO = Decimal("1e-12")
NANO = Decimal("1e-9")
MODES = {"chat", "completion", "responses", "embedding"}
ROUTERS = {"openrouter/openrouter/auto", "openrouter/openrouter/bodybuilder", "azure_ai/model_router"}
PARTS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "input_cost_per_token_cache_hit": "cache_hit",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
}
NAME = re.compile(r"^(?P<base>.+?)(?:_above_(?P<k>\d+)k_tokens)?(?:_(?P<tier>priority|flex))?$")


def ceil_to(value, unit):
    return (value / unit).to_integral_value(rounding=ROUND_CEILING) * unit


def sheets(entry):
    """{tier: {threshold: {part: price}}} as far as the source states it."""
    found = {}
    for field, value in entry.items():
        name = NAME.match(field)
        part = PARTS.get(name["base"])
        if part:
            tier, above = name["tier"] or "default", int(name["k"] or 0) * 1000
            found.setdefault(tier, {}).setdefault(above, {})[part] = ceil_to(value, PICO)
    for step in entry.get("tiered_pricing", []):
        sheet = found.setdefault("default", {}).setdefault(int(step["range"][0]), {})
        for field, value in step.items():
            if field != "range":
                sheet[PARTS[field]] = ceil_to(value, PICO)
    return found


def complete(sheet, model, base=None):
    """Every part of a sheet, unstated ones by the rules."""
    base = base or {}
    stated = {part: price for part, price in sheet.items() if price > 0}
    rate = {
        "input": sheet.get("input", base.get("input")),
        "output": sheet.get("output", base.get("output", Decimal(0))),
    }
    rate["cache_read"] = stated.get("cache_read", stated.get("cache_hit", rate["input"]))
    times = lambda factor: ceil_to(rate["input"] * Decimal(factor), PICO)
    claude, gemini = "claude" in model, "gemini" in model and "claude" not in model
    qwen = not claude and not gemini and re.search("[qQ]wen", model)
    if "cache_write" in stated:
        write = stated["cache_write"]
        if write < rate["input"]:
            write = write + rate["input"] if gemini else rate["input"]
    else:
        write = times("1.25") if claude or qwen else times("2") if gemini else rate["input"]
    rate["cache_write"] = write
    hour = max(write, times("2")) if claude else write
    rate["cache_write_1h"] = max(hour, stated.get("cache_write_1h", Decimal(0)))
    for part, main in (("reasoning", "output"), ("audio_input", "input"), ("audio_output", "output")):
        rate[part] = stated.get(part, max(rate[main], base.get(part, Decimal(0))))
    return rate


def rates(entry, model, tier, tokens):
    """The rates that an input of so many tokens meets on a tier."""
    stated = sheets(entry)
    standard = {0: complete(stated["default"][0], model)}
    for above, sheet in stated["default"].items():
        if above:
            standard[above] = complete(sheet, model, standard[0])
    chosen = standard
    if tier != "default" and tier in stated:
        first = complete(stated[tier].get(0, {}), model, standard[0])
        chosen = {0: first}
        for above, long in standard.items():
            if above:
                chosen[above] = {part: max(price, first[part]) for part, price in long.items()}
        for above, sheet in stated[tier].items():
            if above:
                chosen[above] = complete(sheet, model, first)
    return chosen[max(above for above in chosen if above == 0 or tokens > above)]


def search_fee(entry):
    """The dearest: usage does not say how wide a search was."""
    fees = entry.get("search_context_cost_per_query") or {}
    return max((ceil_to(fee, NANO) for fee in fees.values()), default=Decimal(0))


def cost(entry, model, tier, usage):
    rate = rates(entry, model, tier, usage["input"])
    inside = ("cache_read", "cache_write", "cache_write_1h", "audio_input")
    total = (usage["input"] - sum(usage[part] for part in inside)) * rate["input"]
    total += sum(usage[part] * rate[part] for part in inside)
    inside = ("reasoning", "audio_output")
    total += (usage["output"] - sum(usage[part] for part in inside)) * rate["output"]
    total += sum(usage[part] * rate[part] for part in inside)
    total += ceil_to(entry.get("input_cost_per_request", Decimal(0)), NANO)
    total += usage.get("searches", 0) * search_fee(entry)
    return int(ceil_to(total, NANO) / NANO)


def priced(model, entry):
    if entry.get("mode") not in MODES or model in ROUTERS:
        return False
    stated = sheets(entry)
    base = stated.get("default", {}).get(0, {})
    prices = [price for tier in stated.values() for sheet in tier.values() for price in sheet.values()]
    if "input" not in base or ("output" not in base and entry["mode"] != "embedding"):
        return False
    if max(prices) > Decimal("0.01"):
        return False
    return any(prices) or not entry.get("output_cost_per_image")


def kinds(model, entry):
    """What is particular about a model's prices."""
    found = set()
    for field in entry:
        name = NAME.match(field)
        if PARTS.get(name["base"]):
            found.add((PARTS[name["base"]], name["k"], name["tier"]))
        elif field in ("tiered_pricing", "input_cost_per_request"):
            found.add(field)
    stated = sheets(entry)
    for tier in ("flex", "priority"):
        if tier in stated and set(stated["default"]) - set(stated[tier]):
            found.add(f"{tier} without long-context rates")
    for family in ("claude", "gemini", "qwen"):
        if family in model.lower():
            found.add((family, any("creation" in field for field in entry)))
    for above, sheet in stated["default"].items():
        if 0 < sheet.get("cache_write", 0) < sheet.get("input", 0):
            found.add(("write below input", above, "gemini" in model))
    return found


def random_usage(draw, least, most):
    """Honest usage: parts inside totals; an input of `least` to `most` tokens."""
    total = int(10 ** draw.uniform(math.log10(least), math.log10(most)))
    left, usage = total, {"input": total}
    for part in ("cache_read", "cache_write", "cache_write_1h", "audio_input"):
        usage[part] = draw.randint(0, left) if draw.random() < 0.5 else 0
        left -= usage[part]
    usage["output"] = left = int(10 ** draw.uniform(0, 5))
    for part in ("reasoning", "audio_output"):
        usage[part] = draw.randint(0, left) if draw.random() < 0.5 else 0
        left -= usage[part]
    return usage


def usages(draw, model, entry):
    """Four usages and their tiers: short, any length, long on the standard tier, and on another."""
    stated = sheets(entry)
    if model.startswith("openrouter/"):
        tiers, most = ["default"] * 4, 10**6 if len(stated["default"]) > 1 else 10**5
    else:
        special = [tier for tier in stated if tier != "default"] or ["flex", "priority"]
        tiers, most = ["default", "default", "default", draw.choice(sorted(special))], 10**6
    long = max(stated["default"]) + 1 if len(stated["default"]) > 1 else 1
    for tier, least, most in zip(tiers, (1, 1, long, long), (1000, most, most, most)):
        yield tier, random_usage(draw, least, most)


def choose(draw, table):
    models = sorted(model for model, entry in table.items() if priced(model, entry))
    by_kind = {}
    for model in models:
        for kind in kinds(model, table[model]):
            by_kind.setdefault(repr(kind), []).append(model)
    chosen = set()
    for kind in sorted(by_kind):
        chosen.update(draw.sample(by_kind[kind], min(3, len(by_kind[kind]))))
    assert len(chosen) < MODELS
    rest = [model for model in models if model not in chosen]
    chosen.update(draw.sample(rest, MODELS - len(chosen)))
    return sorted(chosen)


def main(source):
    with open(source, encoding="utf-8") as file:
        table = json.load(file, parse_float=Decimal, parse_int=Decimal)
    table = table.get("models", table)
    draw, searches = random.Random(SEED), random.Random(SEED)
    for model in choose(draw, table):
        for tier, usage in usages(draw, model, table[model]):
            usage["searches"] = searches.choice((0, 0, 1, 7))
            nanos = cost(table[model], model, tier, usage)
            print(json.dumps({"model": model, "tier": tier, "nanos": nanos, "usage": usage}))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
