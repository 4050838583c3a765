#!lua flags=allow-oom
--[[
apply_credit: put the office's next numbered credit on its balance.

KEYS
  KEYS[1]  clock   string  tg:{<shard>}:clock
  KEYS[2]  office  string  tg:{<shard>}:office:<office_id>
  KEYS[3]  outbox  stream  tg:{<shard>}:outbox
ARGV
  ARGV[1]  now_ms     int  Unix milliseconds
  ARGV[2]  office_id  str
  ARGV[3]  number     int  of the credit, from 1
  ARGV[4]  amount     int  micros, signed
  ARGV[5]  refill     int  number of the refill it closes; 0: none
RETURNS { code, balance_micros, available_micros, credit_number, moved_micros }
  OK. REPLAYED: applied before; moved is what it moved then, nil if a later one was applied since.
  OUT_OF_ORDER: the store holds credit_number, so credit_number + 1 comes first. NOT_COVERED: more is taken than is
  available. OUT_OF_RANGE: the balance would leave +/- 10^15. NOT_PENDING: that refill is not the one asked for.
  UNKNOWN_OFFICE. Nothing changes but by OK.
INVARIANT  balance = the sum of the credits up to credit_number - debits + refunds.
]]
--@include lib/codes
--@include lib/clock
--@include lib/office

local now_ms, office_id = tonumber(ARGV[1]), ARGV[2]
local number, amount, refill = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local LARGEST = 1e15

local o = office_read(KEYS[2])
if not o then return { CODE.UNKNOWN_OFFICE, 0, 0, 0, 0 } end
local function answer(code)
  local moved = number == o.credit_number and o.credit_amount
  return { code, o.balance, office_available(o), o.credit_number, moved }
end
if number <= o.credit_number then return answer(CODE.REPLAYED) end
if number ~= o.credit_number + 1 then return answer(CODE.OUT_OF_ORDER) end
if amount < 0 and office_available(o) + amount < 0 then return answer(CODE.NOT_COVERED) end
if math.abs(o.balance + amount) > LARGEST then return answer(CODE.OUT_OF_RANGE) end
if refill > 0 and refill ~= o.refill_number + 1 then return answer(CODE.NOT_PENDING) end

now_ms = clock_now(KEYS[1], now_ms)
o.balance, o.credit_number, o.credit_amount = o.balance + amount, number, amount
if refill > 0 then
  o.refill_number, o.refill_failures, o.refill_until, o.refill_failed_attempt = refill, 0, 0, 0
  if o.refill_state ~= REFILL_OFF then o.refill_state = REFILL_ARMED end
end
outbox_add(KEYS[3], 'credit', office_id, number, now_ms, amount, o.balance, 'refill', refill)
office_judge_refill(o, KEYS[3], office_id, now_ms)
clock_advance(KEYS[1], now_ms)
office_write(KEYS[2], o)
return answer(CODE.OK)
