#!lua flags=allow-oom
--[[
end_call: settle a call: its debit becomes the price of its duration, what is left is released.

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
  ARGV[5]  duration   int  talk time, seconds, 0 to 86,400; 0: not answered
  ARGV[6]  cause      str  the switch's words
  ARGV[7]  switch_id  str  '' for an operator
  ARGV[8]  setup_ms   int  how long an id stays spent whose end came first
  ARGV[9]  stub_ms    int  how long an ended call is kept
RETURNS { code, billed_seconds, debited_micros, written_off_micros, available_micros }
  OK | REPLAYED. ID_REUSED: ended with another duration. NOT_FOUND: unknown; the id is spent now. FORBIDDEN: another
  switch's call.
INVARIANT  debited + written off = price(billed), and an ended call holds nothing.
]]
--@include lib/codes
--@include lib/clock
--@include lib/grant

local now_ms, office_id, call_id = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local day, duration, cause, switch_id = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7]
local setup_ms, stub_ms = ARGV[8], ARGV[9]
local NO_FINGERPRINT = '\0\0\0\0\0\0\0\0'
local OUTBOX_END = '<I4I4i8'

local o = office_read(KEYS[2])
if not o then return { CODE.NOT_FOUND, 0, 0, 0, 0 } end
local bytes = redis.call('GET', KEYS[3])
if not bytes then
  redis.call('SET', KEYS[3], stub_pack(SPENT, NO_FINGERPRINT, duration, 0, 0, 0), 'PX', setup_ms)
  return { CODE.NOT_FOUND, 0, 0, 0, 0 }
end
local state = call_state(bytes)
if state == SPENT then return { CODE.NOT_FOUND, 0, 0, 0, 0 } end
if state == ENDED then
  local stub = stub_unpack(bytes)
  local code = stub.duration == duration and CODE.REPLAYED or CODE.ID_REUSED
  return { code, stub.billed, stub.debited, stub.written_off, office_available(o) }
end
local c = call_unpack(bytes)
if call_is_foreign(c, switch_id) then return { CODE.FORBIDDEN, 0, 0, 0, 0 } end

now_ms = clock_now(KEYS[1], now_ms)
office_turn_day(o, day)
-- The switch hangs up a little after the last granted second: up to 2 s past a final grant are not billed.
local billed = duration
if c.final ~= 0 and duration > c.granted and duration <= c.granted + 2 then billed = c.granted end
local debited, written_off = rate_price(c.rate, billed), 0
if debited > c.debited then
  local payable = c.debited + c.held + math.max(0, office_available(o))
  if debited > payable then
    debited, written_off = payable, debited - payable
  end
end
local taken = debited - c.debited
if c.reason == FUNDED_REASON and state ~= LAPSED then o.calls = o.calls - 1 end
o.reserved = o.reserved - c.held
office_debit(o, taken)
c.debited, c.held, c.confirmed = debited, 0, billed

grant_journal(KEYS[5], 'end', o, c, office_id, call_id, now_ms, taken,
  'end', struct.pack(OUTBOX_END, duration, billed, written_off), 'cause', cause)
office_judge_refill(o, KEYS[5], office_id, now_ms)
clock_advance(KEYS[1], now_ms)
office_write(KEYS[2], o)
redis.call('SET', KEYS[3], stub_pack(ENDED, c.fingerprint, duration, billed, debited, written_off), 'PX', stub_ms)
redis.call('ZREM', KEYS[4], office_id .. ':' .. call_id)
return { CODE.OK, billed, debited, written_off, office_available(o) }
