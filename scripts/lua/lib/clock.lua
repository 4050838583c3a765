-- One clock counts, and within a shard it never goes back: an earlier now counts as the latest seen.

-- What clock_now read, for clock_advance in the same call, which nothing comes between: a thousand operations a second
-- share a millisecond, and all but the first of them are spared the write.
local clock_seen_ms

-- Reading comes before all checks and changes nothing; a script that goes on to write calls clock_advance.
local function clock_now(key, now_ms)
  clock_seen_ms = tonumber(redis.call('GET', key) or 0)
  return math.max(now_ms, clock_seen_ms)
end

local function clock_advance(key, now_ms)
  if now_ms > clock_seen_ms then redis.call('SET', key, string.format('%d', now_ms)) end
end
