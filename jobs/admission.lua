-- Gives a call its turn under every rate limit that binds it, all or nothing.
--
-- The provider counts with token buckets: what is used drains continuously at limit/window, and a call is refused when
-- used + requested > limit. The same arithmetic runs here ahead of time, so the answer is an instant, not a refusal.
--
-- KEYS[1]  hash of the buckets of one account and model family: NAME.used, NAME.at, and `last`, the latest turn given
-- KEYS[2]  when this Redis began to count: before that, nothing is known of what was used
-- ARGV[1]  horizon in ms: a turn later than this is not taken
-- ARGV[2]  ms that calls may arrive late by; so much of each bucket's burst is left alone
-- ARGV[3]  '1' to take the turn, '0' to look only
-- ARGV[4..] for each limit: name, limit, window in ms, amount
-- Returns {1, wait in ms} when the turn is taken, {0, wait in ms, name} when it is too far away, {-1, 0, name} when it never comes.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
local horizon, lateness, take = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'

local born = tonumber(redis.call('GET', KEYS[2]) or '')
if not born then
  born = now
  redis.call('SET', KEYS[2], string.format('%.3f', now))
end

local start = math.max(now, tonumber(redis.call('HGET', KEYS[1], 'last') or '0'))
local binding = ARGV[4] or ''
local buckets = {}
for i = 4, #ARGV, 4 do
  local name, limit, window, amount = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  if amount > limit then return {-1, 0, name} end
  local capacity = math.max(limit - limit * lateness / window, amount)
  local used = tonumber(redis.call('HGET', KEYS[1], name .. '.used') or '')
  local at = tonumber(redis.call('HGET', KEYS[1], name .. '.at') or '')
  if not used then
    -- Nothing is remembered: the bucket counts as used up when this Redis began, and has drained since.
    used, at = limit, born
  end
  local ready = at + math.max(0, used + amount - capacity) * window / limit
  if ready > start then start, binding = ready, name end
  buckets[#buckets + 1] = {name, limit, window, amount, used, at}
end

local wait = start - now
if wait > horizon then return {0, math.ceil(wait), binding} end
if not take then return {1, math.ceil(wait), binding} end

local longest = 0
for _, b in ipairs(buckets) do
  local name, limit, window, amount, used, at = b[1], b[2], b[3], b[4], b[5], b[6]
  local drained = math.max(0, used - math.max(0, start - at) * limit / window)
  redis.call('HSET', KEYS[1], name .. '.used', string.format('%.6f', drained + amount), name .. '.at', string.format('%.3f', start))
  longest = math.max(longest, window)
end
redis.call('HSET', KEYS[1], 'last', string.format('%.3f', start))
redis.call('PEXPIRE', KEYS[1], math.ceil(2 * longest + wait))
return {1, math.ceil(wait), binding}
