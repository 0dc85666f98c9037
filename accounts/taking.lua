-- Takes one request out of a bucket that holds a minute's quota and refills evenly (GCRA), by the server's clock.
-- KEYS[1]: the instant at which the bucket is full again, in microseconds; no key: it is full.
-- ARGV: microseconds in which one request comes back; how many the bucket holds.
-- Returns how many are left, -1 where none was there; microseconds until one is; and until all are.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local interval, quota = tonumber(ARGV[1]), tonumber(ARGV[2])
local full_at = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0))
local then_full_at = full_at + interval
local wait = then_full_at - interval * quota - now
if wait > 0 then
    return {-1, math.ceil(wait), math.ceil(full_at - now)}
end
local until_full = then_full_at - now
redis.call('SET', KEYS[1], string.format('%.0f', then_full_at), 'PX', math.ceil(until_full / 1000))
return {math.floor((interval * quota - until_full) / interval + 0.000001), 0, math.ceil(until_full)}
