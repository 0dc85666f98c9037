-- What the limiter's scripts have in common; it stands before each of them.
--
-- KEYS[1]  hash of one account and model family: for each limit one field with its bucket, and `held`, the instant (ms)
--          before which the provider wants no call
-- KEYS[2]  instant (ms) at which this Redis began to count: what was used before is not known here
--
-- A bucket: `used` is what is used of its limit at the instant `at` (ms), which is the latest turn given and may lie
-- ahead. It drains by limit/window. `known` is what is used by the provider's latest word (or by what the bucket began
-- with) and our turns since: no turn given before `heard` (ms) can be taken from it. That word holds for the instant
-- `word` (ms). `taken` counts up all our turns, `stated` is the limit by the provider's own word, 0 where it has not
-- spoken, and `since` (ms) when the bucket was made.

local FORM = '>dddddddd'
local KEPT_MS = 2 * 86400000

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
  local used, at, known, heard, word, taken, stated, since = struct.unpack(FORM, field)
  return {used = used, at = at, known = known, heard = heard, word = word, taken = taken, stated = stated,
    since = since, is_stale = since < born}
end

local function packed(b)
  return struct.pack(FORM, b.used, b.at, b.known, b.heard, b.word, b.taken, b.stated, b.since)
end

-- A bucket of which so much is used at an instant, by whomever.
local function made_now(used, at, stated)
  return {used = used, at = at, known = used, heard = now, word = 0, taken = 0, stated = stated, since = now,
    is_stale = false}
end

-- The lower of what is configured and what the provider states; 0 where neither says anything.
local function binding_limit(configured, b)
  if b and b.stated > 0 and (configured == 0 or b.stated < configured) then return b.stated end
  return configured
end
