-- A call in the store: one packed string, since a hash of as many fields takes twice the memory and the time.
-- Layout: fixed fields, the switch's id closed by a zero byte, the rate, and the details, which scripts never read.
-- gateway/store/records.py reads the same bytes.
--@include lib/rate

local RINGING, ANSWERED, CUT, LAPSED, ENDED, SPENT = 1, 2, 3, 4, 5, 6
local TICKED_BY_GATEWAY = 2
local FUNDED_REASON = 14
local FINAL_FUNDS, FINAL_SPEND, FINAL_MAX_DURATION = 1, 2, 3

local CALL_HEAD = '<BBBBBBc8i8i8i8I4I4I4I4I2i8i8s'
local CALL_STUB = '<BBc8I4I4i8i8'
local CALL_FORMAT = 1

-- A live or lapsed call.
local function call_unpack(bytes)
  local format, state, reason, final, ticker, journaled, fingerprint, authorized_ms, answered_ms, heard_ms, granted,
    used, confirmed, max_duration, tick, debited, held, switch_id, offset = struct.unpack(CALL_HEAD, bytes)
  if format ~= CALL_FORMAT then error('call record of format ' .. format) end
  return {
    state = state, reason = reason, final = final, ticker = ticker, journaled = journaled, fingerprint = fingerprint,
    authorized_ms = authorized_ms, answered_ms = answered_ms, heard_ms = heard_ms, granted = granted, used = used,
    confirmed = confirmed, max_duration = max_duration, tick = tick, debited = debited, held = held,
    switch_id = switch_id, rate = rate_unpack(bytes, offset), tail = string.sub(bytes, offset),
  }
end

local function call_pack(c)
  return struct.pack(CALL_HEAD, CALL_FORMAT, c.state, c.reason, c.final, c.ticker, c.journaled, c.fingerprint,
    c.authorized_ms, c.answered_ms, c.heard_ms, c.granted, c.used, c.confirmed, c.max_duration, c.tick, c.debited,
    c.held, c.switch_id) .. c.tail
end

-- The state of a record without unpacking all of it.
local function call_state(bytes)
  return (string.byte(bytes, 2))
end

-- An ended call, or (state SPENT) an id whose EndCall came before its authorization.
local function stub_unpack(bytes)
  local s = {}
  local format
  format, s.state, s.fingerprint, s.duration, s.billed, s.debited, s.written_off = struct.unpack(CALL_STUB, bytes)
  if format ~= CALL_FORMAT then error('call stub of format ' .. format) end
  return s
end

local function stub_pack(state, fingerprint, duration, billed, debited, written_off)
  return struct.pack(CALL_STUB, CALL_FORMAT, state, fingerprint, duration, billed, debited, written_off)
end

-- Whether a switch may touch the call; operators (no switch) may, and so may anyone touch an operator's.
local function call_is_foreign(c, switch_id)
  return switch_id ~= '' and c.switch_id ~= '' and c.switch_id ~= switch_id
end

-- Whether it is funds, or the spend limit, that a final grant lacks.
local function final_is_short(final)
  return final == FINAL_FUNDS or final == FINAL_SPEND
end

local function call_granted_end(c)
  return c.answered_ms + c.granted * 1000
end

-- When silence makes the call lapse.
local function call_lapses_at(c, setup_ms, grace_ms)
  if c.state == RINGING then return c.authorized_ms + setup_ms end
  return math.max(call_granted_end(c), c.heard_ms) + grace_ms
end

-- Whether the end of the granted time is the end of the call unless something raised the funds.
local function call_ends_with_grant(c)
  return c.reason == FUNDED_REASON and (c.final ~= 0 or c.granted >= c.max_duration)
end

-- When the due loop must look at a call next. A cut one is looked at again every 5 s, to repeat the command.
local function call_due_at(c, now_ms, setup_ms, grace_ms)
  if c.state == CUT then return math.min(now_ms + 5000, call_lapses_at(c, setup_ms, grace_ms)) end
  if c.state == ANSWERED and call_ends_with_grant(c) then return call_granted_end(c) end
  if c.state == ANSWERED and c.reason == FUNDED_REASON and c.ticker == TICKED_BY_GATEWAY then
    return call_granted_end(c) - math.min(10000, c.tick * 500)
  end
  return call_lapses_at(c, setup_ms, grace_ms)
end
