#!lua flags=allow-oom
--[[
trim_outbox: drop entries that were taken, and bound the length.

KEYS
  KEYS[1]  outbox  stream  tg:{<shard>}:outbox
ARGV
  ARGV[1]  taken   str  id of the last entry taken; '0-0': none
  ARGV[2]  longest int  entries kept at most, taken or not; 0: no bound
RETURNS { length, dropped }
  dropped: entries that went untaken, because of the bound.
INVARIANT  moves no money.
]]
local taken, longest = ARGV[1], tonumber(ARGV[2])

local sequence = tonumber(string.match(taken, '%-(%d+)$'))
local next_id = string.match(taken, '^%d+') .. '-' .. string.format('%d', sequence + 1)
redis.call('XTRIM', KEYS[1], 'MINID', next_id)
local length, dropped = redis.call('XLEN', KEYS[1]), 0
if longest > 0 and length > longest then
  dropped = redis.call('XTRIM', KEYS[1], 'MAXLEN', longest)
end
return { length - dropped, dropped }
