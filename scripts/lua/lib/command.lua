-- Commands to the switch that has a call, published for whichever gateway holds its Sessions: in the script that
-- decided, so that no gateway's death between deciding and telling loses one. gateway/store/commands.py reads them.

local function command_publish(kind, c, office_id, call_id, value)
  if c.switch_id == '' then return end
  redis.call('PUBLISH', 'tg:commands', table.concat({ c.switch_id, kind, office_id, call_id, value }, '\n'))
end
