-- Gives a call its turn under every rate limit that binds it, all or nothing.
--
-- The provider counts with token buckets: what is used drains continuously at limit/window, and a call is refused when
-- used + requested > limit. The same arithmetic runs here ahead of time, so the answer is an instant, not a refusal.
--
-- ARGV[1]  horizon in ms: a turn later than this is not taken
-- ARGV[2]  ms that calls may arrive late by; so much of each bucket's burst is left alone
-- ARGV[3]  '1' to take the turn, '0' to look only
-- ARGV[4..] for each limit: name; and four numbers, packed: limit (0: only what the provider states), window in ms,
--           amount, and what was used of it by now as far as is known elsewhere (-1 when nobody was asked)
-- Returns {1, wait in ms, name, numbers} when the turn is taken: packed, the instants (us) of now and of the turn, and
-- for each limit taken, and 1 if this is its latest turn; {1, wait, name} when it would be; {0, wait, name} when it is
-- too far away; {-1, 0, name} when it never comes; {2, names} when of these limits, longer than a minute, this
-- Redis has not counted a whole window yet and nobody said what was used.

local MINUTE_MS = 60000
local horizon, lateness, take = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'

local names = {'held'}
for i = 4, #ARGV, 2 do names[#names + 1] = ARGV[i] end
local fields = redis.call('HMGET', KEYS[1], unpack(names))

local start, binding = math.max(now, tonumber(fields[1] or '') or 0), ARGV[4] or ''
local buckets, unknown, made = {}, {}, {}
for i = 4, #ARGV, 2 do
  local place = #buckets + 1
  local name, b = ARGV[i], unpacked(fields[place + 1])
  local configured, window, amount, known = struct.unpack('>dddd', ARGV[i + 1])
  local limit = binding_limit(configured, b)
  if limit > 0 then
    if amount > limit then return {-1, 0, name} end
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
    local capacity = limit - limit * lateness / window
    -- A call larger than that waits until the bucket has stood empty for the difference. Also right for an instant
    -- before `at`: at no instant in between is more used than what is used at `at` and what drains until then.
    local ready = b.at + (b.used + amount - capacity) * window / limit
    if ready > start then start, binding = ready, name end
    b.name, b.limit, b.window, b.amount = name, limit, window, amount
  end
  buckets[place] = b and limit > 0 and b or false
end
if #unknown > 0 then return {2, unknown} end
if #made > 0 then
  redis.call('HSET', KEYS[1], unpack(made))
  redis.call('PEXPIRE', KEYS[1], KEPT_MS)
end

local wait = start - now
if wait > horizon then return {0, math.ceil(wait), binding} end
if not take then return {1, math.ceil(wait), binding} end

local counts = {struct.pack('>dd', math.floor(now * 1000), math.floor(start * 1000))}
local written = {}
for _, b in ipairs(buckets) do
  if b then
    local is_latest = start >= b.at
    if is_latest then
      local drained = (start - b.at) * b.limit / b.window
      b.used, b.known, b.at = math.max(0, b.used - drained), math.max(0, b.known - drained), start
    end
    b.used, b.known, b.taken = b.used + b.amount, b.known + b.amount, b.taken + b.amount
    written[#written + 1] = b.name
    written[#written + 1] = packed(b)
    counts[#counts + 1] = struct.pack('>dd', b.taken, is_latest and 1 or 0)
  else
    counts[#counts + 1] = struct.pack('>dd', -1, 0)
  end
end
if #written > 0 then
  redis.call('HSET', KEYS[1], unpack(written))
  redis.call('PEXPIRE', KEYS[1], KEPT_MS)
end
return {1, math.ceil(wait), binding, table.concat(counts)}
