-- name: tokens of the tally equal the book
-- protects: Every counted token is in exactly one unit cost. A minute is compared once its cluster's usage is two minutes
-- protects: further.
-- unit: cluster minutes
-- tally: prompt_tokens cached_tokens generation_tokens

SELECT cluster, toDateTime64(minute, 3, 'UTC') AS ts_start,
    sum(book.1) AS book_prompt_tokens, sum(tally.1) AS tally_prompt_tokens,
    sum(book.2) AS book_cached_tokens, sum(tally.2) AS tally_cached_tokens,
    sum(book.3) AS book_generation_tokens, sum(tally.3) AS tally_generation_tokens,
    book_prompt_tokens != tally_prompt_tokens OR book_cached_tokens != tally_cached_tokens
        OR book_generation_tokens != tally_generation_tokens AS fault
FROM
(
    SELECT cluster, minute, (prompt_tokens, cached_tokens, generation_tokens) AS book,
        (toInt64(0), toInt64(0), toInt64(0)) AS tally
    FROM token_usage WHERE counted AND minute >= {since:DateTime('UTC')}
    UNION ALL
    SELECT cluster, minute, (toInt64(0), toInt64(0), toInt64(0)), (prompt_tokens, cached_tokens, generation_tokens)
    FROM unit_costs WHERE minute >= {since:DateTime('UTC')}
)
WHERE toUnixTimestamp(minute) < transform(cluster, {clusters:Array(String)}, {settled_s:Array(Int64)}, {settled_else:Int64})
GROUP BY cluster, minute
