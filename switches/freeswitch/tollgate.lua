--[[
Tollgate for FreeSWITCH: one script for the moments of a call. The uuid of the calling leg is the call_id.

  authorize                                     in the dialplan before bridge: goes on, or refuses the call
  answer    UUID OFFICE GRANTED                 when the called party answers (api_on_answer of the called leg)
  tick      UUID OFFICE ANSWERED_AT GRANTED     by the scheduler, before the granted seconds are over
  hangup    UUID OFFICE CAUSE NAME=TIME ...     when the calling leg is gone (api_hangup_hook)
  settle    UUID OFFICE CAUSE SECONDS ATTEMPT   again, while the gateway does not answer

FreeSWITCH's own scheduler cuts a call at its granted seconds, whether or not the gateway can be reached then; each tick
that grants more moves that moment.
]]

local URL = freeswitch.getGlobalVariable("tollgate_url")
local TOKEN = freeswitch.getGlobalVariable("tollgate_token")

local EMERGENCY = { ["911"] = true, ["112"] = true, ["999"] = true, ["000"] = true }

local REFUSALS = {
  INSUFFICIENT_FUNDS = "402 Payment Required",
  SPEND_LIMIT = "402 Payment Required",
  PRICE_LIMIT = "403 Forbidden",
  DESTINATION_BLOCKED = "403 Forbidden",
  FRAUD_GUARD = "403 Forbidden",
  OFFICE_SUSPENDED = "403 Forbidden",
  UNKNOWN_OFFICE = "403 Forbidden",
  CALL_ENDED = "403 Forbidden",
  INVALID_NUMBER = "404 Not Found",
  NO_RATE = "404 Not Found",
}
local UNAVAILABLE = "503 Service Unavailable" -- too many calls, or nobody could be asked

local LAST_ATTEMPT = 15 -- of a settlement, 50 minutes after the first

local api = freeswitch.API()

-- ---- HTTP --------------------------------------------------------------------------------------------------------

