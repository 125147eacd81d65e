"""A bad configuration is refused with place and remedy, all mistakes at once; a good one means exactly what it says."""

import re
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from schemas.config import Config, CostShare, TokenPrice
from schemas.config_errors import EXAMPLES, tables_in
from schemas.config_file import ConfigError, load

DESIGN = Path(__file__).parents[2].parent / "shared" / "design.md"

SOUND = """\
[[cluster]]
id = "fir"
country = "CA"
  [[cluster.target]]
  kind = "dcgm-exporter"
  urls = ["http://fir-g001:9400/metrics"]
  [[cluster.target]]
  kind = "vllm"
  urls = ["http://llm-0:8000/metrics"]
  deployment = "chat"
[[deployment]]
id = "chat"
cluster = "fir"
model = "m"
match = { namespace = "llm" }
agreement = "acme"
[[price]]
id = "h100"
cluster = "fir"
gpu_model = "NVIDIA H100*"
basis = "owned"
capex = "42000"
lifetime_years = 5
effective_from = 2026-04-01
[[programme]]
id = "fund"
budget = "300"
starts = 2025-08-01
ends = 2028-03-31
[[agreement]]
id = "acme"
programme = "fund"
recipient = "Acme"
rule = { kind = "cost_share", share = "2/3" }
starts = 2026-01-01
ends = 2028-03-31
"""

KINDS = '"dcgm-exporter", "amd-device-metrics-exporter", "vllm", "litellm", "slurm-job-exporter"'
RENTED = """\
[[price]]
id = "b200"
cluster = "fir"
gpu_model = "NVIDIA B200*"
basis = "rented"
per_gpu_hour = "3.90"
currency = "USD"
effective_from = 2026-04-01
"""

AFTER = """\
[[agreement]]
id = "top"
after = "acme"
programme = "fund"
recipient = "Acme"
rule = { kind = "cost_share", share = "1/2", of = "remainder" }
starts = 2026-01-01
ends = 2026-12-31
[[agreement]]"""

NOTIFY = """\
[notify]
page_url = "https://page.example/"

[[notify.webhook]]
id = "ops"
url = "https://desk.example/hook?key=1"
secret_env = "OPS_SECRET"
"""

