-- Corrects the buckets by what the provider said of them in the headers of an answer: only ever to less room.
--
-- What it says holds for the instant at which the call arrived. Since then we have taken what was counted after the
-- call, and the bucket has drained; if that makes more than is counted here, somebody else uses the account as well.
-- What they used from one word to the next is what is expected of them from the last word on, until the next one comes:
-- with calls of twenty seconds each word is twenty seconds old.
--
-- Calls do not arrive in the order of their turns: what was counted after this one may have arrived before it, and is
-- then in what the provider says. That can be no more than there was room for at its turn and what drained until it was
-- sent, and so much is not added. Where that was much, as in a burst, the word still takes room away, but it says nothing
-- of the rate of others.
--
-- ARGV[1..] for each limit: name; and nine numbers, packed: limit, window in ms, the instant (us) at which the call was
--           given its turn, at which it was sent, by this clock, the limit that the provider states, what is used of it
--           by its word, what we had taken in all when the call had its turn (-1 where other turns that were given
--           before come after it: then only the limit is noted), what there was room for then, and how much later (us)
--           it was sent
-- Returns, for each limit that the provider states otherwise than before, its name and the limit.

-- Of a limit: what calls can have overtaken at most where a word is taken for exact.
local UNCERTAIN = 0.02

-- Others have used so much in so many ms: a rate, and what came on top of what was expected of them. Where the provider
-- was full they may have wanted more than they got, and are thought to have wanted as much again.
local function hear_of_others(b, amount, ms, rate, is_full)
  b.burst = burst_now(b)
  b.excess = math.max(0, b.excess + amount * (is_full and 2 or 1) - ms * forecast(b, rate))
  b.heard = now
  if ms > 0 then
    b.foreign = math.max(0, b.foreign + (amount / ms - b.foreign) * (1 - math.exp(-ms / RATE_MS)))
  end
end

local function hear(b, limit, window, sent, known, is_comparable, is_full)
  local rate, before = limit / window, forecast(b, limit / window)
  if is_comparable then hear_of_others(b, math.max(0, known) - b.known, sent - b.word, rate, is_full) end
  b.excess = math.min(b.excess, MOST_OF_BURST * limit)
  b.burst = math.max(b.burst, b.excess)
  -- No more than was expected before, unless they have become faster: what had drained by then has drained.
  local after, ahead = forecast(b, rate), b.at - sent
  b.expected = math.min(after * ahead, b.expected + math.max(0, (after - before) * ahead))
  if sent == b.word then known = math.max(known, b.known) end
  b.known, b.heard, b.word = math.max(0, known), now, sent
end

local names, written, news = {}, {}, {}
for i = 1, #ARGV, 2 do names[#names + 1] = ARGV[i] end
local fields = redis.call('HMGET', KEYS[1], unpack(names))
for place, name in ipairs(names) do
  local configured, window, given, sent, stated, stated_used, taken_then, room, late =
    struct.unpack('>ddddddddd', ARGV[2 * place])
  given, sent = given / 1000, sent / 1000
  local b = unpacked(fields[place])
  if not b and configured == 0 then b = made_now(stated_used, sent, 0) end
  if b and not b.is_stale then
    local is_comparable = b.stated == stated and b.word > 0
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
      local after = b.taken - taken_then
      local since = math.max(0, after - room - late / 1000 * limit / window)
      local known = limit - (stated - stated_used) + since - (b.at - sent) * limit / window
      if math.min(after, room) > UNCERTAIN * limit then
        b.known, b.burst, b.heard = math.max(b.known, known), burst_now(b), now
      else
        hear(b, limit, window, sent, known, is_comparable, stated - stated_used < 1)
      end
      b.used = math.max(b.used, b.known)
    end
    written[#written + 1] = name
    written[#written + 1] = packed(b)
  end
end
kept(written)
return news
