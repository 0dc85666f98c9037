-- Gives calls of one account and family their turns, one after the other: each under every rate limit that binds it,
-- all or nothing.
--
-- The provider counts with token buckets: what is used drains continuously at limit/window, and a call is refused when
-- used + requested > limit. The same arithmetic runs here ahead of time, so the answer is an instant, not a refusal.
--
-- ARGV[1..] the limits, as opening.lua has them; then
-- ARGV[..]  ms that calls may arrive late by: so much of each bucket's burst is left alone
-- ARGV[..]  for each call, packed: horizon in ms (a turn later than this is not taken), the share of a limit that it
--           leaves to others, the share up to which it leaves as much as it asks for itself, and for each limit that
--           binds it: its place, and the amount
-- Returns {1, answers} or {0, names} of limits that must be counted elsewhere first. An answer: {1, wait in ms, name,
-- numbers} when the turn is taken: packed, the instants (us) of now and of the turn, and for each limit taken, 1 if
-- this is its latest turn, and what such calls could still have taken at that instant; {0, wait, name} when it is too
-- far away; {-1, 0, name} when it never comes.

local lateness = tonumber(ARGV[2 * count + 2])
local buckets, first, unknown = opened()
if #unknown > 0 then return {0, unknown} end

-- What is used at a later instant: by us, and by others as far as is expected.
local function move(b, to)
  local ms = to - b.at
  local ours = math.max(0, b.used - ms * b.rate)
  local all = math.max(0, b.used + b.expected - ms * (b.rate - b.forecast))
  b.known = math.max(0, b.known - ms * b.limit / b.window)
  b.used, b.expected, b.at = ours, math.max(0, all - ours), to
end

-- What calls may use of a bucket at once: a call as large as that share leaves room for another.
local function capacity_of(b, amount, left, one)
  local share = left
  if left < one and amount <= one * b.limit then share = math.max(left, amount / b.limit) end
  return b.share * b.limit * (1 - share) - b.rate * lateness
end

-- The instant from which a bucket has room for so much.
local function ready(b, amount, capacity)
  -- A call larger than that waits until the bucket has stood empty for the difference. Also right for an instant
  -- before `at`: at no instant in between is more used than what is used at `at` and what drains until then.
  local missing = b.used + b.expected + burst_now(b) + amount - capacity
  return b.at + missing / (missing > 0 and b.rate - b.forecast or b.rate)
end

local function turn(call)
  local horizon, left, one, position = struct.unpack('>ddd', call)
  local start, binding, asked = first, ARGV[2] or '', {}
  while position <= #call do
    local place, amount
    place, amount, position = struct.unpack('>dd', call, position)
    local b = buckets[place]
    local capacity = b and capacity_of(b, amount, left, one)
    asked[#asked + 1] = {b, amount, capacity}
    if b then
      if amount > b.limit then return {-1, 0, b.name} end
      local from = ready(b, amount, capacity)
      if from > start then start, binding = from, b.name end
    end
  end
  local wait = start - now
  if wait > horizon then return {0, math.ceil(wait), binding} end

  local numbers = {struct.pack('>dd', math.floor(now * 1000), math.floor(start * 1000))}
  for _, one_asked in ipairs(asked) do
    local b, amount, capacity = unpack(one_asked)
    if b then
      local is_latest = start >= b.at
      if is_latest then move(b, start) end
      b.used, b.known, b.taken = b.used + amount, b.known + amount, b.taken + amount
      b.is_changed = true
      local room = math.max(0, capacity - b.used - b.expected - burst_now(b))
      numbers[#numbers + 1] = struct.pack('>ddd', b.taken, is_latest and 1 or 0, room)
    else
      numbers[#numbers + 1] = struct.pack('>ddd', -1, 0, 0)
    end
  end
  return {1, math.ceil(wait), binding, table.concat(numbers)}
end

local answers, written = {}, {}
for i = 2 * count + 3, #ARGV do answers[#answers + 1] = turn(ARGV[i]) end
for _, b in ipairs(buckets) do
  if b and b.is_changed then
    written[#written + 1] = b.name
    written[#written + 1] = packed(b)
  end
end
kept(written)
return {1, answers}
