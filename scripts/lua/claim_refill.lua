#!lua
--[[
claim_refill: the write that must succeed before a card is charged: no write, no charge.

KEYS
  KEYS[1]  clock   string  tg:{<shard>}:clock
  KEYS[2]  office  string  tg:{<shard>}:office:<office_id>
ARGV
  ARGV[1]  now_ms  int  Unix milliseconds
  ARGV[2]  number  int  of the refill
RETURNS { code, amount_micros }
  OK: charge so much. NOT_NEEDED: available has reached the level that was lacking; the refill is ARMED again.
  NOT_PENDING: not the refill asked for. UNKNOWN_OFFICE.
INVARIANT  moves no money; may be repeated.
]]
--@include lib/codes
--@include lib/clock
--@include lib/office

local now_ms, number = tonumber(ARGV[1]), tonumber(ARGV[2])

local o = office_read(KEYS[2])
if not o then return { CODE.UNKNOWN_OFFICE, 0 } end
if o.refill_state ~= REFILL_PENDING or number ~= o.refill_number + 1 then return { CODE.NOT_PENDING, 0 } end

now_ms = clock_now(KEYS[1], now_ms)
local needed = office_available(o) < o.refill_level
if not needed then o.refill_state = REFILL_ARMED end
clock_advance(KEYS[1], now_ms)
-- Also when nothing has changed: a store that cannot write must not be charged for.
office_write(KEYS[2], o)
return { needed and CODE.OK or CODE.NOT_NEEDED, needed and o.refill_amount or 0 }
