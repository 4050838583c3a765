#!lua
--[[
tick_call: debit what a call used and reserve the next tick, together.

By the switch (used >= 0) with the seconds it reports; by the gateway's clock (used = -1) for calls that the gateway
ticks, and as the look before the cut at the end of any call's last grant.

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
  ARGV[5]  used       int  seconds from the answer, 0 to 86,400; -1: by the clock
  ARGV[6]  requested  int  seconds beyond used; 0: one tick
  ARGV[7]  switch_id  str  '' for an operator or the gateway
  ARGV[8]  setup_ms   int  set-up time-out
  ARGV[9]  grace_ms   int  silence past the granted time before a call lapses
  ARGV[10] fresh_ms   int  a gateway's tick debits by the clock while its switch was heard of since then
RETURNS { code, granted_seconds, final, debited_micros, available_micros }
  OK: goes on. ENDED: hang up; final says why. NOT_FOUND: unknown. FORBIDDEN: another switch's call.
  By the clock heard_ms and switch_id follow, a change of funds_low is published too. CUT_DUE: nothing more can be
  granted and the granted time is over. LAPSE_DUE: only lapse_call can say whether to wait.
INVARIANT  held = price(granted) - debited; a repeated or late tick changes nothing.
]]
--@include lib/codes
--@include lib/clock
--@include lib/grant
--@include lib/command

local now_ms, office_id, call_id = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local day, used, requested, switch_id = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local setup_ms, grace_ms, fresh_ms = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local by_clock = used < 0
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
local function answer(code)
  local reply = { code, c.granted, c.final, c.debited, office_available(o) }
  if by_clock then reply[6], reply[7] = c.heard_ms, c.switch_id end
  return reply
end

local taken = 0
local final
if by_clock then
  if state == CUT then return answer(CODE.CUT_DUE) end
  local last_grant = call_ends_with_grant(c)
  if state ~= ANSWERED or c.reason ~= FUNDED_REASON or not (last_grant or c.ticker == TICKED_BY_GATEWAY) then
    return answer(CODE.LAPSE_DUE)
  end
  -- Two gateways may have read the same due entry: the second one finds the call not due again yet.
  if now_ms < call_due_at(c, now_ms, setup_ms, grace_ms) then return answer(CODE.OK) end
  -- A switch that was silent for so long gets no more time reserved: the call lapses the grace past what it has.
  if not last_grant and now_ms - c.heard_ms >= fresh_ms + grace_ms then return answer(CODE.LAPSE_DUE) end
  local seconds = c.used
  if c.ticker == TICKED_BY_GATEWAY and now_ms - c.heard_ms < fresh_ms then
    seconds = math.max(seconds, math.min(c.granted, math.floor((now_ms - c.answered_ms) / 1000)))
  end
  local granted, was_short = c.granted, final_is_short(c.final)
  taken = grant_advance(o, c, seconds, grant_target(c, c.granted + c.tick))
  c.used = seconds
  if c.granted == granted and now_ms >= call_granted_end(c) then return { CODE.CUT_DUE, 0, 0, 0, 0 } end
  if final_is_short(c.final) ~= was_short then
    command_publish(was_short and 'funds_restored' or 'funds_low', c, office_id, call_id, c.granted)
  end
else
  local late = used < c.used
  used = math.max(used, c.used)
  if c.answered_ms == 0 then c.answered_ms = math.max(c.authorized_ms, now_ms - used * 1000) end
  c.confirmed = math.max(c.confirmed, used)
  local target = grant_target(c, used + (requested > 0 and requested or c.tick))
  if state == LAPSED then
    taken, final = grant_revive(o, c, used, target - used, now_ms)
    if not taken then return { CODE.ENDED, c.granted, final, c.debited, office_available(o) } end
  elseif state == CUT then
    -- Too late to be granted anything; what it holds pays for what it used.
    final = c.final
    taken = grant_advance(o, c, used, c.granted)
    c.final = final
  else
    c.state = ANSWERED
    if c.reason == FUNDED_REASON and not late then taken = grant_advance(o, c, used, target) end
  end
  c.used, c.heard_ms = used, now_ms
end

if taken > 0 or (state == LAPSED and c.journaled == 1) then
  grant_journal(KEYS[5], 'tick', o, c, office_id, call_id, now_ms, taken)
end
office_judge_refill(o, KEYS[5], office_id, now_ms)
grant_write(KEYS, o, c, office_id .. ':' .. call_id, now_ms, setup_ms, grace_ms)
return answer(c.state == CUT and CODE.ENDED or CODE.OK)