-- An object of strings and numbers as JSON. Numbers and names come from callers: nothing in them ends its string.
local function encode(fields)
  local members = {}
  for name, value in pairs(fields) do
    if type(value) == "string" then
      value = '"' .. value:gsub('[%c"\\]', function(c) return string.format("\\u%04x", c:byte()) end) .. '"'
    else
      value = string.format("%d", value)
    end
    members[#members + 1] = '"' .. name .. '":' .. value
  end
  return "{" .. table.concat(members, ",") .. "}"
end

-- mod_curl splits its arguments at spaces and quotes, and decodes what is posted.
local function escape(text)
  return (text:gsub("[^%w._~-]", function(c) return string.format("%%%02X", c:byte()) end))
end

-- Ask up to `tries` times, a second each; the ids make that safe. Returns the answer, or nil and why there is none.
local function ask(operation, tries, fields)
  local command = URL .. "/v1/calls/" .. operation .. " connect-timeout 1 timeout 1 content-type application/json"
    .. " append_headers 'Authorization: Bearer " .. TOKEN .. "' post " .. escape(encode(fields))
  local why
  for _ = 1, tries do
    local answer = api:execute("curl", command) or ""
    local fault = answer:match('^%s*{%s*"error".-"reason"%s*:%s*"([%u_]+)"')
    if not fault and answer:match("^%s*{") then return answer end
    why = fault or "UNANSWERED"
    if fault and fault ~= "UNAVAILABLE" and fault ~= "OVERLOADED" then break end
  end
  freeswitch.consoleLog("err", "tollgate: " .. operation .. " of " .. fields.callId .. ": " .. why .. "\n")
  return nil, why
end

local function may_ask_again(why)
  return why == "UNANSWERED" or why == "UNAVAILABLE" or why == "OVERLOADED"
end

-- Fields of an answer: a flat object whose names are known.
local function text(answer, name) return answer:match('"' .. name .. '"%s*:%s*"([%u_]+)"') end
local function number(answer, name) return tonumber(answer:match('"' .. name .. '"%s*:%s*(%d+)')) end
local function is_true(answer, name) return answer:match('"' .. name .. '"%s*:%s*true') ~= nil end

-- ---- the call ----------------------------------------------------------------------------------------------------

local function run_later(seconds, command)
  api:execute("sched_api", string.format("+%d none luarun tollgate.lua %s", seconds, command))
end

local function hang_up(uuid) api:execute("uuid_kill", uuid .. " ALLOTTED_TIMEOUT") end

local function group(uuid, granted) return "tollgate-" .. uuid .. "-" .. granted end

-- Cut at the end of the granted time; tick 10 s before, then ever closer to it.
local function schedule(uuid, office, answered_at, granted, granted_before)
  local left = answered_at + granted - os.time()
  if left < 1 then return hang_up(uuid) end
  if granted ~= granted_before then
    -- The later cut is there before the earlier one goes: this call is never without.
    api:execute("sched_api", string.format("+%d %s uuid_kill %s ALLOTTED_TIMEOUT", left, group(uuid, granted), uuid))
    if granted_before then api:execute("sched_del", group(uuid, granted_before)) end
  end
  local pause = left - math.min(10, math.floor(left / 2))
  if pause < left then run_later(pause, string.format("tick %s %s %d %d", uuid, office, answered_at, granted)) end
end

local function authorize()
  -- The dialplan goes on after us.
  session:setAutoHangup(false)
  local uuid, office = session:getVariable("uuid"), session:getVariable("tollgate_office") or ""
  local called = session:getVariable("destination_number") or ""
  local emergency = EMERGENCY[called]
  local answer, why = ask("authorize", emergency and 1 or 2, {
    officeId = office,
    callId = uuid,
    direction = "OUTBOUND",
    callingNumber = (session:getVariable("caller_id_number") or ""):gsub("[^\32-\126]", ""):sub(1, 64),
    calledNumber = called,
  })
  local granted = answer and text(answer, "decision") == "GRANTED" and number(answer, "grantedSeconds")
  if granted or (not answer and may_ask_again(why)) then
    -- Also where nobody answered: it may hold money by now.
    session:setVariable("api_hangup_hook", "luarun tollgate.lua hangup " .. uuid .. " " .. office .. " ${hangup_cause}"
      .. " told=${tollgate_answered_at} answered=${answer_uepoch} bridged=${bridge_uepoch} ended=${end_uepoch}")
  end
  if granted then
    session:execute("export",
      string.format("nolocal:api_on_answer=luarun tollgate.lua answer %s %s %d", uuid, office, granted))
  elseif not emergency then
    local reason = answer and text(answer, "reason")
    session:setVariable("tollgate_reason", reason or why)
    session:execute("respond", reason and REFUSALS[reason] or UNAVAILABLE)
    session:hangup("CALL_REJECTED") -- for a leg that was answered before, to which no response goes
  end
end

local function answered(uuid, office, granted)
  local now = os.time()
  api:execute("uuid_setvar", string.format("%s tollgate_answered_at %d", uuid, now))
  schedule(uuid, office, now, granted)
  -- Without an answer a tick stands for it.
  local answer = ask("answer", 3, { officeId = office, callId = uuid })
  if answer and is_true(answer, "ended") then hang_up(uuid) end
end

local function tick(uuid, office, answered_at, granted)
  if api:execute("uuid_exists", uuid) ~= "true" then return end
  local answer = ask("tick", 1, { officeId = office, callId = uuid, usedSeconds = os.time() - answered_at })
  if answer and is_true(answer, "ended") then return hang_up(uuid) end
  local now_granted = answer and number(answer, "grantedSeconds") or granted
  schedule(uuid, office, answered_at, math.max(now_granted, granted), granted)
end

local function settle(uuid, office, cause, seconds, attempt)
  local answer, why = ask("end", 3, { officeId = office, callId = uuid, durationSeconds = seconds, cause = cause })
  if not answer and may_ask_again(why) and attempt < LAST_ATTEMPT then
    run_later(math.min(300, 10 * 2 ^ (attempt - 1)),
      string.format("settle %s %s %s %d %d", uuid, office, cause, seconds, attempt + 1))
  end
end

-- Talk time runs from the answer, or where the calling leg had been answered before, from the bridge.
local function hangup(uuid, office, cause, ...)
  local times = {}
  for _, pair in ipairs({ ... }) do
    local name, value = pair:match("^(%w+)=(%d+)$")
    if name then times[name] = tonumber(value) end
  end
  local seconds = 0
  if times.told and times.ended then
    local began = math.max(times.told * 1000000, times.answered or 0, times.bridged or 0)
    seconds = math.max(1, math.ceil((times.ended - began) / 1000000))
  end
  settle(uuid, office, cause, seconds, 1)
end

local moment, uuid, office = argv[1], argv[2], argv[3]
if moment == "authorize" then
  authorize()
elseif moment == "answer" then
  answered(uuid, office, tonumber(argv[4]))
elseif moment == "tick" then
  tick(uuid, office, tonumber(argv[4]), tonumber(argv[5]))
elseif moment == "hangup" then
  hangup(uuid, office, argv[4], argv[5], argv[6], argv[7], argv[8])
elseif moment == "settle" then
  settle(uuid, office, argv[4], tonumber(argv[5]), tonumber(argv[6]))
end
