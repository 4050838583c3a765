#!lua flags=allow-oom
--[[
trim_outbox: drop the entries that are in the ledger.

KEYS
  KEYS[1]  outbox  stream  tg:{<shard>}:outbox
ARGV
  ARGV[1]  taken  str  id of the last entry taken; '0-0': none
RETURNS { length }
  What is left in the outbox: the ledger does not have it yet.
INVARIANT  moves no money; drops nothing that was not taken.
]]
local taken = ARGV[1]

local sequence = tonumber(string.match(taken, '%-(%d+)$'))
local next_id = string.match(taken, '^%d+') .. '-' .. string.format('%d', sequence + 1)
redis.call('XTRIM', KEYS[1], 'MINID', next_id)
return { redis.call('XLEN', KEYS[1]) }
