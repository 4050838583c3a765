#!lua
--[[
authorize_message: debit a message whole, or block it.

KEYS
  KEYS[1]  clock    string  tg:{<shard>}:clock
  KEYS[2]  office   string  tg:{<shard>}:office:<office_id>
  KEYS[3]  message  string  tg:{<shard>}:message:<office_id>:<message_id>
  KEYS[4]  outbox   stream  tg:{<shard>}:outbox
ARGV
  ARGV[1]   now_ms       int    Unix milliseconds
  ARGV[2]   office_id    str
  ARGV[3]   message_id   str
  ARGV[4]   day          int    ordinal of the office's calendar date
  ARGV[5]   version      int    of the office's settings that the request was rated by
  ARGV[6]   verdict      int    what rating found: INVALID_NUMBER, DESTINATION_BLOCKED, NO_RATE, FREE or FUNDED (priced)
  ARGV[7]   fingerprint  bytes  8, of the request
  ARGV[8]   price        int    micros, of all segments
  ARGV[9]   details      bytes  kept for the usage record
  ARGV[10]  stub_ms      int    how long a sent message is kept
  ARGV[11]  dry_run      int    1: decide only, write nothing
RETURNS { code, debited_micros, available_micros [, record] }
  FREE | FUNDED: granted.
  INVALID_NUMBER | UNKNOWN_OFFICE | OFFICE_SUSPENDED | MESSAGE_REFUNDED | DESTINATION_BLOCKED | NO_RATE | SPEND_LIMIT |
  INSUFFICIENT_FUNDS: denied; journaled or counted, and a refill may be asked for.
  REPLAYED: granted before; record is its reason. ID_REUSED: known with another request. OFFICE_CHANGED: the office in
  record; rate again by it.
INVARIANT  available >= 0 afterwards; a message is debited at most once.
]]
--@include lib/codes
--@include lib/clock
--@include lib/office
--@include lib/message

local now_ms, office_id, message_id = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local day, version, verdict, fingerprint = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local price, details, stub_ms, dry_run = tonumber(ARGV[8]), ARGV[9], ARGV[10], ARGV[11] == '1'
local BLOCKED_PER_SECOND = 100

local o = office_read(KEYS[2])
if not o then return { CODE.UNKNOWN_OFFICE, 0, 0 } end
if o.version ~= version then return { CODE.OFFICE_CHANGED, 0, 0, o.bytes } end

local existing = verdict ~= CODE.INVALID_NUMBER and redis.call('GET', KEYS[3])
local refunded = false
if existing then
  local m = message_unpack(existing)
  refunded = m.state ~= MESSAGE_SENT
  if not refunded then
    if m.fingerprint ~= fingerprint then return { CODE.ID_REUSED, 0, 0 } end
    return { CODE.REPLAYED, m.debited, office_available(o), m.reason }
  end
end

now_ms = clock_now(KEYS[1], now_ms)
office_turn_day(o, day)

local function block(code, lacking)
  if not dry_run then
    office_judge_refill(o, KEYS[4], office_id, now_ms, lacking)
    local unrecorded = office_count_refusal(o, math.floor(now_ms / 1000), BLOCKED_PER_SECOND, 'blocked_second',
      'blocked_count', 'blocked_dropped')
    if unrecorded then
      outbox_add(KEYS[4], 'blocked', office_id, message_id, now_ms, 0, o.balance, 'reason', code, 'details', details,
        'unrecorded_before', unrecorded)
    end
    clock_advance(KEYS[1], now_ms)
    office_write(KEYS[2], o)
  end
  return { code, 0, office_available(o) }
end

if verdict == CODE.INVALID_NUMBER then return block(verdict) end
local suspended = o.state == STATE_SUSPENDED
-- Not journaled: the message that had the id has its usage record.
if refunded then return { suspended and CODE.OFFICE_SUSPENDED or CODE.MESSAGE_REFUNDED, 0, office_available(o) } end
if suspended then return block(CODE.OFFICE_SUSPENDED) end
if verdict ~= CODE.FUNDED and verdict ~= CODE.FREE then return block(verdict) end
if price > office_spend_room(o) then return block(CODE.SPEND_LIMIT) end
if price > office_available(o) then return block(CODE.INSUFFICIENT_FUNDS, price - office_available(o)) end

if dry_run then return { verdict, price, office_available(o) } end
office_debit(o, price)
outbox_add(KEYS[4], 'message', office_id, message_id, now_ms, -price, o.balance, 'reason', verdict, 'details', details,
  'fingerprint', fingerprint)
office_judge_refill(o, KEYS[4], office_id, now_ms)
clock_advance(KEYS[1], now_ms)
office_write(KEYS[2], o)
redis.call('SET', KEYS[3], message_pack({ state = MESSAGE_SENT, fingerprint = fingerprint, debited = price, day = o.day,
  reason = verdict }), 'PX', stub_ms)
return { verdict, price, office_available(o) }
