#!lua flags=allow-oom
--[[
lapse_call: settle a call that nothing is heard of at its confirmed seconds and release the rest.

KEYS
  KEYS[1]  clock   string  tg:{<shard>}:clock
  KEYS[2]  office  string  tg:{<shard>}:office:<office_id>
  KEYS[3]  call    string  tg:{<shard>}:call:<office_id>:<call_id>
  KEYS[4]  due     zset    tg:{<shard>}:due
  KEYS[5]  outbox  stream  tg:{<shard>}:outbox
ARGV
  ARGV[1]  now_ms     int  Unix milliseconds
  ARGV[2]  office_id  str
  ARGV[3]  call_id    str
  ARGV[4]  day        int  ordinal of the office's calendar date
  ARGV[5]  missing_ms int  Unix milliseconds since when its switch has listed its calls twice; one that was not heard of
                           since then is missing in both. 0: not known
  ARGV[6]  setup_ms   int  set-up time-out
  ARGV[7]  grace_ms   int  silence past the granted time before a call lapses
  ARGV[8]  kept_ms    int  how long a lapsed call waits for its revival or its end
RETURNS { code, debited_micros, available_micros }
  LAPSED. NOT_DUE: heard of meanwhile, looked at again later. NOT_FOUND: no live call; its due entry is removed.
INVARIANT  a lapsed call holds nothing; lapsing never gives back what ticks debited.
]]
--@include lib/codes
--@include lib/clock
--@include lib/grant

local now_ms, office_id, call_id = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local day, missing_ms = tonumber(ARGV[4]), tonumber(ARGV[5])
local setup_ms, grace_ms, kept_ms = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local member = office_id .. ':' .. call_id

local o = office_read(KEYS[2])
local bytes = redis.call('GET', KEYS[3])
if not o or not bytes or call_state(bytes) > CUT then
  redis.call('ZREM', KEYS[4], member)
  return { CODE.NOT_FOUND, 0, 0 }
end
local c = call_unpack(bytes)
now_ms = clock_now(KEYS[1], now_ms)
local lapses_at = call_lapses_at(c, setup_ms, grace_ms)
if now_ms < lapses_at and c.heard_ms >= missing_ms then
  -- Its next tick or look comes first, overdue or not; only a tick that silence withheld was left to this script. A cut
  -- call keeps its time: its command is due.
  if c.state ~= CUT then
    local due_at = call_due_at(c, now_ms, setup_ms, grace_ms)
    if due_at <= now_ms and not call_ends_with_grant(c) then due_at = lapses_at end
    redis.call('ZADD', KEYS[4], due_at, member)
  end
  return { CODE.NOT_DUE, c.debited, office_available(o) }
end

office_turn_day(o, day)
local taken = 0
if c.reason == FUNDED_REASON then
  local seconds = c.confirmed
  if c.answered_ms > 0 then seconds = math.max(1, seconds) end
  local debited = math.max(c.debited, rate_price(c.rate, math.min(seconds, c.granted)))
  taken = debited - c.debited
  o.calls = o.calls - 1
  o.reserved = o.reserved - c.held
  office_debit(o, taken)
  c.debited, c.held = debited, 0
end
-- Only a call that was cut keeps its final reason, which tells a revival to hang up, and its grant, up to 2 s past
-- which its end is not billed.
if c.state ~= CUT then
  c.final = 0
  c.granted = c.reason == FUNDED_REASON and rate_longest(c.rate, c.debited, c.granted) or 0
end
c.state = LAPSED

if taken > 0 or c.journaled == 1 then
  grant_journal(KEYS[5], 'lapse', o, c, office_id, call_id, now_ms, taken)
end
office_judge_refill(o, KEYS[5], office_id, now_ms)
clock_advance(KEYS[1], now_ms)
office_write(KEYS[2], o)
redis.call('SET', KEYS[3], call_pack(c), 'PX', kept_ms)
redis.call('ZREM', KEYS[4], member)
return { CODE.LAPSED, c.debited, office_available(o) }
