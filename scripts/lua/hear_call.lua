#!lua
--[[
hear_call: the switch lists a call as live: confirm it, and revive it if it had lapsed.

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
  ARGV[5]  used       int  seconds from the answer, 0 to 86,400; 0: ringing
  ARGV[6]  switch_id  str  '' for an operator
  ARGV[7]  setup_ms   int  set-up time-out
  ARGV[8]  grace_ms   int  silence past the granted time before a call lapses
RETURNS { code, granted_seconds, final, debited_micros, available_micros }
  OK: goes on. ENDED: hang up; final says why. NOT_FOUND: unknown. FORBIDDEN: another switch's call.
INVARIANT  moves no money unless it revives a lapsed call.
]]
--@include lib/codes
--@include lib/clock
--@include lib/grant

local now_ms, office_id, call_id = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local day, used, switch_id = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local setup_ms, grace_ms = tonumber(ARGV[7]), tonumber(ARGV[8])
local FINAL_ENDED = 5

local o = office_read(KEYS[2])
local bytes = redis.call('GET', KEYS[3])
if not o or not bytes then return { CODE.NOT_FOUND, 0, 0, 0, 0 } end
local state = call_state(bytes)
if state == ENDED or state == SPENT then
  local stub = stub_unpack(bytes)
  return { CODE.ENDED, stub.billed, FINAL_ENDED, stub.debited, office_available(o) }
end
local c = call_unpack(bytes)
if call_is_foreign(c, switch_id) then return { CODE.FORBIDDEN, 0, 0, 0, 0 } end

now_ms = clock_now(KEYS[1], now_ms)
office_turn_day(o, day)
c.confirmed = math.max(c.confirmed, used)
if used > 0 then
  -- The switch says how long the call has talked, and so does the clock once the answer is known. Where they differ by
  -- more than a late list explains, a tick and the grace, the clock was set meanwhile, and the answer is placed anew.
  local answered_ms = math.max(c.authorized_ms, now_ms - math.max(used, c.used) * 1000)
  if c.answered_ms == 0 or math.abs(answered_ms - c.answered_ms) > c.tick * 1000 + grace_ms then
    c.answered_ms = answered_ms
  end
end
local taken = 0
local final
if state == LAPSED then
  taken, final = grant_revive(o, c, math.max(c.used, used), c.tick, now_ms)
  if not taken then return { CODE.ENDED, c.granted, final, c.debited, office_available(o) } end
  c.used = math.max(c.used, used)
elseif state == RINGING and used > 0 then
  c.state = ANSWERED
end
c.heard_ms = now_ms

if taken > 0 or (state == LAPSED and c.journaled == 1) then
  grant_journal(KEYS[5], 'revive', o, c, office_id, call_id, now_ms, taken)
end
office_judge_refill(o, KEYS[5], office_id, now_ms)
grant_write(KEYS, o, c, office_id .. ':' .. call_id, now_ms, setup_ms, grace_ms)
return { c.state == CUT and CODE.ENDED or CODE.OK, c.granted, c.final, c.debited, office_available(o) }
