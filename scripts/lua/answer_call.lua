#!lua
--[[
answer_call: start the clock of a call; moves no money unless it revives a lapsed one.

KEYS
  KEYS[1]  clock   string  tg:{<shard>}:clock
  KEYS[2]  office  string  tg:{<shard>}:office:<office_id>
  KEYS[3]  call    string  tg:{<shard>}:call:<office_id>:<call_id>
  KEYS[4]  due     zset    tg:{<shard>}:due
  KEYS[5]  outbox  stream  tg:{<shard>}:outbox
ARGV
  ARGV[1]  now_ms       int  Unix milliseconds
  ARGV[2]  office_id    str
  ARGV[3]  call_id      str
  ARGV[4]  day          int  ordinal of the office's calendar date
  ARGV[5]  answered_ms  int  Unix milliseconds, clamped to between the authorization and now; 0: now
  ARGV[6]  switch_id    str  '' for an operator
  ARGV[7]  setup_ms     int  set-up time-out
  ARGV[8]  grace_ms     int  silence past the granted time before a call lapses
RETURNS { code, granted_seconds, final, debited_micros, available_micros }
  OK: goes on. ENDED: hang up; final says why. NOT_FOUND: unknown. FORBIDDEN: another switch's call.
INVARIANT  answered_ms, once set, stays; only hear_call may place it anew.
]]
--@include lib/codes
--@include lib/clock
--@include lib/grant

local now_ms, office_id, call_id = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local day, answered_ms, switch_id = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
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
if state == CUT then return { CODE.ENDED, c.granted, c.final, c.debited, office_available(o) } end

now_ms = clock_now(KEYS[1], now_ms)
office_turn_day(o, day)
local taken = 0
local final
if c.answered_ms == 0 then
  c.answered_ms = answered_ms == 0 and now_ms or math.min(now_ms, math.max(c.authorized_ms, answered_ms))
end
if state == LAPSED then
  taken, final = grant_revive(o, c, c.used, c.tick, now_ms)
  if not taken then return { CODE.ENDED, c.granted, final, c.debited, office_available(o) } end
else
  c.state, c.heard_ms = ANSWERED, now_ms
end

if taken > 0 or (state == LAPSED and c.journaled == 1) then
  grant_journal(KEYS[5], 'revive', o, c, office_id, call_id, now_ms, taken)
end
office_judge_refill(o, KEYS[5], office_id, now_ms)
grant_write(KEYS, o, c, office_id .. ':' .. call_id, now_ms, setup_ms, grace_ms)
return { CODE.OK, c.granted, c.final, c.debited, office_available(o) }
