-- Reads the buckets that calls ask of; it stands before the scripts of admission and of room.
--
-- ARGV[1]  number of limits, n; ARGV[2..2n+1] for each: name; and three numbers, packed: limit (0: only what the
--          provider states), window in ms, and what was used of it by now as far as is known elsewhere (-1 when nobody
--          was asked)

local count = tonumber(ARGV[1])

-- Returns the buckets by their place, false where no limit is known; the instant before which no call may start; and
-- the names of the limits, longer than a minute, of which this Redis has not counted a whole window yet and nobody
-- said what was used.
local function opened()
  local names = {'held', 'slowed'}
  for i = 2, 2 * count, 2 do names[#names + 1] = ARGV[i] end
  local fields = redis.call('HMGET', KEYS[1], unpack(names))
  local share = share_of(fields[2])
  local buckets, unknown, made = {}, {}, {}
  for place = 1, count do
    local name, b = names[place + 2], unpacked(fields[place + 2])
    local configured, window, known = struct.unpack('>ddd', ARGV[2 * place + 1])
    local limit = binding_limit(configured, b)
    buckets[place] = false
    if limit > 0 then
      if not b or b.is_stale then
        local stated = b and b.stated or 0
        b = made_now(limit, born, stated)
        if known >= 0 then
          b = made_now(math.min(known, limit), now, stated)
          made[#made + 1] = name
          made[#made + 1] = packed(b)
        elseif window > MINUTE_MS and now - born < window then
          unknown[#unknown + 1] = name
        end
      end
      b.name, b.limit, b.window, b.share = name, limit, window, window > MINUTE_MS and 1 or share
      b.rate = b.share * limit / window
      b.forecast = forecast(b, b.rate)
      buckets[place] = b
    end
  end
  if #unknown == 0 then kept(made) end
  return buckets, math.max(now, tonumber(fields[1] or '') or 0), unknown
end
