-- An office in the store: counters that scripts change, behind them settings that SQL projects, then the profile,
-- which scripts never read. One packed string, so that all of it takes one GET and one SET.
--@include lib/outbox

local OFFICE_COUNTERS = '<i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8'
local OFFICE_SETTINGS = '<i8i8i8i8i8i8i8i8i8'
local OFFICE_SETTINGS_OFFSET = 19 * 8 + 1

local STATE_SUSPENDED = 2
local REFILL_OFF, REFILL_ARMED, REFILL_PENDING, REFILL_WAITING = 1, 2, 3, 4

-- The tables are made whole, here and in lib/call: growing one field by field costs some 2 us of the store's time.
local function office_unpack(bytes)
  local balance, reserved, calls, day, spent, credit_number, credit_amount, refill_state, refill_number, refill_until,
    refill_failures, refill_failed_attempt, refill_level, blocked_second, blocked_count, blocked_dropped, denied_minute,
    denied_count, denied_dropped = struct.unpack(OFFICE_COUNTERS, bytes)
  local version, state, credit_limit, max_calls, max_price_per_minute, daily_spend_limit, refill_threshold,
    refill_amount, refill_generation = struct.unpack(OFFICE_SETTINGS, bytes, OFFICE_SETTINGS_OFFSET)
  return {
    bytes = bytes, balance = balance, reserved = reserved, calls = calls, day = day, spent = spent,
    credit_number = credit_number, credit_amount = credit_amount, refill_state = refill_state,
    refill_number = refill_number, refill_until = refill_until, refill_failures = refill_failures,
    refill_failed_attempt = refill_failed_attempt, refill_level = refill_level, blocked_second = blocked_second,
    blocked_count = blocked_count, blocked_dropped = blocked_dropped, denied_minute = denied_minute,
    denied_count = denied_count, denied_dropped = denied_dropped, version = version, state = state,
    credit_limit = credit_limit, max_calls = max_calls, max_price_per_minute = max_price_per_minute,
    daily_spend_limit = daily_spend_limit, refill_threshold = refill_threshold, refill_amount = refill_amount,
    refill_generation = refill_generation,
  }
end

local function office_read(key)
  local bytes = redis.call('GET', key)
  return bytes and office_unpack(bytes)
end

-- Writes the counters; the settings behind them stay as they were read.
local function office_write(key, o)
  redis.call('SET', key, struct.pack(OFFICE_COUNTERS, o.balance, o.reserved, o.calls, o.day, o.spent, o.credit_number,
    o.credit_amount, o.refill_state, o.refill_number, o.refill_until, o.refill_failures, o.refill_failed_attempt,
    o.refill_level, o.blocked_second, o.blocked_count, o.blocked_dropped, o.denied_minute, o.denied_count,
    o.denied_dropped) .. string.sub(o.bytes, OFFICE_SETTINGS_OFFSET))
end

local function office_available(o)
  return o.balance + o.credit_limit - o.reserved
end

-- A new calendar day of the office begins with nothing spent; a gateway that is behind does not bring the old one back.
local function office_turn_day(o, day)
  if day > o.day then
    o.day, o.spent = day, 0
  end
end

-- What may still be spent today, reservations counted as spent.
local function office_spend_room(o)
  if o.daily_spend_limit == 0 then return math.huge end
  return math.max(0, o.daily_spend_limit - o.spent - o.reserved)
end

-- Takes a debit (or gives back a negative one).
local function office_debit(o, amount)
  o.balance = o.balance - amount
  o.spent = math.max(0, o.spent + amount)
end

-- A refusal is journaled, so many in a window of time (a second of messages, a minute of calls); beyond that it is
-- counted, and the count rides on the next one. Returns how many went before this one unrecorded; nil: this one does.
local function office_count_refusal(o, window, most, window_field, count_field, dropped_field)
  if o[window_field] ~= window then o[window_field], o[count_field] = window, 0 end
  if o[count_field] >= most then
    o[dropped_field] = o[dropped_field] + 1
    return nil
  end
  local dropped = o[dropped_field]
  o[count_field], o[dropped_field] = o[count_field] + 1, 0
  return string.format('%d', dropped)
end

-- Raises the refill trigger where one is due: funds below the threshold, or lacking (more than was available, for an
-- operation that was denied) within what one refill adds. True if it did: the office must then be written.
--
-- The id is the number of the refill asked for, so that a dip seen again after a failover has the same id. The message
-- is published as well, so that watchers hear of it within a millisecond; the outbox is the durable way.
local function office_judge_refill(o, outbox, office_id, now_ms, lacking)
  if o.refill_state ~= REFILL_ARMED and not (o.refill_state == REFILL_WAITING and now_ms >= o.refill_until) then
    return false
  end
  local available = office_available(o)
  local level = o.refill_threshold
  if lacking and lacking <= o.refill_amount then level = math.max(level, available + lacking) end
  if available >= level then return false end
  -- The level is kept: funds that have risen to it before the card is charged make the charge needless.
  o.refill_state, o.refill_until, o.refill_level = REFILL_PENDING, 0, level
  local number = string.format('%d', o.refill_number + 1)
  local amount, threshold = string.format('%d', o.refill_amount), string.format('%d', o.refill_threshold)
  local left, at = string.format('%d', available), string.format('%d', now_ms)
  outbox_add(outbox, 'refill', office_id, office_id .. '/' .. number, now_ms, 0, o.balance,
    'refill_amount', amount, 'threshold', threshold, 'available', left)
  redis.call('PUBLISH', 'tg:refills', table.concat({ office_id, number, amount, threshold, left, at }, ' '))
  return true
end
