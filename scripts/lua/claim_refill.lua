#!lua
--[[
claim_refill: the write that must succeed before a card is charged: no write, no charge.

KEYS
  KEYS[1]  clock   string  tg:{<shard>}:clock
  KEYS[2]  office  string  tg:{<shard>}:office:<office_id>
ARGV
  ARGV[1]  now_ms  int  Unix milliseconds
  ARGV[2]  number  int  of the refill
RETURNS { code, amount_micros, attempt }
  OK: charge, with the key <office_id>/<number>/<attempt>. NOT_NEEDED: available is no longer below the threshold; the
  refill is ARMED again. NOT_PENDING: not the refill asked for. UNKNOWN_OFFICE.
INVARIANT  moves no money.
]]
--@include lib/codes
--@include lib/clock
--@include lib/office

local now_ms, number = tonumber(ARGV[1]), tonumber(ARGV[2])

local o = office_read(KEYS[2])
if not o then return { CODE.UNKNOWN_OFFICE, 0, 0 } end
if o.refill_state ~= REFILL_PENDING or number ~= o.refill_number + 1 then return { CODE.NOT_PENDING, 0, 0 } end

now_ms = clock_now(KEYS[1], now_ms)
local needed = office_available(o) < o.refill_threshold
if needed then
  o.refill_claims = o.refill_claims + 1
else
  o.refill_state = REFILL_ARMED
end
clock_advance(KEYS[1], now_ms)
office_write(KEYS[2], o)
if not needed then return { CODE.NOT_NEEDED, 0, 0 } end
return { CODE.OK, o.refill_amount, o.refill_claims }
