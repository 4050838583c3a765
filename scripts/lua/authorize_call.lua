#!lua
--[[
authorize_call: reserve the first tick of a call, once per call id.

KEYS
  KEYS[1]  clock   string  tg:{<shard>}:clock
  KEYS[2]  office  string  tg:{<shard>}:office:<office_id>
  KEYS[3]  call    string  tg:{<shard>}:call:<office_id>:<call_id>
  KEYS[4]  due     zset    tg:{<shard>}:due
  KEYS[5]  outbox  stream  tg:{<shard>}:outbox
ARGV
  ARGV[1]   now_ms            int    Unix milliseconds
  ARGV[2]   office_id         str
  ARGV[3]   call_id           str
  ARGV[4]   day               int    ordinal of the office's calendar date
  ARGV[5]   version           int    of the office's settings that the request was rated by
  ARGV[6]   verdict           int    what rating found: EMERGENCY, INVALID_NUMBER, DESTINATION_BLOCKED, FRAUD_GUARD,
                                     NO_RATE, FREE or FUNDED (priced)
  ARGV[7]   fingerprint       bytes  8, of the request
  ARGV[8]   requested         int    seconds, 0: one tick
  ARGV[9]   tick              int    seconds, 1 to 3,600
  ARGV[10]  max_duration      int    seconds, 1 to 86,400
  ARGV[11]  ticker            int    1: the switch ticks, 2: the gateway
  ARGV[12]  price_per_minute  int    micros
  ARGV[13]  switch_id         str    '' for an operator's call
  ARGV[14]  rate              bytes  packed, see lib/rate; no slots: free
  ARGV[15]  details           bytes  kept for the usage record
  ARGV[16]  setup_ms          int    set-up time-out
  ARGV[17]  dry_run           int    1: decide only, write nothing
RETURNS { code, granted_seconds, final, available_micros [, record] }
  EMERGENCY | FREE | FUNDED: granted.
  INVALID_NUMBER | UNKNOWN_OFFICE | OFFICE_SUSPENDED | CALL_ENDED | DESTINATION_BLOCKED | FRAUD_GUARD | NO_RATE |
  PRICE_LIMIT | TOO_MANY_CALLS | SPEND_LIMIT | INSUFFICIENT_FUNDS: denied; journaled or counted, and a refill may be asked for.
  REPLAYED: the call as it is now in record. ID_REUSED: live with another request. OFFICE_CHANGED: the office in record;
  rate again by it.
INVARIANT  available >= 0 and reserved = the sum of held, before and afterwards.
]]
--@include lib/codes
--@include lib/clock
--@include lib/grant

local now_ms, office_id, call_id = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local day, version, verdict = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local fingerprint, requested, tick = ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9])
local max_duration, ticker, price_per_minute = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local switch_id, packed_rate, details, setup_ms = ARGV[13], ARGV[14], ARGV[15], tonumber(ARGV[16])
local dry_run = ARGV[17] == '1'
local DENIED_PER_MINUTE = 100

local o = office_read(KEYS[2])
if not o then return { CODE.UNKNOWN_OFFICE, 0, 0, 0 } end
if o.version ~= version then return { CODE.OFFICE_CHANGED, 0, 0, 0, o.bytes } end

-- A number that is none is no request for the call that has the id already.
local existing = verdict ~= CODE.INVALID_NUMBER and redis.call('GET', KEYS[3])
local spent = false
if existing then
  local state = call_state(existing)
  spent = state == ENDED or state == SPENT
  if not spent then
    local c = call_unpack(existing)
    if c.fingerprint ~= fingerprint then return { CODE.ID_REUSED, 0, 0, 0 } end
    return { CODE.REPLAYED, c.granted, c.final, office_available(o), existing }
  end
end

now_ms = clock_now(KEYS[1], now_ms)
office_turn_day(o, day)

local function deny(code, lacking)
  if not dry_run then
    office_judge_refill(o, KEYS[5], office_id, now_ms, lacking)
    local unrecorded = office_count_refusal(o, math.floor(now_ms / 60000), DENIED_PER_MINUTE, 'denied_minute',
      'denied_count', 'denied_dropped')
    if unrecorded then
      outbox_add(KEYS[5], 'denied', office_id, call_id, now_ms, 0, o.balance, 'reason', code, 'details', details,
        'unrecorded_before', unrecorded)
    end
    clock_advance(KEYS[1], now_ms)
    office_write(KEYS[2], o)
  end
  return { code, 0, 0, office_available(o) }
end

local c = {
  state = RINGING, reason = verdict, final = 0, ticker = ticker, journaled = 0, fingerprint = fingerprint,
  authorized_ms = now_ms, answered_ms = 0, heard_ms = now_ms, granted = 0, used = 0, confirmed = 0,
  max_duration = max_duration, tick = tick, debited = 0, held = 0, switch_id = switch_id,
  rate = rate_unpack(packed_rate, 1), tail = packed_rate .. details,
}

if verdict == CODE.EMERGENCY then
  if spent then return { CODE.EMERGENCY, max_duration, 0, office_available(o) } end
  c.granted = max_duration
else
  if verdict == CODE.INVALID_NUMBER then return deny(verdict) end
  local suspended = o.state == STATE_SUSPENDED
  -- Not journaled: the call that had the id has its usage record.
  if spent then return { suspended and CODE.OFFICE_SUSPENDED or CODE.CALL_ENDED, 0, 0, office_available(o) } end
  if suspended then return deny(CODE.OFFICE_SUSPENDED) end
  if verdict == CODE.FREE then
    c.granted = max_duration
  elseif verdict ~= CODE.FUNDED then
    return deny(verdict)
  else
    if o.max_price_per_minute > 0 and price_per_minute > o.max_price_per_minute then return deny(CODE.PRICE_LIMIT) end
    if o.max_calls > 0 and o.calls >= o.max_calls then return deny(CODE.TOO_MANY_CALLS) end
    local target = grant_target(c, requested > 0 and requested or tick)
    if o.daily_spend_limit > 0 and rate_longest(c.rate, office_spend_room(o), target) == 0 then
      return deny(CODE.SPEND_LIMIT)
    end
    grant_advance(o, c, 0, target)
    if c.granted == 0 then
      local first_increment = rate_price(c.rate, rate_round_up(c.rate, 1))
      return deny(CODE.INSUFFICIENT_FUNDS, first_increment - office_available(o))
    end
    o.calls = o.calls + 1
  end
end

if dry_run then return { verdict, c.granted, c.final, office_available(o) + c.held } end
office_judge_refill(o, KEYS[5], office_id, now_ms)
grant_write(KEYS, o, c, office_id .. ':' .. call_id, now_ms, setup_ms, 0)
return { verdict, c.granted, c.final, office_available(o) }
