#!lua flags=allow-oom
--[[
cut_call: at the end of the granted time look once more, then mark the call cut; or cut it at an operator's word.

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
  ARGV[5]  forced     int  1: an operator wants it
  ARGV[6]  grace_ms   int  silence past the granted time before a call lapses
RETURNS { code, granted_seconds, final, switch_id, late_ms }
  CUT: marked now, late_ms after the granted time; else and at an operator's word that is 0. REPLAYED: marked before.
  With both the command to the switch is published. LAPSE_DUE: nothing was heard for the grace. OK: the look granted
  more. NOT_DUE: its time is not over. NOT_FOUND: no live call.
INVARIANT  a cut call is granted nothing more; EMERGENCY and FREE calls are not cut by the gateway itself.
]]
--@include lib/codes
--@include lib/clock
--@include lib/grant
--@include lib/command

local now_ms, office_id, call_id = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local day, forced, grace_ms = tonumber(ARGV[4]), ARGV[5] == '1', tonumber(ARGV[6])
local FINAL_OPERATOR = 4

local o = office_read(KEYS[2])
local bytes = redis.call('GET', KEYS[3])
if not o or not bytes or call_state(bytes) > CUT then return { CODE.NOT_FOUND, 0, 0, '', 0 } end
local c = call_unpack(bytes)
if c.reason == CODE.EMERGENCY then return { CODE.NOT_DUE, c.granted, c.final, c.switch_id, 0 } end

now_ms = clock_now(KEYS[1], now_ms)
office_turn_day(o, day)
local taken, late_ms = 0, 0
local code
if c.state == CUT then
  if not forced and now_ms >= call_lapses_at(c, 0, grace_ms) then
    return { CODE.LAPSE_DUE, c.granted, c.final, c.switch_id, 0 }
  end
  code = CODE.REPLAYED
elseif forced then
  c.state, c.final, code = CUT, FINAL_OPERATOR, CODE.CUT
else
  -- A gateway's tick that came too late finds out only now that nothing more can be granted: it need not be final yet.
  local may_end = c.reason == CODE.FUNDED and (call_ends_with_grant(c) or c.ticker == TICKED_BY_GATEWAY)
  if c.state ~= ANSWERED or not may_end or now_ms < call_granted_end(c) then
    return { CODE.NOT_DUE, c.granted, c.final, c.switch_id, 0 }
  end
  local granted = c.granted
  taken = grant_advance(o, c, c.used, grant_target(c, c.granted + c.tick))
  code = CODE.OK
  if c.granted == granted then c.state, code, late_ms = CUT, CODE.CUT, now_ms - call_granted_end(c) end
end

if taken > 0 then grant_journal(KEYS[5], 'tick', o, c, office_id, call_id, now_ms, taken) end
office_judge_refill(o, KEYS[5], office_id, now_ms)
grant_write(KEYS, o, c, office_id .. ':' .. call_id, now_ms, 0, grace_ms, true)
if c.state == CUT then command_publish('cut_call', c, office_id, call_id, c.final) end
return { code, c.granted, c.final, c.switch_id, late_ms }
