-- Takes back a turn whose call was never sent: what it counts for is given back, as far as that is safe.
--
-- Without the call, a bucket may have run empty earlier and then stood idle, and what stood idle cannot be used later.
-- So its amount is not simply subtracted. Two bounds hold of what may be, and the larger one counts:
--   * between its turn and the latest one no more than rate x time can have been lost that way;
--   * where all that came after it is known, no more than that is used by now, unless the bucket never ran empty.
--
-- ARGV[1]  the instant (us) at which the turn was given; ARGV[2] the turn (us)
-- A bucket that was corrected by the provider's word meanwhile gives nothing back: that word may not have known the call.
--
-- ARGV[3..] for each limit: name, limit, window in ms, amount, and what the admission returned: taken, others, latest
-- Returns how many buckets got something back.

local given, turn = tonumber(ARGV[1]) / 1000, tonumber(ARGV[2]) / 1000
local names = {}
for i = 3, #ARGV, 7 do names[#names + 1] = ARGV[i] end
local fields = redis.call('HMGET', KEYS[1], unpack(names))

local written = {}
for place, name in ipairs(names) do
  local i = 3 + (place - 1) * 7
  local window, amount = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  local taken, others, is_latest = tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5]), ARGV[i + 6] == '1'
  local b = unpacked(fields[place])
  -- A bucket made after the turn was given (Redis was emptied meanwhile) does not hold its amount.
  if b and not b.is_stale and b.since <= given + 0.001 and b.others == others then
    local limit = binding_limit(tonumber(ARGV[i + 1]), b)
    local returned = amount - math.max(0, b.at - turn) * limit / window
    if is_latest then returned = math.max(returned, b.used - (b.taken - taken)) end
    returned = math.min(returned, amount, b.used)
    if limit > 0 and returned > 0 then
      b.used = b.used - returned
      written[#written + 1] = name
      written[#written + 1] = packed(b)
    end
  end
end
if #written > 0 then redis.call('HSET', KEYS[1], unpack(written)) end
return #written / 2
