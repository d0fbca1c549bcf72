-- Stamps a request that is about to be sent. Its process has the fetch for another lease.
-- ARGV   4 how many wanted quotes fit at most
-- Answer the moment, the epoch, what others want
if fetcher == me then lease = now + LEASE end
save()
redis.call('ZREMRANGEBYSCORE', WANTED, '-inf', '(' .. text(now))
return { text(now), epoch, redis.call('ZRANGE', WANTED, 0, tonumber(ARGV[4]) - 1) }
