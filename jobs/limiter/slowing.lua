-- The provider wants fewer calls: half of what may be sent now, down to a sixteenth. Many answers of one minute say it
-- once.

local LEAST = 1 / 16
local field = redis.call('HGET', KEYS[1], 'slowed')
local share = share_of(field)
if field then
  local _, since = struct.unpack('>dd', field)
  if now - since < MINUTE_MS then return 0 end
end
redis.call('HSET', KEYS[1], 'slowed', struct.pack('>dd', math.max(LEAST, share / 2), now))
redis.call('PEXPIRE', KEYS[1], KEPT_MS)
return 1
