-- Corrects the buckets by what the provider said of them in the headers of an answer: only ever to less room.
--
-- What it says holds for the instant at which the call arrived. Since then we have taken what was counted after the
-- call, and the bucket has drained; if that makes more than is counted here, somebody else uses the account as well.
--
-- ARGV[1]  the instant (us) at which the call was given its turn; ARGV[2] at which it was sent, by this clock
-- ARGV[3..] for each limit: name, limit, window in ms, the limit that the provider states, what is used of it by its
--           word, and what we had taken in all when the call had its turn (-1 where other turns that were given before
--           come after it: then only the limit is noted)
-- Returns, for each limit that the provider states otherwise than before, its name and the limit.

local given, sent = tonumber(ARGV[1]) / 1000, tonumber(ARGV[2]) / 1000
local names = {}
for i = 3, #ARGV, 6 do names[#names + 1] = ARGV[i] end
local fields = redis.call('HMGET', KEYS[1], unpack(names))

local written, news = {}, {}
for place, name in ipairs(names) do
  local i = 3 + (place - 1) * 6
  local configured, window = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local stated, stated_used, taken_then = tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5])
  local b = unpacked(fields[place])
  if not b and configured == 0 then b = made_now(stated_used, sent, 0) end
  if b and not b.is_stale then
    if b.stated ~= stated then
      if b.stated ~= 0 or stated ~= configured then
        news[#news + 1] = name
        news[#news + 1] = stated
      end
      b.stated = stated
    end
    -- A bucket made after the turn was given began without it, and an older word than the last one says nothing new.
    if taken_then >= 0 and given + 0.001 >= b.since and sent >= b.word then
      local limit = binding_limit(configured, b)
      -- The room that the provider sees, under the lower of the two limits.
      local known = limit - (stated - stated_used) + b.taken - taken_then - (b.at - sent) * limit / window
      if sent == b.word then known = math.max(known, b.known) end
      b.known, b.heard, b.word = math.max(0, known), now, sent
      b.used = math.max(b.used, b.known)
    end
    written[#written + 1] = name
    written[#written + 1] = packed(b)
  end
end
if #written > 0 then
  redis.call('HSET', KEYS[1], unpack(written))
  redis.call('PEXPIRE', KEYS[1], KEPT_MS)
end
return news