# (what is replaced in the sound file, by what, the whole complaint)
BROKEN: dict[str, tuple[str, str, list[str]]] = {
    "notify: nobody is told of what does not exist": (
        "[[price]]",
        NOTIFY + 'severities = ["bad"]\nrules = ["budget_5"]\naudience = "all"\n[[price]]',
        [
            '24: severities = "bad" is not known; write one of "info", "warning", "critical"',
            '26: audience = "all" is not known; write one of "finance", "operations"',
        ],
    ),
    "notify: unknown rule": (
        "[[price]]",
        NOTIFY + 'rules = ["xid", "budget_5"]\n[[price]]',
        ['24: no rule has the id "budget_5"; did you mean "budget_50"?'],
    ),
    "notify: no secret": (
        "[[price]]",
        NOTIFY.replace("secret_env", "secret") + "[[price]]",
        [
            '20: [[notify.webhook]] has no secret_env; add secret_env = "COMMONWATT_OPS_SECRET"',
            '23: unknown key "secret" in [[notify.webhook]]; did you mean secret_env?',
        ],
    ),
    "notify: secrets in the file": (
        "[[price]]",
        NOTIFY.replace("https://desk", "https://me:secret@desk").replace('"OPS_SECRET"', '"my own secret"')
        + "[[price]]",
        [
            "22: url: a password does not belong in this file; take it out and name the environment variable that "
            "holds it",
            '23: secret_env: "my own secret" does not fit; write the name of a variable, such as COMMONWATT_OPS_SECRET',
        ],
    ),
    "notify: a name twice": (
        "[[price]]",
        NOTIFY + NOTIFY.replace("[notify]\n", "").replace('page_url = "https://page.example/"\n', "") + "[[price]]",
        ['26: a webhook with id "ops" is already described above; give this one another id'],
    ),
    "notify: an address twice": (
        "[[price]]",
        '[[notify.alertmanager]]\nurls = ["http://a:9093", "http://a:9093/"]\n[[price]]',
        ['18: "http://a:9093" is listed twice; take one of the two out'],
    ),
    "notify: half an authentication": (
        "[[price]]",
        '[[notify.alertmanager]]\nurls = ["http://a:9093"]\nuser = "me"\n'
        '[[notify.alertmanager]]\nurls = ["http://b:9093"]\npassword_env = "P"\n'
        '[[notify.alertmanager]]\nurls = ["http://c:9093"]\nuser = "me"\npassword_env = "P"\ntoken_env = "T"\n'
        "[[price]]",
        [
            '19: user "me" has no password; name its variable: password_env = "..."',
            '22: password_env is the password of nobody; add user = "..."',
            "27: a server takes a user or a token; take out token_env, or user",
        ],
    ),
    "notify: addresses": (
        "[[price]]",
        '[notify]\npage_url = "page.example"\nrepeat = "1h"\n'
        '[[notify.alertmanager]]\nurls = ["http://a:9093/?x=1"]\n[[price]]',
        [
            '18: page_url: "page.example" is not an address that can be read; write for example '
            '"https://alerts.example:9093"',
            '21: urls: "http://a:9093/?x=1" goes on after its path; write the address without "?" and "#"',
        ],
    ),
    "notify: repetitions": (
        "[[price]]",
        '[notify]\nrepeat = "1h"\n[[price]]',
        ["18: repeat of 3600 s is not sensible; write from 1s to 10m"],
    ),
    "unclosed text": (
        'id = "fir"',
        'id = "fir',
        ["2: not TOML in column 10 (illegal character '\\n'); close the text with the same quote on the same line"],
    ),
    "bare text": (
        'country = "CA"',
        "country = CA",
        [
            "3: not TOML in column 11 (invalid value); "
            'write texts in double quotes ("fir"), true or false in small letters, dates as 2026-04-01'
        ],
    ),
    "key twice": (
        'country = "CA"',
        'country = "CA"\ncountry = "CA"',
        [
            "4: not TOML in column 15 (cannot overwrite a value); "
            "this key or table was already given above; remove one of the two"
        ],
    ),
    "no such day": (
        "effective_from = 2026-04-01",
        "effective_from = 2026-02-30",
        ["24: not TOML in column 18 (invalid date or datetime); write dates as 2026-04-01, with a day that exists"],
    ),
    "unknown key": (
        'country = "CA"',
        'contry = "CA"',
        [
            '1: [[cluster]] has no country; add country = "CA"',
            '3: unknown key "contry" in [[cluster]]; did you mean country?',
        ],
    ),
    "unknown section": (
        "[[price]]",
        "[[prices]]",
        ['17: unknown key "prices" at the top of the file; did you mean price?'],
    ),
    "unknown key of a rule": (
        'share = "2/3" }',
        'share = "2/3", cap = 5 }',
        [
            '34: unknown key "cap" in agreement.rule; write one of kind, share, elsewhere, elsewhere_until, of',
        ],
    ),
    "unknown key, nothing like it": (
        "budget =",
        "xyz = 1\nbudget =",
        [
            '27: unknown key "xyz" in [[programme]]; '
            "write one of starts, ends, id, name, budget, currency, stacking_limit",
        ],
    ),
    "one bracket": (
        "[[deployment]]",
        "[deployment]",
        [
            '10: no deployment has the id "chat"; add a [[deployment]]',
            "11: deployment is not a list of tables; write [[deployment]], in double brackets",
        ],
    ),
    "no cluster": (SOUND, "", ['1: no cluster is described; add [[cluster]] with id = "fir" and country = "CA"']),
    "kind of another tool": (
        'kind = "dcgm-exporter"',
        'kind = "nvml"',
        [
            f'5: kind = "nvml" is not known; write one of {KINDS}',
        ],
    ),
    "kind misspelt": (
        'kind = "vllm"',
        'kind = "vlllm"',
        [
            f'8: kind = "vlllm" is not known; did you mean "vllm"? Known: {KINDS}',
        ],
    ),
    "not an address": (
        '["http://fir-g001:9400/metrics"]',
        '["fir-g001:9400"]',
        [
            '6: urls: "fir-g001:9400" is not an address that can be read; write for example "http://fir-g001:9400/metrics"',
        ],
    ),
    "a password": (
        "[[price]]",
        '[clickhouse]\nurl = "https://a:b@c"\n[[price]]',
        ["18: url: a password does not belong in this file; take it out and set COMMONWATT_CLICKHOUSE_PASSWORD"],
    ),
    "address twice": (
        '["http://fir-g001:9400/metrics"]',
        '["http://a/metrics",\n    "http://a/metrics"]',
        [
            '7: "http://a/metrics" is listed twice in this cluster; take one out',
        ],
    ),
    "one address": (
        '["http://fir-g001:9400/metrics"]',
        '"http://a/metrics"',
        [
            '6: urls = "http://a/metrics" is not a list; write it in brackets: [ ... ]',
        ],
    ),
    "no address": ('["http://fir-g001:9400/metrics"]', "[]", ["6: urls = [...] is empty; write at least one"]),
    "duration": (
        'kind = "vllm"',
        'kind = "vllm"\ninterval = 10',
        [
            '9: interval: "10" is not a duration; write for example "10s", "2m" or "1h"',
        ],
    ),
    "timeout": (
        'kind = "vllm"',
        'kind = "vllm"\ninterval = "5s"\ntimeout = "6s"',
        [
            "10: timeout is longer than interval; write a shorter timeout, or leave it out",
        ],
    ),
    "max_gap": (
        'country = "CA"',
        'country = "CA"\nmax_gap = "5s"',
        [
            "4: max_gap is shorter than a scrape interval; write three intervals or more, or leave it out",
        ],
    ),
    "pue": (
        'country = "CA"',
        'country = "CA"\npue = 0.98',
        [
            "4: pue is less than 1, but a facility draws at least what its machines draw; write 1 or more",
        ],
    ),
    "target of no deployment": (
        'deployment = "chat"',
        'deployment = "chatt"',
        [
            '10: no deployment has the id "chatt"; did you mean "chat"?',
        ],
    ),
    "devices of a deployment": (
        'urls = ["http://fir-g001:9400/metrics"]',
        'urls = ["http://a/"]\ndeployment = "chat"',
        [
            "7: a dcgm-exporter measures devices, which a deployment finds by its match; take deployment out",
        ],
    ),
    "deployment elsewhere": (
        "[[cluster]]",
        '[[cluster]]\nid = "narval"\ncountry = "CA"\n[[cluster.target]]\n'
        'kind = "vllm"\nurls = ["http://b/"]\ndeployment = "chat"\n[[cluster]]',
        [
            '7: deployment "chat" runs on cluster "fir", not on "narval"; '
            "move the target there, or name a deployment of this cluster",
        ],
    ),
    "unknown cluster": (
        'cluster = "fir"\nmodel',
        'cluster = "cedar"\nmodel',
        [
            '10: deployment "chat" runs on cluster "cedar", not on "fir"; '
            "move the target there, or name a deployment of this cluster",
            '13: no cluster has the id "cedar"; write one of "fir"',
        ],
    ),
    "unknown agreement": (
        'agreement = "acme"',
        'agreement = "acmee"',
        [
            '16: no agreement has the id "acmee"; did you mean "acme"?',
        ],
    ),
    "unknown programme": (
        'programme = "fund"',
        'programme = "found"',
        [
            '32: no programme has the id "found"; did you mean "fund"?',
        ],
    ),
    "unknown cluster of a price": (
        'cluster = "fir"\ngpu',
        'cluster = "fire"\ngpu',
        [
            '19: no cluster has the id "fire"; did you mean "fir"?',
        ],
    ),
    "id twice": (
        "[[programme]]",
        '[[cluster]]\nid = "fir"\ncountry = "CA"\n[[programme]]',
        [
            '26: a cluster with id "fir" is already described above; give this one another id',
        ],
    ),
    "id": (
        'id = "acme"',
        'id = "Acme AI"',
        [
            '16: no agreement has the id "acme"; write one of "Acme AI"',
            '31: id: "Acme AI" does not fit; '
            'write small letters, digits, ".", "_" and "-", at most 100, such as "acme-ai"',
        ],
    ),
    "shared and owned": (
        'agreement = "acme"',
        'agreement = "acme"\nshared = true',
        [
            "17: the deployment is shared and also belongs to an agreement; write either shared = true or agreement",
        ],
    ),
    "shared by an engine": (
        'agreement = "acme"',
        'shared = true\ntokens_from = "engine"',
        [
            "17: an engine does not know whose tokens it serves, so it cannot divide a shared deployment; "
            'write tokens_from = "gateway", or leave it out',
        ],
    ),
    "team of a device": (
        'match = { namespace = "llm" }',
        'match = { team = "x" }',
        [
            "15: a device does not know teams; write namespace, pod, account or job in match",
        ],
    ),
    "match without patterns": (
        'match = { namespace = "llm" }',
        "match = {}",
        [
            '15: match is empty; write at least one pattern, such as { namespace = "acme-*" }',
        ],
    ),
    "float amount": (
        'capex = "42000"',
        "capex = 42000.50",
        ['22: capex: amounts are strings; write "42000.50" in quotes'],
    ),
    "malformed amount": (
        'capex = "42000"',
        'capex = "42 000"',
        [
            '22: capex: "42 000" is not an amount; write a decimal such as "0.0776" or a fraction "2/3"',
        ],
    ),
    "negative amount": ('capex = "42000"', 'capex = "-1"', ["22: capex: -1 is negative; write 0 or more"]),
    "ten places": (
        'capex = "42000"',
        'capex = "0.0123456789"',
        [
            "22: capex has more than nine decimal places; round it to nine",
        ],
    ),
    "no lifetime": ("lifetime_years = 5", "lifetime_years = 0", ["23: lifetime_years is zero; write more than 0"]),
    "owned without purchase": (
        'capex = "42000"',
        'per_gpu_hour = "3"',
        [
            '22: basis = "owned" is priced by capex and lifetime_years; add capex and take out per_gpu_hour',
        ],
    ),
    "rented with purchase": (
        'basis = "owned"',
        'basis = "rented"',
        [
            '22: basis = "rented" is priced by per_gpu_hour; add per_gpu_hour and take out capex and lifetime_years',
        ],
    ),
    "basis": (
        'basis = "owned"',
        'basis = "leased"',
        ['21: basis = "leased" is not known; write one of "owned", "rented"'],
    ),
    "price reversed": (
        "effective_from = 2026-04-01",
        "effective_from = 2026-04-01\neffective_to = 2026-04-01",
        [
            "25: effective_to 2026-04-01 is not after effective_from 2026-04-01; "
            "it is the first day on which the price no longer holds, write a later one",
        ],
    ),
    "prices overlap": (
        "[[programme]]",
        RENTED.replace("B200", "H100").replace('currency = "USD"\n', "") + "[[programme]]",
        [
            '31: price "b200" and price "h100" both hold for "NVIDIA H100*" on cluster "fir" on 2026-04-01; '
            "end one before the other begins (effective_to), or take one out",
        ],
    ),
    "no exchange rate": (
        "[[programme]]",
        RENTED + "[[programme]]",
        [
            '31: price "b200" is in USD and programme "fund" in CAD, but no exchange rate is given; '
            'add [[fx_rate]] with base = "USD", quote = "CAD", effective_from = 2026-04-01 or earlier',
        ],
    ),
    "exchange rate too late": (
        "[[programme]]",
        RENTED + '[[fx_rate]]\nbase = "CAD"\nquote = "USD"\nrate = "0.73"\neffective_from = 2026-05-01\n[[programme]]',
        [
            '31: price "b200" is in USD and programme "fund" in CAD, but the exchange rate begins only on 2026-05-01; '
            'add [[fx_rate]] with base = "USD", quote = "CAD", effective_from = 2026-04-01 or earlier',
        ],
    ),
    "exchange both ways": (
        "[[programme]]",
        '[[fx_rate]]\nbase = "CAD"\nquote = "USD"\nrate = "0.73"\n'
        'effective_from = 2026-01-01\n[[fx_rate]]\nbase = "USD"\nquote = "CAD"\nrate = "1.4"\n'
        "effective_from = 2026-01-01\n[[programme]]",
        [
            "31: CAD to USD is given above and serves both ways; write all of them as one pair",
        ],
    ),
    "exchange rate twice": (
        "[[programme]]",
        '[[fx_rate]]\nbase = "CAD"\nquote = "USD"\nrate = "0.73"\n'
        'effective_from = 2026-01-01\n[[fx_rate]]\nbase = "CAD"\nquote = "USD"\nrate = "0.74"\n'
        "effective_from = 2026-01-01\n[[programme]]",
        [
            "34: a rate from CAD to USD on 2026-01-01 is given above; take one out",
        ],
    ),
    "exchange to itself": (
        "[[programme]]",
        '[[fx_rate]]\nbase = "CAD"\nquote = "CAD"\nrate = "1"\neffective_from = 2026-01-01\n[[programme]]',
        [
            "27: base and quote are both CAD; a currency needs no rate to itself, take this out",
        ],
    ),
    "currency": (
        'budget = "300"',
        'budget = "300"\ncurrency = "cad"',
        [
            '28: currency: "cad" does not fit; write the three capital letters of ISO 4217, such as "CAD"',
        ],
    ),
    "language": (
        'budget = "300"',
        'budget = "300"\nname = { en = "Fund", fra = "Fonds" }',
        [
            '28: unknown key "fra" in programme.name; did you mean fr?',
        ],
    ),
    "date as text": (
        "starts = 2025-08-01",
        'starts = "2025-08-01"',
        [
            '28: starts = "2025-08-01" is not a date; write year-month-day without quotes, such as 2026-04-01',
        ],
    ),
    "date as time": (
        "starts = 2025-08-01",
        "starts = 2025-08-01T00:00:00Z",
        [
            "28: starts = 2025-08-01 00:00:00+00:00 is not a date; "
            "write year-month-day without quotes, such as 2026-04-01",
        ],
    ),
    "programme reversed": (
        "ends = 2028-03-31\n[[agreement]]",
        "ends = 2025-03-31\n[[agreement]]",
        [
            "29: ends 2025-03-31 is before starts 2025-08-01; exchange them, or correct the years",
        ],
    ),
    "agreement outlives its programme": (
        "starts = 2026-01-01\nends = 2028-03-31",
        "starts = 2025-01-01\nends = 2028-04-01",
        [
            '35: the agreement starts 2025-01-01, before programme "fund" does; write 2025-08-01 or later',
            '36: the agreement ends 2028-04-01, after programme "fund" does; write 2028-03-31 or earlier',
        ],
    ),
    "rule without kind": (
        'kind = "cost_share", ',
        "",
        [
            '34: rule has no kind; write for example rule = { kind = "cost_share", share = "2/3" }',
        ],
    ),
    "rule of another kind": (
        'kind = "cost_share"',
        'kind = "costshare"',
        [
            '34: kind = "costshare" is not known; did you mean "cost_share"? '
            'Known: "cost_share", "token_price", "credits"',
        ],
    ),
    "more than the whole": (
        'share = "2/3"',
        'share = "3/2"',
        [
            '34: share: 3/2 is more than the whole; write a share from 0 to 1, such as "2/3"',
        ],
    ),
    "until without elsewhere": (
        'share = "2/3"',
        'share = "2/3", elsewhere_until = 2027-03-31',
        [
            '34: elsewhere_until has nothing to end; add elsewhere = "1/2", or take it out',
        ],
    ),
    "credits without amount": (
        'kind = "cost_share", share = "2/3"',
        'kind = "credits"',
        [
            '34: credits of an amount need the amount; add cap = "250000"',
        ],
    ),
    "credits without hours": (
        'kind = "cost_share", share = "2/3"',
        'kind = "credits", unit = "gpu_hours"',
        [
            "34: credits in gpu_hours need how many; add quantity = 50000",
        ],
    ),
    "token price without tokens": (
        'agreement = "acme"\n[[price]]',
        '[[agreement]]\nid = "b"\nprogramme = "fund"\nrecipient = "B"\n'
        'rule = { kind = "token_price", per_mtok = "1" }\n'
        "starts = 2026-01-01\nends = 2026-01-02\n[[price]]",
        [
            '20: agreement "b" is charged by tokens but no deployment counts any for it; write '
            'agreement = "b" in a [[deployment]], or match = [{ team = "..." }] with a shared one',
        ],
    ),
    "team with others": (
        "[[agreement]]",
        '[[agreement]]\nmatch = [{ team = "a", pod = "b" }]',
        [
            "31: match: a gateway knows the team and a device does not, so team never matches together with others; "
            'write it in an entry of its own: { team = "acme" }',
        ],
    ),
    "timezone": (
        'country = "CA"',
        'country = "CA"\ntimezone = "Vancouver"',
        [
            '4: timezone: "Vancouver" is not a time zone; write for example "America/Vancouver"',
        ],
    ),
    "time of day": (
        "effective_from",
        'tariff = [{ id = "night", starts = "22:00", ends = "24:00", energy_per_kwh = "0.04" }]\neffective_from',
        [
            '24: ends: "24:00" is not a time of day; write for example "07:00"',
        ],
    ),
    "tariff without price": (
        "effective_from",
        'tariff = [{ id = "night", starts = "22:00", ends = "06:00" }]\neffective_from',
        [
            '24: [[price.tariff]] has no energy_per_kwh; add energy_per_kwh = "0.0776"',
        ],
    ),
    "tariff twice": (
        "effective_from = 2026-04-01",
        "effective_from = 2026-04-01"
        + 2 * '\n[[price.tariff]]\nid = "night"\nstarts = "22:00"\nends = "06:00"\nenergy_per_kwh = "0.04"',
        [
            '31: tariff "night" is given above; give this one another id',
        ],
    ),
    "tariff of a rented one": (
        'basis = "owned"\ncapex = "42000"\nlifetime_years = 5',
        'basis = "rented"\nper_gpu_hour = "3"\npue = 1.1\n'
        'tariff = [{ id = "night", starts = "22:00", ends = "06:00", energy_per_kwh = "0.04" }]',
        [
            '24: basis = "rented" is priced by per_gpu_hour; take out tariff and pue',
        ],
    ),
    "worth more in the end": (
        'capex = "42000"',
        'capex = "42000"\nresidual_value = "42001"',
        [
            "23: residual_value is more than capex; write less, or correct capex",
        ],
    ),
    "pue of a price": (
        'capex = "42000"',
        'capex = "42000"\npue = 0.9',
        [
            "23: pue is less than 1, but a facility draws at least what its machines draw; write 1 or more",
        ],
    ),
    "token prices of two ways": (
        'kind = "cost_share", share = "2/3"',
        'kind = "token_price", per_mtok = "1", output_per_mtok = "2"',
        [
            "34: tokens are charged by one price or by kind; write either per_mtok, or prompt_per_mtok and "
            "output_per_mtok (and cached_per_mtok, if it differs)",
        ],
    ),
    "limit above the whole": (
        'budget = "300"',
        'budget = "300"\nstacking_limit = "3/2"',
        [
            '28: stacking_limit: 3/2 is more than the whole; write a share from 0 to 1, such as "2/3"',
        ],
    ),
    "after nobody": (
        "[[agreement]]",
        AFTER.replace("acme", "acmee"),
        [
            '32: no agreement has the id "acmee"; did you mean "acme"?',
        ],
    ),
    "after one of somebody else": (
        "[[agreement]]",
        AFTER.replace("Acme", "Lab"),
        [
            '32: agreement "acme" is that of "Acme", not of "Lab"; name one of the same recipient',
        ],
    ),
    "after one in another currency": (
        "[[agreement]]",
        AFTER.replace("fund", "airr").removesuffix("[[agreement]]")
        + '[[programme]]\nid = "airr"\nbudget = "3"\ncurrency = "GBP"\nstarts = 2025-08-01\nends = 2028-03-31\n'
        '[[fx_rate]]\nbase = "GBP"\nquote = "CAD"\nrate = "1.7"\neffective_from = 2026-01-01\n[[agreement]]',
        [
            '32: agreement "acme" is settled in CAD and "top" in GBP; what one leaves the other can support only in '
            "the same currency, name another one or take after out",
        ],
    ),
    "after each other": (
        "[[agreement]]",
        AFTER + '\nafter = "top"',
        [
            '32: agreement "top" comes after itself; take after out of the one that pays first',
            '39: agreement "acme" comes after itself; take after out of the one that pays first',
        ],
    ),
    "two after the same": (
        "[[agreement]]",
        AFTER.replace('"top"', '"first"') + AFTER.removeprefix("[[agreement]]"),
        [
            '40: agreement "first" comes after "acme" already; write after = "first"',
        ],
    ),
    "deployment of one that comes after": (
        'agreement = "acme"\n',
        'agreement = "top"\n' + AFTER.removesuffix("[[agreement]]"),
        [
            '16: agreement "top" comes after "acme", which pays first for the same usage; write agreement = "acme"',
        ],
    ),
    "token price after one without tokens": (
        'agreement = "acme"\n',
        "shared = true\n"
        + re.sub(r"rule = .*", 'rule = { kind = "token_price", per_mtok = "0.1" }', AFTER).removesuffix(
            "[[agreement]]"
        ),
        [
            '22: agreement "top" is charged by tokens but no deployment counts any for "acme", which pays first; write '
            'agreement = "acme" in a [[deployment]], or match = [{ team = "..." }] with a shared one',
        ],
    ),
    "after with patterns": (
        "[[agreement]]",
        AFTER.replace('after = "acme"', 'after = "acme"\nmatch = [{ team = "a" }]'),
        [
            '33: the usage is that of agreement "acme", which pays first; take match out, or after',
        ],
    ),
    "hours of weights that nobody gave": (
        'kind = "cost_share", share = "2/3"',
        'kind = "credits", unit = "rgu_hours", quantity = 50000',
        [
            '34: agreement "acme" counts RGU-hours, but no device has a weight; add [[rgu]] with '
            'gpu_model = "NVIDIA H100*", weight = "12.2" and effective_from',
        ],
    ),
    "plan that goes back": (
        'id = "acme"\nprogramme',
        'id = "acme"\nplan = [{ on = 2026-12-31, spent = "9" }, { on = 2027-12-31, spent = "8" }]\nprogramme',
        [
            "32: a plan goes forward; write its points by day, each with no less than the last",
        ],
    ),
    "plan of other years": (
        'id = "acme"\nprogramme',
        'id = "acme"\nplan = [{ on = 2025-12-31, spent = "9" }]\nprogramme',
        [
            "32: a plan lies within the agreement; write days from 2026-01-01 to 2028-03-31",
        ],
    ),
    "weight twice": (
        "[[price]]",
        2 * '[[rgu]]\ngpu_model = "NVIDIA H100*"\nweight = 12.2\neffective_from = 2026-04-01\n' + "[[price]]",
        [
            '24: a weight of "NVIDIA H100*" on 2026-04-01 is given above; take one out',
        ],
    ),
    "weight of a slice twice": (
        "[[price]]",
        2
        * (
            '[[rgu]]\ngpu_model = "NVIDIA H100*"\nslice = "3g.40gb"\nshare = "3/7"\nweight = 6.1\n'
            "effective_from = 2026-04-01\n"
        )
        + "[[price]]",
        [
            '28: a weight of slices 3g.40gb of "NVIDIA H100*" on 2026-04-01 is given above; take one out',
        ],
    ),
    "slice without share": (
        "[[price]]",
        '[[rgu]]\ngpu_model = "NVIDIA H100*"\nslice = "3g.40gb"\nweight = 6.1\neffective_from = 2026-04-01\n[[price]]',
        [
            '17: a slice has a share of its device and a whole device has none; write share = "3/7" with slice',
        ],
    ),
    "carbon twice": (
        "[[price]]",
        2 * '[[carbon]]\nregion = "CA-BC"\ng_per_kwh = 11\nvintage = "2025"\neffective_from = 2026-04-01\n'
        + "[[price]]",
        [
            "26: emissions of CA-BC on 2026-04-01 are given above; take one out",
        ],
    ),
    "carbon without vintage": (
        "[[price]]",
        '[[carbon]]\nregion = "CA-BC"\ng_per_kwh = 11\neffective_from = 2026-04-01\n[[price]]',
        [
            '17: [[carbon]] has no vintage; add vintage = "2025"',
        ],
    ),
    "pool twice": (
        "[[price]]",
        2 * '[[pool]]\nid = "p"\ncurrencies = { CA = "CAD", US = "CAD" }\n' + "[[price]]",
        [
            '21: a pool with id "p" is already described above; give this one another id',
        ],
    ),
    "pool without exchange rate": (
        "[[price]]",
        '[[pool]]\nid = "p"\ncurrencies = { CA = "CAD", GB = "GBP" }\n[[price]]',
        [
            '19: pool "p" counts in GBP and programme "fund" in CAD, but no exchange rate is given; add [[fx_rate]] '
            'with base = "CAD", quote = "GBP", effective_from = 2026-04-01 or earlier',
        ],
    ),
    "pool with a late exchange rate": (
        "[[price]]",
        '[[pool]]\nid = "p"\ncurrencies = { CA = "CAD", GB = "GBP" }\n[[fx_rate]]\nbase = "GBP"\nquote = "CAD"\n'
        'rate = "1.7"\neffective_from = 2026-04-02\n[[price]]',
        [
            '19: pool "p" counts in GBP and programme "fund" in CAD, but the exchange rate begins only on 2026-04-02; '
            'add [[fx_rate]] with base = "CAD", quote = "GBP", effective_from = 2026-04-01 or earlier',
        ],
    ),
    "brokers": (
        "[[price]]",
        '[kafka]\nurl = "broker-1:9092"\n[[price]]',
        [
            '18: url: "broker-1:9092" is not a list of brokers; write for example "kafka://broker-1:9092,broker-2:9092"',
        ],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_mistake_has_place_and_remedy(name: str, tmp_path: Path) -> None:
    """Every kind of mistake is one sentence: FILE:LINE, what is wrong, what to write instead."""
    old, new, complaint = BROKEN[name]
    assert old in SOUND
    file = tmp_path / "c.toml"
    file.write_text(SOUND.replace(old, new, 1))
    with pytest.raises(ConfigError) as error:
        load(file)
    assert str(error.value) == "\n".join(f"{file}:{line}" for line in complaint)


def write(folder: Path, text: str) -> Path:
    file = folder / "c.toml"
    file.write_bytes(text.encode())
    return file


def test_all_mistakes_are_shown_together(tmp_path: Path) -> None:
    """A file is repaired in one pass: mistakes of every kind, in the order of lines."""
    text = SOUND.replace('id = "fir"', 'id = "Fir"').replace("lifetime_years = 5", "lifetime_years = 0")
    text = text.replace('programme = "fund"', 'programme = "found"').replace("[[price]]", "[[price]]\ncolour = 1")
    with pytest.raises(ConfigError) as error:
        load(write(tmp_path, text))
    lines = [int(line.split(":")[1]) for line in str(error.value).splitlines()]
    assert lines == [2, 13, 18, 24, 33]


def test_a_broken_table_is_not_blamed_on_others(tmp_path: Path) -> None:
    """A deployment whose cluster has a typo elsewhere still has a cluster."""
    with pytest.raises(ConfigError) as error:
        load(write(tmp_path, SOUND.replace('country = "CA"', 'country = "Canada"')))
    assert len(str(error.value).splitlines()) == 1


def test_lines_survive_windows_editors(tmp_path: Path) -> None:
    """CRLF files load, and count lines as the editor does."""
    assert load(write(tmp_path, SOUND.replace("\n", "\r\n"))).cluster[0].id == "fir"
    with pytest.raises(ConfigError, match=r"c\.toml:23: lifetime_years"):
        load(write(tmp_path, SOUND.replace("years = 5", "years = 0").replace("\n", "\r\n")))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """No file, a folder, another encoding: a sentence, not a traceback."""
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read \(no such file or directory\); give the path"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 2; save the file as UTF-8 text"):
        load(tmp_path / "latin.toml")


@given(st.text(max_size=60), st.integers(0, SOUND.count("\n")))
def test_garbage_is_never_a_traceback(tmp_path_factory: pytest.TempPathFactory, garbage: str, line: int) -> None:
    """Whatever is typed into a file, the answer is a configuration or a complaint with lines."""
    lines = SOUND.split("\n")
    lines[line:line] = [garbage]
    text = "\n".join(lines)
    file = tmp_path_factory.getbasetemp() / "fuzz.toml"
    file.write_bytes(text.encode("utf-8", "replace"))
    complaint = ""
    try:
        load(file)
    except ConfigError as error:
        complaint = str(error)
    assert not complaint or re.match(rf"{re.escape(str(file))}:\d+: .*; ", complaint)


def test_what_a_sound_file_means(tmp_path: Path) -> None:
    """Figures are exact, defaults are those of the models."""
    text = SOUND.replace('country = "CA"', 'country = "CA"\npue = 1.08', 1).replace(
        'budget = "300"', 'budget = "300"\nname = "Fund"'
    )
    config = load(write(tmp_path, text))
    assert config.cluster[0].pue == Fraction(108, 100)
    assert config.cluster[0].max_gap_s == 90
    assert config.price[0].capex == 42000
    assert config.programme[0].name == {"en": "Fund", "fr": "Fund"}
    assert config.programme[0].currency == "CAD"
    assert config.agreement[0].rule == CostShare(kind="cost_share", share=Fraction(2, 3))
    assert Config.model_validate(config.model_dump()) == config
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_an_agreement_that_comes_after_another(tmp_path: Path) -> None:
    """It has no usage of its own, so that nothing needs to count tokens for it, and may end at another time."""
    rule = 'rule = { kind = "token_price", prompt_per_mtok = "0.1", cached_per_mtok = "0.01", output_per_mtok = "0.4" }'
    text = re.sub(r"rule = .*of = \"remainder\" }", rule, AFTER)
    config = load(write(tmp_path, SOUND.replace("[[agreement]]", text)))
    assert [agreement.after for agreement in config.agreement] == ["acme", ""]
    assert isinstance(config.agreement[0].rule, TokenPrice)
    assert config.agreement[0].rule.prices == (Fraction(1, 10), Fraction(1, 100), Fraction(4, 10))


def test_max_gap_follows_the_slowest_target(tmp_path: Path) -> None:
    """At least three scrape intervals, at least 90 s, unless it is written."""
    slow = SOUND.replace('kind = "vllm"', 'kind = "vllm"\ninterval = "2m"')
    assert load(write(tmp_path, slow)).cluster[0].max_gap_s == 360
    assert (
        load(write(tmp_path, SOUND.replace('country = "CA"', 'country = "CA"\nmax_gap = "30s"', 1)))
        .cluster[0]
        .max_gap_s
        == 30
    )


def test_the_example_of_the_design_loads(tmp_path: Path) -> None:
    """The configuration that the design shows is one that Commonwatt reads."""
    if not DESIGN.exists():
        pytest.skip("the design page is not beside this checkout")
    example = re.search(r"```toml\n(.*?)```", DESIGN.read_text(), re.DOTALL)
    assert example is not None
    config = load(write(tmp_path, example[1]))
    assert config.kafka is not None
    assert config.kafka.url == "kafka://broker-1:9092,broker-2:9092"
    assert isinstance(config.agreement[0].rule, CostShare)
    assert config.agreement[0].rule.elsewhere_until == date(2027, 3, 31)
    assert [match.account for match in config.agreement[0].match] == [None, "rrg-acme"]


def every_table(model: type[BaseModel]) -> set[type[BaseModel]]:
    inner = {table for field in model.model_fields.values() for table in tables_in(field.annotation)}
    return {model}.union(*(every_table(table) for table in inner))


def test_every_required_key_has_an_example() -> None:
    """The complaint about a key that is missing can always say what to write."""
    required = {
        name for table in every_table(Config) for name, field in table.model_fields.items() if field.is_required()
    }
    assert required == set(EXAMPLES)
