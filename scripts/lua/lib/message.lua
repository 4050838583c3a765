-- A message in the store: a small stub, so that a retry is not debited twice and a refund is given once.
-- Layout: format, state, fingerprint, debited micros. gateway/store/records.py reads the same bytes.

local MESSAGE_FORMAT = 1
local MESSAGE_SENT, MESSAGE_REFUNDED, MESSAGE_ASKED_BACK = 1, 2, 3
local MESSAGE_STUB = '<BBc8i8i8B'

local function message_unpack(bytes)
  local m = {}
  local format
  format, m.state, m.fingerprint, m.debited, m.day, m.reason = struct.unpack(MESSAGE_STUB, bytes)
  if format ~= MESSAGE_FORMAT then error('message record of format ' .. format) end
  return m
end

local function message_pack(m)
  return struct.pack(MESSAGE_STUB, MESSAGE_FORMAT, m.state, m.fingerprint, m.debited, m.day, m.reason)
end
