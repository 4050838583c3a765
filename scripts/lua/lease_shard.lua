#!lua flags=allow-oom
--[[
lease_shard: take, keep or give back the right to run a shard's due loop.

KEYS
  KEYS[1]  lease  string  tg:{<shard>}:lease
ARGV
  ARGV[1]  gateway  str  the gateway process
  ARGV[2]  ttl_ms   int  how long it is held unless it is kept again; 0: give it back
RETURNS { code }
  OK: held, or given back. FORBIDDEN: another gateway's.
INVARIANT  moves no money; two gateways on one shard would do no harm but double work.
]]
--@include lib/codes

local gateway, ttl_ms = ARGV[1], tonumber(ARGV[2])

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= gateway then return { CODE.FORBIDDEN } end

if ttl_ms > 0 then
  redis.call('SET', KEYS[1], gateway, 'PX', ttl_ms)
elseif holder then
  redis.call('DEL', KEYS[1])
end
return { CODE.OK }
