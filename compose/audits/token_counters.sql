-- name: tokens equal the counters
-- protects: Between two rows of one process without a restart, the tokens of a row are the advance of its counters,
-- protects: exactly; a counter that went down is never a negative number of tokens but a recorded restart.

SELECT cluster, endpoint, replica, served_model, team, ts_start, ts_end,
    prompt_tokens, prompt_tokens_end - lagInFrame(prompt_tokens_end) OVER before AS prompt_advance,
    cached_tokens, cached_tokens_end - lagInFrame(cached_tokens_end) OVER before AS cached_advance,
    generation_tokens, generation_tokens_end - lagInFrame(generation_tokens_end) OVER before AS generation_advance,
    requests, requests_end - lagInFrame(requests_end) OVER before AS requests_advance,
    resets = 0 AND ts_start = lagInFrame(ts_end) OVER before
        AND ifNull(started_ms, -1) = ifNull(lagInFrame(started_ms) OVER before, -1)
        AND (ifNull(prompt_tokens != prompt_advance, false) OR ifNull(cached_tokens != cached_advance, false)
            OR ifNull(generation_tokens != generation_advance, false) OR ifNull(requests != requests_advance, false)) AS fault
FROM token_usage_store FINAL
WHERE minute >= {since:DateTime('UTC')} AND ts_end > ts_start
WINDOW before AS (
    PARTITION BY cluster, endpoint, replica, served_model, team ORDER BY ts_start
    ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
)
