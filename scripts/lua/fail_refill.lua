#!lua
--[[
fail_refill: an attempt to charge for a refill has failed, or the refill must wait for another day.

KEYS
  KEYS[1]  clock   string  tg:{<shard>}:clock
  KEYS[2]  office  string  tg:{<shard>}:office:<office_id>
ARGV
  ARGV[1]  now_ms    int  Unix milliseconds
  ARGV[2]  number    int  of the refill
  ARGV[3]  attempt   int  that failed, from 1: a failure, of which the third in a row turns refill off; 0: the daily cap
  ARGV[4]  until_ms  int  Unix milliseconds; pending again from then on
RETURNS { code, refill_state, failures }
  OK. REPLAYED: this attempt, or a later one, has been counted. NOT_PENDING: not the refill asked for. UNKNOWN_OFFICE.
INVARIANT  moves no money; an attempt counts once.
]]
--@include lib/codes
--@include lib/clock
--@include lib/office

local now_ms, number = tonumber(ARGV[1]), tonumber(ARGV[2])
local attempt, until_ms = tonumber(ARGV[3]), tonumber(ARGV[4])
local FAILURES_ALLOWED = 2

local o = office_read(KEYS[2])
if not o then return { CODE.UNKNOWN_OFFICE, 0, 0 } end
if number ~= o.refill_number + 1 then return { CODE.NOT_PENDING, o.refill_state, o.refill_failures } end
if attempt > 0 and attempt <= o.refill_failed_attempt then
  return { CODE.REPLAYED, o.refill_state, o.refill_failures }
end
if o.refill_state ~= REFILL_PENDING then return { CODE.NOT_PENDING, o.refill_state, o.refill_failures } end

now_ms = clock_now(KEYS[1], now_ms)
if attempt > 0 then
  o.refill_failed_attempt, o.refill_failures = attempt, o.refill_failures + 1
end
if o.refill_failures > FAILURES_ALLOWED then
  o.refill_state, o.refill_until = REFILL_OFF, 0
else
  o.refill_state, o.refill_until = REFILL_WAITING, until_ms
end
clock_advance(KEYS[1], now_ms)
office_write(KEYS[2], o)
return { CODE.OK, o.refill_state, o.refill_failures }
