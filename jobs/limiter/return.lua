-- Takes back a turn whose call was never sent: what it counts for is given back, as far as that is safe.
--
-- Without the call, a bucket may have run empty earlier and then stood idle, and what stood idle cannot be used later.
-- So its amount is not simply subtracted. Two bounds hold of what may be, and the larger one counts:
--   * between its turn and the latest one no more than rate x time can have been lost that way;
--   * where all that came after it is known, no more than that is used by now, unless the bucket never ran empty.
--
-- And never less than what is known to be used, whatever this call would have been: the provider's word may have come
-- without it.
--
-- ARGV[1]  the instant (us) at which the turn was given; ARGV[2] the turn (us)
-- ARGV[3..] for each limit: name, limit, window in ms, amount, and what the admission returned: taken, latest
-- Returns how many buckets got something back.

local given, turn = tonumber(ARGV[1]) / 1000, tonumber(ARGV[2]) / 1000
local names = {}
for i = 3, #ARGV, 6 do names[#names + 1] = ARGV[i] end
local fields = redis.call('HMGET', KEYS[1], unpack(names))

local written = {}
for place, name in ipairs(names) do
  local i = 3 + (place - 1) * 6
  local window, amount = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  local taken, is_latest = tonumber(ARGV[i + 4]), ARGV[i + 5] == '1'
  local b = unpacked(fields[place])
  local limit = binding_limit(tonumber(ARGV[i + 1]), b)
  if b and not b.is_stale and limit > 0 then
    local idle = math.max(0, b.at - turn) * limit / window
    local function without(level)
      local later = is_latest and b.taken - taken or math.huge
      return math.min(level, math.max(0, level - amount, math.min(level - amount + idle, later)))
    end
    -- The instant was rounded down to a microsecond.
    if given + 0.001 >= b.heard then b.known = without(b.known) end
    local used = math.max(b.known, without(b.used))
    if used < b.used then
      b.used = used
      written[#written + 1] = name
      written[#written + 1] = packed(b)
    end
  end
end
kept(written)
return #written / 2
