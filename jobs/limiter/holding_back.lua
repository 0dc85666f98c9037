-- Gives no turn before so many ms (ARGV[1]) have passed. A later instant that was asked for before stays.
local until_ = math.max(tonumber(redis.call('HGET', KEYS[1], 'held') or '') or 0, now + tonumber(ARGV[1]))
redis.call('HSET', KEYS[1], 'held', string.format('%.3f', until_))
redis.call('PEXPIRE', KEYS[1], math.ceil(until_ - now) + KEPT_MS)
return 1
