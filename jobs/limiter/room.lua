-- What an admission of now would be decided by; takes nothing.
--
-- ARGV[1..] the limits, as opening.lua has them
-- Returns {1, instants, states}: packed, the instants (ms) of now and before which no call may start; and for each
-- limit seven numbers, packed: limit (0: there is none), the share of it that may be used, rate (per ms) at which it
-- drains, rate at which others are expected to use it, what is used at its latest turn, and that instant (ms).
-- {0, names} as admission.lua.

local buckets, first, unknown = opened()
if #unknown > 0 then return {0, unknown} end
local states = {}
for place, b in ipairs(buckets) do
  states[place] = b and struct.pack('>dddddd', b.limit, b.share, b.rate, b.forecast,
    b.used + b.expected + burst_now(b), b.at) or ''
end
return {1, struct.pack('>dd', now, first), states}
