-- One clock counts, and within a shard it never goes back: an earlier now counts as the latest seen.

-- Reading comes before all checks and changes nothing; a script that goes on to write calls clock_advance.
local function clock_now(key, now_ms)
  local seen_ms = tonumber(redis.call('GET', key) or 0)
  if now_ms < seen_ms then return seen_ms end
  return now_ms
end

local function clock_advance(key, now_ms)
  redis.call('SET', key, string.format('%d', now_ms))
end
