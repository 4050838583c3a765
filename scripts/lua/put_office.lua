#!lua
--[[
put_office: project an office's settings from SQL, where they are at home, by version.

KEYS
  KEYS[1]  clock   string  tg:{<shard>}:clock
  KEYS[2]  office  string  tg:{<shard>}:office:<office_id>
  KEYS[3]  outbox  stream  tg:{<shard>}:outbox
ARGV
  ARGV[1]  now_ms             int    Unix milliseconds
  ARGV[2]  office_id          str
  ARGV[3]  settings           bytes  packed as in lib/office, the profile behind them
  ARGV[4]  refill_enabled     int    0 or 1, taken over only with a newer refill_generation
  ARGV[5]  create             int    1: SQL never saw this office in the store, so it may be made
RETURNS { code, available_micros, smallest_credit_limit_micros }
  OK. STALE: the store holds this version or a newer one. NOT_COVERED: the lower credit limit is not covered; the
  smallest that would do. UNKNOWN_OFFICE: the store lost an office that it had.
INVARIANT  available >= 0 afterwards; settings never go back to an older version.
]]
--@include lib/codes
--@include lib/clock
--@include lib/office

local now_ms, office_id, settings = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local refill_enabled, create = ARGV[4] == '1', ARGV[5] == '1'

local o = office_read(KEYS[2])
if not o and not create then return { CODE.UNKNOWN_OFFICE, 0, 0 } end
local new = office_unpack(string.rep('\0', OFFICE_SETTINGS_OFFSET - 1) .. settings)
if o then
  if o.version >= new.version then return { CODE.STALE, office_available(o), 0 } end
  local smallest = math.max(0, o.reserved - o.balance)
  if new.credit_limit < smallest then return { CODE.NOT_COVERED, office_available(o), smallest } end
else
  -- No generation is older than the first, so that a new office takes the state it was made with.
  o = office_unpack(new.bytes)
  o.refill_state, o.refill_generation = REFILL_OFF, -1
end

now_ms = clock_now(KEYS[1], now_ms)
local generation = o.refill_generation
if new.refill_threshold ~= o.refill_threshold then o.refill_level = new.refill_threshold end
for _, name in ipairs({ 'bytes', 'version', 'state', 'credit_limit', 'refill_threshold', 'refill_amount' }) do
  o[name] = new[name]
end
if new.refill_generation > generation then
  if not refill_enabled then
    o.refill_state, o.refill_until = REFILL_OFF, 0
  elseif o.refill_state == REFILL_OFF or o.refill_state == REFILL_WAITING then
    -- Somebody has changed what failed, or its time out: judged at once, below.
    o.refill_state, o.refill_until, o.refill_failures = REFILL_ARMED, 0, 0
  end
end
office_judge_refill(o, KEYS[3], office_id, now_ms)
clock_advance(KEYS[1], now_ms)
office_write(KEYS[2], o)
return { CODE.OK, office_available(o), 0 }
