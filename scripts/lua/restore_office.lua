#!lua
--[[
restore_office: put an office back that the store has lost, as the ledger knows it, its refill judged at once.

KEYS
  KEYS[1]  clock   string  tg:{<shard>}:clock
  KEYS[2]  office  string  tg:{<shard>}:office:<office_id>
  KEYS[3]  outbox  stream  tg:{<shard>}:outbox
ARGV
  ARGV[1]  now_ms     int    Unix milliseconds
  ARGV[2]  office_id  str
  ARGV[3]  record     bytes  packed as in lib/office, the profile behind it
RETURNS { code, available_micros }
  OK. STALE: the office is there, and stays as it is.
INVARIANT  moves no money; an office that is there is never overwritten.
]]
--@include lib/codes
--@include lib/clock
--@include lib/office

local now_ms, office_id, record = tonumber(ARGV[1]), ARGV[2], ARGV[3]

local existing = office_read(KEYS[2])
if existing then return { CODE.STALE, office_available(existing) } end

now_ms = clock_now(KEYS[1], now_ms)
local o = office_unpack(record)
office_judge_refill(o, KEYS[3], office_id, now_ms)
clock_advance(KEYS[1], now_ms)
office_write(KEYS[2], o)
return { CODE.OK, office_available(o) }
