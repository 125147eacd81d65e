"""What a programme pays by a rule, in words, as SQL over the column `rule` of charges (its texts: streams.rules)."""

from clickhouse_connect.driver.binding import format_query_value

from schemas.config import Config, CostShare

_FIRST = "extract(rule, '^after ([^,]+), ')"
_LABEL = "replaceRegexpOne(rule, '^after [^,]+, ', '')"
_IN_WORDS = """concat(
    multiIf(
        startsWith({label}, 'cost_share '), concat(
            if({label} = 'cost_share 1', 'all', substring({label}, length('cost_share ') + 1)),
            if({first} != '' AND agreement IN {of_remainder}, ' of the remainder', ' of the cost')),
        {label} = 'token_price', 'what exceeds the recipient''s price of tokens',
        startsWith({label}, 'credits '),
            concat('all of the ', if({first} = '', 'cost', 'remainder'), ', out of credits'),
        {label}),
    if({first} = '', '', concat(', after ', {first})))"""


def in_words(config: Config) -> str:
    """An expression such as "1/2 of the remainder, after acme-ai"; a rule that is not known here stays as it is."""
    of_remainder = [
        agreement.id
        for agreement in config.agreement
        if isinstance(agreement.rule, CostShare) and agreement.rule.of == "remainder"
    ]
    return _IN_WORDS.format(first=_FIRST, label=_LABEL, of_remainder=format_query_value(of_remainder))
