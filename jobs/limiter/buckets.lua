-- What the limiter's scripts have in common; it stands before each of them.
--
-- KEYS[1]  hash of one account and model family: for each limit one field with its bucket, `held`, the instant (ms)
--          before which the provider wants no call, and `slowed`, since when it wants fewer, and what share of them
-- KEYS[2]  instant (ms) at which this Redis began to count: what was used before is not known here
--
-- A bucket: `used` is what is used of its limit at the instant `at` (ms), which is the latest turn given and may lie
-- ahead. It drains by limit/window. `known` is what is used by the provider's latest word (or by what the bucket began
-- with) and our turns since: no turn given before `heard` (ms) can be taken from it. That word holds for the instant
-- `word` (ms). `taken` counts up all our turns, `stated` is the limit by the provider's own word, 0 where it has not
-- spoken, and `since` (ms) when the bucket was made.
--
-- Others on the account: `foreign` is their rate (per ms) by the provider's words, `excess` how far they are ahead of
-- what is expected of them, `burst` how far they lately were, and `expected` what they are expected to have used at
-- `at` since the last word. The three stand beside `used` and are never added to it: when the next word comes, what
-- they did use is in `used`, and a guess that was too high has cost room for a while and no rate.

local FORM = '>dddddddddddd'
local KEPT_MS = 2 * 86400000
local MINUTE_MS = 60000
-- Over how long the rate of others is smoothed, and how long a burst of theirs is remembered.
local RATE_MS = 30000
local BURST_MS = 180000
-- They are expected to use so much more than they did, but never so much that nothing is left to wait for; and so much
-- of a limit at most is kept free for their next burst.
local MARGIN = 1.25
local MOST_OF_RATE = 0.9
local MOST_OF_BURST = 0.4
-- After "slow down" the smaller rate is held so long, and then raised to the whole one in so long.
local SLOW_MS = 900000
local RAMP_MS = 900000

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
local born = tonumber(redis.call('GET', KEYS[2]) or '')
if not born then
  born = now
  redis.call('SET', KEYS[2], string.format('%.3f', now))
end

-- The bucket in a field; nil when there is none. One from before this Redis began to count has `is_stale`.
local function unpacked(field)
  if not field then return nil end
  local used, at, known, heard, word, taken, stated, since, expected, foreign, excess, burst =
    struct.unpack(FORM, field)
  return {used = used, at = at, known = known, heard = heard, word = word, taken = taken, stated = stated,
    since = since, expected = expected, foreign = foreign, excess = excess, burst = burst, is_stale = since < born}
end

local function packed(b)
  return struct.pack(FORM, b.used, b.at, b.known, b.heard, b.word, b.taken, b.stated, b.since, b.expected, b.foreign,
    b.excess, b.burst)
end

-- A bucket of which so much is used at an instant, by whomever.
local function made_now(used, at, stated)
  return {used = used, at = at, known = used, heard = now, word = 0, taken = 0, stated = stated, since = now,
    expected = 0, foreign = 0, excess = 0, burst = 0, is_stale = false}
end

local function kept(written)
  if #written == 0 then return end
  redis.call('HSET', KEYS[1], unpack(written))
  redis.call('PEXPIRE', KEYS[1], KEPT_MS)
end

-- The lower of what is configured and what the provider states; 0 where neither says anything.
local function binding_limit(configured, b)
  if b and b.stated > 0 and (configured == 0 or b.stated < configured) then return b.stated end
  return configured
end

-- The rate (per ms) at which others are expected to go on; less and less while nothing is heard, for whoever waits for
-- them to end hears nothing.
local function forecast(b, rate)
  return math.min(MARGIN * b.foreign * math.exp(-(now - b.heard) / RATE_MS), MOST_OF_RATE * rate)
end

-- What is left of the burst that is expected of them: the longer none was heard of, the less.
local function burst_now(b)
  return b.burst * math.exp(-(now - b.heard) / BURST_MS)
end

-- The share of the limits of a minute that may be used, by the field `slowed`; 1 unless the provider wants us slower.
local function share_of(field)
  if not field then return 1 end
  local share, since = struct.unpack('>dd', field)
  return math.min(1, share + (1 - share) * math.max(0, now - since - SLOW_MS) / RAMP_MS)
end
