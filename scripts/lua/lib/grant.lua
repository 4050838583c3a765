-- The one place where a call's debit and reservation grow: authorization, ticks, the look before the cut, revival.
--@include lib/call
--@include lib/office

-- What can be paid now beyond what the call already has, and the final reason where that is not enough.
local function grant_room(o)
  local available, spend_room = office_available(o), office_spend_room(o)
  if spend_room < available then return spend_room, FINAL_SPEND end
  return math.max(0, available), FINAL_FUNDS
end

-- Debits up to price(used) and reserves up to target: granted becomes the longest whole-increment time up to the target
-- that debited + held + room can pay, and never falls. A debit beyond what is granted waits for EndCall, so that
-- held = price(granted) - debited stays true. Returns what was debited now.
local function grant_advance(o, c, used, target)
  target = math.max(c.granted, target)
  local room, short = grant_room(o)
  local granted = math.max(c.granted, rate_longest(c.rate, c.debited + c.held + room, target))
  local debited = math.max(c.debited, rate_price(c.rate, math.min(used, granted)))
  local held = rate_price(c.rate, granted) - debited
  local taken = debited - c.debited
  o.reserved = o.reserved + held - c.held
  office_debit(o, taken)
  c.granted, c.debited, c.held = granted, debited, held
  c.final = granted < target and short or (granted >= c.max_duration and FINAL_MAX_DURATION or 0)
  return taken
end

-- The target of a tick: so many seconds beyond those used, in whole increments, within the maximum duration.
local function grant_target(c, seconds)
  return math.min(c.max_duration, rate_round_up(c.rate, seconds))
end

-- A lapsed call that is heard of again: live once more if anything beyond the used seconds can be granted. Returns what
-- was debited, or nil and the final reason: hang up. Nothing is changed then. A call that was cut before it lapsed kept
-- its final reason: no credit revives it.
local function grant_revive(o, c, used, requested, now_ms)
  if c.final ~= 0 then return nil, c.final end
  local target = grant_target(c, used + requested)
  if c.reason == FUNDED_REASON then
    local room, short = grant_room(o)
    if rate_longest(c.rate, c.debited + room, target) <= used then
      return nil, used < target and short or FINAL_MAX_DURATION
    end
    o.calls = o.calls + 1
  end
  c.state = c.answered_ms > 0 and ANSWERED or RINGING
  c.heard_ms = now_ms
  if c.reason ~= FUNDED_REASON then
    c.granted = c.max_duration
    return 0
  end
  return grant_advance(o, c, used, target)
end

local OUTBOX_CALL = '<i8i8I4i8'

-- The outbox entry of a call whose debit moved: cumulative debit and confirmed seconds; the first one also carries the
-- call's record, of which the ledger makes the usage record, and rebuild the call.
local function grant_journal(outbox, kind, o, c, office_id, call_id, now_ms, taken, ...)
  local call = struct.pack(OUTBOX_CALL, c.authorized_ms, c.debited, c.confirmed, c.answered_ms)
  if c.journaled == 1 then
    outbox_add(outbox, kind, office_id, call_id, now_ms, -taken, o.balance, 'call', call, ...)
    return
  end
  c.journaled = 1
  local fields = { 'call', call, 'record', call_pack(c), ... }
  outbox_add(outbox, kind, office_id, call_id, now_ms, -taken, o.balance, unpack(fields))
end

-- Both records, the due entry and the clock, after a live call moved on. The command to cut has a rhythm of its own,
-- which only the look moves on: a switch that ticks or lists the call on one Session must not put it off for others.
local function grant_write(keys, o, c, member, now_ms, setup_ms, grace_ms, is_look)
  clock_advance(keys[1], now_ms)
  office_write(keys[2], o)
  redis.call('SET', keys[3], call_pack(c))
  local due_at = call_due_at(c, now_ms, setup_ms, grace_ms)
  if c.state == CUT and not is_look then
    redis.call('ZADD', keys[4], 'LT', due_at, member)
  else
    redis.call('ZADD', keys[4], due_at, member)
  end
end
