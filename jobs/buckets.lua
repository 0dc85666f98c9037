-- What the limiter's scripts have in common; it stands before each of them.
--
-- KEYS[1]  hash of one account and model family: for each limit one field with its bucket, and `held`, the instant (ms)
--          before which the provider wants no call
-- KEYS[2]  instant (ms) at which this Redis began to count: what was used before is not known here
--
-- A bucket: `used` is what is used of its limit at the instant `at` (ms), which is the latest turn given and may lie
-- ahead. It drains by limit/window. `taken` and `others` count up all that we, and others on the account, ever used.
-- `stated` is the limit by the provider's own word, 0 where it has not spoken. `since`: when the bucket was made.

local FORM = '>dddddd'
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
  local used, at, taken, others, stated, since = struct.unpack(FORM, field)
  return {used = used, at = at, taken = taken, others = others, stated = stated, since = since, is_stale = since < born}
end

local function packed(b)
  return struct.pack(FORM, b.used, b.at, b.taken, b.others, b.stated, b.since)
end

-- The lower of what is configured and what the provider states; 0 where neither says anything.
local function binding_limit(configured, b)
  if b and b.stated > 0 and (configured == 0 or b.stated < configured) then return b.stated end
  return configured
end
