-- The transactional outbox of a shard: what moved money, in the breath in which it moved.
-- The id of an entry is the server's own clock, since the journal asks how old an entry is.

local function outbox_add(key, kind, office_id, id, at_ms, amount, balance, ...)
  redis.call('XADD', key, '*', 'kind', kind, 'office', office_id, 'id', id, 'at', string.format('%d', at_ms),
    'amount', string.format('%d', amount), 'balance', string.format('%d', balance), ...)
end
