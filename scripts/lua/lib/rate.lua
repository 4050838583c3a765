-- A rate as packed into the call: what it costs to talk for so long, and how long one may talk for so much.
-- The twin of gateway/domain/rate.py; a property test holds the two equal.
--
-- Numbers are doubles, exact to 2^53 = 9.0e15. The largest product here is 86,400 s * 10^9 micros = 8.64e13; the sum of
-- the parts of a micro is kept in 3,600ths, which every per_seconds divides.

-- { fee, slots = { { from, price, per, increment, to } ... } } from the bytes at offset.
local function rate_unpack(bytes, offset)
  local fee, count
  fee, count, offset = struct.unpack('<I4B', bytes, offset)
  local slots = {}
  for i = 1, count do
    local from, price, per, increment
    from, price, per, increment, offset = struct.unpack('<I4I4I2I4', bytes, offset)
    slots[i] = { from = from, price = price, per = per, increment = increment, to = math.huge }
    if i > 1 then slots[i - 1].to = from end
  end
  return { fee = fee, slots = slots }
end

-- What so many seconds cost: whole micros, and beside them 3,600ths of a micro not yet rounded up. seconds > 0.
local function rate_cost(rate, seconds)
  local micros, parts = rate.fee, 0
  for i = 1, #rate.slots do
    local slot = rate.slots[i]
    if seconds <= slot.from then break end
    local used = math.min(seconds, slot.to) - slot.from
    local product = math.ceil(used / slot.increment) * slot.increment * slot.price
    local rest = product % slot.per
    micros = micros + (product - rest) / slot.per
    parts = parts + rest * (3600 / slot.per)
  end
  return micros, parts
end

-- Price of so many seconds in micros, rounded up once. price(0) = 0: a call that was not answered costs nothing.
local function rate_price(rate, seconds)
  if seconds <= 0 then return 0 end
  local micros, parts = rate_cost(rate, seconds)
  return micros + math.ceil(parts / 3600)
end

-- Up to a whole increment of the slot that the last second falls in.
local function rate_round_up(rate, seconds)
  for i = #rate.slots, 1, -1 do
    local slot = rate.slots[i]
    if seconds > slot.from then
      return slot.from + math.ceil((seconds - slot.from) / slot.increment) * slot.increment
    end
  end
  return 0
end

-- The longest whole-increment time up to target_seconds that budget micros pay; the target itself counts too, since a
-- maximum duration need not be a whole increment. 0: not even the first increment.
local function rate_longest(rate, budget, target_seconds)
  if target_seconds <= 0 then return 0 end
  if rate_price(rate, target_seconds) <= budget then return target_seconds end
  -- The target is too dear: find the last slot whose first increment can be paid, then divide within it.
  for i = #rate.slots, 1, -1 do
    local slot = rate.slots[i]
    if slot.from < target_seconds and rate_price(rate, slot.from + slot.increment) <= budget then
      local last = math.floor((math.min(target_seconds, slot.to) - slot.from) / slot.increment)
      local count = last
      if slot.price > 0 then
        local micros, parts = rate.fee, 0
        if i > 1 then micros, parts = rate_cost(rate, slot.from) end
        local step = slot.price * slot.increment * (3600 / slot.per)
        count = math.min(last, math.floor(((budget - micros) * 3600 - parts) / step))
      end
      -- Beyond 2^53 the quotient may be off by one increment at a boundary: one exact price to either side settles it.
      if count < last and rate_price(rate, slot.from + (count + 1) * slot.increment) <= budget then
        count = count + 1
      elseif rate_price(rate, slot.from + count * slot.increment) > budget then
        count = count - 1
      end
      return slot.from + count * slot.increment
    end
  end
  return 0
end
