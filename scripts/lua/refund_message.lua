#!lua flags=allow-oom
--[[
refund_message: give the debit of a message back, once.

KEYS
  KEYS[1]  clock    string  tg:{<shard>}:clock
  KEYS[2]  office   string  tg:{<shard>}:office:<office_id>
  KEYS[3]  message  string  tg:{<shard>}:message:<office_id>:<message_id>
  KEYS[4]  outbox   stream  tg:{<shard>}:outbox
ARGV
  ARGV[1]  now_ms      int  Unix milliseconds
  ARGV[2]  office_id   str
  ARGV[3]  message_id  str
  ARGV[4]  day         int  ordinal of the office's calendar date
  ARGV[5]  stub_ms     int  how long a refunded message is kept
RETURNS { code, refunded_micros, available_micros }
  OK | REPLAYED. NOT_FOUND: not sent, or too long ago; the id is spent now, and the outbox asks the ledger whether there
  is something to give back.
INVARIANT  the net debit of a refunded message is 0.
]]
--@include lib/codes
--@include lib/clock
--@include lib/office
--@include lib/message

local now_ms, office_id, message_id = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local day, stub_ms = tonumber(ARGV[4]), ARGV[5]
local NO_FINGERPRINT = string.rep('\0', 8)

local o = office_read(KEYS[2])
if not o then return { CODE.NOT_FOUND, 0, 0 } end
local bytes = redis.call('GET', KEYS[3])
if not bytes then
  outbox_add(KEYS[4], 'late_refund', office_id, message_id, now_ms, 0, o.balance)
  redis.call('SET', KEYS[3], message_pack({ state = MESSAGE_ASKED_BACK, fingerprint = NO_FINGERPRINT, debited = 0,
    day = 0, reason = 0 }), 'PX', stub_ms)
  return { CODE.NOT_FOUND, 0, 0 }
end
local m = message_unpack(bytes)
if m.state == MESSAGE_ASKED_BACK then return { CODE.NOT_FOUND, 0, 0 } end
if m.state == MESSAGE_REFUNDED then return { CODE.REPLAYED, m.debited, office_available(o) } end

now_ms = clock_now(KEYS[1], now_ms)
office_turn_day(o, day)
o.balance = o.balance + m.debited
-- Yesterday's message does not make room in today's spend.
if m.day == o.day then o.spent = math.max(0, o.spent - m.debited) end
m.state = MESSAGE_REFUNDED

outbox_add(KEYS[4], 'message_refund', office_id, message_id, now_ms, m.debited, o.balance)
office_judge_refill(o, KEYS[4], office_id, now_ms)
clock_advance(KEYS[1], now_ms)
office_write(KEYS[2], o)
redis.call('SET', KEYS[3], message_pack(m), 'PX', stub_ms)
return { CODE.OK, m.debited, office_available(o) }
