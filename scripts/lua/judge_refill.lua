#!lua
--[[
judge_refill: raise the trigger of an office whose waiting time is over, though nobody calls.

KEYS
  KEYS[1]  clock   string  tg:{<shard>}:clock
  KEYS[2]  office  string  tg:{<shard>}:office:<office_id>
  KEYS[3]  outbox  stream  tg:{<shard>}:outbox
ARGV
  ARGV[1]  now_ms     int  Unix milliseconds
  ARGV[2]  office_id  str
RETURNS { code, refill_state }
  OK: triggered. NOT_NEEDED: off, pending, still waiting, or not below the threshold. UNKNOWN_OFFICE.
INVARIANT  moves no money.
]]
--@include lib/codes
--@include lib/clock
--@include lib/office

local now_ms, office_id = tonumber(ARGV[1]), ARGV[2]

local o = office_read(KEYS[2])
if not o then return { CODE.UNKNOWN_OFFICE, 0 } end

now_ms = clock_now(KEYS[1], now_ms)
if o.refill_state == REFILL_WAITING and now_ms >= o.refill_until and office_available(o) >= o.refill_threshold then
  o.refill_state, o.refill_until = REFILL_ARMED, 0
elseif not office_judge_refill(o, KEYS[3], office_id, now_ms) then
  return { CODE.NOT_NEEDED, o.refill_state }
end
clock_advance(KEYS[1], now_ms)
office_write(KEYS[2], o)
return { o.refill_state == REFILL_PENDING and CODE.OK or CODE.NOT_NEEDED, o.refill_state }
